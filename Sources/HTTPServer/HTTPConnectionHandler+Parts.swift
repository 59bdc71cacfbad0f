import Logging
import NIOCore
import NIOHTTP1
import NIOPosix

/// A body made of pieces on its way to the peer.
struct HTTPSending {
    var parts: [HTTPBodyPart]
    var index = 0
    /// Bytes of the current file that were handed on.
    var fileBytes = 0
    /// File bytes handed on that the peer has not taken.
    var untaken = 0
    /// A piece is being read from a file.
    var isReading = false
    /// The end of what was last handed to the kernel, from the start of its slice.
    var window: (slice: HTTPFileSlice, end: Int)?
}

extension HTTPConnectionHandler {
    func write(
        _ status: HTTPResponseStatus, _ headers: HTTPHeaders, _ parts: [HTTPBodyPart], context: ChannelHandlerContext
    ) {
        let length = parts.reduce(0) { $0 + $1.count }
        guard HTTPHeadEncoder.isWellFormed(headers), status.mayHaveResponseBody, !self.exchange.isHead, length > 0
        else {
            var headers = headers
            headers.replaceOrAdd(name: "content-length", value: String(length))
            self.write(HTTPReply(status: status, headers: headers), context: context)
            return
        }
        self.phase = .sending
        self.writeHead(status, headers, .length(length), context: context)
        self.sending = HTTPSending(parts: parts)
        self.sendMore(context: context)
    }

    /// Hands on as much as the window allows. Called again when something was taken, or read.
    private func sendMore(context: ChannelHandlerContext) {
        while self.phase == .sending, let sending = self.sending, sending.index < sending.parts.count {
            switch sending.parts[sending.index] {
            case .bytes(let bytes):
                if bytes.readableBytes > 0 { self.writeBody(bytes, context: context) }
                self.sending?.index += 1
            case .file(let slice):
                guard sending.fileBytes < slice.count else {
                    self.sending?.index += 1
                    self.sending?.fileBytes = 0
                    continue
                }
                let goesOn =
                    self.info.isSecure || self.info.isHTTP2
                    ? self.readPiece(slice.count, sending, context: context) { try slice.read(from: $0, count: $1) }
                    : self.sendFile(slice, sending, context: context)
                guard goesOn else {
                    self.flush()
                    return
                }
            case .pulled(let bytes):
                guard sending.fileBytes < bytes.count else {
                    self.sending?.index += 1
                    self.sending?.fileBytes = 0
                    continue
                }
                guard self.readPiece(bytes.count, sending, context: context, bytes.read) else {
                    self.flush()
                    return
                }
            }
        }
        guard self.phase == .sending, let sending = self.sending, sending.index == sending.parts.count else { return }
        guard sending.untaken == 0 else {
            self.flush()
            return
        }
        self.sending = nil
        self.finish(context: context)
    }

    /// The kernel sends the next piece. Returns false when nothing more can be handed on now.
    private func sendFile(_ slice: HTTPFileSlice, _ sending: HTTPSending, context: ChannelHandlerContext) -> Bool {
        guard sending.untaken < self.limits.fileWindowBytes else { return false }
        let count = min(slice.count - sending.fileBytes, self.limits.fileWindowBytes)
        let end = sending.fileBytes + count
        guard slice.reaches(end) else {
            self.fileIsTooShort()
            return false
        }
        self.sending?.fileBytes = end
        self.sending?.untaken += count
        self.sending?.window = (slice, end)
        // Why one handle for each piece: a handle serves one connection at a time, while the descriptor is shared by many.
        let handle = NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: slice.descriptor)
        let start = slice.offset + end - count
        let region = FileRegion(fileHandle: handle, readerIndex: start, endIndex: start + count)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.whenComplete { result in
            _ = try? handle.takeDescriptorOwnership()
            // Holds the file open until here.
            withExtendedLifetime(slice) {}
            let (handler, context) = bound.value
            handler.pieceTaken(count, result, context: context)
        }
        self.bytesWritten += count
        context.write(NIOAny(IOData.fileRegion(region)), promise: written)
        return true
    }

    /// Reads the next piece away from the event loop, once the last one is taken.
    private func readPiece(
        _ length: Int, _ sending: HTTPSending, context: ChannelHandlerContext,
        _ read: @escaping @Sendable (Int, Int) throws -> ByteBuffer
    ) -> Bool {
        guard sending.untaken == 0, !sending.isReading else { return false }
        self.sending?.isReading = true
        let start = sending.fileBytes
        let count = min(length - start, self.limits.fileChunkBytes)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        NIOThreadPool.singleton.runIfActive(eventLoop: context.eventLoop) { try read(start, count) }
            .whenComplete { result in
                let (handler, context) = bound.value
                handler.pieceRead(result, count: count, context: context)
            }
        return false
    }

    private func pieceRead(_ result: Result<ByteBuffer, any Error>, count: Int, context: ChannelHandlerContext) {
        guard self.phase == .sending, self.sending != nil else { return }
        guard case .success(let bytes) = result, bytes.readableBytes == count else {
            self.fileIsTooShort()
            return
        }
        self.sending?.isReading = false
        self.sending?.fileBytes += count
        self.sending?.untaken += count
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let written = context.eventLoop.makePromise(of: Void.self)
        self.writeBody(bytes, promise: written, context: context)
        written.futureResult.whenComplete { result in
            let (handler, context) = bound.value
            handler.pieceTaken(count, result, context: context)
        }
        self.flush()
    }

    private func pieceTaken(_ count: Int, _ result: Result<Void, any Error>, context: ChannelHandlerContext) {
        guard self.phase == .sending, self.sending != nil else { return }
        guard case .success = result else {
            self.abort()
            return
        }
        self.sending?.untaken -= count
        // Why not at once: this may be the middle of a flush, which would not see what is written now.
        let bound = NIOLoopBound((self, context, self.exchange.id), eventLoop: context.eventLoop)
        context.eventLoop.execute {
            let (handler, context, id) = bound.value
            guard handler.exchange.id == id, handler.sending != nil else { return }
            handler.sendMore(context: context)
        }
    }

    /// The length was announced; only the end of the connection says that it was wrong.
    private func fileIsTooShort() {
        self.serving.logger.error("a part of a response cannot be read; the connection is ended")
        self.sending = nil
        self.abort()
    }

    /// The kernel sends nothing, again and again, when the file lost what it is to send.
    func checkFile() {
        guard let window = self.sending?.window, !window.slice.reaches(window.end) else { return }
        self.fileIsTooShort()
    }
}
