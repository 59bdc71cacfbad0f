/// The text being parsed.
struct DDLSource {
    let bytes: [UInt8]

    init(_ text: String) {
        self.bytes = Array(text.utf8)
    }

    func text(_ range: Range<Int>) -> String {
        String(decoding: self.bytes[range.clamped(to: 0..<self.bytes.count)], as: UTF8.self)
    }

    /// Behind the character (Unicode scalar) that begins at `offset`.
    func characterEnd(at offset: Int) -> Int {
        var end = min(offset + 1, self.bytes.count)
        while end < self.bytes.count, self.bytes[end] & 0xC0 == 0x80 { end += 1 }
        return end
    }

    func position(at offset: Int) -> SourcePosition {
        var character = 1
        var line = 1
        var column = 1
        for byte in self.bytes.prefix(offset) where byte & 0xC0 != 0x80 {
            character += 1
            if byte == 0x0A {
                line += 1
                column = 1
            } else {
                column += 1
            }
        }
        return SourcePosition(
            byteOffset: min(offset, self.bytes.count), character: character, line: line, column: column)
    }
}
