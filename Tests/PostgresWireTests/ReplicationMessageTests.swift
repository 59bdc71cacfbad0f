import NIOCore
import PostgresWire
import Testing

@Suite struct ReplicationMessageTests {
    private static func begin() -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt8(ascii: "B"))
        buffer.writeMultipleIntegers(UInt64(500), Int64(1_000_000), UInt32(77))
        return buffer
    }

    private static func update() -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt8(ascii: "U"))
        buffer.writeInteger(UInt32(16_400))
        for marker in ["O", "N"] {
            buffer.writeString(marker)
            buffer.writeInteger(UInt16(3))
            buffer.writeString("t")
            buffer.writeInteger(UInt32(1))
            buffer.writeString("7")
            buffer.writeString("n")
            if marker == "O" {
                buffer.writeString("t")
                buffer.writeInteger(UInt32(4))
                buffer.writeString("long")
            } else {
                buffer.writeString("u")
            }
        }
        return buffer
    }

    @Test func beginTellsPositionTimeAndID() throws {
        guard case .begin(let begin) = try ReplicationMessage.decode(Self.begin()) else {
            Issue.record("not a begin")
            return
        }
        #expect(begin.finalLSN == LSN(rawValue: 500))
        #expect(begin.commitTime == 946_684_801_000_000)
        #expect(begin.xid == 77)
    }

    @Test func unchangedColumnTakesTheOldValue() throws {
        guard case .update(var update) = try ReplicationMessage.decode(Self.update()) else {
            Issue.record("not an update")
            return
        }
        #expect(update.new.columns[2] == .unchanged)
        let isComplete = update.new.resolveUnchanged(from: update.old)
        #expect(isComplete)
        #expect(update.new.columns.map(\.string) == ["7", nil, "long"])
        #expect(update.new.columns[1].isNull)
    }

    @Test func unchangedColumnWithoutOldRowIsReported() {
        for old in [nil, Tuple(columns: [.unchanged]), Tuple(columns: [])] {
            var tuple = Tuple(columns: [.unchanged])
            let isComplete = tuple.resolveUnchanged(from: old)
            #expect(!isComplete)
        }
    }

    @Test(arguments: [Self.begin(), Self.update()])
    func everyTruncationAndEverySurplusIsAnError(_ message: ByteBuffer) {
        for length in 0..<message.readableBytes {
            guard let cut = message.getSlice(at: 0, length: length) else { continue }
            #expect(throws: ReplicationDecodingError.self) { try ReplicationMessage.decode(cut) }
        }
        var longer = message
        longer.writeInteger(UInt8(0))
        #expect(throws: ReplicationDecodingError.self) { try ReplicationMessage.decode(longer) }
    }

    @Test func randomBytesNeverTrap() {
        var generator = SystemRandomNumberGenerator()
        let kinds = Array("BCORYIUDTMSEcA".utf8)
        for _ in 0..<20_000 {
            var bytes = (0..<Int.random(in: 0...64, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) }
            if !bytes.isEmpty, Bool.random(using: &generator) { bytes[0] = kinds.randomElement(using: &generator) ?? 0 }
            _ = try? ReplicationMessage.decode(ByteBuffer(bytes: bytes), streamed: Bool.random(using: &generator))
        }
    }

    @Test func relationSurvivesEncodingAndDecoding() throws {
        let relation = Relation(
            oid: 16_400, schema: "public", name: "Größe", replicaIdentity: .full,
            columns: [.init(name: "id", typeOID: 2950, isKey: true), .init(name: "a\"b", typeOID: 1043, typeModifier: 14)])
        var message = ByteBuffer()
        relation.write(to: &message)
        #expect(try Relation(message: message) == relation)
    }

    @Test func pieceGivesItsMessagesBackInOrder() throws {
        var piece = TransactionPiece()
        piece.append(message: Self.begin())
        piece.append(message: Self.update())
        var seen: [ByteBuffer] = []
        try piece.forEachMessage { seen.append($0) }
        #expect(seen == [Self.begin(), Self.update()])
        piece.bytes = piece.bytes.getSlice(at: 0, length: piece.byteCount - 1) ?? ByteBuffer()
        #expect(throws: ReplicationDecodingError.self) { try piece.forEachMessage { _ in } }
    }
}
