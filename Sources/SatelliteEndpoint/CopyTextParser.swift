import NIOCore

/// Splits rows of COPY's text format (PostgreSQL documentation, "COPY", text format) without copying what needs no unescaping.
struct CopyTextParser {
    /// Unescaped texts of the present row, for the fields that have escapes.
    private var scratch: [UInt8] = []
    private var fields: [Field] = []

    private enum Field {
        case null
        case plain(Range<Int>)
        case unescaped(Range<Int>)
    }

    /// Calls `body` with the fields of each row; the pointers live for the duration of the call.
    mutating func forEachRow(
        in chunk: ByteBuffer, _ body: ([UnsafeRawBufferPointer?]) throws -> Void
    ) rethrows {
        try chunk.withUnsafeReadableBytes { bytes in
            var pointers: [UnsafeRawBufferPointer?] = []
            var start = 0
            while start < bytes.count {
                let end = self.splitRow(bytes, from: start)
                try self.scratch.withUnsafeBytes { scratch in
                    pointers.removeAll(keepingCapacity: true)
                    for field in self.fields {
                        switch field {
                        case .null: pointers.append(nil)
                        case .plain(let range): pointers.append(UnsafeRawBufferPointer(rebasing: bytes[range]))
                        case .unescaped(let range): pointers.append(UnsafeRawBufferPointer(rebasing: scratch[range]))
                        }
                    }
                    try body(pointers)
                }
                start = end
            }
        }
    }

    /// Finds the fields of the row at `start`; returns where the next row begins.
    private mutating func splitRow(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
        self.fields.removeAll(keepingCapacity: true)
        self.scratch.removeAll(keepingCapacity: true)
        var index = start
        var fieldStart = start
        var hasEscapes = false
        while true {
            let isEnd = index >= bytes.count
            let byte = isEnd ? UInt8(ascii: "\n") : bytes[index]
            if byte == UInt8(ascii: "\\") {
                hasEscapes = true
                index += 2
                continue
            }
            if byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\n") {
                self.appendField(bytes, fieldStart..<min(index, bytes.count), hasEscapes)
                index += 1
                if byte == UInt8(ascii: "\n") { return index }
                fieldStart = index
                hasEscapes = false
                continue
            }
            index += 1
        }
    }

    private mutating func appendField(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, _ hasEscapes: Bool) {
        guard hasEscapes else {
            self.fields.append(.plain(range))
            return
        }
        if range.count == 2, bytes[range.lowerBound + 1] == UInt8(ascii: "N") {
            self.fields.append(.null)
            return
        }
        let start = self.scratch.count
        var index = range.lowerBound
        while index < range.upperBound {
            var byte = bytes[index]
            if byte == UInt8(ascii: "\\"), index + 1 < range.upperBound {
                index += 1
                byte = Self.unescaped(bytes[index])
            }
            self.scratch.append(byte)
            index += 1
        }
        self.fields.append(.unescaped(start..<self.scratch.count))
    }

    /// The server writes control characters as letters, and a backslash before itself.
    private static func unescaped(_ letter: UInt8) -> UInt8 {
        switch letter {
        case UInt8(ascii: "b"): return 8
        case UInt8(ascii: "f"): return 12
        case UInt8(ascii: "n"): return 10
        case UInt8(ascii: "r"): return 13
        case UInt8(ascii: "t"): return 9
        case UInt8(ascii: "v"): return 11
        default: return letter
        }
    }
}
