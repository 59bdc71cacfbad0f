import Crypto
import Logging
import NIOCore
import NIOHTTP1
import NIOWebSocket

/// One HTTP/1.1 connection: collects a request, asks the router, writes the reply, and may turn into a WebSocket.
///
/// Confined to its event loop.
final class HTTPConnectionHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private enum State {
        case idle
        case receiving(HTTPRequestHead, ByteBuffer)
        /// The body is over the limit: the rest of it is read and dropped, then 413 is answered.
        case discarding(HTTPRequestHead)
        case answering
        case upgraded
    }

    private let limits: HTTPLimits
    private let router: HTTPRouter
    private let logger: Logger
    private var state: State = .idle
    private var timeout: Scheduled<Void>?
    private var draining = false

    private init(limits: HTTPLimits, router: HTTPRouter, logger: Logger) {
        self.limits = limits
        self.router = router
        self.logger = logger
    }

    static func configure(_ channel: any Channel, limits: HTTPLimits, router: HTTPRouter, logger: Logger) throws {
        var decoderLimits = NIOHTTPDecoderLimitConfiguration()
        decoderLimits.maxHeaderFieldCount = limits.headerCount
        decoderLimits.maxHeaderFieldSize = limits.headerFieldBytes
        decoderLimits.maxHeaderListSize = limits.headerBytes
        let decoder = HTTPRequestDecoder(
            leftOverBytesStrategy: .forwardBytes, limitConfiguration: decoderLimits)
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(HTTPResponseEncoder())
        try pipeline.addHandler(ByteToMessageHandler(decoder))
        try pipeline.addHandler(HTTPServerPipelineHandler())
        try pipeline.addHandler(HTTPConnectionHandler(limits: limits, router: router, logger: logger))
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.expectRequest(within: self.limits.requestTimeout, context: context)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timeout?.cancel()
    }

    private func expectRequest(within time: TimeAmount, context: ChannelHandlerContext) {
        self.timeout?.cancel()
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.timeout = context.eventLoop.scheduleTask(in: time) {
            bound.value.close(promise: nil)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (self.unwrapInboundIn(data), self.state) {
        case (.head(let head), .idle):
            self.state = .receiving(head, ByteBuffer())
            self.expectRequest(within: self.limits.requestTimeout, context: context)
        case (.body(var part), .receiving(let head, var body)):
            guard body.readableBytes + part.readableBytes <= self.limits.bodyBytes else {
                self.state = .discarding(head)
                return
            }
            self.state = .idle  // gives up this reference, so that the append does not copy
            body.writeBuffer(&part)
            self.state = .receiving(head, body)
        case (.end, .receiving(let head, let body)):
            self.timeout?.cancel()
            self.state = .answering
            self.answer(HTTPRequest(head: head, body: body), context: context)
        case (.end, .discarding(let head)):
            self.state = .answering
            let limit = self.limits.bodyBytes
            self.write(
                .text("The request body is larger than \(limit) bytes", status: .payloadTooLarge), to: head,
                context: context)
        default:
            break
        }
    }

    private func answer(_ request: HTTPRequest, context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let promise = context.eventLoop.makePromise(of: HTTPAnswer.self)
        promise.completeWithTask { [router] in await router.answer(request) }
        promise.futureResult.whenSuccess { answer in
            let (handler, context) = bound.value
            switch answer {
            case .reply(let reply):
                handler.write(reply, to: request.head, context: context)
            case .webSocket(let subprotocol, let makeSession):
                handler.upgrade(request.head, subprotocol, makeSession, context: context)
            }
        }
    }

    private func write(_ reply: HTTPReply, to request: HTTPRequestHead, context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        var headers = reply.headers
        let keepAlive = request.isKeepAlive && !self.draining
        let hasBody = reply.status.mayHaveResponseBody && reply.status != .noContent
        if hasBody { headers.replaceOrAdd(name: "content-length", value: "\(reply.body.readableBytes)") }
        headers.replaceOrAdd(name: "x-content-type-options", value: "nosniff")
        if !keepAlive { headers.replaceOrAdd(name: "connection", value: "close") }
        let head = HTTPResponseHead(version: request.version, status: reply.status, headers: headers)
        context.write(self.wrapOutboundOut(.head(head)), promise: nil)
        if request.method != .HEAD, hasBody, reply.body.readableBytes > 0 {
            context.write(self.wrapOutboundOut(.body(.byteBuffer(reply.body))), promise: nil)
        }
        self.state = .idle
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.writeAndFlush(self.wrapOutboundOut(.end(nil))).whenComplete { _ in
            if !keepAlive { bound.value.close(promise: nil) }
        }
        if keepAlive { self.expectRequest(within: self.limits.keepAliveTimeout, context: context) }
    }

    private func upgrade(
        _ request: HTTPRequestHead, _ subprotocol: String?, _ makeSession: (WebSocket) -> any WebSocketSession,
        context: ChannelHandlerContext
    ) {
        guard context.channel.isActive else { return }
        guard let key = WebSocketUpgrade.key(of: request) else {
            self.write(.text("Bad request", status: .badRequest), to: request, context: context)
            return
        }
        self.timeout?.cancel()
        self.state = .upgraded
        var headers: HTTPHeaders = [
            "upgrade": "websocket", "connection": "upgrade", "sec-websocket-accept": WebSocketUpgrade.accept(key: key),
        ]
        if let subprotocol { headers.add(name: "sec-websocket-protocol", value: subprotocol) }
        context.write(
            self.wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .switchingProtocols, headers: headers))),
            promise: nil)
        context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
        do {
            try self.becomeWebSocket(makeSession, context: context)
        } catch {
            self.logger.error("cannot switch to WebSocket", metadata: ["error": "\(error)"])
            context.close(promise: nil)
        }
    }

    /// Rebuilds the pipeline: frame decoder and session instead of the HTTP handlers. There is no frame encoder: the socket
    /// writes finished frames, so that one buffer can serve many connections.
    private func becomeWebSocket(
        _ makeSession: (WebSocket) -> any WebSocketSession, context: ChannelHandlerContext
    ) throws {
        let pipeline = context.pipeline.syncOperations
        let encoder = try pipeline.context(handlerType: HTTPResponseEncoder.self)
        let decoder = try pipeline.context(handlerType: ByteToMessageHandler<HTTPRequestDecoder>.self)
        let pipelining = try pipeline.context(handlerType: HTTPServerPipelineHandler.self)
        let socket = WebSocket(channel: context.channel, closeTimeout: self.limits.webSocketCloseTimeout)
        let handler = WebSocketHandler(socket: socket, session: makeSession(socket), limits: self.limits)
        try pipeline.addHandler(
            ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: self.limits.webSocketMessageBytes)))
        try pipeline.addHandler(handler)
        pipeline.removeHandler(context: context, promise: nil)
        pipeline.removeHandler(context: pipelining, promise: nil)
        pipeline.removeHandler(context: encoder, promise: nil)
        // Last, because bytes that came behind the request go to the frame decoder now.
        pipeline.removeHandler(context: decoder, promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ServerIsDraining {
            self.draining = true
            if case .idle = self.state { context.close(promise: nil) }
            return
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Why: a malformed head leaves nothing to answer reliably; the decoder stops and so do we.
        if case .idle = self.state, let parser = error as? HTTPParserError {
            let status: HTTPResponseStatus =
                parser == .headerOverflow ? .requestHeaderFieldsTooLarge : .badRequest
            let head = HTTPRequestHead(
                version: .http1_1, method: .GET, uri: "/", headers: ["connection": "close"])
            self.write(.text(status.reasonPhrase, status: status), to: head, context: context)
            return
        }
        context.close(promise: nil)
    }
}
