import Logging
import NIOCore
import NIOHTTP1
import NIOPosix

/// Bodies that are packed on their way: piece by piece away from the event loop, the next when the peer has taken the last.
extension HTTPConnectionHandler {
    func write(
        _ status: HTTPResponseStatus, _ headers: HTTPHeaders, _ body: HTTPCompressedBody, context: ChannelHandlerContext
    ) {
        guard HTTPHeadEncoder.isWellFormed(headers) else {
            self.serving.logger.error("a reply was dropped because its header fields are malformed")
            self.write(.text("Internal server error", status: .internalServerError), context: context)
            return
        }
        let hasBody = status.mayHaveResponseBody
        self.phase = .sending
        self.beginUnknownLength(status, headers, context: context)
        guard hasBody, !self.exchange.isHead else {
            self.finish(context: context)
            return
        }
        self.packing = body
        self.packMore(body, context: context)
    }

    private func packMore(_ body: HTTPCompressedBody, context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        NIOThreadPool.singleton.runIfActive(eventLoop: context.eventLoop) { try body.next() }.whenComplete { result in
            let (handler, context) = bound.value
            // The peer may be gone.
            guard handler.phase == .sending, handler.packing === body else { return }
            switch result {
            case .success(let piece): handler.packed(piece.bytes, isLast: piece.isLast, body, context: context)
            case .failure(let error):
                handler.serving.logger.error("a body could not be packed", metadata: ["error": "\(error)"])
                // Only the end of the connection says that the body is not whole.
                handler.packing = nil
                handler.abort()
            }
        }
    }

    private func packed(
        _ bytes: ByteBuffer, isLast: Bool, _ body: HTTPCompressedBody, context: ChannelHandlerContext
    ) {
        if isLast {
            self.packing = nil
            if bytes.readableBytes > 0 { self.writePiece(bytes, context: context) }
            self.endUnknownLength(context: context)
            return
        }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let written = context.eventLoop.makePromise(of: Void.self)
        self.writePiece(bytes, promise: written, context: context)
        written.futureResult.whenSuccess {
            let (handler, context) = bound.value
            guard handler.phase == .sending, handler.packing === body else { return }
            handler.packMore(body, context: context)
        }
        self.flush()
    }
}
