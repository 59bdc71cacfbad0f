import Logging
import NIOCore
import NIOHTTP1

extension HTTPConnectionHandler {
    private static let lineEnd = ByteBuffer(string: "\r\n")
    private static let lastChunk = ByteBuffer(string: "0\r\n\r\n")

    func beginStream(
        _ status: HTTPResponseStatus, _ headers: HTTPHeaders, _ makeSession: (HTTPStream) -> any HTTPStreamSession,
        context: ChannelHandlerContext
    ) {
        guard HTTPHeadEncoder.isWellFormed(headers) else {
            self.serving.logger.error("a reply was dropped because its header fields are malformed")
            self.write(.text("Internal server error", status: .internalServerError), context: context)
            return
        }
        self.phase = .streaming
        self.beginUnknownLength(status, headers, context: context)
        guard !self.exchange.isHead, status.mayHaveResponseBody else {
            self.finish(context: context)
            return
        }
        let handle = HTTPStream(self, eventLoop: context.eventLoop)
        let session = makeSession(handle)
        guard self.phase == .streaming else {
            // Ended before it was known.
            session.ended()
            return
        }
        self.stream = (handle, session)
        session.opened()
        self.flush()
        if self.isDraining, self.phase == .streaming { session.draining() }
        if self.isInputClosed, self.phase == .streaming { self.abort() }
    }

    private var isChunked: Bool { !self.info.isHTTP2 && self.exchange.version != .http1_0 }

    /// The head of a response whose length is not known.
    func beginUnknownLength(
        _ status: HTTPResponseStatus, _ headers: HTTPHeaders, context: ChannelHandlerContext
    ) {
        // Without chunks only the end of the connection tells the end of the body.
        if !self.info.isHTTP2, !self.isChunked { self.exchange.keepAlive = false }
        let framing: HTTPBodyFraming = !status.mayHaveResponseBody ? .none : self.isChunked ? .chunked : .untilEnd
        self.writeHead(status, headers, framing, context: context)
    }

    func writePiece(_ bytes: ByteBuffer, promise: EventLoopPromise<Void>? = nil, context: ChannelHandlerContext) {
        guard self.isChunked, bytes.readableBytes > 0 else {
            self.writeBody(bytes, promise: promise, context: context)
            return
        }
        self.writeBytes(self.ticker.chunkHeader(for: bytes.readableBytes), context: context)
        self.writeBytes(bytes, context: context)
        self.writeBytes(Self.lineEnd, promise: promise, context: context)
    }

    func endUnknownLength(context: ChannelHandlerContext) {
        if self.isChunked { self.writeBytes(Self.lastChunk, context: context) }
        self.finish(context: context)
    }

    func writeToStream(_ bytes: ByteBuffer) {
        guard self.phase == .streaming, let context = self.context, bytes.readableBytes > 0 else { return }
        self.writePiece(bytes, context: context)
    }

    func writeToStream(_ chunk: HTTPSharedChunk) {
        guard self.phase == .streaming, let context = self.context, chunk.payload.readableBytes > 0 else { return }
        if self.isChunked {
            self.writeBytes(chunk.framed, context: context)
        } else {
            self.writeBody(chunk.payload, context: context)
        }
    }

    func endStream() {
        guard self.phase == .streaming, let context = self.context else { return }
        let stream = self.stream
        self.stream = nil
        self.endUnknownLength(context: context)
        stream?.handle.detach()
        stream?.session.ended()
    }
}
