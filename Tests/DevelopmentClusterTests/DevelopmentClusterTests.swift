import Foundation
import PostgresClient
import Synchronization
import Testing

@testable import DevelopmentCluster

/// Each test works in a directory of its own; the server needs the extension to be installed.
@Suite(
    .serialized, .timeLimit(.minutes(3)),
    .enabled(if: (try? PostgresInstallation.find()) != nil, "no Postgres with the extension is installed"))
struct DevelopmentClusterTests {
    @Test func startsStopsAndKeepsItsDataAndItsPort() async throws {
        try await Self.withDirectory { directory in
            let first = try await DevelopmentCluster.start(directory: directory) { _ in }
            #expect(first.isNew)
            #expect(try await Self.ask(first, "SHOW wal_level") == "logical")
            #expect(try await Self.ask(first, "SHOW penstock.databases") == DevelopmentCluster.database)
            #expect(try await Self.ask(first, "SHOW penstock.socket") == first.socketPath)
            #expect(
                try await Self.ask(first, "SELECT extname FROM pg_extension WHERE extname = 'penstock'") == "penstock")
            _ = try await Self.ask(first, "CREATE TABLE public.kept AS SELECT 42 AS answer")
            let server = try #require(Self.postmaster(first.directory))
            try first.stop()
            // A process that nobody has asked for yet has no arguments any more.
            #expect((try? String(contentsOfFile: "/proc/\(server)/cmdline", encoding: .utf8)) ?? "" == "")
            #expect(Self.postmaster(first.directory) == nil)

            let port = first.port
            let second = try await DevelopmentCluster.start(directory: directory) { _ in }
            #expect(!second.isNew)
            #expect(second.port == port)
            #expect(try await Self.ask(second, "SELECT answer FROM public.kept") == "42")
            try second.stop()
        }
    }

    @Test func secondRunInTheSameDirectoryIsRefusedAndHarmless() async throws {
        try await Self.withDirectory { directory in
            let first = try await DevelopmentCluster.start(directory: directory) { _ in }
            let error = await #expect(throws: DevelopmentCluster.Failure.self) {
                _ = try await DevelopmentCluster.start(directory: directory) { _ in }
            }
            #expect(error?.description.contains("another `penstock dev` is using") == true)
            #expect(try await Self.ask(first, "SELECT 1") == "1")
            try first.stop()
        }
    }

    @Test func staleLockFileOfAServerThatIsGoneIsNoHindrance() async throws {
        try await Self.withDirectory { directory in
            let data = try await Self.makeAndStop(directory)
            // The number of a process that lives and is no server: our own.
            let text = "\(getpid())\n\(data)\n0\n54321\n\(data)\n127.0.0.1\n"
            try text.write(toFile: "\(data)/postmaster.pid", atomically: true, encoding: .utf8)
            try ServerAccount.own("\(data)/postmaster.pid")
            #expect(DevelopmentCluster.postmaster(of: data) == nil)
            // Why removed: Postgres looks for a process of that number and account, which ours is when we are not root.
            unlink("\(data)/postmaster.pid")
            try "999999999\n\(data)\n0\n54321\n\(data)\n127.0.0.1\n".write(
                toFile: "\(data)/postmaster.pid", atomically: true, encoding: .utf8)
            try ServerAccount.own("\(data)/postmaster.pid")
            let cluster = try await DevelopmentCluster.start(directory: directory) { _ in }
            #expect(try await Self.ask(cluster, "SELECT 1") == "1")
            try cluster.stop()
        }
    }

    @Test func serverOfARunThatDiedIsTakenOver() async throws {
        try await Self.withDirectory { directory in
            let data = try await Self.makeAndStop(directory)
            // A server without a watchdog: nobody ends it but the next run.
            let binaries = try PostgresInstallation.find()
            try ServerAccount.run(["\(binaries)/pg_ctl", "start", "-D", data, "-l", "\(data)/orphan.log", "-w", "-s"])
            let orphan = try #require(DevelopmentCluster.postmaster(of: data))
            let said = Mutex<[String]>([])
            let cluster = try await DevelopmentCluster.start(directory: directory) { text in
                said.withLock { $0.append(text) }
            }
            #expect(said.withLock { $0.contains { $0.contains("process \(orphan)") } })
            #expect(Self.postmaster(cluster.directory) != orphan)
            try cluster.stop()
        }
    }

    @Test func directoryWithSomethingElseIsNotTouched() async throws {
        try await Self.withDirectory { directory in
            try FileManager.default.createDirectory(atPath: "\(directory)/postgres", withIntermediateDirectories: true)
            try ServerAccount.own("\(directory)/postgres")
            try "mine".write(toFile: "\(directory)/postgres/letter", atomically: true, encoding: .utf8)
            let error = await #expect(throws: DevelopmentCluster.Failure.self) {
                _ = try await DevelopmentCluster.start(directory: directory) { _ in }
            }
            #expect(error?.description.contains("did not make") == true)
            #expect(try String(contentsOfFile: "\(directory)/postgres/letter", encoding: .utf8) == "mine")
        }
    }

    @Test func dataOfAnotherVersionIsRefused() async throws {
        try await Self.withDirectory { directory in
            let data = try await Self.makeAndStop(directory)
            try "9.6\n".write(toFile: "\(data)/PG_VERSION", atomically: true, encoding: .utf8)
            try ServerAccount.own("\(data)/PG_VERSION")
            let error = await #expect(throws: DevelopmentCluster.Failure.self) {
                _ = try await DevelopmentCluster.start(directory: directory) { _ in }
            }
            #expect(error?.description.contains("was made by Postgres 9.6") == true)
        }
    }

    // MARK: Means

    private static func withDirectory(_ body: (String) async throws -> Void) async throws {
        let directory = "/tmp/pkd-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer {
            // A test that failed half-way leaves its server to the watchdog; it must not find the directory gone before.
            if let left = Self.postmaster(directory) { kill(left, SIGQUIT) }
            try? FileManager.default.removeItem(atPath: directory)
        }
        try await body(directory)
    }

    /// A directory with the data of a cluster, and nobody using it. Returns the path of the data.
    private static func makeAndStop(_ directory: String) async throws -> String {
        let cluster = try await DevelopmentCluster.start(directory: directory) { _ in }
        try cluster.stop()
        return "\(directory)/postgres"
    }

    private static func ask(_ cluster: DevelopmentCluster, _ sql: String) async throws -> String? {
        let connection = try await PostgresConnection.connect(cluster.parameters)
        let answer = try await connection.query(sql)
        await connection.close()
        return answer.rowCount > 0 ? answer.scalar : nil
    }

    private static func postmaster(_ directory: String) -> pid_t? {
        DevelopmentCluster.postmaster(of: "\(directory)/postgres")
    }
}
