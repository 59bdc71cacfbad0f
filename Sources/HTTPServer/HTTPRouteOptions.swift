import NIOCore
import NIOHTTP1

/// Why the server answers a request itself, before its handler is asked.
package enum HTTPRefusal: Hashable, Sendable {
    /// The body is larger than the route takes.
    case bodyTooLarge(limit: Int)
    /// The process holds as many bytes of bodies as it may.
    case overloaded

    /// What is said where the route has no words of its own.
    package var defaultReply: HTTPReply {
        switch self {
        case .bodyTooLarge(let limit):
            return .text("The request body is larger than \(limit) bytes", status: .payloadTooLarge)
        case .overloaded:
            var reply = HTTPReply.text("Too much is being received; try again", status: .serviceUnavailable)
            reply.headers.add(name: "retry-after", value: "1")
            return reply
        }
    }
}

/// Headers that tell browsers to keep their hands off; on every response of a route, also those that the server makes itself.
package struct HTTPSecurityHeaders: Hashable, Sendable {
    /// `X-Content-Type-Options: nosniff`.
    package var noSniff = true
    /// `Cross-Origin-Resource-Policy`, if any.
    package var crossOriginResourcePolicy: String?

    package init(crossOriginResourcePolicy: String? = nil) {
        self.crossOriginResourcePolicy = crossOriginResourcePolicy
    }

    var fields: [(name: String, value: String)] {
        var fields: [(name: String, value: String)] = []
        if self.noSniff { fields.append(("x-content-type-options", "nosniff")) }
        if let policy = self.crossOriginResourcePolicy { fields.append(("cross-origin-resource-policy", policy)) }
        return fields
    }
}

/// How the server treats the requests of one route.
package struct HTTPRouteOptions: Sendable {
    /// Bytes of a request body, chunked or not; nil means the limit of the listener.
    package var bodyBytes: Int?
    package var securityHeaders = HTTPSecurityHeaders()
    /// Adds the headers of a cross-origin answer to every response. The handler must not set them; it answers preflights, see
    /// ``CORSPolicy/preflight(_:)``.
    package var cors: CORSPolicy?
    /// Words of the route for answers that the server gives before the handler is asked.
    package var refusal: @Sendable (HTTPRefusal) -> HTTPReply = { $0.defaultReply }

    /// Whether requests that come while the server ends are answered; for what watches over the server. Such an answer must come
    /// at once.
    package var answersWhileDraining = false
    /// What such requests are told otherwise.
    package var drainRefusal: @Sendable () -> HTTPReply = {
        var reply = HTTPReply.text("The server is about to end; try again", status: .serviceUnavailable)
        reply.headers.add(name: "retry-after", value: "1")
        return reply
    }

    package init() {}
}
