import Foundation
import NIOCore
import PostgresWire
import Satellite
import SatelliteClient

/// A server that says what a test tells it to, to a replica of the table `items (id, content, note)`.
struct ReplicaScript {
    typealias Operation = Electric_Satellite_SatTransOp
    typealias Values = [String?]

    var replica = ClientReplica(clientID: "me")
    private static let relationID: UInt32 = 4711

    mutating func relation(columns: [String] = ["id", "content", "note"]) {
        var relation = Electric_Satellite_SatRelation()
        relation.schemaName = "public"
        relation.tableName = "items"
        relation.relationID = Self.relationID
        relation.columns = columns.map { name in
            var column = Electric_Satellite_SatRelationColumn()
            column.name = name
            column.type = "text"
            column.primaryKey = name == "id"
            column.isNullable = name != "id" && name != "content"
            return column
        }
        _ = self.replica.receive(.relation(relation))
    }

    @discardableResult
    mutating func receive(_ operations: [Operation]) -> ClientReplica.Outcome {
        var log = Electric_Satellite_SatOpLog()
        log.ops = operations
        return self.replica.receive(.opLog(log))
    }

    @discardableResult
    mutating func transaction(
        lsn: UInt64, id: UInt64, origin: String = "postgres_1", _ operations: [Operation]
    ) -> ClientReplica.Outcome {
        self.receive([Self.begin(lsn: lsn, id: id, origin: origin)] + operations + [Self.commit(lsn: lsn)])
    }

    mutating func beginSnapshot(_ id: String, lsn: UInt64) {
        var begin = Electric_Satellite_SatSubsDataBegin()
        begin.subscriptionID = id
        begin.lsn = Self.position(lsn)
        _ = self.replica.receive(.subscriptionDataBegin(begin))
    }

    mutating func endSnapshot() {
        _ = self.replica.receive(.subscriptionDataEnd(Electric_Satellite_SatSubsDataEnd()))
    }

    mutating func deliverSnapshot(_ id: String, lsn: UInt64, _ rows: [Values]) {
        self.beginSnapshot(id, lsn: lsn)
        self.receive(rows.map { .insert($0) })
        self.endSnapshot()
    }

    mutating func beginRemoval(_ ids: [String], lsn: UInt64) {
        var begin = Electric_Satellite_SatUnsubsDataBegin()
        begin.subscriptionIds = ids
        begin.lsn = Self.position(lsn)
        _ = self.replica.receive(.unsubscriptionDataBegin(begin))
    }

    mutating func endRemoval() {
        _ = self.replica.receive(.unsubscriptionDataEnd(Electric_Satellite_SatUnsubsDataEnd()))
    }

    mutating func deliverRemoval(_ ids: [String], lsn: UInt64, _ rows: [Values]) {
        self.beginRemoval(ids, lsn: lsn)
        self.receive(rows.map { .gone($0) })
        self.endRemoval()
    }

    // MARK: Operations

    /// The time of a test's transaction is its position.
    static func begin(
        lsn: UInt64, id: UInt64?, origin: String? = "postgres_1", isMigration: Bool = false
    ) -> Operation {
        var begin = Electric_Satellite_SatOpBegin()
        begin.lsn = Self.position(lsn)
        begin.commitTimestamp = lsn
        begin.isMigration = isMigration
        if let origin { begin.origin = origin }
        if let id { begin.transactionID = id }
        return .with(.begin(begin))
    }

    static func commit(lsn: UInt64, timestamp: UInt64? = nil) -> Operation {
        var commit = Electric_Satellite_SatOpCommit()
        commit.lsn = Self.position(lsn)
        commit.commitTimestamp = timestamp ?? lsn
        return .with(.commit(commit))
    }

    static func migrate(_ version: String) -> Operation {
        var migrate = Electric_Satellite_SatOpMigrate()
        migrate.version = version
        return .with(.migrate(migrate))
    }

    static func additionalBegin(_ ref: UInt64) -> Operation {
        var begin = Electric_Satellite_SatOpAdditionalBegin()
        begin.ref = ref
        return .with(.additionalBegin(begin))
    }

    static func additionalCommit(_ ref: UInt64) -> Operation {
        var commit = Electric_Satellite_SatOpAdditionalCommit()
        commit.ref = ref
        return .with(.additionalCommit(commit))
    }

    static func row(_ values: Values) -> Electric_Satellite_SatOpRow {
        var row = Electric_Satellite_SatOpRow()
        var mask = [UInt8](repeating: 0, count: (values.count + 7) / 8)
        for (index, value) in values.enumerated() where value == nil { mask[index / 8] |= 0x80 >> UInt8(index % 8) }
        row.nullsBitmask = mask.protobufField
        row.values = values.map { Array(($0 ?? "").utf8).protobufField }
        return row
    }

    static let item: UInt32 = Self.relationID

    private static func position(_ lsn: UInt64) -> Data {
        ServerPosition.encode(LSN(rawValue: lsn)).protobufField
    }
}

extension Electric_Satellite_SatTransOp {
    static func with(_ value: OneOf_Op) -> Self {
        var operation = Self()
        operation.op = value
        return operation
    }

    static func insert(
        _ values: ReplicaScript.Values, tags: [String] = ["postgres_1@5"], relation: UInt32 = ReplicaScript.item
    )
        -> Self
    {
        var insert = Electric_Satellite_SatOpInsert()
        insert.relationID = relation
        insert.rowData = ReplicaScript.row(values)
        insert.tags = tags
        return .with(.insert(insert))
    }

    static func update(old: ReplicaScript.Values?, new: ReplicaScript.Values) -> Self {
        var update = Electric_Satellite_SatOpUpdate()
        update.relationID = ReplicaScript.item
        update.rowData = ReplicaScript.row(new)
        if let old { update.oldRowData = ReplicaScript.row(old) }
        update.tags = ["postgres_1@5"]
        return .with(.update(update))
    }

    static func delete(_ values: ReplicaScript.Values, tags: [String] = []) -> Self {
        var delete = Electric_Satellite_SatOpDelete()
        delete.relationID = ReplicaScript.item
        delete.oldRowData = ReplicaScript.row(values)
        delete.tags = tags
        return .with(.delete(delete))
    }

    static func gone(_ values: ReplicaScript.Values) -> Self {
        var gone = Electric_Satellite_SatOpGone()
        gone.relationID = ReplicaScript.item
        gone.pkData = ReplicaScript.row(values)
        return .with(.gone(gone))
    }
}
