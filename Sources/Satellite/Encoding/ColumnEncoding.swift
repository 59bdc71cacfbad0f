/// How the text that Postgres gives becomes the bytes that clients get.
package enum ColumnEncoding: UInt8, Hashable, Sendable {
    /// As it is.
    case verbatim
    /// `\x6869` becomes the bytes themselves.
    case bytea
    /// `2023-01-02 03:04:05+00` becomes `2023-01-02 03:04:05Z`.
    case timestamptz

    package init(typeName: String) {
        switch typeName {
        case "bytea": self = .bytea
        case "timestamptz": self = .timestamptz
        default: self = .verbatim
        }
    }

    /// Length of the wire form of `text`.
    @inline(__always)
    func encodedLength(_ text: UnsafeRawBufferPointer) -> Int {
        switch self {
        case .verbatim: return text.count
        case .bytea: return Self.isHexForm(text) ? (text.count - 2) / 2 : text.count
        case .timestamptz: return Self.endsInZeroOffset(text) ? text.count - 2 : text.count
        }
    }

    /// Writes the wire form of `text`, exactly ``encodedLength(_:)`` bytes.
    @inline(__always)
    func encode(_ text: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer) {
        switch self {
        case .verbatim:
            Self.copy(text, to: target)
        case .bytea:
            guard Self.isHexForm(text) else { return Self.copy(text, to: target) }
            var offset = 0
            var index = 2
            while index < text.count {
                let byte = Self.nibble(text[index]) << 4 | Self.nibble(text[index + 1])
                target.storeBytes(of: byte, toByteOffset: offset, as: UInt8.self)
                offset += 1
                index += 2
            }
        case .timestamptz:
            guard Self.endsInZeroOffset(text) else { return Self.copy(text, to: target) }
            Self.copy(.init(rebasing: text[..<(text.count - 3)]), to: target)
            target.storeBytes(of: UInt8(ascii: "Z"), toByteOffset: text.count - 3, as: UInt8.self)
        }
    }

    @inline(__always)
    private static func copy(_ text: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer) {
        if let base = text.baseAddress, text.count > 0 {
            target.copyMemory(from: base, byteCount: text.count)
        }
    }

    /// Why the digits are not checked: the text comes from Postgres with `bytea_output = hex`, whose form is fixed.
    @inline(__always)
    private static func isHexForm(_ text: UnsafeRawBufferPointer) -> Bool {
        text.count >= 2 && text.count & 1 == 0 && text[0] == UInt8(ascii: "\\") && text[1] == UInt8(ascii: "x")
    }

    /// Infinite values and other texts without an offset pass unchanged.
    @inline(__always)
    private static func endsInZeroOffset(_ text: UnsafeRawBufferPointer) -> Bool {
        let count = text.count
        return count > 3 && text[count - 3] == UInt8(ascii: "+") && text[count - 2] == UInt8(ascii: "0")
            && text[count - 1] == UInt8(ascii: "0")
    }

    @inline(__always)
    private static func nibble(_ digit: UInt8) -> UInt8 {
        // '0'...'9' are 0x30..., 'a'...'f' and 'A'...'F' have bit 6 set and count from 1.
        (digit & 0x0F) &+ (digit >> 6) &* 9
    }
}
