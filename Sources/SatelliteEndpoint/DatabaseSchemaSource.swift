import Catalog
import ExactText
import Logging
import PostgresClient
import Satellite
import SwiftProtobuf

/// Reads the electrified tables from the server's catalogue, and the migrations from what the database has captured.
package struct DatabaseSchemaSource: SchemaSource {
    private let pool: PostgresPool
    private let logger: Logger

    package init(pool: PostgresPool, logger: Logger) {
        self.pool = pool
        self.logger = logger
    }

    private static let tablesQuery = """
        SELECT c.oid, n.nspname, c.relname
        FROM electric.electrified AS e
             JOIN pg_catalog.pg_class AS c ON c.oid = e.oid
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        ORDER BY e.id
        """

    private static let columnsQuery = """
        SELECT a.attrelid, a.attname,
               CASE WHEN n.nspname IN ('pg_catalog', 'public') THEN t.typname ELSE n.nspname || '.' || t.typname END,
               a.attnotnull, coalesce(a.attnum = ANY (i.indkey), false),
               CASE WHEN t.typtype = 'e' THEN (
                   SELECT pg_catalog.string_agg(l.enumlabel, E'\\x1f' ORDER BY l.enumsortorder)
                   FROM pg_catalog.pg_enum AS l WHERE l.enumtypid = t.oid) END
        FROM electric.electrified AS e
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = e.oid AND a.attnum > 0 AND NOT a.attisdropped
             JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
             JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
             LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary
        ORDER BY a.attrelid, a.attnum
        """

    private static let parentsQuery = """
        SELECT DISTINCT k.conrelid, k.confrelid
        FROM pg_catalog.pg_constraint AS k
             JOIN electric.electrified AS e ON e.oid = k.conrelid
             JOIN electric.electrified AS p ON p.oid = k.confrelid
        WHERE k.contype = 'f'
        """

    private static let migrationsQuery = """
        SELECT v.txid, coalesce(v.label, v.version), (EXTRACT(EPOCH FROM v.inserted_at) * 1000)::int8, d.query, v.version
        FROM electric.ddl_commands AS d
             JOIN electric.migration_versions AS v ON v.txid = d.txid AND v.txts = d.txts
        ORDER BY coalesce(v.label, v.version) COLLATE "C", d.id
        """

    package func load(including xid: UInt64?) async throws -> LoadedSchema {
        try await self.pool.withConnection { connection in
            if let xid { try await Self.waitUntilVisible(xid, connection) }
            var results = try await connection.pipeline([
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                PostgresStatement(Self.tablesQuery), PostgresStatement(Self.columnsQuery),
                PostgresStatement(Self.parentsQuery), PostgresStatement(Self.migrationsQuery), "COMMIT",
            ]).get()
            results.removeFirst()
            return self.assemble(
                tables: Self.tables(results[0], columns: results[1], parents: results[2]), migrations: results[3])
        }
    }

    /// A commit is in the WAL a moment before other sessions see it.
    private static func waitUntilVisible(_ xid: UInt64, _ connection: PostgresConnection) async throws {
        for attempt in 0..<400 {
            let result = try await connection.query(
                "SELECT pg_catalog.pg_visible_in_snapshot($1::text::xid8, pg_catalog.pg_current_snapshot())",
                [.text(String(xid))])
            if result.boolean(0, 0) == true { return }
            try await Task.sleep(for: .milliseconds(min(1 + attempt, 50)))
        }
        throw PostgresError.client("transaction \(xid) did not become visible in time")
    }

    private static func tables(
        _ tables: QueryResult, columns: QueryResult, parents: QueryResult
    ) -> [SatelliteTable] {
        var columnsOf: [UInt32: [SatelliteTable.Column]] = [:]
        for row in columns.rows {
            guard let oid = row[0].flatMap({ UInt32($0) }), let name = row[1], let type = row[2] else { continue }
            let isKey = row.boolean(4) ?? false
            columnsOf[oid, default: []].append(
                SatelliteTable.Column(
                    name: name, typeName: type, isPrimaryKey: isKey, isNullable: !(row.boolean(3) ?? false) && !isKey,
                    enumLabels: row[5]?.split(separator: "\u{1f}").map(String.init)))
        }
        var parentsOf: [UInt32: [UInt32]] = [:]
        for row in parents.rows {
            guard let child = row[0].flatMap({ UInt32($0) }), let parent = row[1].flatMap({ UInt32($0) }) else {
                continue
            }
            parentsOf[child, default: []].append(parent)
        }
        return tables.rows.compactMap { row in
            guard let oid = row[0].flatMap({ UInt32($0) }), let schema = row[1], let name = row[2] else { return nil }
            return SatelliteTable(
                oid: oid, schema: schema, name: name, columns: columnsOf[oid] ?? [], parents: parentsOf[oid] ?? [])
        }
    }

    private struct Captured {
        var xid: UInt64
        var label: String
        var timestamp: UInt64
        var queries: [String]
    }

    private func assemble(tables: [SatelliteTable], migrations: QueryResult) -> LoadedSchema {
        var captured: [Captured] = []
        var versions = ExactSet()
        for row in migrations.rows {
            guard let xid = row[0].flatMap({ UInt64($0) }), let label = row[1], let query = row[3] else { continue }
            versions.insert(label)
            if let version = row[4] { versions.insert(version) }
            if captured.last?.label.isExactly(label) == true {
                captured[captured.count - 1].queries.append(query)
            } else {
                captured.append(
                    Captured(
                        xid: xid, label: label, timestamp: UInt64(max(0, row.integer(2) ?? 0)), queries: [query]))
            }
        }
        var builder = MigrationBuilder()
        let byName = ExactDictionary(firstOf: tables.map { ($0.name, $0) })
        var built: [SatelliteMigration] = []
        for item in captured {
            do {
                let result = try builder.build(version: try MigrationVersion(item.label), queries: item.queries)
                built.append(MigrationMapping.migration(result, item.xid, item.timestamp, tables: byName))
            } catch {
                // One statement that we cannot read must not keep all clients out.
                self.logger.error(
                    "a captured migration cannot be translated; clients do not get it",
                    metadata: ["version": "\(item.label)", "error": "\(error)"])
            }
        }
        return LoadedSchema(schema: SatelliteSchema(tables: tables, versions: versions), migrations: built)
    }

    // MARK: For the bundle of migrations over HTTP

    /// Every migration in a dialect: its version, its statements as one file, and its encoded operations.
    package func bundle(
        dialect: Catalog.SQLDialect
    ) async throws -> [(version: String, script: String, operations: [[UInt8]])] {
        let rows = try await self.pool.query(Self.migrationsQuery)
        var builder = MigrationBuilder()
        var bundle: [(version: String, script: String, operations: [[UInt8]])] = []
        var queries: [String] = []
        for (index, row) in rows.rows.enumerated() {
            guard let label = row[1], let query = row[3] else { continue }
            queries.append(query)
            if index + 1 < rows.rowCount, rows[index + 1, 1]?.isExactly(label) == true { continue }
            defer { queries = [] }
            let result = try builder.build(version: try MigrationVersion(label), queries: queries)
            let migration = result.migration(for: dialect)
            guard !migration.operations.isEmpty else { continue }
            let operations = try migration.operations.map {
                try Array(MigrationMapping.message($0, version: label).serializedBytes() as [UInt8])
            }
            bundle.append((label, migration.script, operations))
        }
        return bundle
    }
}

/// The catalogue's migrations in the protocol's messages.
enum MigrationMapping {
    static func migration(
        _ result: MigrationBuilder.Result, _ xid: UInt64, _ timestamp: UInt64, tables: ExactDictionary<SatelliteTable>
    ) -> SatelliteMigration {
        var touched: [SatelliteTable] = []
        for operation in result.sqlite.operations + result.postgresql.operations {
            if case .table(let definition) = operation.affected, let table = tables[definition.name],
                !touched.contains(where: { $0.oid == table.oid })
            {
                touched.append(table)
            }
        }
        let version = result.version.label
        return SatelliteMigration(
            version: version, xid: xid, commitTimestamp: timestamp, tables: touched,
            sqlite: result.sqlite.operations.map { self.message($0, version: version) },
            postgres: result.postgresql.operations.map { self.message($0, version: version) })
    }

    static func message(_ operation: MigrationOperation, version: String) -> Electric_Satellite_SatOpMigrate {
        var message = Electric_Satellite_SatOpMigrate()
        message.version = version
        message.stmts = operation.statements.map { statement in
            var wire = Electric_Satellite_SatOpMigrate.Stmt()
            wire.type = Electric_Satellite_SatOpMigrate.TypeEnum(rawValue: statement.kind.rawValue) ?? .createTable
            wire.sql = statement.sql
            return wire
        }
        switch operation.affected {
        case .table(let definition): message.table = self.table(definition)
        case .enumeration(let definition):
            var wire = Electric_Satellite_SatOpMigrate.EnumType()
            wire.name = definition.name
            wire.values = definition.values
            message.enumType = wire
        case .none: break
        }
        return message
    }

    private static func table(_ definition: TableDefinition) -> Electric_Satellite_SatOpMigrate.Table {
        var wire = Electric_Satellite_SatOpMigrate.Table()
        wire.name = definition.name
        wire.pks = definition.primaryKey
        wire.columns = definition.columns.map { column in
            var type = Electric_Satellite_SatOpMigrate.PgColumnType()
            type.name = column.type.name
            type.array = column.type.arrayDimensions.map { Int32(clamping: $0) }
            type.size = column.type.sizes.map { Int32(clamping: $0) }
            var wire = Electric_Satellite_SatOpMigrate.Column()
            wire.name = column.name
            wire.sqliteType = SQLiteDialect.type(column.type)
            wire.pgType = type
            return wire
        }
        wire.fks = definition.announcedForeignKeys.map { key in
            var wire = Electric_Satellite_SatOpMigrate.ForeignKey()
            wire.fkCols = key.columns
            wire.pkTable = key.referencedTable.name
            wire.pkCols = key.referencedColumns
            return wire
        }
        return wire
    }
}
