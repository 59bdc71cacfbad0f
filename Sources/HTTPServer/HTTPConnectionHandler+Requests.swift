import Logging
import NIOCore
import NIOHTTP1

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Takes requests in: finds the route, holds the body to its limits, and asks the handler once everything is there.
extension HTTPConnectionHandler {
    func received(_ part: HTTPServerRequestPart) {
        switch (part, self.phase) {
        case (.head(let head), .idle): self.received(head)
        case (.body(let bytes), .receiving): self.receivedBody(bytes)
        case (.end, .receiving): self.receivedEnd()
        default: break
        }
    }

    private func received(_ original: HTTPRequestHead) {
        var head = original
        let forwarded = self.serving.forwarded.apply(
            to: &head.headers, peer: self.info.peer, hasVerifiedCertificate: self.info.certificateSubject != nil)
        if forwarded.wasIgnored { self.serving.forwardedIgnored(from: self.info.peer) }
        let scan = HTTPHeadScan(head.headers)
        let request = HTTPRequest(head: head, body: ByteBuffer(), connection: self.info, forwarded: forwarded)
        let method = head.method
        let route = self.serving.router.route(method, path: request.path) ?? self.serving.router.fallback
        var exchange = HTTPExchange(id: self.exchange.id &+ 1, route: route)
        exchange.version = head.version
        exchange.isHead = method == .HEAD
        // Why not with an upgrade: the decoder takes what follows such a request as bytes of the other protocol.
        exchange.keepAlive = !self.info.isHTTP2 && head.isKeepAlive && !scan.asksForUpgrade
        if scan.asksForUpgrade { exchange.upgrade = head }
        if case .list? = route.options.cors?.origins { exchange.origin = head.headers.first(name: "origin") }
        exchange.contentLength = scan.contentLength
        exchange.request = request
        if self.serving.onExchange != nil { exchange.trace = HTTPExchangeTrace(request) }
        self.exchange = exchange
        self.phase = .receiving
        self.deadline = self.ticker.deadline(in: self.limits.requestTimeout)
        // HTTP/1 counts them in the decoder.
        if self.info.isHTTP2, head.headers.count > self.limits.headerCount {
            self.refuse(.text("Request Header Fields Too Large", status: .requestHeaderFieldsTooLarge))
            return
        }
        if let objection = scan.objection(head.version) {
            self.refuse(objection)
            return
        }
        if self.isDraining, !route.options.answersWhileDraining {
            self.refuse(route.options.drainRefusal())
            return
        }
        let limit = route.options.bodyBytes ?? self.limits.bodyBytes
        if let length = scan.contentLength, length > limit {
            self.refuseBody(route.options, limit)
        } else if scan.expectsContinue, head.version != .http1_0 {
            self.writeContinue()
        }
    }

    /// The head has come alone.
    ///
    /// Why: a client that writes head and body apart and leaves Nagle's algorithm on keeps the body until the head is
    /// acknowledged, for which the system takes 40 ms. The option holds for the moment only.
    func acknowledgeAtOnce(_ context: ChannelHandlerContext) {
        #if os(Linux)
            guard !self.info.isHTTP2 else { return }
            let quickly = ChannelOptions.Types.SocketOption(level: .tcp, name: .init(rawValue: TCP_QUICKACK))
            try? context.channel.syncOptions?.setOption(quickly, value: 1)
        #endif
    }

    private func receivedBody(_ bytes: ByteBuffer) {
        let count = bytes.readableBytes
        let route = self.exchange.route
        let limit = route.options.bodyBytes ?? self.limits.bodyBytes
        guard self.exchange.bodyBytes + count <= limit else {
            self.refuseBody(route.options, limit)
            return
        }
        guard self.serving.bodyBudget.take(count) else {
            self.refuse(route.options.refusal(.overloaded))
            return
        }
        self.exchange.bodyBytesTaken += count
        if self.exchange.bodyBytes == 0 {
            // The usual case: one piece, which stays where the socket put it.
            self.exchange.request?.body = bytes
        } else {
            if self.exchange.bodyBytes < 65_536, let length = self.exchange.contentLength {
                self.exchange.request?.body.reserveCapacity(min(length, limit, 1024 * 1024))
            }
            self.exchange.request?.body.writeImmutableBuffer(bytes)
        }
        self.exchange.bodyBytes += count
        self.exchange.bodyProgress += count
        if self.exchange.bodyProgress >= self.limits.minimumBodyProgress {
            self.exchange.bodyProgress = 0
            self.deadline = self.ticker.deadline(in: self.limits.requestTimeout)
        }
    }

    private func receivedEnd() {
        guard let context = self.context, let request = self.exchange.request else { return }
        self.exchange.request = nil
        self.exchange.isBodyComplete = true
        self.phase = .answering
        switch self.exchange.route.handler {
        case .direct(let handler):
            handler(request, HTTPResponder(self, exchange: self.exchange.id, eventLoop: context.eventLoop))
        case .task(let handler):
            let responder = HTTPResponder(self, exchange: self.exchange.id, eventLoop: context.eventLoop)
            self.exchange.work = Task { responder.answer(await handler(request)) }
        case .none:
            self.respond(to: self.exchange.id, .reply(HTTPRoute.notFound))
        }
    }

    /// Answers before the body has come, and takes no other request.
    private func refuse(_ reply: HTTPReply) {
        self.exchange.request = nil
        self.exchange.keepAlive = false
        self.phase = .answering
        self.respond(to: self.exchange.id, .reply(reply))
    }

    private func refuseBody(_ options: HTTPRouteOptions, _ limit: Int) {
        self.serving.counters.refusedBody()
        self.refuse(options.refusal(.bodyTooLarge(limit: limit)))
    }

    func refuse(_ error: HTTPParserError) {
        if self.phase == .idle {
            self.exchange = HTTPExchange(id: self.exchange.id &+ 1, route: self.serving.router.fallback)
        }
        // The decoder has stopped; there will be no other request.
        let status: HTTPResponseStatus = error == .headerOverflow ? .requestHeaderFieldsTooLarge : .badRequest
        let reason = error == .headerOverflow ? "the head of the request is too large" : Self.words(error)
        self.refuse(.text("\(status.reasonPhrase): \(reason)", status: status))
    }

    private static func words(_ error: HTTPParserError) -> String {
        switch error {
        case .invalidMethod: "the method is not one"
        case .invalidVersion: "the version of HTTP is not known"
        case .invalidHeaderToken: "a header field is malformed"
        case .invalidContentLength, .unexpectedContentLength: "Content-Length is malformed or stands beside chunks"
        case .invalidChunkSize: "the size of a chunk is malformed"
        case .invalidURL, .invalidPath: "the target is malformed"
        case .invalidEOFState, .closedConnection: "the request ended too early"
        default: "it is not HTTP/1.1"
        }
    }

    func releaseBody() {
        guard self.exchange.bodyBytesTaken > 0 else { return }
        self.serving.bodyBudget.giveBack(self.exchange.bodyBytesTaken)
        self.exchange.bodyBytesTaken = 0
    }
}
