import ChildProcesses
import Foundation

/// The account that Postgres runs as: our own, or `postgres` when we are root, which Postgres refuses.
enum ServerAccount {
    static let isOurs = geteuid() != 0
    static var name: String { self.isOurs ? NSUserName() : "postgres" }

    private static var prefix: [String] {
        self.isOurs ? [] : ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]
    }

    /// Runs a program under the account and waits for it.
    static func run(_ arguments: [String]) throws {
        _ = try self.output(arguments)
    }

    static func output(_ arguments: [String]) throws -> String {
        let clean =
            ["env"] + ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGDATA"].flatMap { ["-u", $0] }
        // Why `/`: the server's account may not be allowed into the directory that we stand in.
        let outcome = try ChildProcess.runBlocking(clean + self.prefix + arguments, directory: "/")
        guard outcome.status == 0 else {
            throw DevelopmentCluster.Failure(
                "\(arguments[0]) failed: \(outcome.output.trimmingCharacters(in: .whitespacesAndNewlines))")
        }
        return outcome.output
    }

    /// Whether the account can work in a directory below `directory` that belongs to it.
    static func canUse(_ directory: String) -> Bool {
        (try? self.run(["test", "-w", "\(directory)/postgres"])) != nil
    }

    static func own(_ path: String) throws {
        guard !self.isOurs else { return }
        guard let account = getpwnam("postgres") else {
            throw DevelopmentCluster.Failure("there is no user named postgres for the server to run as; run `make run`")
        }
        guard chown(path, account.pointee.pw_uid, account.pointee.pw_gid) == 0 else {
            throw DevelopmentCluster.Failure("cannot give \(path) to the user postgres")
        }
    }
}
