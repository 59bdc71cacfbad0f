import ChangeFeed
import Foundation
import Logging
import NIOCore
import NIOPosix
import PostgresClient
import PostgresWire
import StreamStore
import Synchronization
import TestSupport

/// A feed over a database of its own, with its own directory; collects every transaction that consumers see.
final class FeedHarness: Sendable {
    let cluster: TestCluster
    let database: String
    let directory: String
    let socketPath: String
    private let running = Mutex<(feed: ChangeFeed, task: Task<Void, any Error>, flusher: StoreFlusher)?>(nil)
    let startedOver = Mutex<[String]>([])

    init(cluster: TestCluster, database: String, directory: String? = nil) throws {
        self.cluster = cluster
        self.database = database
        self.directory = directory ?? "/tmp/pkf-\(UUID().uuidString.prefix(8))"
        self.socketPath = "\(self.directory)/penstock.sock"
        try FileManager.default.createDirectory(atPath: self.directory, withIntermediateDirectories: true)
        chmod(self.directory, 0o755)
    }

    /// A cluster for one feed alone. With the extension its worker connects to the feed's own socket.
    static func make(
        _ transport: FeedTransportChoice, version: PostgresVersion = .v15, settings: [String: String] = [:]
    ) async throws -> FeedHarness {
        let directory = "/tmp/pkf-\(UUID().uuidString.prefix(8))"
        var all = settings
        if transport != .replication {
            // A database that is there when the server starts: its worker is started with it.
            all["penstock.databases"] = "postgres"
            all["penstock.reconnect_interval"] = "200ms"
            if all["penstock.socket"] == nil { all["penstock.socket"] = "\(directory)/penstock.sock" }
        }
        let cluster = try await TestCluster.start(
            version: version, settings: all, preloadExtension: transport != .replication)
        return try FeedHarness(cluster: cluster, database: "postgres", directory: directory)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: self.directory)
    }

    var feed: ChangeFeed {
        get throws {
            guard let feed = self.running.withLock({ $0?.feed }) else {
                throw TestSupportError("the feed is not running")
            }
            return feed
        }
    }

    func start(
        transport: FeedTransportChoice, retention: UInt64 = 1 << 30, cache: Int = 64 << 20, pieceBytes: Int = 1 << 20,
        segmentBytes: UInt64 = 64 << 20, isInMemory: Bool = false
    ) throws {
        var logger = Logger(label: "feed")
        logger.logLevel = ProcessInfo.processInfo.environment["PENSTOCK_TEST_LOG"] == nil ? .critical : .debug
        let flusher = StoreFlusher()
        var options = FeedOptions(
            database: self.database, transport: transport, socketPath: self.socketPath,
            socketPeers: Set(getpwnam("postgres").map { [$0.pointee.pw_uid] } ?? []),
            logDirectory: self.directory + "/log",
            retentionBytes: retention, cacheBytes: cache)
        options.pieceBytes = pieceBytes
        var store = LogStore(
            fileSystem: PosixFileSystem(), flusher: flusher,
            configuration: LogConfiguration(segmentByteCount: segmentBytes))
        if isInMemory { (options, store) = options.inMemory(flusher: flusher) }
        let feed = ChangeFeed(
            options: options,
            database: PostgresFeedDatabase(
                parameters: self.cluster.parameters(database: self.database), logger: logger),
            store: store, group: MultiThreadedEventLoopGroup.singleton, logger: logger,
            onStartOver: { reason in self.startedOver.withLock { $0.append(reason) } })
        let task = Task {
            do {
                try await feed.run()
            } catch {
                logger.critical("the feed has ended", metadata: ["error": "\(error)"])
                throw error
            }
        }
        self.running.withLock { $0 = (feed, task, flusher) }
    }

    func stop() async throws {
        guard
            let running = self.running.withLock({ running in
                defer { running = nil }
                return running
            })
        else { return }
        running.task.cancel()
        let result = await running.task.result
        running.flusher.stop()
        if case .failure(let error) = result, !(error is CancellationError) { throw error }
    }

    /// Ends the feed and the cluster, and leaves nothing behind.
    func destroy() async {
        try? await self.stop()
        await self.cluster.destroy()
        self.removeFiles()
    }

    func removeFiles() {
        try? FileManager.default.removeItem(atPath: self.directory)
    }

    /// Waits until the feed serves current data.
    func waitUntilReady() async throws {
        do {
            try await eventually("the feed is ready") { try self.feed.health.isReady }
        } catch {
            throw TestSupportError("\(error): \(try self.feed.health.summary)")
        }
    }

    /// Waits until everything committed by now has been received.
    func waitUntilCurrent() async throws {
        let flush = try await self.query("SELECT pg_current_wal_flush_lsn()")
        guard let target = LSN(flush) else { throw TestSupportError("no position") }
        _ = try await self.query("SELECT pg_logical_emit_message(false, 'test', 'marker')")
        try await eventually("the feed reaches \(target)") {
            let health = try self.feed.health
            return (health.position ?? .zero) >= target || (health.durable ?? .zero) >= target
        }
    }

    @discardableResult
    func query(_ sql: String) async throws -> String {
        try await self.cluster.psql(sql, database: self.database)
    }

    /// Name of the feed's slot.
    var slot: String { SlotName.main(database: self.database) }

    /// Position that the server knows to be stored.
    func confirmed() async throws -> LSN {
        LSN(
            try await self.query(
                "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '\(self.slot)'"))
            ?? .zero
    }

    /// Calls `body` with each message after `position`, in order, and the definitions in force for it.
    func forEachMessage(
        after position: LSN, _ body: (TransactionHeader, ByteBuffer, [UInt32: Relation]) throws -> Void
    ) async throws {
        let feed = try self.feed
        var position = position
        while true {
            guard case .entries(let entries) = try await feed.read(after: position) else {
                throw TestSupportError("behind the window")
            }
            guard let last = entries.last else { return }
            for entry in entries {
                var pieces: [TransactionPiece] = []
                var relations: [UInt32: Relation] = [:]
                switch entry {
                case .whole(let transaction):
                    relations = transaction.relations
                    pieces = [transaction.piece]
                case .large(let large):
                    relations = large.relations
                    for index in 0..<large.pieceCount { pieces.append(try await feed.piece(index, of: large)) }
                }
                for piece in pieces {
                    try piece.forEachMessage { message in
                        if case .relation(let relation, _) = try ReplicationMessage.decode(message) {
                            relations[relation.oid] = relation
                        }
                        try body(entry.header, message, relations)
                    }
                }
            }
            position = last.header.endLSN
        }
    }

    /// All transactions after `position`, large ones read piece by piece; each as the first column of its inserts.
    func transactions(after position: LSN) async throws -> [(header: TransactionHeader, inserts: [String])] {
        let feed = try self.feed
        var position = position
        var all: [(TransactionHeader, [String])] = []
        while true {
            guard case .entries(let entries) = try await feed.read(after: position) else {
                throw TestSupportError("behind the window")
            }
            guard let last = entries.last else { return all }
            for entry in entries {
                var values: [String] = []
                switch entry {
                case .whole(let transaction):
                    try Self.collect(transaction.piece, into: &values)
                case .large(let large):
                    for index in 0..<large.pieceCount {
                        try Self.collect(try await feed.piece(index, of: large), into: &values)
                    }
                }
                all.append((entry.header, values))
            }
            position = last.header.endLSN
        }
    }

    private static func collect(_ piece: TransactionPiece, into values: inout [String]) throws {
        try piece.forEachMessage { message in
            // By hand, for the sake of tests with very many rows: relation, 'N', columns, 't', length, text.
            let start = message.readerIndex
            guard message.getInteger(at: start, as: UInt8.self) == UInt8(ascii: "I"),
                let length = message.getInteger(at: start + 9, as: UInt32.self),
                let text = message.getString(at: start + 13, length: Int(length))
            else { return }
            values.append(text)
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
        try await Task.sleep(for: .milliseconds(10))
    }
    throw TestSupportError("in \(limit) it did not come about that \(what)")
}
