internal import NIOCore
import SwiftProtobuf

/// Puts a client's op logs together into transactions and checks them.
struct ClientTransactionAssembler {
    private struct Open {
        var clientLSN: ByteBuffer
        var commitTimestamp: UInt64
        var changes: [ClientChange] = []
        var byteCount = 0
    }

    private let clientID: String
    private let limits: SatelliteLimits
    private var relations: [UInt32: ClientRelation] = [:]
    private var open: Open?

    init(clientID: String, limits: SatelliteLimits) {
        self.clientID = clientID
        self.limits = limits
    }

    mutating func relationReceived(
        _ relation: Electric_Satellite_SatRelation, schema: SatelliteSchema
    ) throws(ClientWriteError) {
        guard self.relations[relation.relationID] != nil || self.relations.count < self.limits.maximumClientRelations
        else { throw ClientWriteError("Too many relations") }
        self.relations[relation.relationID] = try ClientRelation(relation, schema: schema)
    }

    /// Forgets a half received transaction; the client sends it again from its begin.
    mutating func reset() { self.open = nil }

    /// - Parameter completed: called for each transaction that is complete, also for those before a faulty one.
    mutating func opLogReceived(
        _ log: Electric_Satellite_SatOpLog, completed: (ClientTransaction) -> Void
    ) throws(ClientWriteError) {
        for operation in log.ops {
            switch operation.op {
            case .begin(let begin):
                guard self.open == nil, !begin.lsn.isEmpty else { throw .malformed }
                self.open = Open(
                    clientLSN: ByteBuffer(protobufField: begin.lsn), commitTimestamp: begin.commitTimestamp)
            case .commit:
                guard let open = self.open else { throw .malformed }
                self.open = nil
                // A transaction without changes is neither applied nor recorded.
                guard !open.changes.isEmpty else { continue }
                completed(
                    ClientTransaction(
                        clientID: self.clientID, clientLSN: open.clientLSN, commitTimestamp: open.commitTimestamp,
                        changes: open.changes))
            case .insert(let insert):
                let relation = try self.relation(insert.relationID)
                let values = try self.values(insert.rowData, relation, nullability: .all)
                try self.append(relation, .insert, values, changed: self.sent(values, relation), tags: insert.tags)
            case .update(let update):
                try self.updateReceived(update)
            case .delete(let delete):
                let relation = try self.relation(delete.relationID)
                let values = try self.values(delete.oldRowData, relation, nullability: .all)
                try self.append(relation, .delete, values, changed: nil, tags: delete.tags)
            case .compensation(let compensation):
                let relation = try self.relation(compensation.relationID)
                let values = try self.values(compensation.pkData, relation, nullability: .keyOnly)
                try self.append(relation, .compensation, values, changed: nil, tags: compensation.tags)
            case .gone, .migrate, .additionalBegin, .additionalCommit, nil:
                throw .malformed
            }
        }
    }

    private mutating func updateReceived(_ update: Electric_Satellite_SatOpUpdate) throws(ClientWriteError) {
        let relation = try self.relation(update.relationID)
        guard update.hasOldRowData else {
            // Clients before 0.8 wrote their compensations this way.
            let values = try self.values(update.rowData, relation, nullability: .keyOnly)
            try self.append(relation, .compensation, values, changed: nil, tags: update.tags)
            return
        }
        let new = try self.values(update.rowData, relation, nullability: .all)
        let old = try self.values(update.oldRowData, relation, nullability: .all)
        let keys = relation.table.primaryKey
        guard keys.allSatisfy({ new[$0] == old[$0] }) else {
            throw self.immutableKeyError(relation.table)
        }
        try self.append(relation, .update, new, changed: zip(new, old).map { $0 != $1 }, tags: update.tags)
    }

    private func immutableKeyError(_ table: SatelliteTable) -> ClientWriteError {
        let lsn = self.open?.clientLSN
        let hex = (lsn?.readableBytesView).map {
            $0.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        }
        let keys = table.primaryKey.map { "\"\(table.columns[$0].name)\"" }.joined(separator: ", ")
        return ClientWriteError(
            "Applying transaction [LSN \(hex ?? "")] failed write validation tests for the following reason: "
                + "Attempt to update table \"\(table.schema)\".\"\(table.name)\" primary key(s) [\(keys)] "
                + "(ImmutablePrimaryKey)",
            clientLSN: lsn)
    }

    private mutating func append(
        _ relation: ClientRelation, _ kind: ClientChange.Kind, _ values: [ClientValue], changed: [Bool]?,
        tags: [String]
    ) throws(ClientWriteError) {
        guard var open = self.open else { throw .malformed }
        self.open = nil
        var observed: [Tag] = []
        for text in tags {
            guard let tag = Tag(wire: text), !(tag.source?.unicodeScalars.contains("\0") ?? false) else {
                throw .malformed
            }
            observed.append(tag)
        }
        let change = ClientChange(
            table: relation.table, kind: kind, values: values,
            changed: changed ?? [Bool](repeating: false, count: values.count), observedTags: observed)
        open.byteCount += change.byteCount
        guard open.byteCount <= self.limits.maximumClientTransactionBytes else {
            throw ClientWriteError("The transaction is too large", clientLSN: open.clientLSN)
        }
        open.changes.append(change)
        self.open = open
    }

    private func relation(_ id: UInt32) throws(ClientWriteError) -> ClientRelation {
        guard self.open != nil, let relation = self.relations[id] else { throw .malformed }
        return relation
    }

    /// An insert modifies every column that was sent, but for the key.
    private func sent(_ values: [ClientValue], _ relation: ClientRelation) -> [Bool] {
        values.enumerated().map { $1 != .absent && !relation.table.columns[$0].isPrimaryKey }
    }

    private enum Nullability {
        case all
        /// Other columns may be NULL even if the table forbids it.
        case keyOnly
    }

    private func values(
        _ row: Electric_Satellite_SatOpRow, _ relation: ClientRelation, nullability: Nullability
    ) throws(ClientWriteError) -> [ClientValue] {
        let mask = Array(ByteBuffer(protobufField: row.nullsBitmask).readableBytesView)
        let count = relation.columns.count
        guard row.values.count == count, mask.count == (count + 7) / 8 else { throw .malformed }
        var result = [ClientValue](repeating: .absent, count: relation.table.columns.count)
        for (position, index) in relation.columns.enumerated() {
            let column = relation.table.columns[index]
            if mask[position / 8] & (0x80 >> UInt8(position % 8)) != 0 {
                guard column.isNullable && !column.isPrimaryKey || nullability == .keyOnly && !column.isPrimaryKey
                else {
                    throw ClientWriteError("Column \(column.name) of table \(relation.table.name) may not be NULL")
                }
                result[index] = .null
                continue
            }
            do {
                let value = ByteBuffer(protobufField: row.values[position])
                result[index] = .bytes(try ValueValidator.validate(value, column: column))
            } catch {
                throw ClientWriteError(error.description)
            }
        }
        return result
    }
}
