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
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = self.prefix + arguments
        // Why: the server's account may not be allowed into the directory that we stand in.
        process.currentDirectoryURL = URL(fileURLWithPath: "/")
        var environment = ProcessInfo.processInfo.environment
        for name in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGDATA"] { environment[name] = nil }
        process.environment = environment
        // A file, not a pipe: the detached server inherits it, and a pipe would never end.
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("penstock-\(UUID().uuidString)")
        _ = FileManager.default.createFile(atPath: file.path, contents: nil)
        defer { try? FileManager.default.removeItem(at: file) }
        let handle = try FileHandle(forWritingTo: file)
        process.standardOutput = handle
        process.standardError = handle
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        let output = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
        guard process.terminationStatus == 0 else {
            throw DevelopmentCluster.Failure(
                "\(arguments[0]) failed: \(output.trimmingCharacters(in: .whitespacesAndNewlines))")
        }
        return output
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
