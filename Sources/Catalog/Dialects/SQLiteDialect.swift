import ExactText

/// The statements that SQLite clients are given. Implements the Satellite protocol's rules for migrations in the stream:
/// the layout is a contract, since generated client code was made from it.
///
/// What only Postgres can judge or compute is left out: a CHECK, a DEFAULT or an index whose expression has no
/// equivalent. Rows come from Postgres, where it holds.
package enum SQLiteDialect {
    // MARK: - Types

    package static func type(_ type: ColumnType) -> String {
        if type.isArray { return "TEXT_JSON" }
        let name = self.typeNames[type.name] ?? "TEXT"
        guard !type.sizes.isEmpty else { return name }
        return "\(name)(\(type.sizes.map(String.init).joined(separator: ", ")))"
    }

    private static let typeNames: [String: String] = [
        "int2": "INTEGER", "int4": "INTEGER", "int8": "INTEGER", "smallint": "INTEGER", "int": "INTEGER",
        "integer": "INTEGER", "bigint": "INTEGER", "serial": "INTEGER", "serial2": "INTEGER", "serial4": "INTEGER",
        "serial8": "INTEGER", "smallserial": "INTEGER", "bigserial": "INTEGER", "bool": "INTEGER",
        "boolean": "INTEGER", "real": "REAL", "float": "REAL", "float4": "REAL", "float8": "REAL", "double": "REAL",
        "numeric": "REAL", "decimal": "REAL", "money": "REAL", "bytea": "BLOB", "json": "TEXT_JSON",
        "jsonb": "TEXT_JSON",
    ]

    // MARK: - Statements

    package static func createTable(_ table: TableDefinition, ifNotExists: Bool = false) -> String {
        let items = table.columns.map { self.column($0, of: table) } + self.constraints(of: table)
        let name = (ifNotExists ? "IF NOT EXISTS " : "") + SQLText.identifier(table.name)
        return "CREATE TABLE \(name) (\n  \(items.joined(separator: ",\n  "))\n);\n"
    }

    /// The column, which is part of `table` already, with the foreign keys that were declared with it.
    ///
    /// SQLite adds a column to a table with rows only if its default is constant, and never a unique or stored one. So a
    /// default of another kind is left out, and with it NOT NULL.
    package static func addColumn(_ column: ColumnDefinition, references: [ForeignKey], to table: TableName) -> String {
        var text = "\(SQLText.identifier(column.name)) \(self.type(column.type))"
        let isConstant = column.defaultExpression.map { self.isConstant($0) } ?? true
        let isComputed = column.generationExpression != nil || column.identity != nil || !isConstant
        if column.isNotNull, !isComputed { text += " NOT NULL" }
        if isConstant, let value = column.defaultExpression.flatMap({ self.defaultValue($0) }) {
            text += " DEFAULT \(value)"
        }
        for key in references { text += " " + self.references(key) }
        return "ALTER TABLE \(SQLText.identifier(table.name)) ADD COLUMN \(text);\n"
    }

    /// Nil when an expression in it has no equivalent.
    package static func createIndex(
        _ index: IndexDefinition, on table: TableName, ifNotExists: Bool = false
    ) -> String? {
        var elements: [String] = []
        for element in index.elements {
            let key: String
            switch element.key {
            case .column(let name):
                key = SQLText.identifier(name)
            case .expression(let expression):
                guard let text = self.expression(expression) else { return nil }
                key = text
            }
            elements.append("\(key) \(element.isDescending ? "DESC" : "ASC")")
        }
        var text = "CREATE \(index.isUnique ? "UNIQUE " : "")INDEX \(ifNotExists ? "IF NOT EXISTS " : "")"
        text += "\(SQLText.identifier(index.name)) ON \(SQLText.identifier(table.name))"
        text += " (\(elements.joined(separator: ", ")))"
        if let predicate = index.predicate {
            guard let condition = self.expression(predicate) else { return nil }
            text += " WHERE \(condition)"
        }
        return text + ";\n"
    }

    // MARK: - Parts

    private static func column(_ column: ColumnDefinition, of table: TableDefinition) -> String {
        var text = "\(SQLText.identifier(column.name)) \(self.type(column.type))"
        if column.isNotNull || table.primaryKey.containsExactly(column.name) { text += " NOT NULL" }
        if let expression = column.generationExpression {
            if let value = self.expression(expression) {
                text += " GENERATED ALWAYS AS \(self.enclosed(value)) STORED"
            }
        } else if let value = column.defaultExpression.flatMap({ self.defaultValue($0) }) {
            text += " DEFAULT \(value)"
        }
        return text
    }

    /// Check, foreign, primary, unique; within a kind by what they hold.
    private static func constraints(of table: TableDefinition) -> [String] {
        var items: [String] = []
        let checks = table.checks.compactMap { check in
            self.expression(check.expression).map { (self.enclosed($0), check.name) }
        }
        for (expression, name) in checks.sorted(by: { $0 < $1 }) {
            items.append("CONSTRAINT \(SQLText.identifier(name)) CHECK \(expression)")
        }
        for key in table.foreignKeys.sorted(by: { self.precedes(($0.columns, $0.name), ($1.columns, $1.name)) }) {
            items.append(
                "CONSTRAINT \(SQLText.identifier(key.name)) FOREIGN KEY (\(SQLText.identifiers(key.columns))) "
                    + self.references(key))
        }
        if !table.primaryKey.isEmpty {
            let name = table.primaryKeyName ?? ObjectNames.make(table.name, nil, label: "pkey")
            items.append(
                "CONSTRAINT \(SQLText.identifier(name)) PRIMARY KEY (\(SQLText.identifiers(table.primaryKey)))")
        }
        for unique in table.uniqueConstraints.sorted(by: { self.precedes(($0.columns, $0.name), ($1.columns, $1.name)) }
        ) {
            items.append(
                "CONSTRAINT \(SQLText.identifier(unique.name)) UNIQUE (\(SQLText.identifiers(unique.columns)))")
        }
        return items
    }

    private static func precedes(_ left: ([String], String), _ right: ([String], String)) -> Bool {
        left.0 == right.0 ? left.1 < right.1 : left.0.lexicographicallyPrecedes(right.0)
    }

    private static func references(_ key: ForeignKey) -> String {
        var text = "REFERENCES \(SQLText.identifier(key.referencedTable.name))"
        if !key.referencedColumns.isEmpty { text += " (\(SQLText.identifiers(key.referencedColumns)))" }
        if key.onDelete != .noAction { text += " ON DELETE \(key.onDelete.rawValue)" }
        if key.onUpdate != .noAction { text += " ON UPDATE \(key.onUpdate.rawValue)" }
        return text
    }

    // MARK: - Defaults

    /// A DEFAULT takes literals and the current time as they are, anything else in parentheses.
    private static func defaultValue(_ expression: SQLExpression) -> String? {
        guard let text = self.expression(expression) else { return nil }
        return switch expression {
        case .null, .boolean, .number, .string, .valueFunction: text
        case .function(let name, _) where name.last == "now": text
        default: self.enclosed(text)
        }
    }

    /// The same value at any time: no function, no column.
    private static func isConstant(_ expression: SQLExpression) -> Bool {
        switch expression {
        case .function, .valueFunction, .column, .opaque, .allColumns: false
        default: expression.children.allSatisfy { self.isConstant($0) }
        }
    }

    /// With exactly one pair of parentheses around the whole where there was none.
    static func enclosed(_ text: String) -> String {
        self.isEnclosed(text) ? text : "(\(text))"
    }

    private static func isEnclosed(_ text: String) -> Bool {
        guard text.utf8.first == UInt8(ascii: "("), text.utf8.last == UInt8(ascii: ")") else { return false }
        var level = 0
        var quote: UInt8?
        for (offset, byte) in text.utf8.enumerated() {
            if let open = quote {
                if byte == open { quote = nil }
            } else if byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
                quote = byte
            } else if byte == UInt8(ascii: "(") {
                level += 1
            } else if byte == UInt8(ascii: ")") {
                level -= 1
                if level == 0 { return offset == text.utf8.count - 1 }
            }
        }
        return false
    }
}
