import NIOCore
import PostgresWire

/// Splits rows of COPY's text format; values without escapes are slices of the chunk.
enum CopyRows {
    static func forEach(in chunk: ByteBuffer, _ body: ([ColumnValue]) -> Void) {
        var row: [ColumnValue] = []
        var fieldStart = chunk.readerIndex
        var hasEscapes = false
        var index = chunk.readerIndex
        let end = chunk.writerIndex
        let view = chunk.readableBytesView
        while index < end {
            let byte = view[index]
            if byte == UInt8(ascii: "\\") {
                hasEscapes = true
                index += 2
                continue
            }
            if byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\n") {
                row.append(Self.field(chunk, fieldStart..<index, hasEscapes))
                fieldStart = index + 1
                hasEscapes = false
                if byte == UInt8(ascii: "\n") {
                    body(row)
                    row.removeAll(keepingCapacity: true)
                }
            }
            index += 1
        }
    }

    private static func field(_ chunk: ByteBuffer, _ range: Range<Int>, _ hasEscapes: Bool) -> ColumnValue {
        guard let slice = chunk.getSlice(at: range.lowerBound, length: range.count) else { return .null }
        guard hasEscapes else { return .text(slice) }
        let bytes = Array(slice.readableBytesView)
        if bytes == [UInt8(ascii: "\\"), UInt8(ascii: "N")] { return .null }
        var text = ByteBufferAllocator().buffer(capacity: bytes.count)
        var index = 0
        while index < bytes.count {
            var byte = bytes[index]
            if byte == UInt8(ascii: "\\"), index + 1 < bytes.count {
                index += 1
                switch bytes[index] {
                case UInt8(ascii: "b"): byte = 8
                case UInt8(ascii: "f"): byte = 12
                case UInt8(ascii: "n"): byte = 10
                case UInt8(ascii: "r"): byte = 13
                case UInt8(ascii: "t"): byte = 9
                case UInt8(ascii: "v"): byte = 11
                default: byte = bytes[index]
                }
            }
            text.writeInteger(byte)
            index += 1
        }
        return .text(text)
    }
}
