import ExactText
import Foundation
import NIOCore
import Satellite
import Synchronization

extension SatelliteClient {
    /// One change to be written. Values are texts (raw bytes of a `bytea` as they are); nil is NULL.
    package enum Write: Sendable {
        case insert(table: String, [String: String?])
        /// Changes the given columns of the row that the replica holds under the key.
        case update(table: String, key: String, [String: String?])
        case delete(table: String, key: String)
        /// Keeps the row alive.
        case compensation(table: String, key: String)
    }

    /// Waits until the server takes writes.
    package func waitUntilWritable(within limit: Duration = .seconds(30)) async throws {
        try await self.waitForState(for: "the server takes writes", within: limit) { $0.isWritable }
    }

    /// Sends a transaction and returns its time, by which its echo is known.
    ///
    /// - Parameter timestamp: milliseconds since the Unix epoch; by default now, and later than the one before.
    @discardableResult
    package func write(_ writes: [Write], timestamp: UInt64? = nil) throws -> UInt64 {
        let (messages, time) = try self.state.withLock { state in
            let time = timestamp ?? max(Self.now, state.lastTimestamp + 1)
            state.lastTimestamp = max(state.lastTimestamp, time)
            var messages: [SatelliteMessage] = []
            var log = Electric_Satellite_SatOpLog()
            var begin = Electric_Satellite_SatOpBegin()
            begin.commitTimestamp = time
            begin.lsn = .init(Self.lsnBytes(state.nextLSN))
            state.nextLSN += 1
            log.ops.append(Self.operation(.begin(begin)))
            for write in writes {
                let (table, operation) = try Self.operation(write, state.replica)
                if state.sentRelations.insert(table).inserted {
                    messages.append(try Self.relation(table, state.replica))
                }
                log.ops.append(operation)
            }
            log.ops.append(Self.operation(.commit(Electric_Satellite_SatOpCommit())))
            messages.append(.opLog(log))
            return (messages, time)
        }
        for message in messages { self.send(message) }
        return time
    }

    /// Sends a transaction and waits for its echo.
    package func writeAndWait(_ writes: [Write], timestamp: UInt64? = nil, within limit: Duration = .seconds(30))
        async throws
    {
        let time = try self.write(writes, timestamp: timestamp)
        try await self.wait(for: "the echo of the write at \(time)", within: limit) { $0.echoes.contains(time) }
    }

    private static var now: UInt64 {
        var value = timespec()
        clock_gettime(CLOCK_REALTIME, &value)
        return UInt64(value.tv_sec) * 1_000 + UInt64(value.tv_nsec) / 1_000_000
    }

    /// A client's position: four bytes, big-endian.
    package static func lsnBytes(_ number: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> UInt32($0)) }
    }

    private static func operation(_ value: Electric_Satellite_SatTransOp.OneOf_Op) -> Electric_Satellite_SatTransOp {
        var operation = Electric_Satellite_SatTransOp()
        operation.op = value
        return operation
    }

    private static func relation(_ name: String, _ replica: ClientReplica) throws -> SatelliteMessage {
        guard let table = replica.tables[name] else { throw Failure("unknown table \(name)") }
        var relation = Electric_Satellite_SatRelation()
        relation.schemaName = "public"
        relation.tableName = name
        relation.relationID = table.relation
        relation.columns = table.columns.indices.map { index in
            var column = Electric_Satellite_SatRelationColumn()
            column.name = table.columns[index]
            column.type = table.types[index]
            column.isNullable = table.isNullable[index]
            return column
        }
        return .relation(relation)
    }

    private static func operation(
        _ write: Write, _ replica: ClientReplica
    ) throws -> (table: String, Electric_Satellite_SatTransOp) {
        switch write {
        case .insert(let name, let values):
            let table = try self.table(name, replica)
            if let unknown = values.keys.first(where: { !table.columns.containsExactly($0) }) {
                throw Failure("no column \(unknown) in \(name)")
            }
            var insert = Electric_Satellite_SatOpInsert()
            insert.relationID = table.relation
            insert.rowData = self.row(table.columns.map { (values[$0] ?? nil).map { Array($0.utf8) } })
            return (name, self.operation(.insert(insert)))
        case .update(let name, let key, let values):
            let table = try self.table(name, replica)
            guard let present = table.rows[key] else { throw Failure("no row \(key) in \(name)") }
            var next = present.values
            for (column, value) in values {
                guard let index = table.columns.firstIndexExactly(of: column) else {
                    throw Failure("no column \(column) in \(name)")
                }
                next[index] = value.map { Array($0.utf8) }
            }
            var update = Electric_Satellite_SatOpUpdate()
            update.relationID = table.relation
            update.rowData = self.row(next)
            update.oldRowData = self.row(present.values)
            update.tags = present.tags
            return (name, self.operation(.update(update)))
        case .delete(let name, let key):
            let table = try self.table(name, replica)
            guard let present = table.rows[key] else { throw Failure("no row \(key) in \(name)") }
            var delete = Electric_Satellite_SatOpDelete()
            delete.relationID = table.relation
            delete.oldRowData = self.row(present.values)
            delete.tags = present.tags
            return (name, self.operation(.delete(delete)))
        case .compensation(let name, let key):
            let table = try self.table(name, replica)
            guard let present = table.rows[key] else { throw Failure("no row \(key) in \(name)") }
            var compensation = Electric_Satellite_SatOpCompensation()
            compensation.relationID = table.relation
            compensation.pkData = self.row(
                present.values.enumerated().map { table.primaryKey.contains($0) ? $1 : nil })
            compensation.tags = present.tags
            return (name, self.operation(.compensation(compensation)))
        }
    }

    private static func table(_ name: String, _ replica: ClientReplica) throws -> ClientReplica.Table {
        guard let table = replica.tables[name] else { throw Failure("unknown table \(name)") }
        return table
    }

    private static func row(_ values: [[UInt8]?]) -> Electric_Satellite_SatOpRow {
        var row = Electric_Satellite_SatOpRow()
        var mask = [UInt8](repeating: 0, count: (values.count + 7) / 8)
        for (index, value) in values.enumerated() where value == nil { mask[index / 8] |= 0x80 >> UInt8(index % 8) }
        row.nullsBitmask = .init(mask)
        row.values = values.map { .init($0 ?? []) }
        return row
    }
}
