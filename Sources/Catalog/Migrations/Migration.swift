/// The dialects in which clients are given migrations.
package enum SQLDialect: String, Hashable, Sendable, CaseIterable {
    case sqlite
    case postgresql
}

/// One statement of a migration for one dialect.
package struct MigrationStatement: Hashable, Sendable {
    /// Raw values are those of the Satellite protocol's `SatOpMigrate.Type`.
    package enum Kind: Int, Hashable, Sendable {
        case createTable = 0
        case createIndex = 1
        case createEnumType = 2
        case alterAddColumn = 6
    }

    package var kind: Kind
    package var sql: String

    package init(kind: Kind, sql: String) {
        self.kind = kind
        self.sql = sql
    }
}

/// What one captured statement means to a client: one `SatOpMigrate` of the Satellite protocol.
package struct MigrationOperation: Hashable, Sendable {
    package enum Affected: Hashable, Sendable {
        /// As it is after the statement.
        case table(TableDefinition)
        case enumeration(EnumDefinition)
        case none
    }

    /// Empty for an enum in the SQLite dialect.
    package var statements: [MigrationStatement]
    package var affected: Affected

    package init(statements: [MigrationStatement], affected: Affected) {
        self.statements = statements
        self.affected = affected
    }
}

/// A migration in one dialect.
package struct Migration: Hashable, Sendable {
    package var version: MigrationVersion
    /// In the order of the statements. Empty when nothing of the migration concerns clients.
    package var operations: [MigrationOperation]

    package init(version: MigrationVersion, operations: [MigrationOperation]) {
        self.version = version
        self.operations = operations
    }

    /// All statements as one file: each trimmed on the right and ended by a semicolon, a blank line between them.
    package var script: String {
        self.operations.flatMap(\.statements).map { statement in
            var text = Substring(statement.sql)
            while let last = text.unicodeScalars.last, last.value <= 0x20 || last == ";" {
                text.unicodeScalars.removeLast()
            }
            return text + ";"
        }.joined(separator: "\n\n")
    }
}
