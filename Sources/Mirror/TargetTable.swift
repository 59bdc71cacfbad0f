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
        return TargetTable(name: name, columns: columns)
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
