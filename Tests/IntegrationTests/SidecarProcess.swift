import ChangeFeed
import ExactText
import Foundation
import Identity
import PostgresClient
import SatelliteClient
import Synchronization
import TestSupport

/// The real program as a process of its own, over a cluster of its own, so that both can be killed.
final class SidecarProcess: Sendable {
    let cluster: TestCluster
    let database: String
    let directory: String
    let port: Int
    private let environment: [String: String]
    private let process = Mutex<pid_t?>(nil)

    /// Makes a cluster with a database and starts the program on it.
    static func start(
        transport: FeedTransportChoice, environment: [String: String] = [:], schema: String
    ) async throws -> SidecarProcess {
        let usesExtension = transport != .replication
        let cluster = try await TestCluster.start(
            settings: usesExtension ? ["penstock.databases": "app", "penstock.reconnect_interval": "200ms"] : [:],
            preloadExtension: usesExtension)
        _ = try await cluster.psql("CREATE DATABASE app")
        let sidecar = try SidecarProcess(cluster: cluster, transport: transport, environment: environment)
        if usesExtension {
            try await cluster.configure(["penstock.socket": "\(sidecar.directory)/penstock.sock"])
            try await cluster.restart()
            _ = try await sidecar.query("CREATE EXTENSION penstock")
        }
        _ = try await sidecar.query(schema)
        try sidecar.launch()
        try await sidecar.waitUntilReady()
        return sidecar
    }

    private init(cluster: TestCluster, transport: FeedTransportChoice, environment: [String: String]) throws {
        self.cluster = cluster
        self.database = "app"
        self.directory = "/tmp/pki-\(UUID().uuidString.prefix(8))"
        self.port = try Self.freePort()
        try FileManager.default.createDirectory(atPath: self.directory, withIntermediateDirectories: true)
        chmod(self.directory, 0o755)
        self.environment = [
            "DATABASE_URL": cluster.url(database: "app"), "DATABASE_REQUIRE_SSL": "false", "AUTH_MODE": "insecure",
            "PG_PROXY_PASSWORD": "unused", "ELECTRIC_WRITE_TO_PG_MODE": "direct_writes",
            "ELECTRIC_USE_IPV6": "false", "HTTP_PORT": String(self.port), "PENSTOCK_DATA_DIR": "\(self.directory)/data",
            "PENSTOCK_SOCKET": "\(self.directory)/penstock.sock", "PENSTOCK_SOCKET_PEERS": "postgres",
            "PENSTOCK_TRANSPORT": transport.rawValue, "LOG_LEVEL": "info", "SWIFT_BACKTRACE": "enable=no",
        ].merging(environment) { $1 }
    }

    /// Beside the test bundle, where the same build has put it.
    static var programPath: String {
        let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(fileURLWithPath: bundle).deletingLastPathComponent().appendingPathComponent("penstock").path
    }

    static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 ? getsockname(descriptor, $0, &length) : -1
            }
        }
        guard status == 0 else { throw TestSupportError("no free port") }
        return Int(UInt16(bigEndian: address.sin_port))
    }

    deinit {
        self.kill()
        try? FileManager.default.removeItem(atPath: self.directory)
    }

    // MARK: Life

    func launch() throws {
        let child = try ChildProcess.spawn(
            [Self.programPath, "serve"], environment: self.environment, output: "\(self.directory)/log")
        self.process.withLock { $0 = child }
    }

    /// Ends the process at once, as a crash would.
    func kill() {
        self.end(SIGKILL)
    }

    /// Asks the process to end and waits for it.
    func terminate() {
        self.end(SIGTERM)
    }

    private func end(_ signal: Int32) {
        guard
            let child = self.process.withLock({ process in
                defer { process = nil }
                return process
            })
        else { return }
        _ = Foundation.kill(child, signal)
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    }

    /// Resident memory in bytes.
    var residentBytes: Int {
        guard let child = self.process.withLock({ $0 }),
            let text = try? String(contentsOfFile: "/proc/\(child)/statm", encoding: .utf8)
        else { return 0 }
        return (text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4_096
    }

    func destroy() async {
        self.kill()
        await self.cluster.destroy()
        try? FileManager.default.removeItem(atPath: self.directory)
    }

    var log: String { (try? String(contentsOfFile: "\(self.directory)/log", encoding: .utf8)) ?? "" }

    // MARK: Looking

    /// Status and body of a GET.
    func get(_ path: String) async -> (status: Int, body: String) {
        let outcome = try? await ChildProcess.run([
            "curl", "-s", "-m", "5", "-w", "\n%{http_code}", "http://127.0.0.1:\(self.port)\(path)",
        ])
        let lines = (outcome?.output ?? "").split(separator: "\n", omittingEmptySubsequences: false)
        return (lines.last.flatMap { Int($0) } ?? 0, lines.dropLast().joined(separator: "\n"))
    }

    func waitUntilReady() async throws {
        do {
            try await eventually("the service is ready", within: .seconds(60)) {
                await self.get("/readyz").status == 200
            }
        } catch {
            throw TestSupportError("\(error)\n\(await self.get("/readyz").body)\n\(self.log.suffix(3_000))")
        }
    }

    @discardableResult
    func query(_ sql: String) async throws -> String {
        try await self.cluster.psql(sql, database: self.database)
    }

    static func token(user: String = "tester") -> String {
        DevelopmentToken.make(userID: user, issuedAt: UnixTime(seconds: Date().timeIntervalSince1970)) ?? ""
    }
}

/// A client that comes back whenever its connection breaks, until it is closed.
actor PersistentClient {
    nonisolated let id: String
    private let sidecar: SidecarProcess
    private let tables: [String]
    private var client: SatelliteClient?
    private var subscription = UUID().uuidString.lowercased()
    private var keeper: Task<Void, Never>?
    private(set) var startedOver = 0
    private var known: ClientReplica?

    init(_ sidecar: SidecarProcess, id: String, tables: [String]) {
        self.sidecar = sidecar
        self.id = id
        self.tables = tables
    }

    func open() async throws {
        try await self.connect()
        self.keeper = Task { [weak self] in
            while !Task.isCancelled, let client = await self?.client {
                _ = await client.waitUntilClosed()
                await self?.reconnect()
            }
        }
    }

    func close() async {
        self.keeper?.cancel()
        await self.client?.close()
    }

    var replica: ClientReplica { self.client?.replica ?? self.known ?? ClientReplica(clientID: self.id) }

    /// Looks at the replica without copying it.
    func inspect<Value: Sendable>(_ body: @Sendable (ClientReplica) -> Value) -> Value {
        self.client?.inspect(body) ?? body(self.replica)
    }

    private func connect() async throws {
        let replica = self.client?.replica ?? self.known
        let isResuming = replica?.position != nil
        let client = try await SatelliteClient.start(
            port: self.sidecar.port, clientID: self.id, token: SidecarProcess.token(), replica: replica,
            subscriptions: isResuming && replica?.delivered.contains(self.subscription) == true
                ? [self.subscription] : [],
            firstLSN: self.client?.nextLSN ?? 1)
        self.client = client
        if client.replica.delivered.contains(self.subscription) { return }
        self.subscription = UUID().uuidString.lowercased()
        try await client.subscribe(id: self.subscription, tables: self.tables)
        try await client.waitForDelivery(of: self.subscription)
    }

    private func reconnect() async {
        while !Task.isCancelled {
            do {
                return try await self.connect()
            } catch let refused as SatelliteClient.ReplicationRefused where refused.mustStartOver {
                var replica = self.replica
                replica.startOver()
                self.known = replica
                self.client = nil
                self.startedOver += 1
            } catch {
                try? await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    func write(_ writes: [SatelliteClient.Write]) async throws {
        guard let client = self.client else { throw TestSupportError("not connected") }
        try await client.waitUntilWritable()
        try await client.writeAndWait(writes)
    }

    /// Keys and texts of one column, sorted.
    func rows(_ table: String, column: Int) -> [String] {
        self.inspect { replica in
            (replica.tables[table]?.rows ?? [:]).map { "\($0.key)=\($0.value.text(column) ?? "NULL")" }.sorted()
        }
    }
}
