import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

struct TestFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// Collects the response of one exchange; whoever waits for a state of it waits for a bounded time.
final class ResponseCollector: ChannelInboundHandler, Sendable {
    typealias InboundIn = HTTPClientResponsePart

    struct State: Sendable {
        var head: HTTPResponseHead?
        var body: [UInt8] = []
        /// The response has come to its own end.
        var isWhole = false
        var isClosed = false
    }

    private struct Inner {
        var state = State()
        var waiters: [Int: (condition: @Sendable (State) -> Bool, continuation: CheckedContinuation<Bool, Never>)] = [:]
        var next = 0
    }

    private let inner = Mutex(Inner())

    var state: State { self.inner.withLock { $0.state } }

    private func update(_ change: (inout State) -> Void) {
        let met = self.inner.withLock { inner -> [CheckedContinuation<Bool, Never>] in
            change(&inner.state)
            let done = inner.waiters.filter { $0.value.condition(inner.state) }
            for key in done.keys { inner.waiters[key] = nil }
            return done.values.map(\.continuation)
        }
        for continuation in met { continuation.resume(returning: true) }
    }

    func reset() { self.update { $0 = State() } }

    /// False when `seconds` pass before the condition holds.
    func wait(seconds: Double = 10, for condition: @escaping @Sendable (State) -> Bool) async -> Bool {
        await withCheckedContinuation { continuation in
            let key = self.inner.withLock { inner -> Int? in
                if condition(inner.state) { return nil }
                inner.next += 1
                inner.waiters[inner.next] = (condition, continuation)
                return inner.next
            }
            guard let key else { return continuation.resume(returning: true) }
            MultiThreadedEventLoopGroup.singleton.any().scheduleTask(in: .milliseconds(Int64(seconds * 1000))) {
                self.inner.withLock { $0.waiters.removeValue(forKey: key) }?.continuation.resume(returning: false)
            }
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head): self.update { $0.head = head }
        case .body(let bytes): self.update { $0.body += bytes.readableBytesView }
        case .end: self.update { $0.isWhole = true }
        }
    }

    func channelInactive(context: ChannelHandlerContext) { self.update { $0.isClosed = true } }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// A connection of HTTP/1.1 that sends what it is told and checks nothing.
struct ClientConnection: Sendable {
    let channel: any Channel
    let collector: ResponseCollector

    /// - Parameter reads: false leaves everything that comes in the sockets until ``startReading()``.
    static func open(port: Int, reads: Bool = true, receiveBuffer: Int32? = nil) async throws -> ClientConnection {
        let collector = ResponseCollector()
        var bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.autoRead, value: reads)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .connectTimeout(.seconds(5))
        if let receiveBuffer {
            bootstrap = bootstrap.channelOption(.socketOption(.so_rcvbuf), value: .init(receiveBuffer))
        }
        let channel = try await bootstrap.channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                // Programs that other tests start must not inherit it.
                try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) {
                    _ = fcntl($0, F_SETFD, FD_CLOEXEC)
                }
                let pipeline = channel.pipeline.syncOperations
                try pipeline.addHandler(HTTPRequestEncoder())
                try pipeline.addHandler(ByteToMessageHandler(HTTPResponseDecoder()))
                try pipeline.addHandler(collector)
            }
        }.connect(host: "127.0.0.1", port: port).get()
        return ClientConnection(channel: channel, collector: collector)
    }

    func startReading() { self.channel.setOption(.autoRead, value: true).whenComplete { _ in } }

    func send(_ head: HTTPRequestHead, body: [UInt8]) {
        self.channel.write(HTTPClientRequestPart.head(head), promise: nil)
        if !body.isEmpty {
            self.channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: body))), promise: nil)
        }
        self.channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
    }

    func close() async {
        try? await self.channel.close().get()
    }
}

/// Asks until the answer is as it should be; fails after ten seconds.
func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(10)
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw TestFailure(what) }
        try await Task.sleep(for: .milliseconds(10))
    }
}
