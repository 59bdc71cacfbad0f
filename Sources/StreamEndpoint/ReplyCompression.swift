import DurableStreams
import HTTPServer
import NIOCore
import NIOHTTP1
import StreamDirectory

/// Which answers of reads are packed for clients that ask for it.
package struct CompressionPolicy: Sendable {
    /// Smaller bodies go as they are.
    package var minimumBytes = 1024
    /// Beyond it answers go as they are: each costs zlib's memory, a third of a megabyte.
    package var limit = HTTPCompressedBody.Limit(64)
    /// Up to here a body in memory is packed at once, on the event loop.
    static let bytesAtOnce = 16 << 10

    package init(minimumBytes: Int = 1024) {
        self.minimumBytes = minimumBytes
    }

    /// The coding for a body; nil leaves it as it is.
    func coding(_ accepted: AcceptedCodings, bytes: UInt64) -> ContentCoding? {
        bytes >= self.minimumBytes || (accepted.refusesPlain && bytes > 0) ? accepted.best : nil
    }
}

/// What the request for a read says about the answer.
struct ReadConditions: Sendable {
    var ifNoneMatch: String?
    var accepted = AcceptedCodings(nil)

    init(_ fields: RequestFields, _ request: HTTPRequest, _ services: StreamServices) {
        self.ifNoneMatch = fields.ifNoneMatch
        // Why not for HTTP/1.0: a body without a known length would cost the client its connection.
        guard services.compression != nil, request.head.version != .http1_0 else { return }
        self.accepted = AcceptedCodings(fields.acceptEncoding)
    }
}

extension StreamServices {
    /// Answers a read with a range: packed, as it is, or not at all when the client has it.
    func answer(
        _ reading: StreamReading, _ facts: ReadFacts, _ conditions: ReadConditions, _ kind: StreamCounters.ReadKind,
        _ responder: HTTPResponder
    ) {
        let compression = facts.contentType.isCompressible ? self.compression : nil
        let length = facts.framing.length(of: UInt64(reading.byteCount))
        let coding = compression?.coding(conditions.accepted, bytes: length)
        var response = StreamResponse.read(
            facts, policy: self.cache, ifNoneMatch: conditions.ifNoneMatch, coding: coding, varies: compression != nil)
        if response.status == 200 {
            self.counters.sent(reading.byteCount, kind)
            if let coding, let compression {
                if responder.reply(response, packed: reading, coding, compression.limit) { return }
                response = StreamResponse.read(facts, policy: self.cache, varies: true)
            }
        }
        responder.reply(response, content: reading)
    }
}

extension HTTPResponder {
    /// False, and no answer, when too many bodies are being packed.
    fileprivate func reply(
        _ response: StreamResponse, packed reading: StreamReading, _ coding: ContentCoding,
        _ limit: HTTPCompressedBody.Limit
    ) -> Bool {
        guard case .content(let framing) = response.body else { return false }
        let format: HTTPCompressedBody.Format =
            switch coding {
            case .gzip: .gzip
            case .deflate: .zlib
            }
        let kept = Int(framing.keptBytes(of: UInt64(reading.byteCount)))
        do {
            guard let body = HTTPCompressedBody(try Self.parts(reading, framing, kept), format, limit: limit) else {
                return false
            }
            if body.byteCount <= CompressionPolicy.bytesAtOnce, reading.isInMemory {
                self.reply(
                    HTTPReply(status: response.httpStatus, headers: response.httpHeaders, body: try body.whole()))
            } else {
                self.compressed(response.httpStatus, response.httpHeaders, body)
            }
        } catch {
            self.reply(StreamResponse.error(StreamError(.internalError), instance: nil))
        }
        return true
    }
}
