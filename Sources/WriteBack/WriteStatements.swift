internal import ExactText
internal import PostgresClient

/// The SQL of client transactions.
enum WriteStatements {
    /// What a transaction lacks to be written. It carries a SQLSTATE like an error of the server's.
    struct Refusal: Error {
        var sqlState: String
        var message: String
        /// Whether the description of the table may be out of date.
        var mayBeStale = false
    }

    static let begin = PostgresStatement("BEGIN", isReusable: true)
    static let commit = PostgresStatement("COMMIT", isReusable: true)

    /// Moves the client's acknowledged position.
    static func acknowledgement(clientID: String, lsn: [UInt8]) -> PostgresStatement {
        PostgresStatement(
            """
            INSERT INTO electric.acknowledged_client_lsns AS a (client_id, lsn) VALUES ($1, $2) \
            ON CONFLICT (client_id) DO UPDATE SET lsn = excluded.lsn
            """, [.text(clientID), .binary(lsn)], isReusable: true)
    }

    /// A rejected transaction: only the position moves.
    static func rejection(of transaction: WriteTransaction) -> [PostgresStatement] {
        [Self.begin, Self.acknowledgement(clientID: transaction.clientID, lsn: transaction.clientLSN), Self.commit]
    }

    /// The whole of a transaction, `BEGIN` and `COMMIT` included.
    static func transaction(
        _ transaction: WriteTransaction, tables: [TableDescription]
    ) throws(Refusal) -> [PostgresStatement] {
        guard transaction.commitTimestampMilliseconds >= 0,
            transaction.commitTimestampMilliseconds <= TagText.greatestTimestamp
        else { throw Refusal(sqlState: "22008", message: "the commit time of the transaction is out of range") }
        var statements = [
            Self.begin,
            PostgresStatement("SET CONSTRAINTS ALL DEFERRED", isReusable: true),
            Self.acknowledgement(clientID: transaction.clientID, lsn: transaction.clientLSN),
        ]
        statements.reserveCapacity(4 + 2 * transaction.changes.count)
        for (change, table) in zip(transaction.changes, tables) {
            try Self.append(change, of: transaction, table: table, to: &statements)
        }
        statements.append(Self.commit)
        return statements
    }

    /// A change is two rows: one for the table, which its trigger parks, and one for the shadow table, whose trigger
    /// applies it.
    private static func append(
        _ change: WriteChange, of transaction: WriteTransaction, table: TableDescription,
        to statements: inout [PostgresStatement]
    ) throws(Refusal) {
        var values: ExactDictionary<[UInt8]?> = [:]
        for column in change.columns {
            guard let known = table.column(column.name) else {
                throw Refusal(
                    sqlState: "42703", message: "table \(table.schema).\(table.table) has no column \"\(column.name)\"",
                    mayBeStale: true)
            }
            guard values.updateValue(column.value, forKey: column.name) == nil else {
                throw Refusal(sqlState: "42701", message: "column \"\(column.name)\" is given twice")
            }
            if known.isKey, column.value == nil {
                throw Refusal(sqlState: "23502", message: "primary key column \"\(column.name)\" is null")
            }
        }
        for name in table.keyNames where values[name] == nil {
            throw Refusal(sqlState: "23502", message: "primary key column \"\(name)\" is missing")
        }
        for tag in change.observedTags where !(0...TagText.greatestTimestamp).contains(tag.timestampMilliseconds) {
            throw Refusal(sqlState: "22008", message: "an observed tag is out of range")
        }

        func parameter(_ column: TableDescription.Column) -> PostgresParameter {
            let value = values[column.name] ?? nil
            return column.isBinary ? .binary(value) : .text(bytes: value)
        }
        // Columns the client does not know are left out: Postgres parks their default, which counts only if there is no
        // such row at all.
        let written = table.columns.filter { !$0.isGenerated && values[$0.name] != nil }
        statements.append(
            Self.insert(
                into: SQLText.identifier(table.schema, table.table),
                written.map { (SQLText.identifier($0.name), parameter($0)) }))

        var shadowColumns = table.columns.filter(\.isKey).map { (SQLText.identifier($0.name), parameter($0)) }
        let tag = TagText.tag(
            timestampMilliseconds: transaction.commitTimestampMilliseconds, source: transaction.clientID)
        shadowColumns.append(("_tag", .text(tag)))
        shadowColumns.append(("_is_a_delete_operation", .text(change.kind == .delete ? "t" : "f")))
        shadowColumns.append(("_observed_tags", .text(TagText.array(change.observedTags))))
        let mask = table.columns.filter { !$0.isKey }.map { column in
            switch change.kind {
            case .insert: values[column.name] != nil
            case .update: values[column.name] != nil && change.modifiedColumns.contains(column.name)
            case .delete, .compensation: false
            }
        }
        shadowColumns.append(
            ("_modified_columns_bit_mask", .text("{\(mask.map { $0 ? "t" : "f" }.joined(separator: ","))}")))
        statements.append(Self.insert(into: SQLText.identifier("electric", table.shadow), shadowColumns))
    }

    private static func insert(
        into table: String, _ columns: [(name: String, value: PostgresParameter)]
    ) -> PostgresStatement {
        let names = columns.map(\.name).joined(separator: ", ")
        let places = (1...max(1, columns.count)).map { "$\($0)" }.joined(separator: ", ")
        return PostgresStatement(
            "INSERT INTO \(table) (\(names)) VALUES (\(places))", columns.map(\.value), isReusable: true)
    }
}
