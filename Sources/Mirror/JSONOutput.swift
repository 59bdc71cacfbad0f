import NIOCore

extension ByteBuffer {
    /// Writes text as a JSON string. Bytes that are not UTF-8 become replacement characters, so that the result is JSON whatever comes.
    mutating func writeJSONString(_ bytes: UnsafeRawBufferPointer) {
        let needsCheck = bytes.contains { $0 >= 0x80 }
        if needsCheck {
            let text = String(decoding: bytes, as: UTF8.self)
            self.writeJSONString(text)
        } else {
            self.writeEscaped(bytes)
        }
    }

    mutating func writeJSONString(_ text: String) {
        var text = text
        text.withUTF8 { self.writeEscaped(UnsafeRawBufferPointer($0)) }
    }

    mutating func writeJSONString(_ buffer: ByteBuffer) {
        buffer.withUnsafeReadableBytes { self.writeJSONString($0) }
    }

    private mutating func writeEscaped(_ bytes: UnsafeRawBufferPointer) {
        self.reserveCapacity(minimumWritableBytes: bytes.count + 2)
        self.writeInteger(UInt8(ascii: "\""))
        var start = 0
        for index in bytes.indices {
            let byte = bytes[index]
            guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else { continue }
            if start < index { self.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[start..<index])) }
            start = index + 1
            switch byte {
            case UInt8(ascii: "\""): self.writeStaticString("\\\"")
            case UInt8(ascii: "\\"): self.writeStaticString("\\\\")
            case 0x0A: self.writeStaticString("\\n")
            case 0x0D: self.writeStaticString("\\r")
            case 0x09: self.writeStaticString("\\t")
            default:
                let digits = Array("0123456789abcdef".utf8)
                self.writeStaticString("\\u00")
                self.writeInteger(digits[Int(byte >> 4)])
                self.writeInteger(digits[Int(byte & 15)])
            }
        }
        if start < bytes.count { self.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[start...])) }
        self.writeInteger(UInt8(ascii: "\""))
    }

    /// Writes `"name":`, after a comma unless it is the first member.
    mutating func writeMember(_ name: String, isFirst: Bool = false) {
        if !isFirst { self.writeInteger(UInt8(ascii: ",")) }
        self.writeJSONString(name)
        self.writeInteger(UInt8(ascii: ":"))
    }
}
