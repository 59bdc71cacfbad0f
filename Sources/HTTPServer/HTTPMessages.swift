import NIOCore
import NIOHTTP1
import WebAddresses

/// A request whose body has arrived.
package struct HTTPRequest: Sendable {
    /// The head without what a proxy said, see ``ForwardedPolicy``.
    package var head: HTTPRequestHead
    package var body: ByteBuffer
    /// Decoded path, without the query.
    package var path: String
    /// The path as it was sent, still encoded.
    package var rawPath: String
    /// The part after `?`, as sent; empty if there is none.
    package var query: String
    package let connection: HTTPConnectionInfo
    /// What a trusted proxy told about the client.
    package let forwarded: ForwardedClient

    package init(
        head: HTTPRequestHead, body: ByteBuffer, connection: HTTPConnectionInfo = .none,
        forwarded: ForwardedClient = ForwardedClient()
    ) {
        self.head = head
        self.body = body
        self.connection = connection
        self.forwarded = forwarded
        let target = Self.originForm(head.uri)
        if let mark = target.utf8.firstIndex(of: UInt8(ascii: "?")) {
            self.rawPath = String(target[..<mark])
            self.query = String(target[target.utf8.index(after: mark)...])
        } else {
            self.rawPath = String(target)
            self.query = ""
        }
        // What cannot be decoded stays as it is, and names nothing.
        self.path =
            self.rawPath.utf8.contains(UInt8(ascii: "%"))
            ? PercentCoding.decoded(self.rawPath) ?? self.rawPath : self.rawPath
    }

    package var eventLoop: any EventLoop { self.connection.eventLoop }
    package var isSecure: Bool { self.connection.isSecure }
    package var certificateSubject: String? { self.connection.certificateSubject }
    /// Address of the client: as a trusted proxy says, or the peer's.
    package var remoteAddress: String? { self.forwarded.address ?? self.connection.peer?.ipAddress }
    /// Scheme and host as the client sees them, such as `https://streams.example:8443`; nil if the request names no usable host.
    package var origin: String? {
        guard let host = self.forwarded.host ?? self.ownHost else { return nil }
        return "\(self.forwarded.scheme ?? (self.connection.isSecure ? "https" : "http"))://\(host)"
    }

    private var ownHost: String? {
        self.head.headers.first(name: "host").flatMap { ForwardedPolicy.isAuthority($0) ? $0 : nil }
    }

    /// Path and query of a target that may be absolute (RFC 9112, section 3.2.2).
    private static func originForm(_ target: String) -> Substring {
        if target.utf8.first == UInt8(ascii: "/") { return target[...] }
        let lowercased = target.prefix(8).lowercased()
        guard lowercased.hasPrefix("http://") || lowercased.hasPrefix("https://") else { return target[...] }
        let authority = target.dropFirst(lowercased.hasPrefix("https://") ? 8 : 7)
        guard let slash = authority.firstIndex(where: { $0 == "/" || $0 == "?" }) else { return "/" }
        return authority[slash] == "/" ? authority[slash...] : "/" + authority[slash...]
    }

    /// The first value of a query parameter, decoded; nil if it is absent.
    package func queryValue(_ name: String) -> String? {
        for pair in self.query.split(separator: "&") {
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard PercentCoding.decoded(halves[0], plusIsSpace: true) == name else { continue }
            return halves.count > 1 ? PercentCoding.decoded(halves[1], plusIsSpace: true) : ""
        }
        return nil
    }
}
