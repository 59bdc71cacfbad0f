import Logging
import NIOCore
import NIOHTTP1

extension HTTPConnectionHandler {
    /// Replies up to this size are copied behind their head, so that they leave in one piece of memory.
    private static let copiedBodyBytes = 16 * 1024

    func respond(to id: UInt64, _ response: HTTPResponse) {
        // The connection may have ended meanwhile; nothing may be written then.
        guard id == self.exchange.id, self.phase == .answering, let context = self.context, context.channel.isActive
        else { return }
        self.exchange.isAnswered = true
        self.serving.counters.answered(status: response.status)
        self.exchange.trace?.record.status = response.status
        self.dropCallbacks()
        self.releaseBody()
        switch response {
        case .reply(let reply): self.write(reply, context: context)
        case .parts(let status, let headers, let parts): self.write(status, headers, parts, context: context)
        case .compressed(let status, let headers, let body): self.write(status, headers, body, context: context)
        case .stream(let status, let headers, let makeSession):
            self.beginStream(status, headers, makeSession, context: context)
        case .webSocket(let subprotocol, let makeSession):
            self.upgrade(subprotocol, makeSession, context: context)
        }
    }

    // MARK: Whole replies

    func write(_ reply: HTTPReply, context: ChannelHandlerContext) {
        var reply = reply
        if !HTTPHeadEncoder.isWellFormed(reply.headers) {
            self.serving.logger.error("a reply was dropped because its header fields are malformed")
            reply = .text("Internal server error", status: .internalServerError)
        }
        let hasBody = reply.status.mayHaveResponseBody
        let length = self.announcedLength(reply.headers, reply.body.readableBytes)
        let facts = self.facts(hasBody ? length.map { .length($0) } ?? .none : .none)
        let body = hasBody && !self.exchange.isHead ? reply.body : ByteBuffer()
        if let trace = self.exchange.trace {
            trace.record.status = reply.status.code
            trace.record.errorCode = reply.errorCode
            trace.record.responseBytes = body.readableBytes
        }
        if self.info.isHTTP2 {
            self.writePart(.head(HTTPHeadEncoder.http2(reply.status, reply.headers, facts)), bytes: 0, context: context)
            if body.readableBytes > 0 {
                self.writePart(.body(.byteBuffer(body)), bytes: body.readableBytes, context: context)
            }
        } else {
            let isCopied = body.readableBytes <= Self.copiedBodyBytes
            var buffer = context.channel.allocator.buffer(
                capacity: self.exchange.route.headCapacity + (isCopied ? body.readableBytes : 0))
            HTTPHeadEncoder.writeHTTP1(reply.status, reply.headers, facts, to: &buffer)
            if isCopied { buffer.writeImmutableBuffer(body) }
            self.writeBytes(buffer, context: context)
            if !isCopied { self.writeBytes(body, context: context) }
        }
        self.finish(context: context)
    }

    /// For HEAD, where the handler has left the body out, its own word. Nil without one: nothing is better than a wrong length.
    private func announcedLength(_ headers: HTTPHeaders, _ count: Int) -> Int? {
        guard self.exchange.isHead, count == 0 else { return count }
        return headers.first(name: "content-length").flatMap { Int($0) }.flatMap { $0 >= 0 ? $0 : nil }
    }

    func facts(_ framing: HTTPBodyFraming) -> HTTPHeadFacts {
        let keepAlive = self.exchange.keepAlive && !self.isDraining
        let connection: StaticString? =
            !keepAlive ? "close" : self.exchange.version == .http1_0 ? "keep-alive" : nil
        return HTTPHeadFacts(
            version: self.exchange.version, framing: framing, connection: connection, date: self.ticker.date,
            route: self.exchange.route,
            allowedOrigin: self.exchange.route.options.cors?.namedOrigin(for: self.exchange.origin),
            identity: self.exchange.identity)
    }

    func writeContinue() {
        guard let context = self.context else { return }
        if self.info.isHTTP2 {
            self.writePart(.head(HTTPResponseHead(version: .http2, status: .continue)), bytes: 0, context: context)
        } else {
            self.writeBytes(ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n"), context: context)
        }
        self.flush()
    }

    // MARK: Pieces

    func writeHead(
        _ status: HTTPResponseStatus, _ headers: HTTPHeaders, _ framing: HTTPBodyFraming, context: ChannelHandlerContext
    ) {
        if self.info.isHTTP2 {
            self.writePart(
                .head(HTTPHeadEncoder.http2(status, headers, self.facts(framing))), bytes: 0, context: context)
        } else {
            var buffer = context.channel.allocator.buffer(capacity: self.exchange.route.headCapacity)
            HTTPHeadEncoder.writeHTTP1(status, headers, self.facts(framing), to: &buffer)
            self.writeBytes(buffer, context: context)
        }
        self.exchange.trace?.bodyStart = self.bytesWritten
    }

    func writeBody(_ bytes: ByteBuffer, promise: EventLoopPromise<Void>? = nil, context: ChannelHandlerContext) {
        if self.info.isHTTP2 {
            self.writePart(.body(.byteBuffer(bytes)), bytes: bytes.readableBytes, promise: promise, context: context)
        } else {
            self.writeBytes(bytes, promise: promise, context: context)
        }
    }

    func writeBytes(_ bytes: ByteBuffer, promise: EventLoopPromise<Void>? = nil, context: ChannelHandlerContext) {
        self.bytesWritten += bytes.readableBytes
        context.write(NIOAny(bytes), promise: promise)
    }

    private func writePart(
        _ part: HTTPServerResponsePart, bytes: Int, promise: EventLoopPromise<Void>? = nil,
        context: ChannelHandlerContext
    ) {
        guard bytes > 0 else {
            context.write(NIOAny(part), promise: promise)
            return
        }
        self.bytesWritten += bytes
        self.bytesUntaken += bytes
        let written = promise ?? context.eventLoop.makePromise(of: Void.self)
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        written.futureResult.whenComplete { _ in bound.value.bytesUntaken -= bytes }
        context.write(NIOAny(part), promise: written)
    }

    // MARK: After the response

    /// The response is written, but for the flush.
    func finish(context: ChannelHandlerContext) {
        self.exchangeEnded(isWhole: true)
        if self.info.isHTTP2 {
            self.finishHTTP2(context: context)
        } else if self.exchange.keepAlive, !self.isDraining {
            self.flush()
            if context.channel.isWritable { self.becomeIdle() } else { self.phase = .writing }
        } else {
            self.endConnection()
        }
    }

    private func finishHTTP2(context: ChannelHandlerContext) {
        self.phase = .ending
        // The stream closes itself once both sides have ended; until then the peer's taking is watched.
        self.deadline = .distantFuture
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.whenComplete { _ in
            let (handler, context) = bound.value
            handler.deadline = handler.ticker.deadline(in: handler.limits.lingerTimeout)
            // Nobody wants the rest of the body.
            if !handler.exchange.isBodyComplete { context.close(promise: nil) }
        }
        context.write(NIOAny(HTTPServerResponsePart.end(nil)), promise: written)
        self.flush()
    }

    func becomeIdle() {
        self.phase = .idle
        self.deadline = self.ticker.deadline(in: self.limits.keepAliveTimeout)
        if self.isDraining {
            self.endConnection()
        } else {
            self.serveAhead()
            self.endIfNothingFollows()
        }
    }

    /// Closes our half once everything is taken; then reads until the peer closes its own, or for a moment.
    func endConnection() {
        guard let context = self.context, self.phase != .ending, self.phase != .closed else { return }
        self.phase = .ending
        self.deadline = .distantFuture
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.whenComplete { result in
            let (handler, context) = bound.value
            guard case .success = result, handler.phase == .ending else { return }
            handler.deadline = handler.ticker.deadline(in: handler.limits.lingerTimeout)
            context.close(mode: .output, promise: nil)
        }
        context.write(NIOAny(ByteBuffer()), promise: written)
        self.flush()
        self.resumeReading()
    }
}
