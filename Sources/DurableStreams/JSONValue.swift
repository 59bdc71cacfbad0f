import NIOCore
import WebAddresses

/// A small JSON document as a tree, for the control API. Stream data never becomes one.
package enum JSONValue: Hashable, Sendable {
    case null
    case bool(Bool)
    /// The text of the number.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// Parses a document; nil when it is no JSON.
    package init?(_ bytes: ByteBuffer) {
        let parsed: JSONValue? = bytes.withUnsafeReadableBytes { pointer in
            guard var checker = JSONScanner(pointer) else { return nil }
            do throws(JSONFault) { try checker.skipValue() } catch { return nil }
            checker.skipWhitespace()
            guard checker.isAtEnd else { return nil }
            var builder = Builder(bytes: pointer)
            return builder.value()
        }
        guard let parsed else { return nil }
        self = parsed
    }

    package subscript(_ key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members[key]
    }

    package var stringValue: String? {
        if case .string(let text) = self { text } else { nil }
    }

    package var boolValue: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    package var arrayValue: [JSONValue]? {
        if case .array(let values) = self { values } else { nil }
    }

    /// A whole number that is not negative.
    package var unsignedValue: UInt64? {
        guard case .number(let text) = self else { return nil }
        return HeaderText.decimal(text, maximum: .max)
    }

    package var isNull: Bool { self == .null }

    /// Builds the tree of a text that ``JSONScanner`` has passed, so it checks nothing that decides on validity.
    private struct Builder {
        let bytes: UnsafeRawBufferPointer
        var index = 0

        private var byte: UInt8 { self.index < self.bytes.count ? self.bytes[self.index] : 0 }

        private mutating func skipBlanks() {
            while self.index < self.bytes.count, self.byte <= 0x20 { self.index += 1 }
        }

        mutating func value() -> JSONValue {
            self.skipBlanks()
            switch self.byte {
            case UInt8(ascii: "{"):
                self.index += 1
                var members: [String: JSONValue] = [:]
                while true {
                    self.skipBlanks()
                    guard self.byte == UInt8(ascii: "\"") else { break }
                    let key = self.string()
                    self.skipBlanks()
                    self.index += 1
                    members[key] = self.value()
                    self.skipBlanks()
                    guard self.byte == UInt8(ascii: ",") else { break }
                    self.index += 1
                }
                self.index += 1
                return .object(members)
            case UInt8(ascii: "["):
                self.index += 1
                var values: [JSONValue] = []
                self.skipBlanks()
                while self.index < self.bytes.count, self.byte != UInt8(ascii: "]") {
                    values.append(self.value())
                    self.skipBlanks()
                    if self.byte == UInt8(ascii: ",") { self.index += 1 }
                    self.skipBlanks()
                }
                self.index += 1
                return .array(values)
            case UInt8(ascii: "\""):
                return .string(self.string())
            case UInt8(ascii: "t"):
                self.index += 4
                return .bool(true)
            case UInt8(ascii: "f"):
                self.index += 5
                return .bool(false)
            case UInt8(ascii: "n"):
                self.index += 4
                return .null
            default:
                let start = self.index
                while self.index < self.bytes.count, !",]} \n\r\t".utf8.contains(self.byte) { self.index += 1 }
                return .number(String(decoding: self.bytes[start..<self.index], as: UTF8.self))
            }
        }

        private mutating func string() -> String {
            self.index += 1
            var text: [UInt8] = []
            var units: [UInt16] = []
            func flush() {
                if units.isEmpty { return }
                text += Array(String(decoding: units, as: UTF16.self).utf8)
                units = []
            }
            while self.index < self.bytes.count, self.byte != UInt8(ascii: "\"") {
                guard self.byte == UInt8(ascii: "\\") else {
                    flush()
                    text.append(self.byte)
                    self.index += 1
                    continue
                }
                self.index += 1
                let escaped = self.byte
                self.index += 1
                if escaped == UInt8(ascii: "u") {
                    var unit: UInt16 = 0
                    for _ in 0..<4 {
                        unit = unit << 4 | UInt16(PercentCoding.hexDigit(self.byte) ?? 0)
                        self.index += 1
                    }
                    units.append(unit)
                    continue
                }
                flush()
                switch escaped {
                case UInt8(ascii: "b"): text.append(0x08)
                case UInt8(ascii: "f"): text.append(0x0C)
                case UInt8(ascii: "n"): text.append(0x0A)
                case UInt8(ascii: "r"): text.append(0x0D)
                case UInt8(ascii: "t"): text.append(0x09)
                default: text.append(escaped)
                }
            }
            flush()
            self.index += 1
            return String(decoding: text, as: UTF8.self)
        }
    }
}
