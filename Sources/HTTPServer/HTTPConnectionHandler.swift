import Logging
import NIOCore
import NIOHTTP1

/// One HTTP/1.1 connection: collects a request, asks the router, writes the reply, and may turn into a WebSocket.
///
/// Confined to its event loop. Requests are answered one after the other: the next one is looked at once the peer has taken the
/// last reply, so a peer that sends requests and reads nothing costs one reply.
final class HTTPConnectionHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private enum State {
        /// Exits: `receiving`, `ending`.
        case idle
        /// Exits: `answering`, `writing` (413), `ending`.
        case receiving(HTTPRequestHead, ByteBuffer)
        /// The router works. Exits: `writing`, `upgraded`.
        case answering
        /// The reply is on its way. Exits: `idle`, `ending`.
        case writing
        /// The last reply is written; what the peer still sends is read and dropped for a while, because closing a socket with
        /// unread bytes would take the reply away from the peer.
        case ending
        case upgraded
    }

    private let limits: HTTPLimits
    private let router: HTTPRouter
    private let logger: Logger
    private var state: State = .idle
    private var timeout: Scheduled<Void>?
    private var work: Task<Void, Never>?
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
        self.closeUnlessCancelled(within: self.limits.requestTimeout, context: context)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timeout?.cancel()
        self.timeout = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timeout?.cancel()
        self.timeout = nil
        // Nobody waits for the answer any more.
        self.work?.cancel()
        context.fireChannelInactive()
    }

    private func closeUnlessCancelled(within time: TimeAmount, context: ChannelHandlerContext) {
        self.timeout?.cancel()
        let channel = context.channel
        self.timeout = context.eventLoop.scheduleTask(in: time) { channel.close(promise: nil) }
    }

    // MARK: Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (self.unwrapInboundIn(data), self.state) {
        case (.head(let head), .idle):
            self.headReceived(head, context: context)
        case (.body(var part), .receiving(let head, var body)):
            guard body.readableBytes + part.readableBytes <= self.limits.bodyBytes else {
                self.refuseBody(of: head, context: context)
                return
            }
            self.state = .idle  // gives up this reference, so that the append does not copy
            body.writeBuffer(&part)
            self.state = .receiving(head, body)
        case (.end, .receiving(let head, let body)):
            self.timeout?.cancel()
            self.state = .answering
            self.answer(HTTPRequest(head: head, body: body), context: context)
        default:
            break
        }
    }

    private func headReceived(_ head: HTTPRequestHead, context: ChannelHandlerContext) {
        self.state = .receiving(head, ByteBuffer())
        self.closeUnlessCancelled(within: self.limits.requestTimeout, context: context)
        if let length = head.headers.first(name: "content-length").flatMap({ Int($0) }), length > self.limits.bodyBytes
        {
            self.refuseBody(of: head, context: context)
            return
        }
        if head.version != .http1_0,
            head.headers[canonicalForm: "expect"].contains(where: { $0.lowercased() == "100-continue" })
        {
            context.writeAndFlush(
                self.wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .continue))), promise: nil)
        }
    }

    private func refuseBody(of head: HTTPRequestHead, context: ChannelHandlerContext) {
        self.write(
            .text("The request body is larger than \(self.limits.bodyBytes) bytes", status: .payloadTooLarge), to: head,
            mustClose: true, context: context)
    }

    private func answer(_ request: HTTPRequest, context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let eventLoop = context.eventLoop
        let head = request.head
        self.work = Task { [router] in
            let answer = await router.answer(request)
            eventLoop.execute {
                let (handler, context) = bound.value
                handler.answered(head, answer, context: context)
            }
        }
    }

    private func answered(_ request: HTTPRequestHead, _ answer: HTTPAnswer, context: ChannelHandlerContext) {
        self.work = nil
        // The connection may have ended meanwhile; nothing may be written then.
        guard case .answering = self.state, context.channel.isActive else { return }
        switch answer {
        case .reply(let reply):
            // Why: the decoder takes what follows a request for an upgrade as bytes of the other protocol.
            self.write(
                reply, to: request, mustClose: request.headers.contains(name: "upgrade"), context: context)
        case .webSocket(let subprotocol, let makeSession):
            self.upgrade(request, subprotocol, makeSession, context: context)
        }
    }

    // MARK: Replies

    private func write(
        _ reply: HTTPReply, to request: HTTPRequestHead, mustClose: Bool, context: ChannelHandlerContext
    ) {
        guard context.channel.isActive else { return }
        var reply = reply
        if !Self.isWellFormed(reply.headers) {
            self.logger.error("a reply was dropped because its header fields are malformed")
            reply = .text("Internal server error", status: .internalServerError)
        }
        let keepAlive = request.isKeepAlive && !self.draining && !mustClose
        let hasBody = reply.status.mayHaveResponseBody
        reply.headers.remove(name: "transfer-encoding")
        if hasBody {
            reply.headers.replaceOrAdd(name: "content-length", value: "\(reply.body.readableBytes)")
        } else {
            reply.headers.remove(name: "content-length")
        }
        reply.headers.replaceOrAdd(name: "x-content-type-options", value: "nosniff")
        if !keepAlive {
            reply.headers.replaceOrAdd(name: "connection", value: "close")
        } else if request.version == .http1_0 {
            reply.headers.replaceOrAdd(name: "connection", value: "keep-alive")
        }
        self.state = .writing
        // Why: a peer that does not read must not hold the reply for ever.
        self.closeUnlessCancelled(within: self.limits.replyTimeout, context: context)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let head = HTTPResponseHead(version: request.version, status: reply.status, headers: reply.headers)
        let written = context.eventLoop.makePromise(of: Void.self)
        if request.method != .HEAD, hasBody, reply.body.readableBytes > 0 {
            context.write(self.wrapOutboundOut(.head(head)), promise: nil)
            context.writeAndFlush(self.wrapOutboundOut(.body(.byteBuffer(reply.body))), promise: written)
        } else {
            context.writeAndFlush(self.wrapOutboundOut(.head(head)), promise: written)
        }
        written.futureResult.whenComplete { result in
            let (handler, context) = bound.value
            switch result {
            case .success: handler.replyTaken(keepAlive: keepAlive, context: context)
            case .failure: context.close(promise: nil)
            }
        }
    }

    /// The peer has taken the reply; only its end is left, which lets the next request in.
    private func replyTaken(keepAlive: Bool, context: ChannelHandlerContext) {
        guard case .writing = self.state, context.channel.isActive else { return }
        if keepAlive, !self.draining {
            // Before the end is written, because that may deliver the next request at once.
            self.state = .idle
            self.closeUnlessCancelled(within: self.limits.keepAliveTimeout, context: context)
            context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
        } else {
            self.state = .ending
            self.closeUnlessCancelled(within: self.limits.lingerTimeout, context: context)
            context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
            // The peer sees the end now; we go on reading until it closes, or for a moment.
            context.close(mode: .output, promise: nil)
        }
    }

    /// Whether the fields can be sent without one of them turning into two.
    private static func isWellFormed(_ headers: HTTPHeaders) -> Bool {
        headers.allSatisfy { name, value in
            !name.isEmpty && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ":") }
                && value.utf8.allSatisfy { $0 == 0x09 || ($0 >= 0x20 && $0 != 0x7F) }
        }
    }

    // MARK: WebSocket

    private func upgrade(
        _ request: HTTPRequestHead, _ subprotocol: String?, _ makeSession: (WebSocket) -> any WebSocketSession,
        context: ChannelHandlerContext
    ) {
        guard let key = WebSocketUpgrade.key(of: request) else {
            self.write(.text("Bad request", status: .badRequest), to: request, mustClose: true, context: context)
            return
        }
        guard !self.draining else {
            self.write(
                .text("Server is stopping", status: .serviceUnavailable), to: request, mustClose: true, context: context
            )
            return
        }
        var headers: HTTPHeaders = [
            "upgrade": "websocket", "connection": "upgrade", "sec-websocket-accept": WebSocketUpgrade.accept(key: key),
        ]
        if let subprotocol { headers.add(name: "sec-websocket-protocol", value: subprotocol) }
        guard Self.isWellFormed(headers) else {
            self.write(.text("Bad request", status: .badRequest), to: request, mustClose: true, context: context)
            return
        }
        self.timeout?.cancel()
        self.timeout = nil
        self.state = .upgraded
        context.write(
            self.wrapOutboundOut(
                .head(HTTPResponseHead(version: .http1_1, status: .switchingProtocols, headers: headers))),
            promise: nil)
        context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
        // The write may have found the peer gone; a session that begins now would never be told.
        guard context.channel.isActive else { return }
        do {
            try self.becomeWebSocket(makeSession, context: context)
        } catch {
            self.logger.error("cannot switch to WebSocket", metadata: ["error": "\(error)"])
            context.channel.close(promise: nil)
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
        let socket = WebSocket(channel: context.channel, limits: self.limits)
        let handler = WebSocketHandler(socket: socket, session: makeSession(socket), limits: self.limits)
        // The encoder goes first: the session may write frames as soon as it is opened.
        pipeline.removeHandler(context: encoder, promise: nil)
        try pipeline.addHandler(ByteToMessageHandler(WebSocketFrameDecoder(socket: socket)))
        try pipeline.addHandler(handler)
        pipeline.removeHandler(context: context, promise: nil)
        pipeline.removeHandler(context: pipelining, promise: nil)
        // Last, because bytes that came behind the request go to the frame decoder now.
        pipeline.removeHandler(context: decoder, promise: nil)
    }

    // MARK: Ends

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ServerIsDraining {
            self.draining = true
            if case .idle = self.state { context.close(promise: nil) }
            return
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let parser = error as? HTTPParserError else {
            context.close(promise: nil)
            return
        }
        switch self.state {
        case .idle, .receiving:
            // The decoder has stopped; there will be no other request.
            let status: HTTPResponseStatus = parser == .headerOverflow ? .requestHeaderFieldsTooLarge : .badRequest
            self.write(
                .text(status.reasonPhrase, status: status),
                to: HTTPRequestHead(version: .http1_1, method: .GET, uri: "/"), mustClose: true, context: context)
        case .answering, .writing, .ending:
            // Behind the last request: the reply under way still goes out, then its time runs out.
            self.draining = true
        case .upgraded:
            context.close(promise: nil)
        }
    }
}
