import ChangeFeed
import DurableStreams
import Foundation
import Logging
import NIOCore
import NIOPosix
import PostgresClient
import PostgresWire
import StreamDirectory
import StreamStore
import StreamStoreTestSupport
import Synchronization
import TestSupport
import Testing

@testable import Mirror

/// What a mirror may run between.
struct MirrorSetting: Sendable, CustomTestStringConvertible {
    var version = PostgresVersion.v15
    var transport = FeedTransportChoice.replication
    var mode = StorageMode.fileDurable

    static let standard = MirrorSetting()

    /// For tables into streams: both transports, both servers, and every kind of storage.
    static var tables: [MirrorSetting] {
        [
            .standard, MirrorSetting(transport: .extension),
            MirrorSetting(version: .v18, transport: .extension, mode: .acid(shards: 2)),
            MirrorSetting(version: .v18, mode: .memory),
        ].filter(\.isPossible)
    }

    /// For streams into tables, which need no feed. What lies in memory alone does not come back after a crash.
    static var streams: [MirrorSetting] {
        [.standard, MirrorSetting(version: .v18, mode: .acid(shards: 2))].filter(\.isPossible)
    }

    private var isPossible: Bool {
        self.version.isInstalled && (self.transport == .replication || self.version.hasExtension)
    }

    var testDescription: String { "\(self.version), \(self.transport.rawValue), \(self.mode)" }
}

/// A database, a directory of streams on a simulated disk, and a feed: what a mirror runs between.
final class MirrorHarness: Sendable {
    private struct State {
        var disk: FaultyFileSystem
        var directory: StreamDirectory
        var feed: (feed: ChangeFeed, task: Task<Void, any Error>, flusher: StoreFlusher)?
        var running: [Task<Void, any Error>] = []
    }

    let cluster: TestCluster
    let setting: MirrorSetting
    /// Whether a test made the cluster, and ends it.
    let isGiven: Bool
    /// Whether the cluster is for this harness alone.
    let isPrivate: Bool
    let database: String
    let pool: PostgresPool
    private let folder: String
    private let state: Mutex<State>
    let logger: Logger

    static let clock: @Sendable () -> UInt64 = { UInt64(Date().timeIntervalSince1970 * 1000) }

    init(
        _ setting: MirrorSetting = .standard, cluster: TestCluster? = nil, script: String = ""
    ) async throws {
        self.setting = setting
        self.folder = "/tmp/pkm-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: self.folder, withIntermediateDirectories: true)
        // The worker of the extension comes in as another user.
        chmod(self.folder, 0o755)
        var logger = Logger(label: "mirror")
        logger.logLevel = ProcessInfo.processInfo.environment["PENSTOCK_TEST_LOG"] == nil ? .critical : .debug
        self.logger = logger
        self.isGiven = cluster != nil
        self.isPrivate = setting.transport != .replication
        if let cluster {
            self.cluster = cluster
            self.database = try await cluster.createDatabase()
        } else if self.isPrivate {
            // A database that is there when the server starts: its worker is started with it.
            self.cluster = try await TestCluster.start(
                version: setting.version,
                settings: [
                    "penstock.databases": "postgres", "penstock.reconnect_interval": "200ms",
                    "penstock.socket": "\(self.folder)/penstock.sock",
                ], preloadExtension: true)
            self.database = "postgres"
        } else {
            self.cluster = try await TestCluster.shared(version: setting.version)
            self.database = try await self.cluster.createDatabase()
        }
        self.pool = PostgresPool(
            self.cluster.parameters(database: self.database), configuration: .init(maximumConnections: 12),
            logger: logger)
        let disk = FaultyFileSystem(seed: 7)
        self.state = Mutex(State(disk: disk, directory: try Self.open(disk, setting, self.folder)))
        if !script.isEmpty { try await self.cluster.psql(script, database: self.database) }
    }

    deinit {
        try? FileManager.default.removeItem(atPath: self.folder)
    }

    private static func open(
        _ disk: FaultyFileSystem, _ setting: MirrorSetting, _ folder: String
    ) throws -> StreamDirectory {
        // LMDB has the machine's own disk.
        let isSimulated = setting.mode == .fileDurable || setting.mode == .fileFast
        var configuration = StreamDirectoryConfiguration(
            mode: setting.mode, directory: isSimulated ? "/data" : folder + "/streams")
        configuration.lockCount = 4
        return try StreamDirectory.open(
            configuration, fileSystem: isSimulated ? disk : PosixFileSystem(), clock: Self.clock)
    }

    var directory: StreamDirectory { self.state.withLock { $0.directory } }
    var calls: StreamCalls { StreamCalls(directory: self.directory, clock: Self.clock) }

    static var options: MirrorOptions {
        var options = MirrorOptions()
        options.firstBackoff = .milliseconds(5)
        options.greatestBackoff = .milliseconds(50)
        options.fatalRetry = .milliseconds(50)
        options.discoveryInterval = .milliseconds(20)
        options.leaseInterval = .milliseconds(50)
        options.progressInterval = .milliseconds(100)
        return options
    }

    // MARK: Parts that run

    func service(
        _ flows: [MirrorFlow], options: MirrorOptions = MirrorHarness.options, probe: MirrorProbe = MirrorProbe()
    ) -> MirrorService {
        MirrorService(
            flows: flows, directory: self.directory, pool: self.pool, feed: self.state.withLock { $0.feed?.feed },
            options: options, logger: self.logger, probe: probe, clock: Self.clock)
    }

    /// Runs a service until `body` is done, then drains it.
    func run<Value: Sendable>(
        _ flows: [MirrorFlow], options: MirrorOptions = MirrorHarness.options,
        _ body: (MirrorService) async throws -> Value
    ) async throws -> Value {
        let service = self.service(flows, options: options)
        let task = Task { try await service.run() }
        do {
            let value = try await body(service)
            service.drain()
            try await task.value
            return value
        } catch {
            task.cancel()
            _ = await task.result
            throw error
        }
    }

    /// Ends the process in the mind of the disk: what was not synced is lost, or in any state that a disk may leave it
    /// in. Memory is empty afterwards. LMDB, whose disk is the machine's, is closed and opened again.
    func losePower() throws {
        try self.state.withLock { state in
            let old = state.directory
            switch self.setting.mode {
            case .fileFast, .fileDurable:
                state.disk = state.disk.crash()
                state.directory = try Self.open(state.disk, self.setting, self.folder)
                try? old.close()
            case .memory, .acid, .acidInMemory:
                try? old.close()
                state.directory = try Self.open(state.disk, self.setting, self.folder)
            }
        }
    }

    func startFeed(pieceBytes: Int = 1 << 20) throws {
        let flusher = StoreFlusher()
        var options = FeedOptions(
            database: self.database, transport: self.setting.transport, socketPath: self.folder + "/penstock.sock",
            socketPeers: Set(getpwnam("postgres").map { [$0.pointee.pw_uid] } ?? []),
            logDirectory: self.folder + "/log", retentionBytes: 1 << 30, cacheBytes: 4 << 20)
        options.pieceBytes = pieceBytes
        let feed = ChangeFeed(
            options: options,
            database: PostgresFeedDatabase(
                parameters: self.cluster.parameters(database: self.database), logger: self.logger),
            store: LogStore(fileSystem: PosixFileSystem(), flusher: flusher),
            group: MultiThreadedEventLoopGroup.singleton,
            logger: self.logger, onStartOver: { _ in })
        let task = Task { try await feed.run() }
        self.state.withLock { $0.feed = (feed, task, flusher) }
    }

    func stopFeed() async {
        guard
            let feed = self.state.withLock({ state in
                defer { state.feed = nil }
                return state.feed
            })
        else { return }
        feed.task.cancel()
        _ = await feed.task.result
        feed.flusher.stop()
    }

    var feed: ChangeFeed {
        get throws {
            guard let feed = self.state.withLock({ $0.feed?.feed }) else { throw TestSupportError("no feed") }
            return feed
        }
    }

    func finish() async throws {
        await self.stopFeed()
        await self.pool.close()
        try? self.directory.close()
        try? FileManager.default.removeItem(atPath: self.folder)
        if self.isPrivate { return await self.cluster.destroy() }
        if self.isGiven { return }
        _ = try? await self.cluster.psql(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '\(self.database)' AND NOT active"
        )
        _ = try? await self.cluster.psql("DROP DATABASE \(self.database) WITH (FORCE)")
    }

    // MARK: Streams

    func create(_ name: String, type: String = "application/json", closes: Bool = false, body: String = "") async throws
    {
        _ = try await self.calls.create(
            name, CreateRequest(contentType: ContentType(type), closes: closes, body: ByteBuffer(string: body)))
    }

    func append(_ name: String, _ body: String, type: String = "application/json", closes: Bool = false) async throws {
        let directory = self.directory
        let payload: Result<StreamPayload, StreamError>? =
            body.isEmpty
            ? nil
            : Result { () throws(StreamError) in
                try StreamPayload.encode(body: ByteBuffer(string: body), contentType: ContentType(type) ?? .json)
            }
        let request = AppendRequest(contentType: type, payload: payload, closes: closes)
        let result: Result<DurableStreams.AppendOutcome, StreamError> = await withCheckedContinuation { continuation in
            directory.append(name, request, now: Self.clock()) { continuation.resume(returning: $0) }
        }
        _ = try result.get()
    }

    /// All messages of a JSON stream.
    func messages(_ name: String) async throws -> [[String: Any]] {
        let view = try self.calls.lookup(name)
        var bytes = ByteBuffer(string: "[")
        var position: UInt64 = 0
        while position < view.tail {
            let (reading, part) = try await self.calls.read(
                name, identity: view.identity, from: position, limit: 1 << 20)
            bytes.writeImmutableBuffer(part)
            position = reading.end
        }
        if view.tail > 0 { bytes.moveWriterIndex(to: bytes.writerIndex - 1) }
        bytes.writeString("]")
        let list = try JSONSerialization.jsonObject(with: Data(bytes.readableBytesView)) as? [[String: Any]]
        guard let list else { throw TestSupportError("the stream holds something else than objects") }
        return list
    }

    /// What a reader makes of a mirrored table: rows by key.
    func fold(_ name: String) async throws -> [String: [String: String?]] {
        var rows: [String: [String: String?]] = [:]
        var columns: Set<String>?
        var moved: [String: [String: String?]] = [:]
        for message in try await self.messages(name) {
            let headers = message["headers"] as? [String: Any] ?? [:]
            if let control = headers["control"] as? String {
                if control == "must-refetch" || control == "truncate" { rows = [:] }
                if control == "schema-changed" || control == "snapshot-end" {
                    columns = Set((headers["columns"] as? [[String: Any]] ?? []).compactMap { $0["name"] as? String })
                }
                continue
            }
            guard let key = message["key"] as? String, let operation = message["operation"] as? String,
                let value = message["value"] as? [String: Any]
            else { throw TestSupportError("a message has another shape") }
            let row = value.mapValues { $0 as? String }
            switch operation {
            case "insert":
                if rows[key] != nil { throw TestSupportError("the row \(key) is inserted twice") }
                let before = (headers["key_change_from"] as? String).flatMap { moved[$0] } ?? [:]
                rows[key] = before.merging(row) { $1 }
            case "update":
                guard let before = rows[key] else { throw TestSupportError("the row \(key) is updated and not there") }
                rows[key] = before.merging(row) { $1 }
            case "delete":
                guard let before = rows.removeValue(forKey: key) else {
                    throw TestSupportError("the row \(key) is deleted and not there")
                }
                if headers["key_change_to"] != nil { moved[key] = before }
            default: throw TestSupportError("unknown operation \(operation)")
            }
        }
        if let columns { rows = rows.mapValues { $0.filter { columns.contains($0.key) } } }
        // A column that was added later is null in rows that have not been written since.
        return rows.mapValues { row in
            var row = row
            for column in columns ?? [] where row[column] == nil { row[column] = .some(nil) }
            return row
        }
    }

    // MARK: The database

    @discardableResult
    func sql(_ script: String) async throws -> String {
        try await self.cluster.psql(script, database: self.database)
    }

    /// The rows of a table in the same form as `fold(_:)` gives.
    func table(_ name: String, key: String = "id") async throws -> [String: [String: String?]] {
        let result = try await self.pool.query("SELECT * FROM public.\(name)")
        let names = result.columnNames
        var rows: [String: [String: String?]] = [:]
        for row in result.rows {
            var values: [String: String?] = [:]
            for (column, value) in zip(names, row.values) { values[column] = .some(value) }
            let text = (values[key] ?? nil) ?? ""
            rows["\"public\".\"\(name)\"/\"\(text.replacingOccurrences(of: "/", with: "//"))\""] = values
        }
        return rows
    }

    /// Waits until the stream says the same as the table.
    func waitUntilEqual(_ stream: String, _ table: String) async throws {
        try await eventually("\(stream) holds the rows of \(table)") {
            guard (try? self.calls.lookup(stream)) != nil else { return false }
            let rows = try await self.table(table)
            return try await self.fold(stream) == rows
        }
    }
}

/// Waits until `condition` holds, looking again often; fails after `limit`.
func eventually(
    _ what: String, within limit: Duration = .seconds(30), _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + limit
    while ContinuousClock.now < deadline {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    throw TestSupportError("in \(limit) it did not come about that \(what)")
}

/// Ends the service at the n-th step, whichever flow takes it.
final class CrashCounter: Sendable {
    private let left: Mutex<Int>

    init(at step: Int) {
        self.left = Mutex(step)
    }

    var probe: MirrorProbe {
        MirrorProbe { _ in
            let isNow = self.left.withLock { left in
                left -= 1
                return left == 0
            }
            if isNow { throw MirrorCrash() }
        }
    }

    var hasCrashed: Bool { self.left.withLock { $0 <= 0 } }
}

/// Something that has happened.
final class Flag: Sendable {
    private let state = Mutex(false)
    var isSet: Bool { self.state.withLock { $0 } }
    func set() { self.state.withLock { $0 = true } }
}
