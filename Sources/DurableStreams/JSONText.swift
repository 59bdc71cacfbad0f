import NIOCore

/// Writes JSON, a piece at a time, into a buffer.
struct JSONText {
    private(set) var bytes = ByteBuffer()
    private var needsComma = false

    mutating func beginObject() { self.begin("{") }
    mutating func endObject() { self.end("}") }
    mutating func beginArray() { self.begin("[") }
    mutating func endArray() { self.end("]") }

    private mutating func begin(_ bracket: Unicode.Scalar) {
        self.separate()
        self.bytes.writeInteger(UInt8(ascii: bracket))
        self.needsComma = false
    }

    private mutating func end(_ bracket: Unicode.Scalar) {
        self.bytes.writeInteger(UInt8(ascii: bracket))
        self.needsComma = true
    }

    private mutating func separate() {
        if self.needsComma { self.bytes.writeInteger(UInt8(ascii: ",")) }
        self.needsComma = true
    }

    mutating func key(_ name: String) {
        self.separate()
        self.writeQuoted(name)
        self.bytes.writeInteger(UInt8(ascii: ":"))
        self.needsComma = false
    }

    mutating func string(_ text: String) {
        self.separate()
        self.writeQuoted(text)
    }

    mutating func number(_ value: UInt64) {
        self.separate()
        self.bytes.writeString(String(value))
    }

    mutating func bool(_ value: Bool) {
        self.separate()
        self.bytes.writeStaticString(value ? "true" : "false")
    }

    mutating func null() {
        self.separate()
        self.bytes.writeStaticString("null")
    }

    mutating func member(_ name: String, _ text: String) {
        self.key(name)
        self.string(text)
    }

    mutating func member(_ name: String, _ text: String?) {
        self.key(name)
        if let text { self.string(text) } else { self.null() }
    }

    mutating func member(_ name: String, _ value: UInt64) {
        self.key(name)
        self.number(value)
    }

    mutating func member(_ name: String, _ value: Bool) {
        self.key(name)
        self.bool(value)
    }

    private mutating func writeQuoted(_ text: String) {
        let digits: StaticString = "0123456789abcdef"
        self.bytes.writeInteger(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): self.bytes.writeStaticString("\\\"")
            case UInt8(ascii: "\\"): self.bytes.writeStaticString("\\\\")
            case 0x0A: self.bytes.writeStaticString("\\n")
            case 0x0D: self.bytes.writeStaticString("\\r")
            case 0x09: self.bytes.writeStaticString("\\t")
            case 0..<0x20:
                self.bytes.writeStaticString("\\u00")
                self.bytes.writeInteger(digits.utf8Start[Int(byte >> 4)])
                self.bytes.writeInteger(digits.utf8Start[Int(byte & 15)])
            default: self.bytes.writeInteger(byte)
            }
        }
        self.bytes.writeInteger(UInt8(ascii: "\""))
    }
}
