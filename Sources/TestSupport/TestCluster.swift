import ChildProcesses
import Foundation
package import PostgresClient
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A private Postgres server for tests, in a directory of its own under `/tmp`.
///
/// Nothing of it outlives the test process, not even one that was killed: a small shell waits at the end of a pipe
/// whose other end this process holds, and clears up when the pipe closes. Postgres refuses to run as root; the server
/// then runs as user `postgres`.
package final class TestCluster: Sendable {
    package enum StopMode: String, Sendable {
        case fast
        case immediate
    }

    package let version: PostgresVersion
    /// Holds the data directory, the sockets and the log.
    package let directory: String
    package let port: Int
    private let binaries: String
    private let watchdogPipe: Int32
    private let databaseCount = Mutex(0)

    package var dataDirectory: String { "\(self.directory)/data" }
    package var socketDirectory: String { self.directory }
    package var logFile: String { "\(self.directory)/log" }

    // MARK: Making one

    /// Makes a cluster and starts it.
    ///
    /// - Parameters:
    ///   - settings: go to `postgresql.conf` after our own, and win.
    ///   - preloadExtension: puts `penstock` into `shared_preload_libraries`.
    package static func start(
        version: PostgresVersion = .v15, settings: [String: String] = [:], preloadExtension: Bool = false
    ) async throws -> TestCluster {
        guard let binaries = version.binaryDirectory else {
            throw TestSupportError(
                "\(version) is not installed; set PENSTOCK_PG\(version.major)_BIN to its bin directory")
        }
        var lastError: (any Error)?
        // Why: between our asking for a free port and Postgres taking it, another test may have taken it.
        for _ in 0..<3 {
            let cluster = try TestCluster(version: version, binaries: binaries)
            do {
                try await cluster.initialise(settings: settings, preloadExtension: preloadExtension)
                try await cluster.start()
                return cluster
            } catch {
                lastError = error
                await cluster.destroy()
            }
        }
        throw lastError ?? TestSupportError("the cluster did not start")
    }

    private static let sharedClusters = Mutex<[SharedKey: Task<TestCluster, any Error>]>([:])

    private struct SharedKey: Hashable {
        var version: PostgresVersion
        var settings: [String: String]
        var preloadExtension: Bool
    }

    /// The one cluster of this process with the given properties; tests use databases of their own in it
    /// (``createDatabase()``).
    package static func shared(
        version: PostgresVersion = .v15, settings: [String: String] = [:], preloadExtension: Bool = false
    ) async throws -> TestCluster {
        let key = SharedKey(version: version, settings: settings, preloadExtension: preloadExtension)
        let task = Self.sharedClusters.withLock { clusters in
            if let present = clusters[key] { return present }
            let task = Task {
                try await Self.start(version: version, settings: settings, preloadExtension: preloadExtension)
            }
            clusters[key] = task
            return task
        }
        return try await task.value
    }

    private init(version: PostgresVersion, binaries: String) throws {
        self.version = version
        self.binaries = binaries
        var template = Array("/tmp/pks-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestSupportError("cannot make a directory in /tmp") }
        self.directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.port = try Self.freePort()
        self.watchdogPipe = try Self.startWatchdog(directory: self.directory)
        if geteuid() == 0 {
            guard let user = getpwnam("postgres") else {
                throw TestSupportError("tests that run as root need a user named postgres, for the server to run as")
            }
            chown(self.directory, user.pointee.pw_uid, user.pointee.pw_gid)
        }
    }

    deinit {
        _ = close(self.watchdogPipe)
    }

    /// Starts the shell that outlives us by a moment; returns our end of its pipe.
    private static func startWatchdog(directory: String) throws -> Int32 {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw TestSupportError("cannot make a pipe") }
        // Why: no other child may inherit our end, or the pipe would stay open for as long as that child lives.
        _ = fcntl(ends[1], F_SETFD, FD_CLOEXEC)
        _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
        let script = """
            trap '' INT TERM HUP QUIT
            read -r line
            for attempt in 1 2 3; do
                pid=$(head -n 1 "$0/data/postmaster.pid" 2>/dev/null)
                if [ -n "$pid" ]; then kill -QUIT "$pid" 2>/dev/null; fi
                tries=0
                while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && [ $tries -lt 30 ]; do sleep 0.1; tries=$((tries + 1)); done
                rm -rf "$0"
                if [ ! -e "$0" ]; then break; fi
                sleep 1
            done
            """
        let child = try ChildProcess.spawn(["/bin/sh", "-c", script, directory], inputDescriptor: ends[0])
        close(ends[0])
        // Nobody waits for the watchdog; when it ends before us it must not remain as a zombie.
        Thread.detachNewThread {
            var status: Int32 = 0
            while waitpid(child, &status, 0) < 0 && errno == EINTR {}
        }
        return ends[1]
    }

    private static func freePort() throws -> Int {
        #if canImport(Glibc)
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
            let descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { general in
                bind(descriptor, general, length) == 0 ? getsockname(descriptor, general, &length) : -1
            }
        }
        guard status == 0 else { throw TestSupportError("no free port") }
        return Int(UInt16(bigEndian: address.sin_port))
    }

    private func initialise(settings: [String: String], preloadExtension: Bool) async throws {
        try await self.runAsServer([
            "\(self.binaries)/initdb", "-D", self.dataDirectory, "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--locale=C", "--no-sync",
        ])
        var all: [String: String] = [
            "listen_addresses": "127.0.0.1",
            "port": String(self.port),
            "unix_socket_directories": self.socketDirectory,
            "wal_level": "logical",
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "max_wal_senders": "20",
            "max_replication_slots": "20",
            "shared_buffers": "32MB",
            "max_wal_size": "256MB",
            "log_line_prefix": "%m [%p] %d ",
            "timezone": "UTC",
        ]
        if preloadExtension { all["shared_preload_libraries"] = "penstock" }
        try await self.configure(all.merging(settings) { $1 })
    }

    /// Appends settings to the configuration; they take effect with ``reload()`` or ``restart(_:)``.
    package func configure(_ settings: [String: String]) async throws {
        let lines = settings.sorted { $0.key < $1.key }.map { name, value in
            "\(name) = '\(value.replacingOccurrences(of: "'", with: "''"))'\n"
        }
        guard let file = FileHandle(forWritingAtPath: "\(self.dataDirectory)/postgresql.conf") else {
            throw TestSupportError("cannot write the configuration of the cluster")
        }
        defer { try? file.close() }
        _ = try file.seekToEnd()
        try file.write(contentsOf: Data(lines.joined().utf8))
    }

    // MARK: Life cycle

    package func start() async throws {
        let outcome = try await self.runAsServer(
            ["\(self.binaries)/pg_ctl", "start", "-D", self.dataDirectory, "-l", self.logFile, "-w", "-t", "60", "-s"],
            mayFail: true)
        guard outcome.status == 0 else {
            throw TestSupportError("Postgres did not start:\n\(outcome.output)\n\(self.log())")
        }
    }

    package func stop(_ mode: StopMode = .fast) async throws {
        try await self.runAsServer(
            ["\(self.binaries)/pg_ctl", "stop", "-D", self.dataDirectory, "-m", mode.rawValue, "-w", "-t", "60", "-s"])
    }

    package func restart(_ mode: StopMode = .fast) async throws {
        try await self.stop(mode)
        try await self.start()
    }

    package func reload() async throws {
        try await self.runAsServer(["\(self.binaries)/pg_ctl", "reload", "-D", self.dataDirectory, "-s"])
    }

    /// Ends the postmaster and every process of the server as a power cut would; ``start()`` brings it back by crash
    /// recovery.
    package func kill() async throws {
        guard let postmaster = self.postmasterID else { throw TestSupportError("the cluster is not running") }
        // Stopped first, so that it starts no new child while the present ones are listed.
        _ = Foundation.kill(postmaster, SIGSTOP)
        let children = try await self.children(of: postmaster)
        for process in [postmaster] + children { _ = Foundation.kill(process, SIGKILL) }
        let deadline = ContinuousClock.now + .seconds(30)
        for process in [postmaster] + children {
            while Self.isRunning(process), ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(5))
            }
        }
        // Why: where nobody reaps orphans, a killed postmaster remains as a zombie, and Postgres takes that for a
        // running one.
        unlink("\(self.dataDirectory)/postmaster.pid")
        unlink("\(self.socketDirectory)/.s.PGSQL.\(self.port)")
        unlink("\(self.socketDirectory)/.s.PGSQL.\(self.port).lock")
    }

    /// Process id of the postmaster; nil when the server is down.
    package var postmasterID: pid_t? {
        guard let text = try? String(contentsOfFile: "\(self.dataDirectory)/postmaster.pid", encoding: .utf8) else {
            return nil
        }
        return text.split(separator: "\n").first.flatMap { pid_t($0) }
    }

    /// Stops the server and removes its directory. Not needed for shared clusters: they go with the process.
    package func destroy() async {
        if self.postmasterID != nil { try? await self.stop(.immediate) }
        _ = try? await ChildProcess.run(["rm", "-rf", self.directory])
    }

    package func log() -> String {
        (try? String(contentsOfFile: self.logFile, encoding: .utf8)) ?? ""
    }

    private static func isRunning(_ process: pid_t) -> Bool {
        guard Foundation.kill(process, 0) == 0 else { return false }
        // A zombie whose parent has not asked for it yet does nothing any more.
        guard let status = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return true }
        return status.split(separator: ")").last?.split(separator: " ").first != "Z"
    }

    private func children(of parent: pid_t) async throws -> [pid_t] {
        #if os(Linux)
            let processes = try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { pid_t($0) }
            return processes.filter { process in
                // "pid (name) state parent ...", where the name may hold anything.
                let status = (try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)) ?? ""
                let fields = status.split(separator: ")").last?.split(separator: " ") ?? []
                return fields.count > 1 && pid_t(fields[1]) == parent
            }
        #else
            let list = try await ChildProcess.check(["ps", "-A", "-o", "pid=,ppid="])
            return list.split(separator: "\n").compactMap { line in
                let numbers = line.split(separator: " ").compactMap { pid_t($0) }
                return numbers.count == 2 && numbers[1] == parent ? numbers[0] : nil
            }
        #endif
    }

    @discardableResult
    private func runAsServer(_ arguments: [String], mayFail: Bool = false) async throws -> ChildOutcome {
        let environment = ["LC_ALL": "C", "PGHOST": "", "PGOPTIONS": ""]
        let prefix =
            geteuid() == 0 ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"] : []
        let outcome = try await ChildProcess.run(
            prefix + arguments, environment: environment, directory: self.directory)
        guard mayFail || outcome.status == 0 else {
            throw TestSupportError("\(arguments[0]) ended with \(outcome.status):\n\(outcome.output)")
        }
        return outcome
    }

    // MARK: Using it

    /// Parameters of a connection, over TCP unless told otherwise.
    package func parameters(
        database: String = "postgres", user: String = "postgres", overSocket: Bool = false
    ) -> ConnectionParameters {
        ConnectionParameters(
            host: overSocket ? self.socketDirectory : "127.0.0.1", port: self.port, user: user, database: database,
            tls: .disable)
    }

    /// The same as an URL, in the form of `DATABASE_URL`.
    package func url(database: String = "postgres", user: String = "postgres") -> String {
        "postgresql://\(user)@127.0.0.1:\(self.port)/\(database)?sslmode=disable"
    }

    package func connect(database: String = "postgres", user: String = "postgres") async throws -> PostgresConnection {
        try await PostgresConnection.connect(self.parameters(database: database, user: user))
    }

    /// Makes an empty database with a name of its own.
    package func createDatabase(template: String = "template0") async throws -> String {
        let number = self.databaseCount.withLock {
            $0 += 1
            return $0
        }
        let name = "test_\(number)"
        let connection = try await self.connect()
        try await connection.execute("CREATE DATABASE \(name) TEMPLATE \(SQLText.identifier(template))")
        await connection.close()
        return name
    }

    /// Runs a script through `psql` and returns its output, unaligned and without headings. It stops at the first error
    /// and throws it.
    @discardableResult
    package func psql(_ script: String, database: String = "postgres", user: String = "postgres") async throws -> String
    {
        let output = try await ChildProcess.check(
            [
                "\(self.binaries)/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.socketDirectory,
                "-p",
                String(self.port), "-U", user, "-d", database, "-f", "-",
            ], input: script)
        return output.trimmingCharacters(in: .newlines)
    }

    /// A program of this version's `bin` directory, for example `pgbench`.
    package func program(_ name: String) -> String { "\(self.binaries)/\(name)" }
}
