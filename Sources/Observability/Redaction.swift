/// The last line of defence against secrets in logs: call sites are not to pass any in the first place.
enum Redaction {
    /// What is printed in place of a secret.
    static let mask = "[redacted]"
    /// A longer text is cut: no single event may fill a disk.
    static let maximumBytes = 16 * 1024

    private static let secretWords = [
        "password", "passwd", "secret", "token", "authorization", "jwt", "api_key", "apikey", "private_key",
        "database_url", "cookie",
    ]

    /// Whether the value of a metadata key is never printed, whatever it is.
    static func isSecret(key: String) -> Bool {
        let key = key.lowercased()
        // Why: these are claims that the operator chose to see, and the usual name of such a field has "jwt" in it.
        if key.hasPrefix("http.request.header.x-") { return false }
        return Self.secretWords.contains { key.contains($0) }
    }

    /// `text` without passwords in URLs and without JSON Web Tokens.
    static func redacted(_ text: String) -> String {
        var text = text
        if text.utf8.count > Self.maximumBytes {
            text = String(decoding: Array(text.utf8.prefix(Self.maximumBytes)), as: UTF8.self) + "…"
        }
        if text.contains("://") { text = Self.withoutURLPasswords(text) }
        if text.contains("eyJ") { text = Self.withoutTokens(text) }
        return text
    }

    /// `scheme://user:password@host` loses its password. The last `@` before the path ends the user information, so
    /// that a password with an `@` in it disappears whole.
    private static func withoutURLPasswords(_ text: String) -> String {
        var result = ""
        var rest = Substring(text)
        while let start = rest.range(of: "://") {
            result += rest[..<start.upperBound]
            rest = rest[start.upperBound...]
            let end = rest.firstIndex { $0 == "/" || $0 == "?" || $0 == "\"" || $0.isWhitespace } ?? rest.endIndex
            let authority = rest[..<end]
            guard let at = authority.lastIndex(of: "@"), let colon = authority[..<at].firstIndex(of: ":") else {
                continue
            }
            result += rest[...colon]
            result += Self.mask
            rest = rest[at...]
        }
        return result + rest
    }

    /// Every JSON Web Token begins with the encoding of `{"`.
    private static func withoutTokens(_ text: String) -> String {
        func isTokenCharacter(_ character: Character) -> Bool {
            character.isASCII && (character.isLetter || character.isNumber) || "-_+/=.".contains(character)
        }
        var result = ""
        var rest = Substring(text)
        while let start = rest.range(of: "eyJ") {
            result += rest[..<start.lowerBound]
            let end = rest[start.lowerBound...].firstIndex { !isTokenCharacter($0) } ?? rest.endIndex
            let candidate = rest[start.lowerBound..<end]
            result += candidate.contains(".") ? Substring(Self.mask) : candidate
            rest = rest[end...]
        }
        return result + rest
    }

    /// `text` with control characters written out. With `quoting`, a text that is not one plain word is put in quotes.
    static func escaped(_ text: String, quoting: Bool = false) -> String {
        let quotes =
            quoting && (text.isEmpty || text.utf8.contains { $0 == 0x20 || $0 == UInt8(ascii: "\"") || $0 == 0x3d })
        guard quotes || text.unicodeScalars.contains(where: Self.isControl) else { return text }
        var result = quotes ? "\"" : ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\"" where quotes: result += "\\\""
            case "\\" where quotes: result += "\\\\"
            case _ where Self.isControl(scalar): result += "\\u{\(String(scalar.value, radix: 16))}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return quotes ? result + "\"" : result
    }

    static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: true
        // Marks that reverse the direction of a line.
        case .format: true
        default: false
        }
    }
}

extension Substring {
    /// The first place where `word` stands.
    fileprivate func range(of word: String) -> Range<Index>? {
        self.firstRange(of: word)
    }
}
