/// Finds the token of a request.
///
/// The `Authorization` header comes first, then the cookie, then the query parameter; the first place that has one decides.
/// Cookies and parameters have to be switched on by name, and count only where nothing is changed: a browser sends
/// cookies along with requests that its user did not mean.
package struct TokenExtractor: Hashable, Sendable {
    /// Where a token stood.
    package enum Place: String, Hashable, Sendable {
        case authorization, cookie, query
    }

    /// The result.
    package enum Extraction: Hashable, Sendable {
        case none
        case token(String, Place)
        /// Two tokens in one place, or a header that cannot be read: nobody is to guess which one counts.
        case malformed(Place)
    }

    /// Name of the cookie; nil for none.
    package var cookie: String?
    /// Name of the query parameter; nil for none.
    package var query: String?

    package init(cookie: String? = nil, query: String? = nil) {
        self.cookie = cookie
        self.query = query
    }

    /// Finds the token.
    ///
    /// - Parameters:
    ///   - authorization: The values of all `Authorization` headers.
    ///   - cookies: The values of all `Cookie` headers.
    ///   - target: The request target, as it came.
    package func extract(
        authorization: [String], cookies: [String], target: String, access: AccessClass
    ) -> Extraction {
        if let header = authorization.first {
            guard authorization.count == 1 else { return .malformed(.authorization) }
            let halves = header.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
            if halves[0].lowercased() == "bearer" {
                let token = halves.count == 2 ? halves[1].drop { $0 == " " } : ""
                guard Self.isToken(token) else { return .malformed(.authorization) }
                return .token(String(token), .authorization)
            }
        }
        guard access == .read else { return .none }
        if let name = self.cookie {
            let found = Set(Self.cookies(cookies, named: name))
            if found.count > 1 { return .malformed(.cookie) }
            if let value = found.first {
                return Self.isToken(value[...]) ? .token(value, .cookie) : .malformed(.cookie)
            }
        }
        if let name = self.query {
            let found = Self.parameters(of: target).filter { Self.decoded($0.name) == name }
            if found.count > 1 { return .malformed(.query) }
            if let parameter = found.first {
                guard let value = Self.decoded(parameter.value), Self.isToken(value[...]) else {
                    return .malformed(.query)
                }
                return .token(value, .query)
            }
        }
        return .none
    }

    /// The request target without the token's parameter, however its name is written: for logs, for `Location` and for
    /// whatever else repeats the target. The text is returned as it is where there is none.
    package func withoutToken(target: String) -> String {
        guard let name = self.query, let mark = target.firstIndex(of: "?") else { return target }
        var query = target[target.index(after: mark)...]
        var fragment: Substring = ""
        if let hash = query.firstIndex(of: "#") {
            fragment = query[hash...]
            query = query[..<hash]
        }
        let parts = query.split(separator: "&", omittingEmptySubsequences: false)
        let kept = parts.filter { part in
            let written = part.prefix { $0 != "=" }
            // What cannot be decoded is not shown either.
            guard let decoded = Self.decoded(written) else { return false }
            return decoded != name
        }
        guard kept.count < parts.count else { return target }
        return target[..<mark] + (kept.isEmpty ? "" : "?" + kept.joined(separator: "&")) + fragment
    }

    private static func cookies(_ headers: [String], named name: String) -> [String] {
        headers.flatMap { $0.split(separator: ";") }.compactMap { pair in
            let pair = pair.drop { $0 == " " || $0 == "\t" }
            guard let equals = pair.firstIndex(of: "="), pair[..<equals] == name else { return nil }
            var value = pair[pair.index(after: equals)...]
            while value.last == " " || value.last == "\t" { value.removeLast() }
            if value.count >= 2, value.first == "\"", value.last == "\"" { value = value.dropFirst().dropLast() }
            return String(value)
        }
    }

    private static func parameters(of target: String) -> [(name: Substring, value: Substring)] {
        guard let mark = target.firstIndex(of: "?") else { return [] }
        let query = target[target.index(after: mark)...].prefix { $0 != "#" }
        return query.split(separator: "&").map { part in
            let name = part.prefix { $0 != "=" }
            return (name, part[name.endIndex...].dropFirst())
        }
    }

    /// The letters of RFC 6750.
    private static func isToken(_ text: Substring) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                    UInt8(ascii: "~"), UInt8(ascii: "+"), UInt8(ascii: "/"), UInt8(ascii: "="):
                    true
                default: false
                }
            }
    }

    private static func decoded(_ text: Substring) -> String? {
        var decoded: [UInt8] = []
        var bytes = Array(text.utf8)[...]
        while let byte = bytes.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                decoded.append(byte)
                continue
            }
            guard let high = bytes.popFirst().flatMap({ Character(Unicode.Scalar($0)).hexDigitValue }),
                let low = bytes.popFirst().flatMap({ Character(Unicode.Scalar($0)).hexDigitValue })
            else { return nil }
            decoded.append(UInt8(high << 4 | low))
        }
        return String(validating: decoded, as: UTF8.self)
    }
}
