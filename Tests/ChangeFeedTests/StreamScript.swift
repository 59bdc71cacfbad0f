import NIOCore
import PostgresWire

/// Messages of a replication stream, written by hand.
enum StreamScript {
    static let items = Relation(
        oid: 16_400, schema: "public", name: "items", replicaIdentity: .full,
        columns: [.init(name: "id", typeOID: 25, isKey: true)])

    static var itemsWithContent: Relation {
        var relation = Self.items
        relation.columns.append(.init(name: "content", typeOID: 25, isKey: true))
        return relation
    }

    static func begin(_ commit: UInt64, xid: UInt32) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt8(ascii: "B"))
        buffer.writeMultipleIntegers(commit, Int64(0), xid)
        return buffer
    }

    static func commit(_ commit: UInt64, end: UInt64) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt8(ascii: "C"))
        buffer.writeMultipleIntegers(UInt8(0), commit, end, Int64(0))
        return buffer
    }

    static func relation(_ relation: Relation) -> ByteBuffer {
        var buffer = ByteBuffer()
        relation.write(to: &buffer)
        return buffer
    }

    static func insert(_ value: String, into relation: Relation = Self.items) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt8(ascii: "I"))
        buffer.writeInteger(relation.oid)
        buffer.writeString("N")
        buffer.writeInteger(UInt16(relation.columns.count))
        for _ in relation.columns {
            buffer.writeString("t")
            buffer.writeInteger(UInt32(value.utf8.count))
            buffer.writeString(value)
        }
        return buffer
    }

    /// One transaction with an insert for each value; its commit record lies at `commit` and is 10 bytes long.
    static func transaction(_ commit: UInt64, xid: UInt32, _ values: [String], describing: Bool = false) -> [ByteBuffer]
    {
        [self.begin(commit, xid: xid)] + (describing ? [self.relation(self.items)] : [])
            + values.map { self.insert($0) } + [self.commit(commit, end: commit + 10)]
    }

    static func values(of piece: TransactionPiece) throws -> [String] {
        var values: [String] = []
        try piece.forEachMessage { message in
            if case .insert(let insert) = try ReplicationMessage.decode(message) {
                values.append(insert.new.columns[0].string ?? "?")
            }
        }
        return values
    }
}
