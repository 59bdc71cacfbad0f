import NIOCore
import PostgresWire
import Satellite

/// What a client holds: the tables it was given, built from the messages of the server by the protocol's rules.
///
/// Pure. Whatever the server does that the protocol does not allow is put down in ``violations``; tests expect none.
package struct ClientReplica: Sendable {
    package struct Row: Hashable, Sendable {
        /// One entry per column; nil is NULL.
        package var values: [[UInt8]?]
        package var tags: [String]

        /// The text of a column, for types whose bytes are text.
        package func text(_ column: Int) -> String? {
            guard column < self.values.count, let bytes = self.values[column] else { return nil }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    package struct Table: Sendable {
        package var relation: UInt32
        package var columns: [String]
        package var types: [String]
        package var isNullable: [Bool]
        package var primaryKey: [Int]
        /// By the texts of the primary key, joined by a unit separator.
        package var rows: [String: Row] = [:]

        package func key(of row: [[UInt8]?]) -> String {
            self.primaryKey.map { index in
                index < row.count ? row[index].map { String(decoding: $0, as: UTF8.self) } ?? "" : ""
            }.joined(separator: "\u{1f}")
        }
    }

    /// A change as it was applied, for whoever shows them.
    package struct Change: Sendable {
        package enum Kind: String, Sendable { case insert, update, delete, gone }

        package var kind: Kind
        package var table: String
        package var row: Row
    }

    /// A transaction that was applied.
    package struct Applied: Sendable {
        package var lsn: LSN
        package var transactionID: UInt64
        package var timestamp: UInt64
        package var origin: String
        package var isMigration: Bool
        package var changes: [Change]
    }

    package private(set) var tables: [String: Table] = [:]
    private var names: [UInt32: String] = [:]
    /// Where the client resumes.
    package private(set) var position: LSN?
    package private(set) var lastTransactionID: UInt64 = 0
    package private(set) var transactionCount = 0
    /// Changes applied since the beginning, snapshots excluded.
    package private(set) var changeCount = 0
    /// Subscriptions whose data has arrived whole.
    package private(set) var delivered: Set<String> = []
    package private(set) var migrations: [String] = []
    /// Ids of transactions seen, while ``remembersTransactions`` is set; to find what came twice.
    package private(set) var seen: Set<UInt64> = []
    package var remembersTransactions = true
    package private(set) var violations: [String] = []
    /// Own writes that have come back, by the time of their commit.
    package private(set) var echoes: Set<UInt64> = []
    package let clientID: String

    private var open: Applied?
    private var delivering: Delivering = .nothing

    private enum Delivering: Sendable {
        case nothing
        case snapshot(String, LSN)
        case removal([String], LSN)
    }

    package init(clientID: String) {
        self.clientID = clientID
    }

    /// A new connection has been made: half a transaction or delivery will come again.
    package mutating func reconnected() {
        self.open = nil
        self.delivering = .nothing
    }

    /// The server has told the client to start over.
    package mutating func startOver() {
        self.reconnected()
        for name in self.tables.keys { self.tables[name]?.rows = [:] }
        self.position = nil
        self.delivered = []
        self.seen = []
    }

    package enum Outcome: Sendable {
        case nothing
        case transaction(Applied)
        case delivered([String])
    }

    package mutating func receive(_ message: SatelliteMessage) -> Outcome {
        switch message {
        case .relation(let relation): self.relationReceived(relation)
        case .opLog(let log): return self.operationsReceived(log.ops)
        case .subscriptionDataBegin(let begin):
            self.begin(.snapshot(begin.subscriptionID, ServerPosition.decode(begin.lsn) ?? .zero))
        case .subscriptionDataEnd:
            guard case .snapshot(let id, let position) = self.delivering else {
                self.violate("subscription data ends without having begun")
                return .nothing
            }
            self.delivering = .nothing
            self.delivered.insert(id)
            self.advance(to: position)
            return .delivered([id])
        case .unsubscriptionDataBegin(let begin):
            self.begin(.removal(begin.subscriptionIds, ServerPosition.decode(begin.lsn) ?? .zero))
        case .unsubscriptionDataEnd:
            guard case .removal(let ids, let position) = self.delivering else {
                self.violate("a removal ends without having begun")
                return .nothing
            }
            self.delivering = .nothing
            self.delivered.subtract(ids)
            self.advance(to: position)
            return .delivered(ids)
        default: break
        }
        return .nothing
    }

    private mutating func begin(_ next: Delivering) {
        if case .nothing = self.delivering {} else { self.violate("a delivery began inside another") }
        if self.open != nil { self.violate("a delivery began inside a transaction") }
        self.delivering = next
    }

    private mutating func violate(_ text: String) {
        if self.violations.count < 20 { self.violations.append(text) }
    }

    private mutating func advance(to position: LSN) {
        if let present = self.position, position < present {
            self.violate("the position went back from \(present) to \(position)")
        }
        self.position = max(position, self.position ?? .zero)
    }

    private mutating func relationReceived(_ relation: Electric_Satellite_SatRelation) {
        let columns = relation.columns.map(\.name)
        var table = Table(
            relation: relation.relationID, columns: columns, types: relation.columns.map(\.type),
            isNullable: relation.columns.map(\.isNullable),
            primaryKey: relation.columns.indices.filter { relation.columns[$0].primaryKey })
        if let known = self.tables[relation.tableName] {
            // Columns are only ever added.
            let missing = columns.count - known.columns.count
            table.rows = known.rows
            if missing > 0 {
                for key in table.rows.keys {
                    table.rows[key]?.values += Array(repeating: nil, count: missing)
                }
            }
        }
        self.tables[relation.tableName] = table
        self.names[relation.relationID] = relation.tableName
    }

    private mutating func operationsReceived(_ operations: [Electric_Satellite_SatTransOp]) -> Outcome {
        var outcome = Outcome.nothing
        for operation in operations {
            switch operation.op {
            case .begin(let begin): self.transactionBegan(begin)
            case .commit(let commit): if let applied = self.committed(commit) { outcome = .transaction(applied) }
            case .insert(let insert): self.apply(.insert, insert.relationID, new: insert.rowData, tags: insert.tags)
            case .update(let update):
                self.apply(
                    .update, update.relationID, new: update.rowData, old: update.oldRowData, tags: update.tags)
            case .delete(let delete): self.apply(.delete, delete.relationID, old: delete.oldRowData, tags: [])
            case .gone(let gone): self.apply(.gone, gone.relationID, old: gone.pkData, tags: [])
            case .migrate(let migrate):
                guard self.open != nil else {
                    self.violate("a migration outside of a transaction")
                    continue
                }
                self.open?.isMigration = true
                if self.migrations.last != migrate.version { self.migrations.append(migrate.version) }
            case .additionalBegin, .additionalCommit: break
            case .compensation: self.violate("a compensation from the server")
            case nil: self.violate("an empty operation")
            }
        }
        return outcome
    }

    private mutating func transactionBegan(_ begin: Electric_Satellite_SatOpBegin) {
        if self.open != nil { self.violate("a transaction began inside another") }
        if case .nothing = self.delivering {} else { self.violate("a transaction began inside a delivery") }
        guard let position = ServerPosition.decode(begin.lsn) else {
            self.violate("a position that is no decimal number")
            return
        }
        if !begin.hasTransactionID { self.violate("a transaction without its id") }
        self.open = Applied(
            lsn: position, transactionID: begin.transactionID, timestamp: begin.commitTimestamp, origin: begin.origin,
            isMigration: begin.isMigration, changes: [])
    }

    private mutating func committed(_ commit: Electric_Satellite_SatOpCommit) -> Applied? {
        guard let applied = self.open else {
            self.violate("a commit without a transaction")
            return nil
        }
        self.open = nil
        if let position = ServerPosition.decode(commit.lsn), position != applied.lsn {
            self.violate("begin and commit differ in their position")
        }
        if applied.lsn != .zero { self.advance(to: applied.lsn) }
        self.lastTransactionID = applied.transactionID
        self.transactionCount += 1
        if self.remembersTransactions, !applied.isMigration, !self.seen.insert(applied.transactionID).inserted {
            self.violate("transaction \(applied.transactionID) came twice")
        }
        if applied.origin == self.clientID { self.echoes.insert(applied.timestamp) }
        return applied
    }

    private mutating func apply(
        _ kind: Change.Kind, _ relation: UInt32, new: Electric_Satellite_SatOpRow? = nil,
        old: Electric_Satellite_SatOpRow? = nil, tags: [String]
    ) {
        switch (self.delivering, kind) {
        case (.nothing, _): if self.open == nil { self.violate("a change outside of a transaction") }
        case (.snapshot, .insert), (.removal, .gone): break
        default: self.violate("a delivery holds a change of kind \(kind.rawValue)")
        }
        guard let name = self.names[relation], let table = self.tables[name] else {
            self.violate("a change of relation \(relation), which was not announced")
            return
        }
        guard let values = (new ?? old).map({ Self.values($0) }), values.count == table.columns.count else {
            self.violate("a row of \(name) has another number of columns than its relation")
            return
        }
        let row = Row(values: values, tags: tags)
        let key = table.key(of: values)
        switch kind {
        case .insert: self.tables[name]?.rows[key] = row
        case .update:
            if let old {
                let oldKey = table.key(of: Self.values(old))
                if oldKey != key { self.tables[name]?.rows[oldKey] = nil }
            }
            self.tables[name]?.rows[key] = row
        case .delete, .gone: self.tables[name]?.rows[key] = nil
        }
        if self.open != nil {
            self.changeCount += 1
            if self.open!.changes.count < 1_000 {
                self.open?.changes.append(Change(kind: kind, table: name, row: row))
            }
        }
    }

    private static func values(_ row: Electric_Satellite_SatOpRow) -> [[UInt8]?] {
        let mask = Array(row.nullsBitmask)
        return row.values.enumerated().map { index, value in
            let isNull = index / 8 < mask.count && mask[index / 8] & (0x80 >> UInt8(index % 8)) != 0
            return isNull ? nil : Array(value)
        }
    }
}
