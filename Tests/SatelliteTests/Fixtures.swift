import ExactText
import NIOCore
import PostgresWire

@testable import Satellite

/// Tables, wire messages and sessions for the tests.
enum Fixtures {
    static let items = SatelliteTable(
        oid: 42_346, name: "items",
        columns: [
            .init(name: "id", typeName: "uuid", isPrimaryKey: true, isNullable: false),
            .init(name: "content", typeName: "text", isNullable: false),
            .init(name: "content_text_null", typeName: "text"),
            .init(name: "intvalue_null", typeName: "int4"),
            .init(name: "ts", typeName: "int8"),
        ])
    static let owned = SatelliteTable(
        oid: 50_000, name: "owned_entries",
        columns: [
            .init(name: "id", typeName: "int4", isPrimaryKey: true, isNullable: false),
            .init(name: "electric_user_id", typeName: "text"),
            .init(name: "content", typeName: "text"),
        ])
    static let parent = SatelliteTable(
        oid: 60_000, name: "parents",
        columns: [
            .init(name: "id", typeName: "int4", isPrimaryKey: true, isNullable: false),
            .init(name: "child_id", typeName: "int4"),
        ], parents: [60_001])
    /// Refers to its parent, which refers back.
    static let child = SatelliteTable(
        oid: 60_001, name: "children",
        columns: [
            .init(name: "id", typeName: "int4", isPrimaryKey: true, isNullable: false),
            .init(name: "parent_id", typeName: "int4"),
        ], parents: [60_000])
    static let schema = SatelliteSchema(tables: [items, owned, parent, child], versions: ["20240101000000_1"])

    static func relation(_ table: SatelliteTable) -> Relation {
        Relation(
            oid: table.oid, schema: table.schema, name: table.name, replicaIdentity: .full,
            columns: table.columns.map { .init(name: $0.name, typeOID: 25, isKey: $0.isPrimaryKey) })
    }

    static func shadowOID(_ table: SatelliteTable) -> UInt32 { table.oid + 1_000_000 }

    static func shadowRelation(_ table: SatelliteTable) -> Relation {
        var names = ["_tags", "_last_modified", "_is_a_delete_operation", "_tag", "_currently_reordering"]
        names += table.primaryKey.map { table.columns[$0].name }
        return Relation(
            oid: Self.shadowOID(table), schema: "electric", name: table.shadowName, replicaIdentity: .full,
            columns: names.map { .init(name: $0, typeOID: 25) })
    }

    static let ddlRelation = Relation(
        oid: 900, schema: "electric", name: "ddl_commands", replicaIdentity: .full,
        columns: ["id", "txid", "txts", "query"].map { .init(name: $0, typeOID: 25) })

    static var relations: [UInt32: Relation] {
        var result: [UInt32: Relation] = [900: Self.ddlRelation]
        for table in Self.schema.tables.values {
            result[table.oid] = Self.relation(table)
            result[Self.shadowOID(table)] = Self.shadowRelation(table)
        }
        return result
    }

    static func transaction(
        xid: UInt64 = 100, at position: UInt64 = 2_000, commitTime: Int64 = 1_700_000_000_000_000,
        _ messages: [ByteBuffer]
    ) -> CommittedTransaction {
        var piece = TransactionPiece()
        for message in messages { piece.append(message: message) }
        return CommittedTransaction(
            header: TransactionHeader(
                xid: xid, commitLSN: LSN(rawValue: position - 48), endLSN: LSN(rawValue: position),
                commitTime: commitTime),
            relations: Self.relations, piece: piece)
    }
}

/// Messages of `pgoutput`, written by hand.
enum PGOutput {
    /// `"\u{0}"` stands for an unchanged TOAST value.
    static func tuple(_ values: [String?], to buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt16(values.count))
        for value in values {
            switch value {
            case nil: buffer.writeInteger(UInt8(ascii: "n"))
            case "\u{0}": buffer.writeInteger(UInt8(ascii: "u"))
            case let text?:
                buffer.writeInteger(UInt8(ascii: "t"))
                buffer.writeInteger(Int32(text.utf8.count))
                buffer.writeString(text)
            }
        }
    }

    static func insert(_ oid: UInt32, _ values: [String?]) -> ByteBuffer {
        var buffer = ByteBuffer(bytes: [UInt8(ascii: "I")])
        buffer.writeInteger(oid)
        buffer.writeInteger(UInt8(ascii: "N"))
        Self.tuple(values, to: &buffer)
        return buffer
    }

    static func update(_ oid: UInt32, old: [String?]?, _ values: [String?]) -> ByteBuffer {
        var buffer = ByteBuffer(bytes: [UInt8(ascii: "U")])
        buffer.writeInteger(oid)
        if let old {
            buffer.writeInteger(UInt8(ascii: "O"))
            Self.tuple(old, to: &buffer)
        }
        buffer.writeInteger(UInt8(ascii: "N"))
        Self.tuple(values, to: &buffer)
        return buffer
    }

    static func delete(_ oid: UInt32, _ values: [String?]) -> ByteBuffer {
        var buffer = ByteBuffer(bytes: [UInt8(ascii: "D")])
        buffer.writeInteger(oid)
        buffer.writeInteger(UInt8(ascii: "O"))
        Self.tuple(values, to: &buffer)
        return buffer
    }

    static func truncate(_ oids: [UInt32]) -> ByteBuffer {
        var buffer = ByteBuffer(bytes: [UInt8(ascii: "T")])
        buffer.writeInteger(UInt32(oids.count))
        buffer.writeInteger(UInt8(0))
        for oid in oids { buffer.writeInteger(oid) }
        return buffer
    }

    static func relation(_ relation: Relation) -> ByteBuffer {
        var buffer = ByteBuffer(bytes: [UInt8(ascii: "R")])
        buffer.writeInteger(relation.oid)
        buffer.writeNullTerminatedString(relation.schema)
        buffer.writeNullTerminatedString(relation.name)
        buffer.writeInteger(relation.replicaIdentity.rawValue)
        buffer.writeInteger(UInt16(relation.columns.count))
        for column in relation.columns {
            buffer.writeInteger(UInt8(column.isKey ? 1 : 0))
            buffer.writeNullTerminatedString(column.name)
            buffer.writeInteger(column.typeOID)
            buffer.writeInteger(column.typeModifier)
        }
        return buffer
    }

    static func touch(_ content: String) -> ByteBuffer {
        var buffer = ByteBuffer(bytes: [UInt8(ascii: "M"), 1])
        buffer.writeInteger(UInt64(1))
        buffer.writeNullTerminatedString("electric.fk_chain_touch")
        buffer.writeInteger(Int32(content.utf8.count))
        buffer.writeString(content)
        return buffer
    }

    /// A shadow row as the triggers leave it: tags, the writer's tag, and the key.
    static func shadow(
        _ table: SatelliteTable, key: [String], tags: String, tag: String?, isDelete: Bool = false,
        isParked: Bool = false
    ) -> ByteBuffer {
        let row: [String?] = [tags, "100", isDelete ? "t" : "f", tag, isParked ? "t" : nil] + key
        return Self.update(Fixtures.shadowOID(table), old: row, row)
    }
}

extension FrameBatch {
    /// The messages, decoded.
    var messages: [SatelliteMessage] {
        self.payloads.compactMap { try? SatelliteMessage.decode($0) }
    }

    /// The operations of all op logs.
    var operations: [Electric_Satellite_SatTransOp.OneOf_Op] {
        self.messages.flatMap { message -> [Electric_Satellite_SatTransOp.OneOf_Op] in
            if case .opLog(let log) = message { return log.ops.compactMap(\.op) }
            return []
        }
    }
}

/// A small generator with a seed, so that a failing case can be repeated.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

    mutating func next() -> UInt64 {
        self.state ^= self.state << 13
        self.state ^= self.state >> 7
        self.state ^= self.state << 17
        return self.state &* 0x2545_F491_4F6C_DD1D
    }
}
