import NIOCore
import NIOPosix
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A TCP client that sends bytes as they are and collects what comes back.
final class RawConnection: Sendable {
    private struct State {
        var received = ByteBuffer()
        var isClosed = false
        /// Waiters, by number so that each can be given up.
        var waiters:
            [Int: (condition: @Sendable (ByteBuffer, Bool) -> Bool, continuation: CheckedContinuation<Bool, Never>)] =
                [:]
        var next = 0
    }

    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let owner: RawConnection
        init(_ owner: RawConnection) { self.owner = owner }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = self.unwrapInboundIn(data)
            self.owner.update { $0.received.writeImmutableBuffer(bytes) }
        }
        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if let event = event as? ChannelEvent, event == .inputClosed { self.owner.update { $0.isClosed = true } }
        }
        func channelInactive(context: ChannelHandlerContext) { self.owner.update { $0.isClosed = true } }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    private let state = Mutex(State())
    private let channel = Mutex<(any Channel)?>(nil)

    static func connect(port: Int, reads: Bool = true) async throws -> RawConnection {
        let connection = RawConnection()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.autoRead, value: reads)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    // Postgres servers of other tests must not inherit it: nobody would see its end.
                    try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) {
                        _ = fcntl($0, F_SETFD, FD_CLOEXEC)
                    }
                    try channel.pipeline.syncOperations.addHandler(Collector(connection))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        connection.channel.withLock { $0 = channel }
        return connection
    }

    private func update(_ change: (inout State) -> Void) {
        let done = self.state.withLock { state -> [CheckedContinuation<Bool, Never>] in
            change(&state)
            let met = state.waiters.filter { $0.value.condition(state.received, state.isClosed) }
            for number in met.keys { state.waiters[number] = nil }
            return met.values.map(\.continuation)
        }
        for continuation in done { continuation.resume(returning: true) }
    }

    var text: String { self.state.withLock { String(buffer: $0.received) } }
    var bytes: [UInt8] { self.state.withLock { Array(buffer: $0.received) } }
    var isClosed: Bool { self.state.withLock { $0.isClosed } }

    func send(_ text: String) { self.send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) {
        self.channel.withLock { $0 }?.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
    }

    /// Ends this side's half; the other one can go on.
    func sendEnd() async throws {
        try await self.channel.withLock { $0 }?.close(mode: .output)
    }

    /// Waits until the other side has taken it all, but for what the system holds.
    func sendAll(_ bytes: ByteBuffer) async throws {
        try await self.channel.withLock { $0 }?.writeAndFlush(bytes)
    }

    /// Reset instead of the polite end.
    func close() async {
        try? await self.channel.withLock { $0 }?.close()
    }

    /// Waits for a condition on what has come; false when the time is up.
    func wait(
        seconds: Double = 30, _ condition: @escaping @Sendable (_ received: ByteBuffer, _ isClosed: Bool) -> Bool
    ) async -> Bool {
        await withCheckedContinuation { continuation in
            let number = self.state.withLock { state -> Int? in
                if condition(state.received, state.isClosed) { return nil }
                state.next += 1
                state.waiters[state.next] = (condition, continuation)
                return state.next
            }
            guard let number else {
                continuation.resume(returning: true)
                return
            }
            MultiThreadedEventLoopGroup.singleton.next().scheduleTask(in: .milliseconds(Int64(seconds * 1000))) {
                self.state.withLock { $0.waiters.removeValue(forKey: number) }?.continuation.resume(returning: false)
            }
        }
    }

    func waitForText(_ text: String, seconds: Double = 30) async -> Bool {
        await self.wait(seconds: seconds) { received, _ in String(buffer: received).contains(text) }
    }

    func waitForEnd(seconds: Double = 30) async -> Bool {
        await self.wait(seconds: seconds) { _, isClosed in isClosed }
    }

    func waitForBytes(_ count: Int, seconds: Double = 30) async -> Bool {
        await self.wait(seconds: seconds) { received, _ in received.readableBytes >= count }
    }
}
