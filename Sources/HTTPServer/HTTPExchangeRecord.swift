import NIOCore
import NIOHTTP1

/// A request and what became of it, for whoever keeps a log of requests.
package struct HTTPExchangeRecord: Sendable {
    package let method: String
    /// As it was sent, without the query.
    package let path: String
    package let query: String
    /// Of HTTP: `1.0`, `1.1` or `2`.
    package let version: String
    package let isSecure: Bool
    package let clientAddress: String?
    package let userAgent: String?
    /// Header fields that say who asked, as the route found out.
    package var identity: HTTPHeaders = [:]
    /// Nil when the client left before there was an answer.
    package var status: UInt?
    /// What the answer says about its reason in the words of the route.
    package var errorCode: String?
    /// Bytes of bodies.
    package var requestBytes = 0
    package var responseBytes = 0
    /// From the head of the request to the end of the answer.
    package var nanoseconds: Int64 = 0
    /// Whether the whole answer was handed to the connection.
    package var isWhole = false

    init(_ request: HTTPRequest) {
        self.method = request.head.method.rawValue
        self.path = request.rawPath
        self.query = request.query
        let version = request.head.version
        self.version = request.connection.isHTTP2 ? "2" : "\(version.major).\(version.minor)"
        self.isSecure = request.isSecure
        self.clientAddress = request.remoteAddress
        self.userAgent = request.head.headers.first(name: "user-agent")
    }
}

/// The record of an exchange under way. Made only where somebody wants to have it. Confined to its event loop.
final class HTTPExchangeTrace {
    var record: HTTPExchangeRecord
    let begun = NIODeadline.now()
    /// What the connection had written when the body began.
    var bodyStart: Int?

    init(_ request: HTTPRequest) {
        self.record = HTTPExchangeRecord(request)
    }
}

extension HTTPConnectionHandler {
    func identify(_ id: UInt64, _ fields: HTTPHeaders) {
        guard id == self.exchange.id, self.phase == .answering else { return }
        self.exchange.identity = fields
        self.exchange.trace?.record.identity = fields
    }

    /// The answer is out, or there will be none: says so once.
    func exchangeEnded(isWhole: Bool) {
        guard let trace = self.exchange.trace else { return }
        self.exchange.trace = nil
        trace.record.isWhole = isWhole
        trace.record.requestBytes = self.exchange.bodyBytes
        if let start = trace.bodyStart { trace.record.responseBytes = self.bytesWritten - start }
        trace.record.nanoseconds = (NIODeadline.now() - trace.begun).nanoseconds
        self.serving.onExchange?(trace.record)
    }
}
