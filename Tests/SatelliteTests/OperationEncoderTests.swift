import NIOCore
import PostgresWire
import SwiftProtobuf
import Testing

@testable import Satellite

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

@Suite("Row operations in bytes")
struct OperationEncoderTests {
    private static func table(_ generator: inout SeededGenerator) -> SatelliteTable {
        let types = ["text", "bytea", "timestamptz", "int4", "jsonb"]
        let count = Int.random(in: 1...20, using: &generator)
        return SatelliteTable(
            oid: Bool.random(using: &generator) ? UInt32.random(in: 0...300, using: &generator) : .max, name: "t",
            columns: (0..<count).map {
                .init(name: "c\($0)", typeName: types.randomElement(using: &generator) ?? "text", isPrimaryKey: $0 == 0)
            })
    }

    /// A text as Postgres prints it, and the bytes that clients are to get.
    private static func value(_ type: String, _ generator: inout SeededGenerator) -> (text: [UInt8]?, wire: [UInt8]) {
        if Int.random(in: 0..<4, using: &generator) == 0 { return (nil, []) }
        let length = [0, 1, 30, 130, 3_000].randomElement(using: &generator) ?? 0
        let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
        switch type {
        case "bytea":
            let digits = Array("0123456789abcdef".utf8)
            return (Array("\\x".utf8) + bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, bytes)
        case "timestamptz":
            if length == 0 { return (Array("infinity".utf8), Array("infinity".utf8)) }
            let text = "2023-06-15 11:18:05.\(length)"
            return (Array("\(text)+00".utf8), Array("\(text)Z".utf8))
        default:
            return (bytes, bytes)
        }
    }

    private static func row(
        _ table: SatelliteTable, _ generator: inout SeededGenerator
    ) -> (BufferRow, Electric_Satellite_SatOpRow) {
        var texts: [ByteBuffer?] = []
        var wire = Electric_Satellite_SatOpRow()
        var mask = [UInt8](repeating: 0, count: (table.columns.count + 7) / 8)
        for (index, column) in table.columns.enumerated() {
            let value = Self.value(column.typeName, &generator)
            texts.append(value.text.map { ByteBuffer(bytes: $0) })
            if value.text == nil { mask[index / 8] |= 0x80 >> UInt8(index % 8) }
            wire.values.append(Data(value.wire))
        }
        wire.nullsBitmask = Data(mask)
        return (BufferRow(texts), wire)
    }

    private static func expected(_ operation: Electric_Satellite_SatTransOp.OneOf_Op) throws -> [UInt8] {
        var entry = Electric_Satellite_SatTransOp()
        entry.op = operation
        var log = Electric_Satellite_SatOpLog()
        log.ops = [entry]
        return try log.serializedBytes()
    }

    @Test(arguments: 1...60)
    func bytesAreThoseOfSwiftProtobuf(seed: Int) throws {
        var generator = SeededGenerator(seed: UInt64(seed))
        let table = Self.table(&generator)
        let (old, oldWire) = Self.row(table, &generator)
        let (new, newWire) = Self.row(table, &generator)
        let tags = (0..<Int.random(in: 0...3, using: &generator)).map {
            Tag(milliseconds: Int64($0) * 1_000_000_007, source: $0 == 1 ? "client-\(seed)" : nil)
        }

        var buffer = ByteBuffer()
        var insert = Electric_Satellite_SatOpInsert()
        insert.relationID = table.oid
        insert.rowData = newWire
        insert.tags = tags.map(\.wireText)
        OperationEncoder.appendInsert(table: table, row: new, tags: EncodedTags(tags), to: &buffer)
        #expect(Array(buffer.readableBytesView) == (try Self.expected(.insert(insert))), "insert, seed \(seed)")

        buffer.clear()
        var update = Electric_Satellite_SatOpUpdate()
        update.relationID = table.oid
        update.rowData = newWire
        update.oldRowData = oldWire
        update.tags = tags.map(\.wireText)
        OperationEncoder.appendUpdate(table: table, old: old, new: new, tags: EncodedTags(tags), to: &buffer)
        #expect(Array(buffer.readableBytesView) == (try Self.expected(.update(update))), "update, seed \(seed)")

        buffer.clear()
        var delete = Electric_Satellite_SatOpDelete()
        delete.relationID = table.oid
        delete.oldRowData = oldWire
        OperationEncoder.appendDelete(table: table, old: old, to: &buffer)
        #expect(Array(buffer.readableBytesView) == (try Self.expected(.delete(delete))), "delete, seed \(seed)")

        buffer.clear()
        var gone = Electric_Satellite_SatOpGone()
        gone.relationID = table.oid
        var mask = [UInt8](repeating: 0, count: oldWire.nullsBitmask.count)
        for index in table.columns.indices where index > 0 || old.columns[0] == nil {
            mask[index / 8] |= 0x80 >> UInt8(index % 8)
        }
        gone.pkData.nullsBitmask = Data(mask)
        gone.pkData.values = oldWire.values.enumerated().map { $0 == 0 ? $1 : Data() }
        OperationEncoder.appendGone(table: table, row: old, to: &buffer)
        #expect(Array(buffer.readableBytesView) == (try Self.expected(.gone(gone))), "gone, seed \(seed)")
    }

    /// Facts of a recorded session of the real client with the legacy service.
    @Test func insertHasTheRecordedBytes() {
        var buffer = ByteBuffer()
        let row = BufferRow([
            ByteBuffer(string: "8d9a5103-6f19-40fe-8e2f-ec04c8e5deb4"), ByteBuffer(string: "seed"), nil, nil, nil,
        ])
        OperationEncoder.appendInsert(
            table: Fixtures.items, row: row,
            tags: EncodedTags([Tag(milliseconds: 1_795_230_519_604, source: nil)]), to: &buffer)
        let hex = buffer.readableBytesView.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(
            hex
                == "0a57225508eaca0212350a0138122438643961353130332d366631392d343066652d386532662d6563303463386535646562"
                + "341204736565641200120012001a18706f7374677265735f314031373935323330353139363034")
    }

    @Test func elevenColumnsHaveTwoMaskBytes() throws {
        let table = SatelliteTable(
            oid: 1, name: "t", columns: (0..<11).map { .init(name: "c\($0)", typeName: "text") })
        var encoder = RowFrameEncoder()
        let row = BufferRow([nil, nil] + (2..<11).map { _ in ByteBuffer() })
        let isAppended = encoder.appendInsert(table: table, row: row, tagsText: nil)
        #expect(isAppended)
        guard case .insert(let insert)? = encoder.finish().operations.first else {
            Issue.record("no insert")
            return
        }
        #expect(Array(insert.rowData.nullsBitmask) == [0xC0, 0x00])
        #expect(insert.tags == ["postgres_1@0"])
    }

    @Test func rowsAreCutIntoMessagesOfAHundred() {
        var encoder = RowFrameEncoder()
        var batch = FrameBatch()
        for _ in 0..<250 {
            encoder.appendGone(table: Fixtures.owned, key: BufferRow([ByteBuffer(string: "1")]))
            if let frames = encoder.takeFrames(minimumBytes: 1) { batch.append(frames) }
        }
        batch.append(encoder.finish())
        let counts = batch.messages.map { message in
            if case .opLog(let log) = message { return log.ops.count }
            return -1
        }
        #expect(counts == [100, 100, 50])
    }
}

@Suite("Tags")
struct TagTests {
    @Test(arguments: [
        (#"{"(\"2023-06-15 11:18:05.372+00\",)"}"#, ["postgres_1@1686827885372"]),
        (#"{"(\"2023-06-15 11:18:05+00\",)"}"#, ["postgres_1@1686827885000"]),
        (#"{"(\"2023-06-15 11:18:05.372698+00\",client)"}"#, ["client@1686827885372"]),
        (
            #"{"(\"2023-06-15 11:18:05.3+00\",)","(\"1970-01-01 00:00:00+00\",\"a, \"\"b\"\"\")"}"#,
            ["postgres_1@1686827885300", #"a, "b"@0"#]
        ),
        (#"{"(\"2023-06-15 11:18:05.3+00\",\"x\"\"y\")"}"#, [#"x"y@1686827885300"#]),
        (#"{"(epoch,)"}"#, ["postgres_1@0"]),
        ("{}", []),
    ])
    func postgresArraysAreRead(text: String, expected: [String]) {
        #expect(Tag.parseArray(Array(text.utf8))?.map(\.wireText) == expected)
    }

    @Test(arguments: [
        "", "{", "{}x", #"{"(,)"}"#, #"{"(\"yesterday\",)"}"#, #"{"(\"2023-06-15 11:18:05+01\",)"}"#, "NULL",
    ])
    func otherTextsAreRefused(text: String) {
        #expect(Tag.parseArray(Array(text.utf8)) == nil)
    }

    @Test func wireTagsAreSplitAtTheLastSign() {
        #expect(Tag(wire: "me@home@12") == Tag(milliseconds: 12, source: "me@home"))
        #expect(Tag(wire: "postgres_1@0") == .epoch)
        for text in ["", "@1", "a@", "a@-1", "a@1x", "a", "a@12345678901234567890"] { #expect(Tag(wire: text) == nil) }
    }

    @Test func timesBeforeTheEpochAndBeforeChristAreCounted() {
        #expect(PostgresTimestamp.milliseconds("1969-12-31 23:59:59.5+00".utf8) == -500)
        #expect(PostgresTimestamp.milliseconds("0001-01-01 00:00:00+00".utf8) == -62_135_596_800_000)
        #expect(PostgresTimestamp.milliseconds("0001-12-31 00:00:00+00 BC".utf8) == -62_135_683_200_000)
        #expect(PostgresTimestamp.milliseconds("infinity".utf8) == nil)
    }

    @Test func positionsAreDecimal() {
        #expect(ServerPosition.encode(.init(rawValue: 23_803_720)) == Array("23803720".utf8))
        #expect(ServerPosition.decode(Array("23803720".utf8))?.rawValue == 23_803_720)
        #expect(ServerPosition.decode(Array("18446744073709551615".utf8))?.rawValue == .max)
        for text in ["", "-1", "+1", "1 ", "0x1", "18446744073709551616", "111111111111111111111"] {
            #expect(ServerPosition.decode(Array(text.utf8)) == nil)
        }
    }
}
