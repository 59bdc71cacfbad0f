package import NIOCore

/// A row whose columns are texts of Postgres (nil is NULL), in the order of a table's columns.
package protocol RowTexts {
    /// Calls `body` with the text of a column; nil for NULL, and for columns that the row does not have.
    func withText<Result>(of column: Int, _ body: (UnsafeRawBufferPointer?) -> Result) -> Result
}

/// Writes row operations in the form in which they stand in `SatOpLog.ops`, straight from texts to bytes.
///
/// The result is byte for byte what SwiftProtobuf makes of the same messages, without their objects.
package enum OperationEncoder {
    /// Field numbers of `SatTransOp.op`.
    package enum Kind: UInt8, Hashable, Sendable {
        case update = 3
        case insert = 4
        case delete = 5
        case gone = 8
    }

    /// Appends `insert`.
    package static func appendInsert(
        table: SatelliteTable, row: some RowTexts, tags: EncodedTags, to buffer: inout ByteBuffer
    ) {
        let row = RowSize(row, table: table)
        let tagsField = UInt8(3 << 3 | 2)
        let body = Self.relationSize(table.oid) + row.fieldSize + tags.size
        Self.appendHeader(.insert, bodySize: body, oid: table.oid, to: &buffer)
        row.write(field: 2, to: &buffer)
        tags.write(tag: tagsField, to: &buffer)
    }

    /// Appends `update` with both row images.
    package static func appendUpdate(
        table: SatelliteTable, old: some RowTexts, new: some RowTexts, tags: EncodedTags, to buffer: inout ByteBuffer
    ) {
        let new = RowSize(new, table: table)
        let old = RowSize(old, table: table)
        let body = Self.relationSize(table.oid) + new.fieldSize + old.fieldSize + tags.size
        Self.appendHeader(.update, bodySize: body, oid: table.oid, to: &buffer)
        new.write(field: 2, to: &buffer)
        old.write(field: 3, to: &buffer)
        tags.write(tag: UInt8(4 << 3 | 2), to: &buffer)
    }

    /// Appends `delete`; its tags are always empty.
    package static func appendDelete(table: SatelliteTable, old: some RowTexts, to buffer: inout ByteBuffer) {
        let old = RowSize(old, table: table)
        Self.appendHeader(
            .delete, bodySize: Self.relationSize(table.oid) + old.fieldSize, oid: table.oid, to: &buffer)
        old.write(field: 2, to: &buffer)
    }

    /// Appends `gone`: the primary key is taken from `row`, every other column is NULL.
    package static func appendGone(table: SatelliteTable, row: some RowTexts, to buffer: inout ByteBuffer) {
        let row = RowSize(KeyOnly(row: row, table: table), table: table)
        Self.appendHeader(.gone, bodySize: Self.relationSize(table.oid) + row.fieldSize, oid: table.oid, to: &buffer)
        row.write(field: 2, to: &buffer)
    }

    private static func relationSize(_ oid: UInt32) -> Int {
        oid == 0 ? 0 : 1 + Varint.size(UInt64(oid))
    }

    /// `ops` field of the op log, the oneof's field, and the relation id that every row operation begins with.
    private static func appendHeader(_ kind: Kind, bodySize: Int, oid: UInt32, to buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(0x0A))
        Varint.write(UInt64(1 + Varint.size(UInt64(bodySize)) + bodySize), to: &buffer)
        buffer.writeInteger(kind.rawValue << 3 | 2)
        Varint.write(UInt64(bodySize), to: &buffer)
        if oid != 0 {
            buffer.writeInteger(UInt8(0x08))
            Varint.write(UInt64(oid), to: &buffer)
        }
    }

    /// A row measured once, so that it can be written behind its length.
    private struct RowSize<Row: RowTexts> {
        let row: Row
        let table: SatelliteTable
        let maskSize: Int
        /// Size of the `SatOpRow` message.
        let size: Int

        init(_ row: Row, table: SatelliteTable) {
            let encodings = table.encodings
            let maskSize = (encodings.count + 7) / 8
            var size = maskSize == 0 ? 0 : 1 + Varint.size(UInt64(maskSize)) + maskSize
            for index in encodings.indices {
                let length = row.withText(of: index) { text in text.map(encodings[index].encodedLength) ?? 0 }
                size += 1 + Varint.size(UInt64(length)) + length
            }
            self.row = row
            self.table = table
            self.maskSize = maskSize
            self.size = size
        }

        var fieldSize: Int { 1 + Varint.size(UInt64(self.size)) + self.size }

        func write(field: UInt8, to buffer: inout ByteBuffer) {
            buffer.writeInteger(field << 3 | 2)
            Varint.write(UInt64(self.size), to: &buffer)
            buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: self.size) { target in
                guard let base = target.baseAddress else { return 0 }
                let encodings = self.table.encodings
                var offset = 0
                var mask = 0
                if self.maskSize > 0 {
                    target[offset] = 0x0A
                    offset += 1
                    offset += Varint.write(UInt64(self.maskSize), to: base + offset)
                    mask = offset
                    (base + offset).initializeMemory(as: UInt8.self, repeating: 0, count: self.maskSize)
                    offset += self.maskSize
                }
                for index in encodings.indices {
                    self.row.withText(of: index) { text in
                        target[offset] = 0x12
                        offset += 1
                        guard let text else {
                            target[mask + index >> 3] |= 0x80 >> UInt8(index & 7)
                            target[offset] = 0
                            offset += 1
                            return
                        }
                        let length = encodings[index].encodedLength(text)
                        offset += Varint.write(UInt64(length), to: base + offset)
                        encodings[index].encode(text, to: base + offset)
                        offset += length
                    }
                }
                return offset
            }
        }
    }

    private struct KeyOnly<Row: RowTexts>: RowTexts {
        let row: Row
        let table: SatelliteTable

        func withText<Result>(of column: Int, _ body: (UnsafeRawBufferPointer?) -> Result) -> Result {
            self.table.columns[column].isPrimaryKey ? self.row.withText(of: column, body) : body(nil)
        }
    }
}

/// Base-128 integers of protobuf.
enum Varint {
    @inline(__always)
    static func size(_ value: UInt64) -> Int {
        value < 0x80 ? 1 : (70 - value.leadingZeroBitCount) / 7
    }

    @inline(__always)
    static func write(_ value: UInt64, to target: UnsafeMutableRawPointer) -> Int {
        var value = value
        var offset = 0
        while value >= 0x80 {
            target.storeBytes(of: UInt8(truncatingIfNeeded: value) | 0x80, toByteOffset: offset, as: UInt8.self)
            value >>= 7
            offset += 1
        }
        target.storeBytes(of: UInt8(truncatingIfNeeded: value), toByteOffset: offset, as: UInt8.self)
        return offset + 1
    }

    @inline(__always)
    static func write(_ value: UInt64, to buffer: inout ByteBuffer) {
        if value < 0x80 {
            buffer.writeInteger(UInt8(truncatingIfNeeded: value))
            return
        }
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 10) { target in
            target.baseAddress.map { Varint.write(value, to: $0) } ?? 0
        }
    }
}
