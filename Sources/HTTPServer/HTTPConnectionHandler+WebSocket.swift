import Logging
import NIOCore
import NIOHTTP1

extension HTTPConnectionHandler {
    func upgrade(
        _ subprotocol: String?, _ makeSession: (WebSocket) -> any WebSocketSession, context: ChannelHandlerContext
    ) {
        guard !self.isInputClosed else { return self.abort() }
        // Over HTTP/2 nothing asks for an upgrade.
        guard let request = self.exchange.upgrade, let key = WebSocketUpgrade.key(of: request) else {
            self.exchange.keepAlive = false
            self.write(.text("Bad request", status: .badRequest), context: context)
            return
        }
        guard !self.isDraining else {
            self.write(.text("Server is stopping", status: .serviceUnavailable), context: context)
            return
        }
        var headers: HTTPHeaders = [
            "upgrade": "websocket", "connection": "upgrade", "sec-websocket-accept": WebSocketUpgrade.accept(key: key),
        ]
        if let subprotocol { headers.add(name: "sec-websocket-protocol", value: subprotocol) }
        guard HTTPHeadEncoder.isWellFormed(headers) else {
            self.write(.text("Bad request", status: .badRequest), context: context)
            return
        }
        self.phase = .upgraded
        self.exchangeEnded(isWhole: true)
        let lines = headers.map { "\($0.name): \($0.value)\r\n" }.joined()
        context.writeAndFlush(
            NIOAny(ByteBuffer(string: "HTTP/1.1 101 Switching Protocols\r\n\(lines)\r\n")), promise: nil)
        // The write may have found the peer gone; a session that begins now would never be told.
        guard context.channel.isActive else { return }
        do {
            try self.becomeWebSocket(makeSession, context: context)
        } catch {
            self.serving.logger.error("cannot switch to WebSocket", metadata: ["error": "\(error)"])
            context.channel.close(promise: nil)
        }
    }

    /// Rebuilds the pipeline: frame decoder and session instead of the HTTP handlers. There is no frame encoder: the socket
    /// writes finished frames, so that one buffer can serve many connections.
    private func becomeWebSocket(
        _ makeSession: (WebSocket) -> any WebSocketSession, context: ChannelHandlerContext
    ) throws {
        let pipeline = context.pipeline.syncOperations
        let decoder = try pipeline.context(handlerType: ByteToMessageHandler<HTTPRequestDecoder>.self)
        let socket = WebSocket(channel: context.channel, limits: self.limits)
        let handler = WebSocketHandler(socket: socket, session: makeSession(socket), limits: self.limits)
        try pipeline.addHandler(ByteToMessageHandler(WebSocketFrameDecoder(socket: socket)))
        try pipeline.addHandler(handler)
        self.resumeReading()
        pipeline.removeHandler(context: context, promise: nil)
        // Last, because bytes that came behind the request go to the frame decoder now.
        pipeline.removeHandler(context: decoder, promise: nil)
    }
}
