import NIOCore
import NIOHTTP1

/// One request on its way, and what its answer needs to know about it.
struct HTTPExchange {
    enum Callback {
        case gone(@Sendable () -> Void)
        case drain(@Sendable () -> Void)
        case timeout(TimeAmount, @Sendable () -> Void)
    }

    /// Tells answers to earlier requests of the connection from those to this one.
    var id: UInt64
    var route: HTTPRoute
    /// Until the handler has it.
    var request: HTTPRequest?
    var version: HTTPVersion = .http1_1
    var isHead = false
    var keepAlive = false
    /// What a WebSocket handshake is checked against; only for requests that ask for an upgrade.
    var upgrade: HTTPRequestHead?
    /// Who asks, as header fields of the answer.
    var identity: HTTPHeaders?
    /// Of the web page, where the route has a list.
    var origin: String?
    var contentLength: Int?
    var bodyBytes = 0
    /// Bytes taken from the process-wide budget.
    var bodyBytesTaken = 0
    /// Bytes that have come since the clock of the request was last set back.
    var bodyProgress = 0
    var isBodyComplete = false
    var isAnswered = false
    /// Where a log of requests is kept.
    var trace: HTTPExchangeTrace?
    var work: Task<Void, Never>?
    var onGone: (@Sendable () -> Void)?
    var onDrain: (@Sendable () -> Void)?
    var onTimeout: (at: NIODeadline, body: @Sendable () -> Void)?

    init(id: UInt64, route: HTTPRoute) {
        self.id = id
        self.route = route
    }
}

/// Facts about a request head, found in one walk over its fields.
struct HTTPHeadScan {
    var contentLength: Int?
    var expectsContinue = false
    var asksForUpgrade = false
    var hostCount = 0
    /// The body is coded in a way that is not undone here.
    var isContentEncoded = false
    /// The body is sent in a way other than chunks.
    var hasUnknownTransferCoding = false

    /// Why a request with this head is refused, whatever its path; nil if it is not.
    func objection(_ version: HTTPVersion) -> HTTPReply? {
        // RFC 9112, section 3.2: exactly one in HTTP/1.1, and never two.
        if version.major < 2, self.hostCount > 1 || self.hostCount == 0 && version != .http1_0 {
            return .text("Bad Request: there must be exactly one Host field", status: .badRequest)
        }
        if self.hasUnknownTransferCoding {
            return .text("Not Implemented: the only Transfer-Encoding is chunked", status: .notImplemented)
        }
        if self.isContentEncoded {
            return .text(
                "Unsupported Media Type: bodies with a Content-Encoding are not taken", status: .unsupportedMediaType)
        }
        return nil
    }

    init(_ headers: HTTPHeaders) {
        for (name, value) in headers {
            switch name.utf8.count {
            case 4 where name.lowercased() == "host":
                self.hostCount += 1
            case 16 where name.lowercased() == "content-encoding":
                self.isContentEncoded = self.isContentEncoded || !value.isEmpty && value.lowercased() != "identity"
            case 17 where name.lowercased() == "transfer-encoding":
                self.hasUnknownTransferCoding = self.hasUnknownTransferCoding || value.lowercased() != "chunked"
            case 6 where name.lowercased() == "expect":
                self.expectsContinue = self.expectsContinue || value.lowercased() == "100-continue"
            case 7 where name.lowercased() == "upgrade":
                self.asksForUpgrade = true
            case 14 where name.lowercased() == "content-length":
                self.contentLength = Int(value)
            default: break
            }
        }
    }
}
