/// Quoting that Postgres and SQLite share.
package enum SQLText {
    /// A name in double quotes, those inside it doubled.
    package static func identifier(_ name: String) -> String {
        "\"\(Self.doubled(name, UInt8(ascii: "\"")))\""
    }

    package static func identifiers(_ names: [String]) -> String {
        names.map { Self.identifier($0) }.joined(separator: ", ")
    }

    /// A text in single quotes, those inside it doubled. Backslashes have no meaning in it.
    package static func literal(_ text: String) -> String {
        "'\(Self.doubled(text, UInt8(ascii: "'")))'"
    }

    private static func doubled(_ text: String, _ quote: UInt8) -> String {
        guard text.utf8.contains(quote) else { return text }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count + 8)
        for byte in text.utf8 {
            if byte == quote { bytes.append(quote) }
            bytes.append(byte)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The text without white space at either end.
    static func trimmed(_ text: String) -> String {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) }
        let bytes = text.utf8
        guard let first = bytes.firstIndex(where: { !isSpace($0) }),
            let last = bytes.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(text[first...last])
    }
}
