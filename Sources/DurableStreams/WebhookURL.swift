import WebAddresses

/// The address of a webhook, checked so that a subscription can not make this service call what it should not.
package struct WebhookURL: Hashable, Sendable {
    package let text: String
    package let isSecure: Bool
    /// Lower case, without brackets.
    package let host: String
    package let port: Int
    /// Path and query, beginning with a slash.
    package let target: String
    /// Whether the host is this machine, which only the exception for development allows.
    package let isLocal: Bool

    package static let maximumLength = 2048

    /// Takes a URL apart and applies the rules that need no name service.
    ///
    /// - Parameter allowsLocalPlain: development: `http` to `localhost` and `127.0.0.x`.
    package init(_ text: String, allowsLocalPlain: Bool) throws(SubscriptionError) {
        func rejected(_ reason: String) -> SubscriptionError { SubscriptionError(.webhookURLRejected, reason) }
        guard text.utf8.count <= Self.maximumLength, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }),
            !text.contains("\\")
        else { throw rejected("The webhook URL has characters that do not belong there, or is too long.") }
        let rest: Substring
        let lowered = text.lowercased()
        if lowered.hasPrefix("https://") {
            self.isSecure = true
            rest = text.dropFirst(8)
        } else if lowered.hasPrefix("http://") {
            self.isSecure = false
            rest = text.dropFirst(7)
        } else {
            throw rejected("A webhook URL must begin with https://.")
        }
        guard !rest.contains("#") else { throw rejected("A webhook URL must not have a fragment.") }
        let authorityEnd = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        let authority = rest[..<authorityEnd]
        guard !authority.contains("@") else { throw rejected("A webhook URL must not hold credentials.") }
        var host: Substring
        var portText: Substring?
        if authority.hasPrefix("[") {
            guard let close = authority.firstIndex(of: "]") else { throw rejected("The host is malformed.") }
            host = authority[authority.index(after: authority.startIndex)..<close]
            let behind = authority[authority.index(after: close)...]
            guard behind.isEmpty || behind.hasPrefix(":"), IPAddress(host) != nil, host.contains(":") else {
                throw rejected("The host is malformed.")
            }
            portText = behind.isEmpty ? nil : behind.dropFirst()
        } else {
            let parts = authority.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            host = parts[0]
            portText = parts.count > 1 ? parts[1] : nil
            guard !host.isEmpty,
                host.utf8.allSatisfy({ HeaderText.isTokenByte($0) && !"!#$%&'*+^`|~".utf8.contains($0) })
            else { throw rejected("The host is malformed.") }
        }
        let name = host.hasSuffix(".") ? host.dropLast().lowercased() : host.lowercased()
        guard !name.isEmpty else { throw rejected("The host is malformed.") }
        if let portText {
            guard let number = HeaderText.decimal(portText, maximum: 65_535), number > 0 else {
                throw rejected("The port is malformed.")
            }
            self.port = Int(number)
        } else {
            self.port = self.isSecure ? 443 : 80
        }

        var isLocal = name == "localhost" || name.hasSuffix(".localhost")
        if let address = IPAddress(name) {
            let isDevelopment: Bool
            if case .v4(let value) = address { isDevelopment = value >> 8 == 127 << 16 } else { isDevelopment = false }
            isLocal = isDevelopment
            guard address.isPublic || (isDevelopment && allowsLocalPlain && !self.isSecure) else {
                throw rejected("The webhook host is not a public address.")
            }
        } else if Self.looksNumeric(name) {
            // Forms such as 2130706433, 0x7f.1 or 127.1, which some resolvers take for addresses.
            throw rejected("The webhook host is not a name nor a plain address.")
        }
        if isLocal {
            guard allowsLocalPlain, !self.isSecure else { throw rejected("The webhook host is this machine.") }
        } else if !self.isSecure {
            throw rejected("A webhook URL must begin with https://.")
        }
        self.isLocal = isLocal
        self.host = name
        self.text = text
        let target = String(rest[authorityEnd...])
        self.target = target.hasPrefix("/") ? target : "/" + target
    }

    private static func looksNumeric(_ name: String) -> Bool {
        guard let last = name.split(separator: ".").last else { return true }
        return last.utf8.first.map { $0 &- UInt8(ascii: "0") < 10 } ?? true
    }

    /// Whether a connection may be made to an address that the host resolved to. Every answer of the name service must
    /// pass, and the connection must go to one of those checked.
    package func allows(_ address: IPAddress) -> Bool {
        self.isLocal ? address.isLoopback : address.isPublic
    }
}
