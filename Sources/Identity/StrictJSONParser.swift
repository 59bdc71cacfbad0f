/// A JSON parser for data that decides about access.
///
/// Why not a general one: those keep the first or the last of two equal members, depending on the library, so that
/// two programs can read one token differently. Here a repeated member, ill-formed UTF-8, a lone surrogate, a number
/// that is not finite, deep nesting and trailing text are errors.
struct StrictJSONParser {
    /// The text is not JSON by the rules of this parser.
    struct Malformed: Error {}

    /// How many arrays and objects may lie inside each other.
    static let maximumDepth = 32

    private let bytes: [UInt8]
    private var index = 0

    /// Parses a whole document.
    static func parse(_ bytes: [UInt8]) throws(Malformed) -> JSONValue {
        var parser = StrictJSONParser(bytes: bytes)
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.index == bytes.count else { throw Malformed() }
        return value
    }

    private init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    private var peek: UInt8? { self.index < self.bytes.count ? self.bytes[self.index] : nil }

    private mutating func skipSpace() {
        while let byte = self.peek, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { self.index += 1 }
    }

    private mutating func expect(_ byte: UInt8) throws(Malformed) {
        guard self.peek == byte else { throw Malformed() }
        self.index += 1
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard self.peek == byte else { return false }
        self.index += 1
        return true
    }

    private mutating func word(_ word: StaticString) throws(Malformed) {
        for offset in 0..<word.utf8CodeUnitCount {
            try self.expect(word.utf8Start[offset])
        }
    }

    private mutating func value(depth: Int) throws(Malformed) -> JSONValue {
        guard depth <= Self.maximumDepth else { throw Malformed() }
        self.skipSpace()
        switch self.peek {
        case UInt8(ascii: "{"): return try self.object(depth: depth)
        case UInt8(ascii: "["): return try self.array(depth: depth)
        case UInt8(ascii: "\""): return .string(try self.string())
        case UInt8(ascii: "t"):
            try self.word("true")
            return .bool(true)
        case UInt8(ascii: "f"):
            try self.word("false")
            return .bool(false)
        case UInt8(ascii: "n"):
            try self.word("null")
            return .null
        default: return try self.number()
        }
    }

    private mutating func object(depth: Int) throws(Malformed) -> JSONValue {
        try self.expect(UInt8(ascii: "{"))
        var members: [String: JSONValue] = [:]
        self.skipSpace()
        if self.take(UInt8(ascii: "}")) { return .object(members) }
        while true {
            self.skipSpace()
            let name = try self.string()
            self.skipSpace()
            try self.expect(UInt8(ascii: ":"))
            let value = try self.value(depth: depth + 1)
            guard members.updateValue(value, forKey: name) == nil else { throw Malformed() }
            self.skipSpace()
            if self.take(UInt8(ascii: ",")) { continue }
            try self.expect(UInt8(ascii: "}"))
            return .object(members)
        }
    }

    private mutating func array(depth: Int) throws(Malformed) -> JSONValue {
        try self.expect(UInt8(ascii: "["))
        var values: [JSONValue] = []
        self.skipSpace()
        if self.take(UInt8(ascii: "]")) { return .array(values) }
        while true {
            values.append(try self.value(depth: depth + 1))
            self.skipSpace()
            if self.take(UInt8(ascii: ",")) { continue }
            try self.expect(UInt8(ascii: "]"))
            return .array(values)
        }
    }

    private mutating func string() throws(Malformed) -> String {
        try self.expect(UInt8(ascii: "\""))
        var text: [UInt8] = []
        while let byte = self.peek {
            self.index += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else { throw Malformed() }
                return string
            case UInt8(ascii: "\\"): try self.escape(into: &text)
            case 0..<0x20: throw Malformed()
            default: text.append(byte)
            }
        }
        throw Malformed()
    }

    private mutating func escape(into text: inout [UInt8]) throws(Malformed) {
        guard let byte = self.peek else { throw Malformed() }
        self.index += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0c)
        case UInt8(ascii: "n"): text.append(0x0a)
        case UInt8(ascii: "r"): text.append(0x0d)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            var code = try self.hexadecimal()
            if (0xd800..<0xdc00).contains(code) {
                try self.expect(UInt8(ascii: "\\"))
                try self.expect(UInt8(ascii: "u"))
                let low = try self.hexadecimal()
                guard (0xdc00..<0xe000).contains(low) else { throw Malformed() }
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
            }
            // A lone low surrogate is no scalar and fails here.
            guard let scalar = Unicode.Scalar(code) else { throw Malformed() }
            text.append(contentsOf: UTF8.encode(scalar).map(Array.init) ?? [])
        default: throw Malformed()
        }
    }

    private mutating func hexadecimal() throws(Malformed) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = self.peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw Malformed()
            }
            self.index += 1
            code = code << 4 | UInt32(digit)
        }
        return code
    }

    private mutating func digits() throws(Malformed) {
        let start = self.index
        while let byte = self.peek, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { self.index += 1 }
        guard self.index > start else { throw Malformed() }
    }

    private mutating func number() throws(Malformed) -> JSONValue {
        let start = self.index
        _ = self.take(UInt8(ascii: "-"))
        if !self.take(UInt8(ascii: "0")) { try self.digits() }
        var isWhole = true
        if self.take(UInt8(ascii: ".")) {
            isWhole = false
            try self.digits()
        }
        if self.take(UInt8(ascii: "e")) || self.take(UInt8(ascii: "E")) {
            isWhole = false
            if !self.take(UInt8(ascii: "+")) { _ = self.take(UInt8(ascii: "-")) }
            try self.digits()
        }
        let text = String(decoding: self.bytes[start..<self.index], as: UTF8.self)
        if isWhole, let integer = Int64(text) { return .integer(integer) }
        guard let number = Double(text), number.isFinite else { throw Malformed() }
        return .number(number)
    }
}
