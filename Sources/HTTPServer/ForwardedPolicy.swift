import NIOCore
import NIOHTTP1
import WebAddresses

/// What a trusted proxy told about the client of a request. Everything is nil without one.
package struct ForwardedClient: Hashable, Sendable {
    /// Address of the client, without a port.
    package var address: String?
    /// `http` or `https`.
    package var scheme: String?
    /// Host, and port if any, that the client asked for.
    package var host: String?
    /// Who the proxy says the client is.
    package var identity: String?
    /// Something was said by a peer that is not trusted, and was not listened to.
    package var wasIgnored = false

    package init(address: String? = nil, scheme: String? = nil, host: String? = nil, identity: String? = nil) {
        self.address = address
        self.scheme = scheme
        self.host = host
        self.identity = identity
    }
}

/// Whether and from whom the server believes headers that name the client behind a proxy.
///
/// A request reaches its handler without any of these headers, unless a trusted peer sent those of the configured family; so no handler
/// can be fooled by reading one.
package struct ForwardedPolicy: Hashable, Sendable {
    package enum Family: Hashable, Sendable {
        /// Nobody is believed.
        case none
        /// `X-Forwarded-For`, `-Proto`, `-Host`.
        case xForwarded
        /// `Forwarded` (RFC 7239).
        case forwarded
    }

    package var family: Family
    package var trusted: [IPNetwork]
    /// Lower-case name of a header in which the proxy names the user. Believed only from a peer with a verified certificate.
    package var identityHeader: String?

    package init(family: Family = .none, trusted: [IPNetwork] = [], identityHeader: String? = nil) {
        self.family = family
        self.trusted = trusted
        self.identityHeader = identityHeader?.lowercased()
    }

    package static let off = ForwardedPolicy()

    /// Takes the headers away that are not believed, and returns what the others say.
    package func apply(
        to headers: inout HTTPHeaders, peer: SocketAddress?, hasVerifiedCertificate: Bool
    ) -> ForwardedClient {
        guard headers.contains(where: { self.isAboutClient($0.name) }) else { return ForwardedClient() }
        let isTrusted =
            self.family != .none
            && peer.flatMap { IPAddress($0) }.map { address in self.trusted.contains { $0.contains(address) } } ?? false
        var client = ForwardedClient()
        if isTrusted {
            switch self.family {
            case .none: break
            case .xForwarded: client = Self.xForwarded(headers)
            case .forwarded: client = Self.forwarded(headers)
            }
            if hasVerifiedCertificate, let name = self.identityHeader {
                let values = headers[name]
                // Two of them: one may be the client's own.
                if values.count == 1, !values[0].isEmpty { client.identity = values[0] }
            }
        }
        var kept = HTTPHeaders()
        kept.reserveCapacity(headers.count)
        for (name, value) in headers {
            guard self.isAboutClient(name) else {
                kept.add(name: name, value: value)
                continue
            }
            if isTrusted && self.isBelieved(name, client) {
                kept.add(name: name, value: value)
            } else if !isTrusted, self.family != .none {
                client.wasIgnored = true
            }
        }
        headers = kept
        return client
    }

    private func isAboutClient(_ name: String) -> Bool {
        let length = name.utf8.count
        if length >= 9 {
            let first = name.utf8[name.utf8.startIndex] | 0x20
            if first == UInt8(ascii: "f"), length == 9, name.lowercased() == "forwarded" { return true }
            if first == UInt8(ascii: "x"), name.prefix(11).lowercased().hasPrefix("x-forwarded") { return true }
        }
        guard let identity = self.identityHeader, identity.utf8.count == length else { return false }
        return name.lowercased() == identity
    }

    private func isBelieved(_ name: String, _ client: ForwardedClient) -> Bool {
        let name = name.lowercased()
        if name == self.identityHeader { return client.identity != nil }
        switch self.family {
        case .none: return false
        case .xForwarded: return name.hasPrefix("x-forwarded")
        case .forwarded: return name == "forwarded"
        }
    }

    // MARK: Values

    private static func xForwarded(_ headers: HTTPHeaders) -> ForwardedClient {
        func first(_ name: String) -> String? {
            headers.first(name: name).map { value in
                Self.trimmed(value.split(separator: ",", maxSplits: 1, omittingEmptySubsequences: false)[0])
            }
        }
        return ForwardedClient(
            address: first("x-forwarded-for").flatMap(Self.address),
            scheme: first("x-forwarded-proto").flatMap(Self.scheme),
            host: first("x-forwarded-host").flatMap { Self.isAuthority($0) ? $0 : nil })
    }

    /// The first element of the first `Forwarded` field. A malformed one says nothing.
    private static func forwarded(_ headers: HTTPHeaders) -> ForwardedClient {
        guard let field = headers.first(name: "forwarded"), let pairs = ForwardedElement.first(of: field) else {
            return ForwardedClient()
        }
        return ForwardedClient(
            address: pairs["for"].flatMap(Self.address), scheme: pairs["proto"].flatMap(Self.scheme),
            host: pairs["host"].flatMap { Self.isAuthority($0) ? $0 : nil })
    }

    /// An address that may have a port: `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`. Obfuscated names and `unknown` say nothing.
    private static func address(_ text: String) -> String? {
        var host = text[...]
        if host.first == "[" {
            guard let end = host.firstIndex(of: "]") else { return nil }
            let port = host[host.index(after: end)...]
            guard port.isEmpty || Self.isPort(port) else { return nil }
            host = host[host.index(after: host.startIndex)..<end]
        } else if host.utf8.count(where: { $0 == UInt8(ascii: ":") }) == 1, let colon = host.firstIndex(of: ":") {
            guard Self.isPort(host[colon...]) else { return nil }
            host = host[..<colon]
        }
        let bare = String(host)
        return IPAddress(bare) == nil ? nil : bare
    }

    /// A colon and a port number.
    private static func isPort(_ text: Substring) -> Bool {
        let digits = text.dropFirst()
        return text.first == ":" && (1...5).contains(digits.utf8.count)
            && digits.utf8.allSatisfy { (0x30...0x39).contains($0) } && (Int(digits) ?? .max) <= 65_535
    }

    private static func scheme(_ text: String) -> String? {
        switch text.lowercased() {
        case "http": return "http"
        case "https": return "https"
        default: return nil
        }
    }

    /// Whether a text can stand for host and port in a URL, and nothing else.
    static func isAuthority(_ text: String) -> Bool {
        var host = text[...]
        if host.first == "[" {
            guard let end = host.firstIndex(of: "]"),
                IPAddress(String(host[host.index(after: host.startIndex)..<end])) != nil
            else { return false }
            let port = host[host.index(after: end)...]
            return port.isEmpty || Self.isPort(port)
        }
        if let colon = host.firstIndex(of: ":") {
            guard Self.isPort(host[colon...]) else { return false }
            host = host[..<colon]
        }
        return (1...255).contains(host.utf8.count)
            && host.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
                    return true
                default: return false
                }
            }
    }

    static func trimmed(_ text: Substring) -> String {
        var text = text
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return String(text)
    }
}
