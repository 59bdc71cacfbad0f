import Foundation
import PostgresClient

/// The private Postgres of `penstock dev`: found binaries, a data directory, a port and a socket directory of its own, on the
/// loopback address alone. It ends with the process that started it, however that ends; its data stays.
package final class DevelopmentCluster: Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package var description: String

        package init(_ description: String) {
            self.description = description
        }
    }

    package static let database = "penstock"
    package static let user = "postgres"
    private static let firstPort = 54_321

    /// Holds everything: Postgres' data, its log and sockets, the sidecar's change log.
    package let directory: String
    package let binaries: String
    package let port: Int
    /// Whether the data was there already.
    package let isNew: Bool
    private let lock: DirectoryLock
    private let watchdog: Watchdog

    /// The Unix socket on which the sidecar has to listen for the extension's worker.
    package var socketPath: String { "\(self.directory)/penstock.sock" }
    package var url: String { "postgresql://\(Self.user)@127.0.0.1:\(self.port)/\(Self.database)" }
    package var logFile: String { "\(self.directory)/postgres.log" }
    /// The account that the server runs as.
    package var serverAccount: String { ServerAccount.name }

    package var parameters: ConnectionParameters {
        ConnectionParameters(
            host: "127.0.0.1", port: self.port, user: Self.user, database: Self.database, tls: .disable)
    }

    /// Starts the cluster in `directory`, making it first if need be.
    package static func start(directory wanted: String, say: @Sendable (String) -> Void) async throws
        -> DevelopmentCluster
    {
        let binaries = try PostgresInstallation.find()
        let directory = try Self.usableDirectory(wanted, say: say)
        let data = "\(directory)/postgres"
        let lock = try DirectoryLock(directory)
        let isNew = try FileManager.default.contentsOfDirectory(atPath: data).isEmpty
        if isNew {
            say("making a Postgres cluster in \(data)")
            try ServerAccount.run([
                "\(binaries)/initdb", "-D", data, "-U", Self.user, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
            ])
        } else {
            // It is written once initdb has done its work.
            guard FileManager.default.fileExists(atPath: "\(data)/penstock.conf") else {
                throw Failure(
                    "\(data) holds what `penstock dev` did not make, or what it was stopped from making; remove it, or "
                        + "choose another directory with --data-dir")
            }
            try Self.checkFormat(data, binaries: binaries)
            try await Self.endOrphan(data, binaries: binaries, say: say)
        }
        let port = try Self.choosePort(directory)
        let cluster = DevelopmentCluster(
            directory: directory, binaries: binaries, port: port, isNew: isNew, lock: lock,
            watchdog: try Watchdog(dataDirectory: data))
        try cluster.configure()
        say("starting Postgres on port \(port)")
        try cluster.startServer()
        try await cluster.prepareDatabase()
        return cluster
    }

    private init(
        directory: String, binaries: String, port: Int, isNew: Bool, lock: DirectoryLock, watchdog: Watchdog
    ) {
        self.directory = directory
        self.binaries = binaries
        self.port = port
        self.isNew = isNew
        self.lock = lock
        self.watchdog = watchdog
    }

    /// Stops the server; its data stays.
    package func stop() throws {
        try ServerAccount.run([
            "\(self.binaries)/pg_ctl", "stop", "-D", "\(self.directory)/postgres", "-m", "fast", "-w", "-s",
        ])
        self.watchdog.release()
        self.lock.release()
    }

    /// Makes the sample table and electrifies it. Called once the service has set the database up; does nothing the second time.
    package func loadSample() async throws {
        let connection = try await PostgresConnection.connect(self.parameters)
        try await connection.execute(
            """
            BEGIN;
            SET LOCAL search_path = public;
            SET LOCAL client_min_messages = warning;
            CREATE TABLE IF NOT EXISTS public.items (
                id uuid PRIMARY KEY,
                content text NOT NULL,
                done boolean,
                created_at timestamptz
            );
            CALL electric.electrify('public', 'items');
            INSERT INTO public.items
                SELECT gen_random_uuid(), t.content, t.done, now()
                FROM (VALUES ('water the plants', true), ('read the log', false), ('ship it', NULL)) AS t (content, done)
                WHERE NOT EXISTS (SELECT FROM public.items);
            COMMIT;
            """)
        await connection.close()
    }

    // MARK: Directory and port

    /// The directory, or another one where the server's account cannot reach it.
    private static func usableDirectory(_ wanted: String, say: @Sendable (String) -> Void) throws -> String {
        let absolute = URL(fileURLWithPath: wanted).standardizedFileURL.path
        for candidate in [absolute, "/var/tmp/penstock-dev-\(geteuid())"] {
            guard (try? Self.make(candidate)) != nil else { continue }
            guard candidate.utf8.count < 80 else { continue }
            if ServerAccount.canUse(candidate) {
                if candidate != absolute {
                    say("\(absolute) cannot be used by the server's account \(ServerAccount.name); using \(candidate)")
                }
                return candidate
            }
        }
        throw Failure(
            "neither \(absolute) nor /var/tmp can hold the cluster: the server's account \(ServerAccount.name) cannot "
                + "reach it, or the path is too long for a socket; choose another with --data-dir")
    }

    private static func make(_ directory: String) throws {
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        let data = "\(directory)/postgres"
        if !FileManager.default.fileExists(atPath: data) {
            try FileManager.default.createDirectory(
                atPath: data, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
            try ServerAccount.own(data)
        }
    }

    private static func checkFormat(_ data: String, binaries: String) throws {
        let version = (try? String(contentsOfFile: "\(data)/PG_VERSION", encoding: .utf8))?
            .trimmingCharacters(in: .whitespacesAndNewlines)
        let present = try PostgresInstallation.major(binaries)
        guard version == present else {
            throw Failure(
                "\(data) was made by Postgres \(version ?? "?"), and Postgres \(present) is installed; "
                    + "install the former (PENSTOCK_PG_BIN names its bin directory) or remove the directory")
        }
    }

    /// Ends a server whose owner is gone. As the lock is ours, nobody else is using it, and its watchdog is most likely about to.
    private static func endOrphan(_ data: String, binaries: String, say: @Sendable (String) -> Void) async throws {
        guard let process = Self.postmaster(of: data) else { return }
        say("waiting for the Postgres of an earlier run (process \(process)) to end")
        for _ in 0..<50 {
            try await Task.sleep(for: .milliseconds(100))
            if Self.postmaster(of: data) == nil { return }
        }
        try ServerAccount.run(["\(binaries)/pg_ctl", "stop", "-D", data, "-m", "fast", "-w", "-s"])
    }

    /// The process that serves a data directory; nil for a lock file that was left behind.
    static func postmaster(of data: String) -> pid_t? {
        guard let text = try? String(contentsOfFile: "\(data)/postmaster.pid", encoding: .utf8),
            let process = text.split(separator: "\n").first.flatMap({ pid_t($0) })
        else { return nil }
        // Why: after a crash of the machine the number may be that of another program, or of another server.
        let command = (try? String(contentsOfFile: "/proc/\(process)/cmdline", encoding: .utf8)) ?? ""
        return command.split(separator: "\0").contains { $0 == data } ? process : nil
    }

    private static func choosePort(_ directory: String) throws -> Int {
        let file = "\(directory)/port"
        if let text = try? String(contentsOfFile: file, encoding: .utf8),
            let port = Int(text.trimmingCharacters(in: .whitespacesAndNewlines)), Self.isFree(port)
        {
            return port
        }
        guard let port = (Self.firstPort..<Self.firstPort + 200).first(where: Self.isFree) else {
            throw Failure("no port between \(Self.firstPort) and \(Self.firstPort + 199) is free for Postgres")
        }
        try "\(port)\n".write(toFile: file, atomically: true, encoding: .utf8)
        return port
    }

    private static func isFree(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var reuse: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &reuse, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    // MARK: Server

    private func configure() throws {
        let settings = [
            ("listen_addresses", "127.0.0.1"), ("port", String(self.port)), ("wal_level", "logical"),
            ("unix_socket_directories", "\(self.directory)/postgres"), ("shared_preload_libraries", "penstock"),
            ("penstock.databases", Self.database), ("penstock.socket", self.socketPath),
            ("max_connections", "100"), ("max_replication_slots", "10"), ("max_wal_senders", "10"),
            ("logging_collector", "off"),
        ]
        // The sidecar runs under our account, the server under its own.
        let peers = ServerAccount.isOurs ? [] : [("penstock.socket_peers", String(geteuid()))]
        let lines = (settings + peers).map { name, value in
            "\(name) = '\(value.replacingOccurrences(of: "'", with: "''"))'\n"
        }
        let file = "\(self.directory)/postgres/penstock.conf"
        try ("# written by penstock dev at each start\n" + lines.joined()).write(
            toFile: file, atomically: true, encoding: .utf8)
        try ServerAccount.own(file)
        let main = "\(self.directory)/postgres/postgresql.conf"
        let present = try String(contentsOfFile: main, encoding: .utf8)
        if !present.contains("include 'penstock.conf'") {
            try (present + "\ninclude 'penstock.conf'\n").write(toFile: main, atomically: true, encoding: .utf8)
            try ServerAccount.own(main)
        }
    }

    private func startServer() throws {
        _ = FileManager.default.createFile(atPath: self.logFile, contents: nil)
        try ServerAccount.own(self.logFile)
        do {
            // pg_ctl detaches the server, so that a Ctrl-C in the terminal reaches us first.
            try ServerAccount.run([
                "\(self.binaries)/pg_ctl", "start", "-D", "\(self.directory)/postgres", "-l", self.logFile, "-w", "-t",
                "60",
                "-s",
            ])
        } catch {
            let log = (try? String(contentsOfFile: self.logFile, encoding: .utf8)) ?? ""
            throw Failure("Postgres did not start:\n\(log.suffix(2_000))")
        }
    }

    private func prepareDatabase() async throws {
        var parameters = self.parameters
        parameters.database = "postgres"
        let connection = try await PostgresConnection.connect(parameters)
        let exists = try await connection.query(
            "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", [.text(Self.database)])
        if exists.rowCount == 0 {
            try await connection.execute("CREATE DATABASE \(SQLText.identifier(Self.database))")
        }
        await connection.close()
        let inside = try await PostgresConnection.connect(self.parameters)
        try await inside.execute("CREATE EXTENSION IF NOT EXISTS penstock")
        await inside.close()
    }
}
