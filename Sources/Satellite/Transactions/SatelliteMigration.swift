package import PostgresWire

/// The SQL flavour of a client's local database.
package enum SQLDialect: Hashable, Sendable {
    case sqlite
    case postgres
}

/// A migration as clients get it. Immutable and shared; its operations are encoded once for each dialect.
package final class SatelliteMigration: Sendable {
    package let version: String
    /// The transaction that made it.
    package let xid: UInt64
    /// Milliseconds since the Unix epoch.
    package let commitTimestamp: UInt64
    /// The tables it touched, as they are after it.
    package let tables: [SatelliteTable]
    private let sqlite: [[UInt8]]
    private let postgres: [[UInt8]]

    package init(
        version: String, xid: UInt64, commitTimestamp: UInt64, tables: [SatelliteTable],
        sqlite: [Electric_Satellite_SatOpMigrate], postgres: [Electric_Satellite_SatOpMigrate]
    ) {
        self.version = version
        self.xid = xid
        self.commitTimestamp = commitTimestamp
        self.tables = tables
        self.sqlite = sqlite.map { TransactionEnvelope.encode(.migrate($0)) }
        self.postgres = postgres.map { TransactionEnvelope.encode(.migrate($0)) }
    }

    /// The encoded operations; none for a migration that does not concern clients of that dialect.
    func operations(_ dialect: SQLDialect) -> [[UInt8]] {
        switch dialect {
        case .sqlite: return self.sqlite
        case .postgres: return self.postgres
        }
    }

    package func isEmpty(_ dialect: SQLDialect) -> Bool { self.operations(dialect).isEmpty }

    /// The migration as a transaction of its own.
    package func frames(position: LSN, dialect: SQLDialect) -> FrameBatch {
        let envelope = TransactionEnvelope(
            position: position, xid: self.xid, timestamp: self.commitTimestamp, origin: nil, isMigration: true)
        var assembler = OpLogAssembler()
        assembler.append(envelope.begin)
        for operation in self.operations(dialect) { assembler.append(operation) }
        assembler.append(envelope.commit)
        return assembler.finish()
    }
}

/// The migrations of a database, at a position of the stream: what a client without any data starts from.
///
/// The composition makes one when a migration arrives and hands the same object to all sessions.
package final class MigrationHistory: Sendable {
    /// Every migration up to and including this position is in the list; the stream goes on after it.
    package let position: LSN
    package let schema: SatelliteSchema
    /// In the order in which they were applied.
    package let migrations: [SatelliteMigration]

    package init(position: LSN, schema: SatelliteSchema, migrations: [SatelliteMigration]) {
        self.position = position
        self.schema = schema
        self.migrations = migrations
    }

    /// Index of the first migration that a client at `version` lacks; nil if the version is unknown.
    package func firstIndex(after version: String?) -> Int? {
        guard let version else { return 0 }
        return self.migrations.lastIndex { $0.version == version }.map { $0 + 1 }
    }
}
