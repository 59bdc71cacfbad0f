import NIOCore

/// `bytea` as Postgres writes it in texts (`bytea_output = hex`).
enum HexBytes {
    static func bytes(hex: String) -> ByteBuffer? {
        guard hex.hasPrefix("\\x") else { return nil }
        var buffer = ByteBuffer()
        var high: UInt8?
        for byte in hex.utf8.dropFirst(2) {
            guard let value = Self.nibble(byte) else { return nil }
            if let first = high {
                buffer.writeInteger(first << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        return high == nil ? buffer : nil
    }

    private static func nibble(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): return byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): return byte - UInt8(ascii: "a") + 10
        default: return nil
        }
    }

    static func hex(_ buffer: ByteBuffer) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text = Array("\\x".utf8)
        for byte in buffer.readableBytesView {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }
}
