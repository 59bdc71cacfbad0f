/// Just enough JSON for stored schemas.
enum JSONValue: Hashable {
    case null
    case bool(Bool)
    /// As written.
    case number(String)
    case string(String)
    case array([JSONValue])
    /// In the order written.
    case object([Member])

    struct Member: Hashable {
        var name: String
        var value: JSONValue
    }

    static func object(_ members: KeyValuePairs<String, JSONValue?>) -> JSONValue {
        .object(members.compactMap { name, value in value.map { Member(name: name, value: $0) } })
    }

    subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self, let value = members.last(where: { $0.name == name })?.value,
            value != .null
        else { return nil }
        return value
    }

    var string: String? { if case .string(let text) = self { text } else { nil } }
    var elements: [JSONValue] { if case .array(let elements) = self { elements } else { [] } }

    var bool: Bool { self == .bool(true) }

    /// A number, or a text that holds one: protobuf's JSON form writes 64-bit numbers as texts.
    var integer: Int? {
        switch self {
        case .number(let text), .string(let text): Int(text)
        default: nil
        }
    }

    // MARK: - Writing

    func write(into bytes: inout [UInt8]) {
        switch self {
        case .null: bytes += "null".utf8
        case .bool(let value): bytes += (value ? "true" : "false").utf8
        case .number(let text): bytes += text.utf8
        case .string(let text): Self.write(text, into: &bytes)
        case .array(let elements):
            bytes.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                element.write(into: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .object(let members):
            bytes.append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                Self.write(member.name, into: &bytes)
                bytes.append(UInt8(ascii: ":"))
                member.value.write(into: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }

    private static func write(_ text: String, into bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
            case 0..<0x20:
                let digits = String(byte, radix: 16)
                bytes += ("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).utf8
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}

/// Reads one JSON value that is the whole text.
struct JSONReader {
    private static let maximumDepth = 64

    private let bytes: [UInt8]
    private var position = 0

    static func read(_ text: String) throws(CatalogError) -> JSONValue {
        var reader = JSONReader(bytes: Array(text.utf8))
        let value = try reader.value(depth: 0)
        reader.skipSpace()
        guard reader.position == reader.bytes.count else { throw reader.failure() }
        return value
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private func failure() -> CatalogError {
        CatalogError(.malformedDocument, "The stored schema is not valid JSON at byte \(self.position)")
    }

    private var byte: UInt8 { self.position < self.bytes.count ? self.bytes[self.position] : 0 }

    private mutating func skipSpace() {
        while [0x20, 0x09, 0x0A, 0x0D].contains(self.byte) { self.position += 1 }
    }

    private mutating func accept(_ text: StaticString) -> Bool {
        let wanted = text.withUTF8Buffer { Array($0) }
        guard self.bytes[self.position...].starts(with: wanted) else { return false }
        self.position += wanted.count
        return true
    }

    private mutating func value(depth: Int) throws(CatalogError) -> JSONValue {
        guard depth < Self.maximumDepth else { throw self.failure() }
        self.skipSpace()
        switch self.byte {
        case UInt8(ascii: "{"): return try self.object(depth: depth)
        case UInt8(ascii: "["): return try self.array(depth: depth)
        case UInt8(ascii: "\""): return .string(try self.string())
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            let start = self.position
            while "+-.eE0123456789".utf8.contains(self.byte) { self.position += 1 }
            return .number(String(decoding: self.bytes[start..<self.position], as: UTF8.self))
        default:
            if self.accept("null") { return .null }
            if self.accept("true") { return .bool(true) }
            if self.accept("false") { return .bool(false) }
            throw self.failure()
        }
    }

    private mutating func object(depth: Int) throws(CatalogError) -> JSONValue {
        self.position += 1
        var members: [JSONValue.Member] = []
        self.skipSpace()
        if self.accept("}") { return .object(members) }
        while true {
            self.skipSpace()
            guard self.byte == UInt8(ascii: "\"") else { throw self.failure() }
            let name = try self.string()
            self.skipSpace()
            guard self.accept(":") else { throw self.failure() }
            members.append(JSONValue.Member(name: name, value: try self.value(depth: depth + 1)))
            self.skipSpace()
            if self.accept("}") { return .object(members) }
            guard self.accept(",") else { throw self.failure() }
        }
    }

    private mutating func array(depth: Int) throws(CatalogError) -> JSONValue {
        self.position += 1
        var elements: [JSONValue] = []
        self.skipSpace()
        if self.accept("]") { return .array(elements) }
        while true {
            elements.append(try self.value(depth: depth + 1))
            self.skipSpace()
            if self.accept("]") { return .array(elements) }
            guard self.accept(",") else { throw self.failure() }
        }
    }

    private mutating func string() throws(CatalogError) -> String {
        self.position += 1
        var content: [UInt8] = []
        while self.position < self.bytes.count {
            let byte = self.byte
            self.position += 1
            if byte == UInt8(ascii: "\"") { return String(decoding: content, as: UTF8.self) }
            guard byte == UInt8(ascii: "\\") else {
                content.append(byte)
                continue
            }
            let kind = self.byte
            self.position += 1
            switch kind {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): content.append(kind)
            case UInt8(ascii: "b"): content.append(0x08)
            case UInt8(ascii: "f"): content.append(0x0C)
            case UInt8(ascii: "n"): content.append(0x0A)
            case UInt8(ascii: "r"): content.append(0x0D)
            case UInt8(ascii: "t"): content.append(0x09)
            case UInt8(ascii: "u"):
                var value = try self.hexadecimal()
                if value & 0xFC00 == 0xD800, self.accept("\\u") {
                    let low = try self.hexadecimal()
                    guard low & 0xFC00 == 0xDC00 else { throw self.failure() }
                    value = 0x10000 + ((value & 0x3FF) << 10) + (low & 0x3FF)
                }
                guard let scalar = Unicode.Scalar(value) else { throw self.failure() }
                content += String(Character(scalar)).utf8
            default: throw self.failure()
            }
        }
        throw self.failure()
    }

    private mutating func hexadecimal() throws(CatalogError) -> UInt32 {
        guard self.position + 4 <= self.bytes.count,
            let value = UInt32(
                String(decoding: self.bytes[self.position..<self.position + 4], as: UTF8.self), radix: 16)
        else { throw self.failure() }
        self.position += 4
        return value
    }
}
