import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket
import Satellite

extension SatelliteClient {
    /// Opens the WebSocket; sends nothing yet.
    package static func connect(
        host: String = "127.0.0.1", port: Int, clientID: String, token: String, replica: ClientReplica? = nil,
        acknowledging: Acknowledging = .every(10), firstLSN: UInt32 = 1, subprotocol: String = "electric.0.12",
        observer: Observer? = nil
    ) async throws -> SatelliteClient {
        var known = replica ?? ClientReplica(clientID: clientID)
        known.reconnected()
        let start = known
        let group = MultiThreadedEventLoopGroup.singleton
        let upgraded = group.next().makePromise(of: SatelliteClient.self)
        let bootstrap = ClientBootstrap(group: group)
            .connectTimeout(.seconds(5))
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let upgrader = NIOWebSocketClientUpgrader(maxFrameSize: 64 << 20) { channel, _ in
                        channel.eventLoop.makeCompletedFuture {
                            let client = SatelliteClient(
                                clientID: clientID, token: token, channel: channel, replica: start,
                                acknowledging: acknowledging, firstLSN: firstLSN, observer: observer)
                            let pipeline = channel.pipeline.syncOperations
                            try pipeline.addHandler(FrameHandler(client: client))
                            pipeline.removeHandler(
                                context: try pipeline.context(handlerType: HandshakeHandler.self), promise: nil)
                            upgraded.succeed(client)
                        }
                    }
                    let configuration: NIOHTTPClientUpgradeSendableConfiguration = (
                        upgraders: [upgrader], completionHandler: { _ in }
                    )
                    try channel.pipeline.syncOperations.addHTTPClientHandlers(
                        leftOverBytesStrategy: .forwardBytes, withClientUpgrade: configuration)
                    try channel.pipeline.syncOperations.addHandler(
                        HandshakeHandler(host: host, port: port, subprotocol: subprotocol, promise: upgraded))
                }
            }
        do {
            _ = try await bootstrap.connect(host: host, port: port).get()
        } catch {
            let reason = (error as? NIOConnectionError)?.connectionErrors.first.map { "\($0.error)" } ?? "\(error)"
            upgraded.fail(Failure("cannot connect to \(host):\(port): \(reason)"))
        }
        return try await upgraded.futureResult.get()
    }
}

/// Sends the upgrade request, and turns a refusal into an error that has the server's text.
private final class HandshakeHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let host: String
    private let port: Int
    private let subprotocol: String
    private let promise: EventLoopPromise<SatelliteClient>
    private var status: HTTPResponseStatus?
    private var body = ""

    init(host: String, port: Int, subprotocol: String, promise: EventLoopPromise<SatelliteClient>) {
        self.host = host
        self.port = port
        self.subprotocol = subprotocol
        self.promise = promise
    }

    func channelActive(context: ChannelHandlerContext) {
        let head = HTTPRequestHead(
            version: .http1_1, method: .GET, uri: "/ws",
            headers: ["host": "\(self.host):\(self.port)", "sec-websocket-protocol": self.subprotocol])
        context.write(self.wrapOutboundOut(.head(head)), promise: nil)
        context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head): self.status = head.status
        case .body(let part): self.body += String(buffer: part)
        case .end:
            self.promise.fail(
                SatelliteClient.Failure("the server refused: \(self.status?.code ?? 0) \(self.body)"))
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.promise.fail(SatelliteClient.Failure("the connection was closed during the handshake"))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.promise.fail(error)
        context.close(promise: nil)
    }
}

/// Turns frames into messages and messages into masked frames.
private final class FrameHandler: ChannelDuplexHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = WebSocketFrame

    private let client: SatelliteClient
    private var fragments: ByteBuffer?

    init(client: SatelliteClient) {
        self.client = client
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = self.unwrapInboundIn(data)
        switch frame.opcode {
        case .binary, .continuation:
            var bytes = frame.data
            if var open = self.fragments {
                open.writeBuffer(&bytes)
                bytes = open
                self.fragments = nil
            }
            if frame.fin { self.client.received(bytes) } else { self.fragments = bytes }
        case .ping:
            context.writeAndFlush(
                self.wrapOutboundOut(WebSocketFrame(fin: true, opcode: .pong, maskKey: .random(), data: frame.data)),
                promise: nil)
        case .connectionClose:
            var payload = frame.unmaskedData
            let code = payload.readInteger(as: UInt16.self).map(String.init) ?? "none"
            self.client.ended("closed by the server with code \(code) \(String(buffer: payload))")
            context.close(promise: nil)
        default: break
        }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let bytes = self.unwrapOutboundIn(data)
        context.write(
            self.wrapOutboundOut(WebSocketFrame(fin: true, opcode: .binary, maskKey: .random(), data: bytes)),
            promise: promise)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.client.ended("the connection broke")
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.client.ended("\(error)")
        context.close(promise: nil)
    }
}
