import ExactText
import PostgresClient

/// The table that a flow writes, as the catalogue describes it.
struct TargetTable: Sendable {
    struct Column: Sendable {
        var name: String
        /// The type as it may stand in SQL.
        var type: String
        var typeOID: UInt32
    }

    let name: MirrorTableName
    let columns: ExactDictionary<Column>
    /// Whether it has a unique key of exactly ``EventPlanner/originKey``.
    let hasOriginKey: Bool

    var sqlName: String { SQLText.identifier(self.name.schema, self.name.name) }

    static func load(_ name: MirrorTableName, _ pool: PostgresPool) async throws -> TargetTable {
        let result = try await pool.query(
            """
            SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid
            FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
            """, [.text(SQLText.identifier(name.schema, name.name))])
        guard result.rowCount > 0 else { throw MirrorError.fatal("there is no table \(name)") }
        var columns: ExactDictionary<Column> = [:]
        for row in result.rows {
            guard let column = row[0], let type = row[1], let oid = row[2].flatMap({ UInt32($0) }) else { continue }
            columns[column] = Column(name: column, type: type, typeOID: oid)
        }
        let key = EventPlanner.originKey.sorted().map { SQLText.literal($0) }.joined(separator: ", ")
        let keys = try await pool.query(
            """
            SELECT EXISTS (
                SELECT FROM pg_catalog.pg_index AS i
                WHERE i.indrelid = pg_catalog.to_regclass($1) AND i.indisunique AND i.indimmediate AND i.indisvalid
                      AND i.indpred IS NULL AND i.indexprs IS NULL
                      AND (SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attname::text COLLATE "C")
                           FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k(place), pg_catalog.pg_attribute AS a
                           WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[k.place]) = ARRAY[\(key)])
            """, [.text(SQLText.identifier(name.schema, name.name))])
        return TargetTable(name: name, columns: columns, hasOriginKey: keys.boolean(0, 0) == true)
    }

    func column(_ name: String) throws -> Column {
        guard let column = self.columns[name] else {
            throw MirrorError.fatal("the table \(self.name) has no column \(name)")
        }
        return column
    }

    /// `json_to_recordset` over the first parameter with these columns, as a relation named `r`.
    func records(_ columns: [Column]) -> String {
        let list = columns.map { "\(SQLText.identifier($0.name)) \($0.type)" }.joined(separator: ", ")
        return "pg_catalog.json_to_recordset($1::pg_catalog.json) AS r(\(list))"
    }
}
