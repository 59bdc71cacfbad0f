import ChangeFeed
import DatabaseSetup
import ExactText
import HTTPServer
import Logging
import NIOCore
import NIOEmbedded
import NIOPosix
import PostgresClient
import PostgresWire
import Satellite
import StreamStore
import SwiftProtobuf
import Synchronization
import TestSupport

@testable import HTTPServer
@testable import SatelliteEndpoint

let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// The services of connections, around a feed that never runs: what the hub holds is put there by the test.
final class EndpointHarness: Sendable {
    let pool: PostgresPool
    let hub: SatelliteHub
    let services: SatelliteServices
    let shared: SharedSatelliteServices
    let store: ClientStateStore
    private let flusher: StoreFlusher
    private let writing: Task<Void, Never>

    private struct NoSchema: SchemaSource {
        func load(including xid: UInt64?) async throws -> LoadedSchema {
            LoadedSchema(schema: SatelliteSchema(tables: [], versions: []), migrations: [])
        }
    }

    private struct NoWriter: ClientWriter {
        func apply(
            _ transaction: ClientTransaction, completion: @escaping @Sendable (ClientWriteOutcome) -> Void
        ) -> Bool { false }
    }

    init(_ parameters: ConnectionParameters, _ change: (inout SatelliteServices) -> Void = { _ in }) {
        self.pool = PostgresPool(parameters, logger: silent)
        self.flusher = StoreFlusher()
        let feed = ChangeFeed(
            options: FeedOptions(
                database: "none", transport: .replication, socketPath: "", socketPeers: [], logDirectory: "/nowhere",
                retentionBytes: 1, cacheBytes: 1),
            database: PostgresFeedDatabase(parameters: parameters, logger: silent),
            store: LogStore(fileSystem: PosixFileSystem(), flusher: self.flusher),
            group: MultiThreadedEventLoopGroup.singleton, logger: silent, onStartOver: { _ in })
        self.hub = SatelliteHub(feed: feed, source: NoSchema(), budget: 1 << 20, logger: silent)
        let store = ClientStateStore(pool: self.pool, logger: silent)
        self.store = store
        var services = SatelliteServices(
            hub: self.hub, clientState: store, snapshots: SnapshotFetcher(pool: self.pool, feed: feed),
            writer: NoWriter(), instanceID: "server"
        ) { _ in .authenticated(.init(userID: "user")) }
        change(&services)
        self.services = services
        self.shared = SharedSatelliteServices(services)
        self.writing = Task { await store.run() }
    }

    /// With a database of its own that is set up.
    static func withDatabase(_ change: (inout SatelliteServices) -> Void = { _ in }) async throws -> EndpointHarness {
        let cluster = try await TestCluster.shared()
        let parameters = cluster.parameters(database: try await cluster.createDatabase())
        let harness = EndpointHarness(parameters, change)
        try await harness.pool.withConnection { connection in
            _ = try await Installer.install(on: connection, logger: silent)
        }
        return harness
    }

    /// With a database that nobody listens for.
    static func withoutDatabase() -> EndpointHarness {
        EndpointHarness(ConnectionParameters(host: "/nowhere", user: "nobody", database: "none", tls: .disable))
    }

    func load(at position: UInt64) {
        let generation = self.hub.state.withLock { $0.generation }
        _ = self.hub.begin(
            at: LSN(rawValue: position),
            LoadedSchema(schema: SatelliteSchema(tables: [], versions: []), migrations: []), generation: generation)
    }

    func publish(_ transactions: [SatelliteTransaction], upTo: UInt64) {
        let generation = self.hub.state.withLock { $0.generation }
        self.hub.publish(transactions, upTo: LSN(rawValue: upTo), generation: generation)
    }

    func stop() async {
        self.writing.cancel()
        await self.writing.value
        await self.pool.close()
        self.flusher.stop()
    }
}

/// One connection on a channel without a socket.
final class ConnectionHarness: Sendable {
    let channel: NIOAsyncTestingChannel
    private let endpoint: EndpointHarness
    private let held: NIOLoopBoundBox<SatelliteConnection?>
    private let socket: NIOLoopBoundBox<WebSocket?>

    static func open(_ endpoint: EndpointHarness) async throws -> ConnectionHarness {
        let channel = NIOAsyncTestingChannel()
        try await channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).get()
        return try await channel.testingEventLoop.executeInContext {
            let socket = WebSocket(channel: channel, limits: HTTPLimits())
            let connection = SatelliteConnection(socket: socket, services: endpoint.shared, logger: silent)
            connection.opened()
            return ConnectionHarness(channel, endpoint, connection, socket)
        }
    }

    private init(
        _ channel: NIOAsyncTestingChannel, _ endpoint: EndpointHarness, _ connection: SatelliteConnection,
        _ socket: WebSocket
    ) {
        self.channel = channel
        self.endpoint = endpoint
        self.held = NIOLoopBoundBox(connection, eventLoop: channel.eventLoop)
        self.socket = NIOLoopBoundBox(socket, eventLoop: channel.eventLoop)
    }

    /// Works on the connection, on its loop.
    @discardableResult
    func with<R: Sendable>(_ body: @escaping @Sendable (SatelliteConnection) throws -> R) async throws -> R {
        try await self.channel.testingEventLoop.executeInContext {
            guard let connection = self.held.value else {
                throw TestSupportError("the connection was let go of")
            }
            return try body(connection)
        }
    }

    func maximumMessageBytes() async throws -> Int? {
        try await self.channel.testingEventLoop.executeInContext { self.socket.value?.maximumMessageBytes }
    }

    /// Lets go of the connection and says whether something else holds it.
    func isLeaked() async throws -> Bool {
        let reference = try await self.channel.testingEventLoop.executeInContext {
            let reference = Weak(self.held.value)
            self.held.value = nil
            return reference
        }
        // Tasks that were cancelled end in their own time.
        for _ in 0..<200 where reference.isAlive {
            await self.channel.testingEventLoop.run()
            try await Task.sleep(for: .milliseconds(10))
        }
        return reference.isAlive
    }

    private final class Weak: @unchecked Sendable {
        private weak var object: SatelliteConnection?
        init(_ object: SatelliteConnection?) { self.object = object }
        var isAlive: Bool { self.object != nil }
    }

    func receive(_ message: SatelliteMessage) async throws {
        try await self.with { $0.binaryReceived(message.encoded()) }
    }

    func setWritable(_ isWritable: Bool) async throws {
        self.channel.isWritable = isWritable
        try await self.with { $0.writabilityChanged(isWritable) }
    }

    func authenticate(_ id: String = "client") async throws {
        var request = Electric_Satellite_SatAuthReq()
        request.id = id
        request.token = "token"
        try await self.receive(.request(.authenticate, id: 1, request))
        _ = try await self.next { message in
            if case .rpcResponse(let response) = message { response.method == "authenticate" } else { false }
        }
        // The server starts its own stream once it has looked the client up.
        _ = try await self.next { message in if case .rpcRequest = message { true } else { false } }
    }

    /// Starts the stream from scratch.
    func start() async throws {
        try await self.receive(.request(.startReplication, id: 2, Electric_Satellite_SatInStartReplicationReq()))
        _ = try await self.next { message in
            if case .rpcResponse(let response) = message { response.method == "startReplication" } else { false }
        }
    }

    /// The next message for which `condition` holds; others are dropped.
    func next(_ condition: (SatelliteMessage) -> Bool) async throws -> SatelliteMessage {
        while true {
            let frame = try await self.nextFrame()
            guard frame.opcode == 2, let message = try? SatelliteMessage.decode(frame.payload) else { continue }
            if condition(message) { return message }
        }
    }

    /// The close frame; messages before it are dropped.
    func closeFrame() async throws -> (code: UInt16?, reason: String) {
        while true {
            var frame = try await self.nextFrame()
            guard frame.opcode == 8 else { continue }
            let code = frame.payload.readInteger(as: UInt16.self)
            return (code, String(buffer: frame.payload))
        }
    }

    private let unread = Mutex(ByteBuffer())

    private func nextFrame() async throws -> (opcode: UInt8, payload: ByteBuffer) {
        while true {
            if let frame = self.unread.withLock({ Self.frame(&$0) }) { return frame }
            let deadline = ContinuousClock.now + .seconds(10)
            var bytes: ByteBuffer?
            while bytes == nil {
                await self.channel.testingEventLoop.run()
                bytes = try await self.channel.readOutbound(as: ByteBuffer.self)
                if bytes == nil {
                    guard ContinuousClock.now < deadline else { throw TestSupportError("no frame came in time") }
                    try await Task.sleep(for: .milliseconds(2))
                }
            }
            if let bytes { self.unread.withLock { _ = $0.writeImmutableBuffer(bytes) } }
        }
    }

    /// What has been sent and not looked at.
    func pendingBytes() async throws -> Int {
        await self.channel.testingEventLoop.run()
        while let bytes = try await self.channel.readOutbound(as: ByteBuffer.self) {
            self.unread.withLock { _ = $0.writeImmutableBuffer(bytes) }
        }
        return self.unread.withLock { $0.readableBytes }
    }

    private static func frame(_ buffer: inout ByteBuffer) -> (opcode: UInt8, payload: ByteBuffer)? {
        var rest = buffer
        guard let first = rest.readInteger(as: UInt8.self), let short = rest.readInteger(as: UInt8.self) else {
            return nil
        }
        var length = Int(short)
        if short == 126 { length = rest.readInteger(as: UInt16.self).map(Int.init) ?? .max }
        if short == 127 { length = rest.readInteger(as: UInt64.self).map(Int.init) ?? .max }
        guard let payload = rest.readSlice(length: length) else { return nil }
        buffer = rest
        return (first & 0x0F, payload)
    }
}
