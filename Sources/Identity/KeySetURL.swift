/// Which URLs key sets may be fetched from.
package enum KeySetURL {
    /// Whether a URL is `https` with a host and without credentials or fragment; or `http` to this machine, where that is
    /// asked for.
    package static func isAllowed(_ text: String, allowsInsecureLoopback: Bool) -> Bool {
        guard text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }), !text.contains("#"), !text.contains("\\"),
            let separator = text.firstRange(of: "://")
        else { return false }
        let scheme = text[..<separator.lowerBound].lowercased()
        let authority = text[separator.upperBound...].prefix { $0 != "/" && $0 != "?" }
        guard !authority.isEmpty, !authority.contains("@") else { return false }
        let host: Substring
        let rest: Substring
        if authority.first == "[" {
            guard let bracket = authority.firstIndex(of: "]") else { return false }
            host = authority[..<bracket].dropFirst()
            rest = authority[authority.index(after: bracket)...]
        } else {
            host = authority.prefix { $0 != ":" }
            rest = authority[host.endIndex...]
        }
        guard !host.isEmpty else { return false }
        if !rest.isEmpty {
            guard rest.first == ":", let port = UInt16(rest.dropFirst()), port > 0 else { return false }
        }
        switch scheme {
        case "https": return true
        case "http": return allowsInsecureLoopback && Self.isLoopback(host)
        default: return false
        }
    }

    private static func isLoopback(_ host: Substring) -> Bool {
        if host == "localhost" || host == "::1" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }
}
