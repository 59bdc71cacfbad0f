import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket

/// The limit for serving WebSockets: NIO with its own handlers and nothing else. Runs as a process of its own.
enum BareServer {
    /// Asks a connection for `frames` frames of `bytes` bytes each, headers included.
    static func request(frames: Int, bytes: Int) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(UInt32(clamping: frames), UInt32(clamping: bytes))
        return buffer
    }

    /// Serves until the process is ended.
    static func run(port: Int) async throws {
        let upgrader = NIOWebSocketServerUpgrader(
            shouldUpgrade: { channel, _ in channel.eventLoop.makeSucceededFuture(HTTPHeaders()) },
            upgradePipelineHandler: { channel, _ in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Handler()) }
            })
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.pipeline.configureHTTPServerPipeline(
                    withServerUpgrade: (upgraders: [upgrader], completionHandler: { _ in }))
            }
            .bind(host: "127.0.0.1", port: port).get()
        try await server.closeFuture.get()
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = WebSocketFrame

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var payload = self.unwrapInboundIn(data).unmaskedData
            guard let (frames, bytes) = payload.readMultipleIntegers(as: (UInt32, UInt32).self),
                let encoder = try? context.pipeline.syncOperations.context(handlerType: WebSocketFrameEncoder.self)
            else { return }
            // As many at once as the window of a Satellite client holds.
            let batch = 30
            var buffer = ByteBuffer()
            for _ in 0..<batch { Self.appendFrame(bytes: Int(bytes), to: &buffer) }
            var rest = Int(frames)
            while rest > 0 {
                let part = min(batch, rest)
                if part < batch {
                    buffer.clear()
                    for _ in 0..<part { Self.appendFrame(bytes: Int(bytes), to: &buffer) }
                }
                // Past the encoder: the frames are complete.
                encoder.writeAndFlush(NIOAny(buffer), promise: nil)
                rest -= part
            }
        }

        private static func appendFrame(bytes: Int, to buffer: inout ByteBuffer) {
            let payload = max(0, bytes - (bytes < 128 ? 2 : 4))
            buffer.writeInteger(UInt8(0x82))
            if payload < 126 {
                buffer.writeInteger(UInt8(payload))
            } else {
                buffer.writeMultipleIntegers(UInt8(126), UInt16(clamping: payload))
            }
            buffer.writeRepeatingByte(0x61, count: payload)
        }
    }
}

/// ``BareServer`` in a child process: this very program, called with another argument.
final class BareServerProcess {
    let process: WatchedProcess
    let port: Int

    init(log: String) throws {
        self.port = try SidecarProcess.freePort()
        let port = self.port
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        self.process = try WatchedProcess([program, "bare-server", String(port)], output: log)
        try Clock.wait("the bare server", seconds: 10) {
            guard let descriptor = try? WebSocketClient.connect(port: port, receiveTimeout: 1) else { return false }
            close(descriptor)
            return true
        }
    }

    func stop() { self.process.stop(SIGKILL) }
}
