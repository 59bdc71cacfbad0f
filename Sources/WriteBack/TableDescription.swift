internal import ExactText
internal import PostgresClient
import Synchronization

/// What has to be known of an electrified table to write to it.
struct TableDescription: Sendable, Hashable {
    struct Column: Sendable, Hashable {
        var name: String
        var isKey: Bool
        /// Its text on the wire is the bytes themselves.
        var isBinary: Bool
        /// Computed by Postgres: never written.
        var isGenerated: Bool
        /// 0-based place among the columns outside the primary key, in the catalogue's order: the column's bit in the
        /// mask.
        var maskIndex: Int?
    }

    var schema: String
    var table: String
    var shadow: String
    /// In the catalogue's order.
    var columns: [Column]

    var keyNames: [String] { self.columns.filter(\.isKey).map(\.name) }
    var maskCount: Int { self.columns.count { !$0.isKey } }

    func column(_ name: String) -> Column? {
        self.columns.first { $0.name.isExactly(name) }
    }
}

/// Descriptions of electrified tables, read from the catalogue when first needed and kept until a migration makes them
/// stale.
final class TableDescriptions: Sendable {
    private struct Name: Hashable {
        @ExactText var schema: String
        @ExactText var table: String
    }

    private struct State {
        var known: [Name: TableDescription] = [:]
        /// Rises with each invalidation, so that an answer on its way while the tables change is not kept.
        var generation = 0
    }

    private let state = Mutex(State())

    /// Forgets everything: the tables may have changed.
    func invalidate() {
        self.state.withLock {
            $0.known = [:]
            $0.generation += 1
        }
    }

    /// The table's description; nil when it is not an electrified table.
    func description(
        schema: String, table: String, on connection: PostgresConnection
    ) async throws -> TableDescription? {
        let name = Name(schema: schema, table: table)
        let (present, generation) = self.state.withLock { ($0.known[name], $0.generation) }
        if let present { return present }
        let result = try await connection.query(
            """
            SELECT a.attname, coalesce(a.attnum = ANY (k.conkey), false), t.typname = 'bytea', a.attgenerated <> '',
                   electric.shadow_name(e.schema_name, e.table_name)
            FROM electric.electrified e
            JOIN pg_catalog.pg_namespace n ON n.nspname = e.schema_name
            JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = e.table_name AND c.relkind = 'r'
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
            LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
            WHERE e.schema_name = $1 AND e.table_name = $2
            ORDER BY a.attnum
            """, [.text(schema), .text(table)])
        guard let shadow = result[0, 4] else { return nil }
        var maskIndex = 0
        let columns = result.rows.map { row in
            let isKey = row.boolean(1) ?? false
            defer { if !isKey { maskIndex += 1 } }
            return TableDescription.Column(
                name: row[0] ?? "", isKey: isKey, isBinary: row.boolean(2) ?? false,
                isGenerated: row.boolean(3) ?? false,
                maskIndex: isKey ? nil : maskIndex)
        }
        let description = TableDescription(schema: schema, table: table, shadow: shadow, columns: columns)
        self.state.withLock { if $0.generation == generation { $0.known[name] = description } }
        return description
    }
}
