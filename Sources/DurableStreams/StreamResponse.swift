import NIOCore

/// A response as a value; the endpoint puts it on the wire.
package struct StreamResponse: Sendable {
    package enum Body: Hashable, Sendable {
        case none
        case bytes(ByteBuffer)
        /// The stored bytes of the range that was read, framed as ``ContentFraming`` says.
        case content(ContentFraming)
        /// Server-sent events, to follow.
        case events
    }

    package var status: Int
    package var headers: [(name: String, value: String)]
    package var body: Body
    /// The reason of a refusal, for logs.
    package var errorCode: String?

    package init(status: Int, headers: [(name: String, value: String)] = [], body: Body = .none) {
        self.status = status
        self.headers = headers + Self.securityHeaders
        self.body = body
    }

    /// On every response, errors included.
    package static let securityHeaders: [(name: String, value: String)] = [
        ("X-Content-Type-Options", "nosniff"), ("Cross-Origin-Resource-Policy", "cross-origin"),
    ]

    /// The first value of a header; for tests and logs.
    package func header(_ name: StaticString) -> String? {
        self.headers.first { HeaderText.equalIgnoringCase($0.name, name) }?.value
    }
}

/// What stands around the stored bytes in a response.
package enum ContentFraming: Hashable, Sendable {
    /// The bytes as they are.
    case plain
    /// An array: `[`, the bytes without their last comma (if there are any), `]`.
    case jsonArray

    package var prefix: StaticString { self == .plain ? "" : "[" }
    package var suffix: StaticString { self == .plain ? "" : "]" }

    /// How many of `count` stored bytes are sent.
    package func keptBytes(of count: UInt64) -> UInt64 {
        self == .jsonArray && count > 0 ? count - 1 : count
    }

    /// Length of the whole body.
    package func length(of count: UInt64) -> UInt64 {
        self.keptBytes(of: count) + (self == .jsonArray ? 2 : 0)
    }
}
