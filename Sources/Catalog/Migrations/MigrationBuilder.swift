import ExactText

/// Turns captured statements into what clients are told, and keeps the schema up with them.
///
/// The stream and the bundle of migrations are both made here, so that they cannot differ. Feed it every migration in
/// commit order, beginning with the schema before the first.
package struct MigrationBuilder: Sendable {
    /// After the migrations so far.
    package private(set) var schema: SchemaModel

    package init(schema: SchemaModel = SchemaModel()) {
        self.schema = schema
    }

    /// A migration in every dialect.
    package struct Result: Hashable, Sendable {
        package var version: MigrationVersion
        package var sqlite: Migration
        package var postgresql: Migration
        /// The statements and clauses that clients are not told of, by their first words.
        package var skipped: [String]

        package func migration(for dialect: SQLDialect) -> Migration {
            switch dialect {
            case .sqlite: self.sqlite
            case .postgresql: self.postgresql
            }
        }
    }

    /// - Parameter queries: The texts recorded for this version, in order.
    /// - Throws: For a text that is no statement, or one that does not fit the schema. The schema is then as before.
    package mutating func build(version: MigrationVersion, queries: [String]) throws(CatalogError) -> Result {
        var schema = self.schema
        var result = Result(
            version: version, sqlite: Migration(version: version, operations: []),
            postgresql: Migration(version: version, operations: []), skipped: [])
        for query in queries {
            for parsed in try DDLParser.parse(query) {
                try Self.append(parsed, to: &result, schema: &schema)
            }
        }
        self.schema = schema
        return result
    }

    /// For one dialect alone, without keeping the schema.
    package static func build(
        version: MigrationVersion, queries: [String], schema: SchemaModel, dialect: SQLDialect
    ) throws(CatalogError) -> Migration {
        var builder = MigrationBuilder(schema: schema)
        return try builder.build(version: version, queries: queries).migration(for: dialect)
    }

    // MARK: - Statements

    private static func append(
        _ parsed: ParsedStatement, to result: inout Result, schema: inout SchemaModel
    ) throws(CatalogError) {
        switch parsed.statement {
        case .createTable(let statement):
            guard case .table(let table) = try schema.apply(parsed.statement) else { return }
            let sqlite = SQLiteDialect.createTable(table, ifNotExists: statement.ifNotExists)
            result.append(.createTable, sqlite: [sqlite], postgresql: [parsed.text], affected: .table(table))
        case .alterTable(let statement):
            for clause in statement.clauses {
                if case .other(let description) = clause { result.skipped.append("ALTER TABLE \(description)") }
            }
            let before = schema.table(statement.name)
            guard case .table(let table) = try schema.apply(parsed.statement) else { return }
            self.appendColumns(statement, text: parsed.text, before: before, after: table, to: &result)
        case .createIndex(let statement):
            guard case .index(let index, let table) = try schema.apply(parsed.statement) else { return }
            let sqlite = SQLiteDialect.createIndex(index, on: table.tableName, ifNotExists: statement.ifNotExists)
            let text = statement.isConcurrent ? self.withoutConcurrently(parsed.text) : parsed.text
            result.append(.createIndex, sqlite: sqlite.map { [$0] } ?? [], postgresql: [text], affected: .none)
        case .createEnum:
            guard case .enumeration(let definition) = try schema.apply(parsed.statement) else { return }
            result.append(
                .createEnumType, sqlite: [], postgresql: [parsed.text], affected: .enumeration(definition))
        case .addEnumValue(let statement):
            guard case .enumeration(let definition) = try schema.apply(parsed.statement) else { return }
            // Why: clients run the text whatever its kind, and the protocol has no kind of its own for it.
            result.append(
                .createEnumType, sqlite: [], postgresql: [PostgresDialect.addEnumValue(statement)],
                affected: .enumeration(definition))
        case .other(let tag):
            result.skipped.append(tag)
        }
    }

    /// One statement for each column that was not there before.
    private static func appendColumns(
        _ statement: AlterTable, text: String, before: TableDefinition?, after: TableDefinition,
        to result: inout Result
    ) {
        var sqlite: [String] = []
        var postgresql: [String] = []
        let knownKeys = ExactSet(before?.foreignKeys.map(\.name) ?? [])
        var seen = ExactSet(before?.columns.map(\.name) ?? [])
        for clause in statement.addedColumns {
            let name = clause.column.name
            guard seen.insert(name).inserted, let column = after.column(name) else { continue }
            let references = after.foreignKeys.filter { areExactly($0.columns, [name]) && !knownKeys.contains($0.name) }
            sqlite.append(SQLiteDialect.addColumn(column, references: references, to: after.tableName))
            postgresql.append(statement.clauses.count == 1 ? text : "\(statement.prefix) \(clause.text)")
        }
        result.append(.alterAddColumn, sqlite: sqlite, postgresql: postgresql, affected: .table(after))
    }

    /// Clients run migrations in transactions, where CONCURRENTLY is not allowed.
    private static func withoutConcurrently(_ text: String) -> String {
        let source = DDLSource(text)
        guard let tokens = try? DDLTokenizer.tokens(of: source),
            let position = tokens.firstIndex(where: { $0.isWord("concurrently") }), position + 1 < tokens.count
        else { return text }
        return source.text(0..<tokens[position].start) + source.text(tokens[position + 1].start..<source.bytes.count)
    }
}

extension MigrationBuilder.Result {
    fileprivate mutating func append(
        _ kind: MigrationStatement.Kind, sqlite: [String], postgresql: [String],
        affected: MigrationOperation.Affected
    ) {
        func operation(_ texts: [String]) -> MigrationOperation? {
            if texts.isEmpty, affected == .none { return nil }
            return MigrationOperation(
                statements: texts.map { MigrationStatement(kind: kind, sql: $0) }, affected: affected)
        }
        if let operation = operation(sqlite) { self.sqlite.operations.append(operation) }
        if let operation = operation(postgresql) { self.postgresql.operations.append(operation) }
    }
}
