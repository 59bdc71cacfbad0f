import DurableStreams
import HTTPServer
import NIOCore
import NIOHTTP1
import StreamDirectory

extension StreamResponse {
    /// The headers that the server does not add to every response of the route by itself.
    var httpHeaders: HTTPHeaders {
        var headers = HTTPHeaders()
        headers.reserveCapacity(self.headers.count)
        for (name, value) in self.headers where !Self.isRouteHeader(name) { headers.add(name: name, value: value) }
        return headers
    }

    private static func isRouteHeader(_ name: String) -> Bool {
        switch name.utf8.count {
        case 22: return name == "X-Content-Type-Options"
        case 28: return name == "Cross-Origin-Resource-Policy"
        default: return false
        }
    }

    var httpStatus: HTTPResponseStatus { HTTPResponseStatus(statusCode: self.status) }

    /// As a reply; content that was read is not part of it.
    package var httpReply: HTTPReply {
        var body = ByteBuffer()
        if case .bytes(let bytes) = self.body { body = bytes }
        var reply = HTTPReply(status: self.httpStatus, headers: self.httpHeaders, body: body)
        reply.errorCode = self.errorCode
        return reply
    }
}

extension StreamReading {
    var isInMemory: Bool { self.pieces.allSatisfy { if case .bytes = $0 { true } else { false } } }
}

extension HTTPResponder {
    func reply(_ response: StreamResponse) {
        self.reply(response.httpReply)
    }

    /// A response with the content of a range that was read; small content in memory is one buffer, files are sent as
    /// they are.
    func reply(_ response: StreamResponse, content reading: StreamReading) {
        guard case .content(let framing) = response.body else {
            self.reply(response.httpReply)
            return
        }
        if reading.pieces.count <= 1, framing == .plain {
            switch reading.pieces.first {
            case nil: return self.reply(response.httpReply)
            case .bytes(let bytes):
                return self.reply(HTTPReply(status: response.httpStatus, headers: response.httpHeaders, body: bytes))
            case .file, .records: break
            }
        }
        let kept = Int(framing.keptBytes(of: UInt64(reading.byteCount)))
        if reading.isInMemory, kept <= Self.joinLimit {
            var body = ByteBufferAllocator().buffer(capacity: kept + 2)
            body.writeStaticString(framing.prefix)
            var left = kept
            for case .bytes(let bytes) in reading.pieces {
                let count = min(left, bytes.readableBytes)
                bytes.withUnsafeReadableBytes { _ = body.writeBytes(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
                left -= count
            }
            body.writeStaticString(framing.suffix)
            self.reply(HTTPReply(status: response.httpStatus, headers: response.httpHeaders, body: body))
            return
        }
        do {
            self.parts(response.httpStatus, response.httpHeaders, try Self.parts(reading, framing, kept))
        } catch {
            self.reply(StreamResponse.error(StreamError(.internalError), instance: nil))
        }
    }

    /// Up to here a copy costs less than another write.
    private static let joinLimit = 32 << 10

    static func parts(_ reading: StreamReading, _ framing: ContentFraming, _ kept: Int) throws -> [HTTPBodyPart]
    {
        var parts: [HTTPBodyPart] = []
        parts.reserveCapacity(reading.pieces.count + 2)
        if framing == .jsonArray { parts.append(.bytes(ByteBuffer(staticString: framing.prefix))) }
        var left = kept
        for piece in reading.pieces {
            let count = min(left, piece.count)
            left -= count
            guard count > 0 else { continue }
            switch piece {
            case .bytes(let bytes):
                parts.append(.bytes(bytes.getSlice(at: bytes.readerIndex, length: count) ?? bytes))
            case .file(let slice):
                if let descriptor = slice.descriptor {
                    parts.append(
                        .file(
                            HTTPFileSlice(
                                descriptor: descriptor, owner: slice.file, offset: Int(slice.offset), count: count)))
                } else {
                    var bytes = try slice.read()
                    parts.append(.bytes(bytes.readSlice(length: count) ?? bytes))
                }
            case .records(let slice):
                parts.append(
                    .pulled(HTTPPulledBytes(count: count) { start, count in try slice.read(from: start, count: count) }))
            }
        }
        if framing == .jsonArray { parts.append(.bytes(ByteBuffer(staticString: framing.suffix))) }
        return parts
    }
}
