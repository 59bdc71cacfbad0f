import ExactText
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
        package var rows: ExactDictionary<Row> = [:]

        package func key(of row: [[UInt8]?]) -> String {
            self.primaryKey.map { index in
                index < row.count ? row[index].map(Self.text) ?? "" : ""
            }.joined(separator: "\u{1f}")
        }

        /// Bytes that are no text are told apart all the same.
        private static func text(_ bytes: [UInt8]) -> String {
            String(validating: bytes, as: UTF8.self) ?? "\\x" + bytes.map { String($0, radix: 16) }.joined(separator: ".")
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

    package private(set) var tables: ExactDictionary<Table> = [:]
    private var names: [UInt32: String] = [:]
    /// Where the client resumes.
    package private(set) var position: LSN?
    package private(set) var lastTransactionID: UInt64 = 0
    package private(set) var transactionCount = 0
    /// Changes applied since the beginning, snapshots excluded.
    package private(set) var changeCount = 0
    /// Subscriptions whose data has arrived whole.
    package private(set) var delivered: ExactSet = []
    package private(set) var migrations: [String] = []
    /// Ids of transactions seen, while ``remembersTransactions`` is set; to find what came twice.
    package private(set) var seen: Set<UInt64> = []
    package var remembersTransactions = true
    package private(set) var violations: [String] = []
    /// Own writes that have come back, by the time of their commit.
    package private(set) var echoes: Set<UInt64> = []
    package let clientID: String

    /// The transaction that is arriving, and its operations: like a real client, the replica changes at the commit.
    private var open: Applied?
    private var pending: [Electric_Satellite_SatTransOp] = []
    private var delivering: Delivering = .nothing
    /// Rows that later queries brought for a transaction are between their begin and their commit.
    private var additional: UInt64?

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
        self.pending = []
        self.delivering = .nothing
        self.additional = nil
        // Each connection announces its relations anew.
        self.names = [:]
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
            self.applyPending()
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
            self.applyPending()
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
        if self.open != nil || self.additional != nil { self.violate("a delivery began inside a transaction") }
        self.delivering = next
        self.pending = []
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
            case .additionalBegin(let begin):
                if self.open != nil || self.additional != nil {
                    self.violate("additional rows began inside a transaction")
                }
                if self.isDelivering { self.violate("additional rows began inside a delivery") }
                self.additional = begin.ref
                self.pending = []
            case .additionalCommit(let commit):
                if self.additional != commit.ref { self.violate("additional rows end without having begun") }
                self.applyPending()
                self.additional = nil
            case .insert, .update, .delete, .gone: self.changeReceived(operation)
            case .migrate(let migrate):
                guard self.open != nil else {
                    self.violate("a migration outside of a transaction")
                    continue
                }
                if self.open?.isMigration == false {
                    self.violate("a migration in a transaction that is not marked as one")
                }
                if !self.pending.isEmpty { self.violate("a migration behind changes of rows") }
                self.open?.isMigration = true
                if self.migrations.last != migrate.version { self.migrations.append(migrate.version) }
            case .compensation: self.violate("a compensation from the server")
            case nil: self.violate("an empty operation")
            }
        }
        return outcome
    }

    private var isDelivering: Bool {
        if case .nothing = self.delivering { false } else { true }
    }

    /// Keeps a change of a row until it is known to be complete.
    private mutating func changeReceived(_ operation: Electric_Satellite_SatTransOp) {
        var isInsert = false
        var isGone = false
        if case .insert = operation.op { isInsert = true }
        if case .gone = operation.op { isGone = true }
        switch self.delivering {
        case .nothing:
            guard self.open != nil || self.additional != nil else {
                self.violate("a change outside of a transaction")
                return
            }
            if self.additional != nil, !isInsert { self.violate("additional rows hold another change than an insert") }
        case .snapshot: if !isInsert { self.violate("a snapshot holds another change than an insert") }
        case .removal: if !isGone { self.violate("a removal holds another change than a row that is gone") }
        }
        self.pending.append(operation)
    }

    /// Applies what has been kept; true if there was any.
    @discardableResult
    private mutating func applyPending() -> Bool {
        let operations = self.pending
        self.pending = []
        for operation in operations {
            switch operation.op {
            case .insert(let insert): self.apply(.insert, insert.relationID, new: insert.rowData, tags: insert.tags)
            case .update(let update):
                if !update.hasOldRowData { self.violate("an update without the old row") }
                self.apply(
                    .update, update.relationID, new: update.rowData, old: update.oldRowData, tags: update.tags)
            case .delete(let delete):
                self.apply(.delete, delete.relationID, old: delete.oldRowData, tags: delete.tags)
            case .gone(let gone): self.apply(.gone, gone.relationID, old: gone.pkData, tags: [])
            default: break
            }
        }
        return !operations.isEmpty
    }

    private mutating func transactionBegan(_ begin: Electric_Satellite_SatOpBegin) {
        if self.open != nil || self.additional != nil { self.violate("a transaction began inside another") }
        if self.isDelivering { self.violate("a transaction began inside a delivery") }
        self.pending = []
        guard let position = ServerPosition.decode(begin.lsn) else {
            self.violate("a position that is no decimal number")
            return
        }
        if !begin.hasTransactionID { self.violate("a transaction without its id") }
        if !begin.hasOrigin || begin.origin.isEmpty { self.violate("a transaction without its origin") }
        self.open = Applied(
            lsn: position, transactionID: begin.transactionID, timestamp: begin.commitTimestamp, origin: begin.origin,
            isMigration: begin.isMigration, changes: [])
    }

    private mutating func committed(_ commit: Electric_Satellite_SatOpCommit) -> Applied? {
        guard let announced = self.open else {
            self.violate("a commit without a transaction")
            return nil
        }
        let hasChanges = self.applyPending()
        let applied = self.open ?? announced
        self.open = nil
        if !hasChanges, !applied.isMigration, applied.origin != self.clientID {
            self.violate("an empty transaction of somebody else")
        }
        if commit.commitTimestamp != applied.timestamp { self.violate("begin and commit differ in their time") }
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
        guard let name = self.names[relation], self.tables[name] != nil else {
            self.violate("a change of relation \(relation), which was not announced")
            return
        }
        if kind == .delete || kind == .gone {
            if !tags.isEmpty { self.violate("a row of \(name) goes with tags") }
        } else if tags.isEmpty {
            self.violate("a row of \(name) without tags")
        }
        guard let columnCount = self.tables[name]?.columns.count,
            let values = (new ?? old).flatMap({ self.values($0, columnCount, name) })
        else { return }
        let row = Row(values: values, tags: tags)
        let key = self.tables[name]?.key(of: values) ?? ""
        let hadRow = self.tables[name]?.rows[key] != nil
        switch kind {
        case .insert:
            // A second subscription may bring rows that the first one has brought.
            if hadRow, !self.isDelivering { self.violate("an insert of a row of \(name) that is there: \(key)") }
            self.tables[name]?.rows[key] = row
        case .update:
            var oldKey = key
            if let old, let oldValues = self.values(old, columnCount, name) {
                oldKey = self.tables[name]?.key(of: oldValues) ?? key
            }
            if self.tables[name]?.rows.removeValue(forKey: oldKey) == nil {
                self.violate("an update of a row of \(name) that is not there: \(oldKey)")
            }
            self.tables[name]?.rows[key] = row
        case .delete, .gone:
            // What is gone by a removal may have been told before, on a connection that broke.
            if !hadRow, !self.isDelivering {
                self.violate("a \(kind.rawValue) of a row of \(name) that is not there: \(key)")
            }
            self.tables[name]?.rows[key] = nil
        }
        guard let kept = self.open?.changes.count else { return }
        self.changeCount += 1
        if kept < Self.changesShown { self.open?.changes.append(Change(kind: kind, table: name, row: row)) }
    }

    /// Of a larger transaction only so many changes are handed on.
    private static let changesShown = 1_000

    /// Nil, and a violation, if the row does not have the form of its relation.
    private mutating func values(_ row: Electric_Satellite_SatOpRow, _ columnCount: Int, _ table: String) -> [[UInt8]?]?
    {
        let mask = Array(row.nullsBitmask)
        guard row.values.count == columnCount, mask.count == (columnCount + 7) / 8 else {
            self.violate("a row of \(table) has another number of columns than its relation")
            return nil
        }
        var values: [[UInt8]?] = []
        values.reserveCapacity(columnCount)
        for (index, value) in row.values.enumerated() {
            guard mask[index / 8] & (0x80 >> UInt8(index % 8)) != 0 else {
                values.append(Array(value))
                continue
            }
            if !value.isEmpty { self.violate("a NULL of \(table) has bytes") }
            values.append(nil)
        }
        return values
    }
}
