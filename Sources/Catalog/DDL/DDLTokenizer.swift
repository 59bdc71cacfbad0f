/// Cuts a text into tokens by Postgres' lexical rules, with `standard_conforming_strings` on.
struct DDLTokenizer {
    /// Longer texts are refused.
    static let maximumLength = 4 << 20

    let source: DDLSource
    private var bytes: [UInt8] { self.source.bytes }
    private var position = 0

    init(_ source: DDLSource) {
        self.source = source
    }

    /// All tokens, the last of them `.end`.
    static func tokens(of source: DDLSource) throws(CatalogError) -> [DDLToken] {
        guard source.bytes.count <= Self.maximumLength else {
            throw CatalogError(.tooLarge, "Statement text is longer than \(Self.maximumLength) bytes")
        }
        var tokenizer = DDLTokenizer(source)
        var tokens: [DDLToken] = []
        while true {
            let token = try tokenizer.next()
            tokens.append(token)
            if token.kind == .end { return tokens }
        }
    }

    // MARK: - Reading

    private func byte(_ ahead: Int = 0) -> UInt8 {
        let index = self.position + ahead
        return index < self.source.bytes.count ? self.source.bytes[index] : 0
    }

    private var isAtEnd: Bool { self.position >= self.source.bytes.count }

    private func failure(_ message: String, at offset: Int) -> CatalogError {
        CatalogError(.syntax, message, at: self.source.position(at: offset))
    }

    private mutating func next() throws(CatalogError) -> DDLToken {
        try self.skipSpace()
        let start = self.position
        guard !self.isAtEnd else { return DDLToken(kind: .end, start: start, end: start) }
        let kind = try self.scan()
        return DDLToken(kind: kind, start: start, end: self.position)
    }

    private mutating func skipSpace() throws(CatalogError) {
        while !self.isAtEnd {
            let byte = self.byte()
            if Self.isSpace(byte) {
                self.position += 1
            } else if byte == UInt8(ascii: "-"), self.byte(1) == UInt8(ascii: "-") {
                while !self.isAtEnd, self.byte() != 0x0A, self.byte() != 0x0D { self.position += 1 }
            } else if byte == UInt8(ascii: "/"), self.byte(1) == UInt8(ascii: "*") {
                try self.skipBlockComment()
            } else {
                return
            }
        }
    }

    private mutating func skipBlockComment() throws(CatalogError) {
        let start = self.position
        var level = 0
        repeat {
            if self.isAtEnd { throw self.failure("unterminated /* comment", at: start) }
            if self.byte() == UInt8(ascii: "/"), self.byte(1) == UInt8(ascii: "*") {
                level += 1
                self.position += 2
            } else if self.byte() == UInt8(ascii: "*"), self.byte(1) == UInt8(ascii: "/") {
                level -= 1
                self.position += 2
            } else {
                self.position += 1
            }
        } while level > 0
    }

    private mutating func scan() throws(CatalogError) -> DDLToken.Kind {
        let start = self.position
        let byte = self.byte()
        let second = self.byte(1)
        let quote = UInt8(ascii: "'")
        switch byte {
        case 0:
            throw self.failure("zero byte in statement", at: start)
        case UInt8(ascii: "\""):
            return .quotedName(try self.quotedName())
        case quote:
            return .string(try self.string(escapes: false))
        case UInt8(ascii: "e"), UInt8(ascii: "E"):
            guard second == quote else { break }
            self.position += 1
            return .string(try self.string(escapes: true))
        case UInt8(ascii: "n"), UInt8(ascii: "N"):
            guard second == quote else { break }
            self.position += 1
            return .string(try self.string(escapes: false))
        case UInt8(ascii: "b"), UInt8(ascii: "B"), UInt8(ascii: "x"), UInt8(ascii: "X"):
            guard second == quote else { break }
            self.position += 1
            _ = try self.string(escapes: false)
            return .bits(self.source.text(start..<self.position))
        case UInt8(ascii: "u"), UInt8(ascii: "U"):
            guard second == UInt8(ascii: "&"), self.byte(2) == quote || self.byte(2) == UInt8(ascii: "\"") else {
                break
            }
            self.position += 2
            if self.byte() == quote {
                return .string(try self.unicodeEscaped(self.string(escapes: false), at: start))
            }
            return .quotedName(ObjectNames.clipped(try self.unicodeEscaped(self.quotedName(), at: start)))
        case UInt8(ascii: "$"):
            return try self.dollar()
        default:
            break
        }
        if Self.isIdentifierStart(byte) { return .word(self.unquotedName()) }
        if Self.isDigit(byte) || (byte == UInt8(ascii: ".") && Self.isDigit(second)) {
            return .number(try self.number())
        }
        if let text = self.punctuation() { return .punctuation(text) }
        if Self.isOperator(byte) { return .symbol(self.operatorText()) }
        let end = self.source.characterEnd(at: start)
        throw self.failure("syntax error at or near \"\(self.source.text(start..<end))\"", at: start)
    }

    // MARK: - Names

    private mutating func unquotedName() -> String {
        let start = self.position
        while !self.isAtEnd, Self.isIdentifierPart(self.byte()) { self.position += 1 }
        let folded = self.source.bytes[start..<self.position].map { $0 >= 0x41 && $0 <= 0x5A ? $0 | 0x20 : $0 }
        return ObjectNames.clipped(String(decoding: folded, as: UTF8.self))
    }

    private mutating func quotedName() throws(CatalogError) -> String {
        let start = self.position
        let content = try self.quoted(UInt8(ascii: "\""), escapes: false, message: "unterminated quoted identifier")
        guard !content.isEmpty else { throw self.failure("zero-length delimited identifier", at: start) }
        return ObjectNames.clipped(String(decoding: content, as: UTF8.self))
    }

    // MARK: - Strings

    private mutating func string(escapes: Bool) throws(CatalogError) -> String {
        let start = self.position
        let quote = UInt8(ascii: "'")
        var content = try self.quoted(quote, escapes: escapes, message: "unterminated quoted string")
        // Strings with nothing but white space and a line break between them are one.
        while true {
            let end = self.position
            var sawLineBreak = false
            while !self.isAtEnd, Self.isSpace(self.byte()) {
                if self.byte() == 0x0A || self.byte() == 0x0D { sawLineBreak = true }
                self.position += 1
            }
            guard sawLineBreak, self.byte() == quote else {
                self.position = end
                break
            }
            content += try self.quoted(quote, escapes: escapes, message: "unterminated quoted string")
        }
        guard let text = String(validating: content, as: UTF8.self), !content.contains(0) else {
            throw self.failure("invalid byte sequence in a string", at: start)
        }
        return text
    }

    private mutating func quoted(
        _ quote: UInt8, escapes: Bool, message: String
    ) throws(CatalogError) -> [UInt8] {
        let start = self.position
        self.position += 1
        var content: [UInt8] = []
        while true {
            guard !self.isAtEnd else { throw self.failure(message, at: start) }
            let byte = self.byte()
            if byte == quote {
                self.position += 1
                guard self.byte() == quote, !self.isAtEnd else { return content }
                self.position += 1
                content.append(quote)
            } else if escapes, byte == UInt8(ascii: "\\") {
                try self.escape(into: &content)
            } else {
                content.append(byte)
                self.position += 1
            }
        }
    }

    private mutating func escape(into content: inout [UInt8]) throws(CatalogError) {
        let start = self.position
        self.position += 1
        guard !self.isAtEnd else { throw self.failure("unterminated quoted string", at: start) }
        let byte = self.byte()
        self.position += 1
        switch byte {
        case UInt8(ascii: "b"): content.append(0x08)
        case UInt8(ascii: "f"): content.append(0x0C)
        case UInt8(ascii: "n"): content.append(0x0A)
        case UInt8(ascii: "r"): content.append(0x0D)
        case UInt8(ascii: "t"): content.append(0x09)
        case UInt8(ascii: "0")...UInt8(ascii: "7"):
            var value = Int(byte - UInt8(ascii: "0"))
            for _ in 0..<2 {
                guard self.byte() >= UInt8(ascii: "0"), self.byte() <= UInt8(ascii: "7") else { break }
                value = value * 8 + Int(self.byte() - UInt8(ascii: "0"))
                self.position += 1
            }
            content.append(UInt8(truncatingIfNeeded: value))
        case UInt8(ascii: "x"):
            guard let value = self.hexadecimal(atMost: 2) else {
                content.append(byte)
                return
            }
            content.append(UInt8(truncatingIfNeeded: value))
        case UInt8(ascii: "u"), UInt8(ascii: "U"):
            let digits = byte == UInt8(ascii: "u") ? 4 : 8
            let before = self.position
            guard var value = self.hexadecimal(atMost: digits), self.position - before == digits else {
                throw self.failure("invalid Unicode escape", at: start)
            }
            if value & 0xFFFF_FC00 == 0xD800, self.byte() == UInt8(ascii: "\\"), self.byte(1) == UInt8(ascii: "u") {
                self.position += 2
                guard let low = self.hexadecimal(atMost: 4), low & 0xFFFF_FC00 == 0xDC00 else {
                    throw self.failure("invalid Unicode surrogate pair", at: start)
                }
                value = 0x10000 + ((value & 0x3FF) << 10) + (low & 0x3FF)
            }
            guard value > 0, let scalar = Unicode.Scalar(value) else {
                throw self.failure("invalid Unicode escape value", at: start)
            }
            content += Array(String(Character(scalar)).utf8)
        default:
            content.append(byte)
        }
    }

    private mutating func hexadecimal(atMost count: Int) -> UInt32? {
        var value: UInt32 = 0
        var read = 0
        while read < count, let digit = Self.hexDigit(self.byte()) {
            value = value << 4 | UInt32(digit)
            self.position += 1
            read += 1
        }
        return read == 0 ? nil : value
    }

    /// The content of U&'...' and U&"..." with its default escape character.
    private func unicodeEscaped(_ text: String, at start: Int) throws(CatalogError) -> String {
        guard text.utf8.contains(UInt8(ascii: "\\")) else { return text }
        let bytes = Array(text.utf8)
        var result: [UInt8] = []
        var index = 0
        var high: UInt32?
        while index < bytes.count {
            guard bytes[index] == UInt8(ascii: "\\") else {
                if high != nil { break }
                result.append(bytes[index])
                index += 1
                continue
            }
            index += 1
            if index < bytes.count, bytes[index] == UInt8(ascii: "\\"), high == nil {
                result.append(bytes[index])
                index += 1
                continue
            }
            var digits = 4
            if index < bytes.count, bytes[index] == UInt8(ascii: "+") {
                digits = 6
                index += 1
            }
            guard index + digits <= bytes.count else { throw self.failure("invalid Unicode escape", at: start) }
            var value: UInt32 = 0
            for byte in bytes[index..<index + digits] {
                guard let digit = Self.hexDigit(byte) else { throw self.failure("invalid Unicode escape", at: start) }
                value = value << 4 | UInt32(digit)
            }
            index += digits
            if let first = high {
                guard value & 0xFFFF_FC00 == 0xDC00 else { break }
                value = 0x10000 + ((first & 0x3FF) << 10) + (value & 0x3FF)
                high = nil
            } else if value & 0xFFFF_FC00 == 0xD800 {
                high = value
                continue
            }
            guard value > 0, let scalar = Unicode.Scalar(value) else {
                throw self.failure("invalid Unicode escape value", at: start)
            }
            result += Array(String(Character(scalar)).utf8)
        }
        guard high == nil else { throw self.failure("invalid Unicode surrogate pair", at: start) }
        return String(decoding: result, as: UTF8.self)
    }

    /// `$tag$...$tag$` or `$1`.
    private mutating func dollar() throws(CatalogError) -> DDLToken.Kind {
        let start = self.position
        self.position += 1
        if Self.isDigit(self.byte()) {
            while Self.isDigit(self.byte()) { self.position += 1 }
            return .parameter(self.source.text(start..<self.position))
        }
        if Self.isIdentifierStart(self.byte()) {
            while !self.isAtEnd, Self.isIdentifierPart(self.byte()), self.byte() != UInt8(ascii: "$") {
                self.position += 1
            }
        }
        guard self.byte() == UInt8(ascii: "$") else {
            throw self.failure("syntax error at or near \"$\"", at: start)
        }
        self.position += 1
        let delimiter = Array(self.source.bytes[start..<self.position])
        let contentStart = self.position
        while self.position + delimiter.count <= self.source.bytes.count {
            if self.byte() == UInt8(ascii: "$"),
                self.source.bytes[self.position..<self.position + delimiter.count].elementsEqual(delimiter)
            {
                let content = self.source.text(contentStart..<self.position)
                self.position += delimiter.count
                return .string(content)
            }
            self.position += 1
        }
        throw self.failure("unterminated dollar-quoted string", at: start)
    }

    // MARK: - Numbers and operators

    private mutating func number() throws(CatalogError) -> String {
        let start = self.position
        func isNumberPart(_ byte: UInt8) -> Bool { Self.isDigit(byte) || byte == UInt8(ascii: "_") }
        if self.byte() == UInt8(ascii: "0"), [0x78, 0x6F, 0x62].contains(self.byte(1) | 0x20), self.byte(1) != 0,
            Self.hexDigit(self.byte(2)) != nil
        {
            self.position += 2
            while Self.hexDigit(self.byte()) != nil || self.byte() == UInt8(ascii: "_") { self.position += 1 }
        } else {
            while isNumberPart(self.byte()) { self.position += 1 }
            if self.byte() == UInt8(ascii: "."), self.byte(1) != UInt8(ascii: ".") {
                self.position += 1
                while isNumberPart(self.byte()) { self.position += 1 }
            }
            if self.byte() | 0x20 == UInt8(ascii: "e") {
                let sign = self.byte(1) == UInt8(ascii: "+") || self.byte(1) == UInt8(ascii: "-") ? 1 : 0
                if Self.isDigit(self.byte(1 + sign)) {
                    self.position += 1 + sign
                    while isNumberPart(self.byte()) { self.position += 1 }
                }
            }
        }
        guard self.isAtEnd || !Self.isIdentifierStart(self.byte()) else {
            throw self.failure("trailing junk after numeric literal", at: start)
        }
        return self.source.text(start..<self.position).filter { $0 != "_" }
    }

    private mutating func punctuation() -> String? {
        let byte = self.byte()
        let second = self.byte(1)
        var length = 1
        switch byte {
        case UInt8(ascii: ":"):
            if second == UInt8(ascii: ":") || second == UInt8(ascii: "=") { length = 2 }
        case UInt8(ascii: "."):
            if second == UInt8(ascii: ".") { length = 2 }
        case UInt8(ascii: "="):
            guard second == UInt8(ascii: ">"), !Self.isOperator(self.byte(2)) else { return nil }
            length = 2
        case UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: ","),
            UInt8(ascii: ";"):
            break
        default:
            return nil
        }
        defer { self.position += length }
        return self.source.text(self.position..<self.position + length)
    }

    /// The longest run of operator characters that neither holds a comment's beginning nor, where the rules forbid it,
    /// ends in a sign.
    private mutating func operatorText() -> String {
        let start = self.position
        var end = start
        while end < self.bytes.count, Self.isOperator(self.bytes[end]) {
            let following = end + 1 < self.bytes.count ? self.bytes[end + 1] : 0
            if end > start, self.bytes[end] == UInt8(ascii: "-"), following == UInt8(ascii: "-") { break }
            if end > start, self.bytes[end] == UInt8(ascii: "/"), following == UInt8(ascii: "*") { break }
            end += 1
        }
        let mayEndInSign = self.bytes[start..<end].contains { Self.allowsTrailingSign($0) }
        while !mayEndInSign, end - start > 1,
            self.bytes[end - 1] == UInt8(ascii: "+") || self.bytes[end - 1] == UInt8(ascii: "-")
        {
            end -= 1
        }
        self.position = end
        return self.source.text(start..<end)
    }

    // MARK: - Character classes

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) }
    private static func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

    private static func isIdentifierStart(_ byte: UInt8) -> Bool {
        (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || byte == UInt8(ascii: "_") || byte >= 0x80
    }

    private static func isIdentifierPart(_ byte: UInt8) -> Bool {
        Self.isIdentifierStart(byte) || Self.isDigit(byte) || byte == UInt8(ascii: "$")
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x37
        case 0x61...0x66: byte - 0x57
        default: nil
        }
    }

    private static func isOperator(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "*"), UInt8(ascii: "/"), UInt8(ascii: "<"),
            UInt8(ascii: ">"), UInt8(ascii: "="), UInt8(ascii: "~"), UInt8(ascii: "!"), UInt8(ascii: "@"),
            UInt8(ascii: "#"), UInt8(ascii: "%"), UInt8(ascii: "^"), UInt8(ascii: "&"), UInt8(ascii: "|"),
            UInt8(ascii: "`"), UInt8(ascii: "?"):
            true
        default: false
        }
    }

    private static func allowsTrailingSign(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "~"), UInt8(ascii: "!"), UInt8(ascii: "@"), UInt8(ascii: "#"), UInt8(ascii: "%"),
            UInt8(ascii: "^"), UInt8(ascii: "&"), UInt8(ascii: "|"), UInt8(ascii: "`"), UInt8(ascii: "?"):
            true
        default: false
        }
    }
}
