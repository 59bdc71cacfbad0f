/// Checks JSON texts (RFC 8259), with the two refusals of `jsonb`: NUL characters and lone surrogates.
enum JSONSyntax {
    /// Deeper nesting is refused; it serves only to exhaust the stack of whoever parses it.
    static let maximumDepth = 1_000

    static func isValid(_ bytes: [UInt8]) -> Bool {
        guard String(validating: bytes, as: UTF8.self) != nil else { return false }
        var scanner = Scanner(bytes: bytes)
        return scanner.document()
    }

    /// A number in decimal notation: digits, perhaps a fraction, perhaps an exponent. Unlike in JSON, leading zeros and
    /// a plus sign are allowed.
    static func isDecimal(_ bytes: [UInt8]) -> Bool {
        var index = 0
        func digits() -> Bool {
            let start = index
            while index < bytes.count, (0x30...0x39).contains(bytes[index]) { index += 1 }
            return index > start
        }
        func skip(_ candidates: [UInt8]) -> Bool {
            guard index < bytes.count, candidates.contains(bytes[index]) else { return false }
            index += 1
            return true
        }
        _ = skip([UInt8(ascii: "-"), UInt8(ascii: "+")])
        guard digits() else { return false }
        if skip([UInt8(ascii: ".")]), !digits() { return false }
        if skip([UInt8(ascii: "e"), UInt8(ascii: "E")]) {
            _ = skip([UInt8(ascii: "-"), UInt8(ascii: "+")])
            guard digits() else { return false }
        }
        return index == bytes.count
    }

    private struct Scanner {
        let bytes: [UInt8]
        var index = 0

        init(bytes: [UInt8]) { self.bytes = bytes }

        private var current: UInt8? { self.index < self.bytes.count ? self.bytes[self.index] : nil }

        mutating func document() -> Bool {
            guard self.value(depth: 0) else { return false }
            self.skipSpace()
            return self.index == self.bytes.count
        }

        private mutating func skipSpace() {
            while let byte = self.current, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D {
                self.index += 1
            }
        }

        private mutating func skip(_ byte: UInt8) -> Bool {
            guard self.current == byte else { return false }
            self.index += 1
            return true
        }

        private mutating func value(depth: Int) -> Bool {
            guard depth <= JSONSyntax.maximumDepth else { return false }
            self.skipSpace()
            switch self.current {
            case UInt8(ascii: "{"): return self.object(depth: depth)
            case UInt8(ascii: "["): return self.array(depth: depth)
            case UInt8(ascii: "\""): return self.string()
            case UInt8(ascii: "t"): return self.literal("true")
            case UInt8(ascii: "f"): return self.literal("false")
            case UInt8(ascii: "n"): return self.literal("null")
            default: return self.number()
            }
        }

        private mutating func literal(_ word: StaticString) -> Bool {
            let length = word.utf8CodeUnitCount
            guard self.index + length <= self.bytes.count else { return false }
            for offset in 0..<length where word.utf8Start[offset] != self.bytes[self.index + offset] { return false }
            self.index += length
            return true
        }

        private mutating func object(depth: Int) -> Bool {
            self.index += 1
            self.skipSpace()
            if self.skip(UInt8(ascii: "}")) { return true }
            repeat {
                self.skipSpace()
                guard self.current == UInt8(ascii: "\""), self.string() else { return false }
                self.skipSpace()
                guard self.skip(UInt8(ascii: ":")), self.value(depth: depth + 1) else { return false }
                self.skipSpace()
            } while self.skip(UInt8(ascii: ","))
            return self.skip(UInt8(ascii: "}"))
        }

        private mutating func array(depth: Int) -> Bool {
            self.index += 1
            self.skipSpace()
            if self.skip(UInt8(ascii: "]")) { return true }
            repeat {
                guard self.value(depth: depth + 1) else { return false }
                self.skipSpace()
            } while self.skip(UInt8(ascii: ","))
            return self.skip(UInt8(ascii: "]"))
        }

        private mutating func number() -> Bool {
            _ = self.skip(UInt8(ascii: "-"))
            if !self.skip(UInt8(ascii: "0")), !self.digits() { return false }
            if self.skip(UInt8(ascii: ".")), !self.digits() { return false }
            if self.skip(UInt8(ascii: "e")) || self.skip(UInt8(ascii: "E")) {
                if !self.skip(UInt8(ascii: "+")) { _ = self.skip(UInt8(ascii: "-")) }
                guard self.digits() else { return false }
            }
            return true
        }

        private mutating func digits() -> Bool {
            let start = self.index
            while let byte = self.current, (0x30...0x39).contains(byte) { self.index += 1 }
            return self.index > start
        }

        private mutating func string() -> Bool {
            self.index += 1
            while let byte = self.current {
                self.index += 1
                switch byte {
                case UInt8(ascii: "\""): return true
                case 0..<0x20: return false
                case UInt8(ascii: "\\"):
                    guard self.escape() else { return false }
                default: continue
                }
            }
            return false
        }

        private mutating func escape() -> Bool {
            guard let byte = self.current else { return false }
            self.index += 1
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
                UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
                return true
            case UInt8(ascii: "u"):
                guard let unit = self.codeUnit(), unit != 0, !(0xDC00...0xDFFF).contains(unit) else { return false }
                guard (0xD800...0xDBFF).contains(unit) else { return true }
                guard self.skip(UInt8(ascii: "\\")), self.skip(UInt8(ascii: "u")), let low = self.codeUnit() else {
                    return false
                }
                return (0xDC00...0xDFFF).contains(low)
            default:
                return false
            }
        }

        private mutating func codeUnit() -> UInt16? {
            guard self.index + 4 <= self.bytes.count else { return nil }
            var value: UInt16 = 0
            for byte in self.bytes[self.index..<self.index + 4] {
                let digit: UInt8
                switch byte {
                case 0x30...0x39: digit = byte - 0x30
                case 0x41...0x46: digit = byte - 0x41 + 10
                case 0x61...0x66: digit = byte - 0x61 + 10
                default: return nil
                }
                value = value << 4 | UInt16(digit)
            }
            self.index += 4
            return value
        }
    }
}
