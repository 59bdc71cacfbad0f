/// Statements and expressions as Postgres reads them.
package enum PostgresDialect {
    /// The table in the form in which the capture of migrations records it.
    package static func createTable(_ table: TableDefinition) -> String {
        var items = table.columns.map { self.column($0) }
        if !table.primaryKey.isEmpty {
            items.append(
                self.constraint(table.primaryKeyName ?? ObjectNames.make(table.name, nil, label: "pkey"))
                    + "PRIMARY KEY (\(SQLText.identifiers(table.primaryKey)))")
        }
        for key in table.foreignKeys.sorted(by: { $0.name < $1.name }) {
            items.append(self.constraint(key.name) + self.foreignKey(key))
        }
        for unique in table.uniqueConstraints {
            items.append(self.constraint(unique.name) + "UNIQUE (\(SQLText.identifiers(unique.columns)))")
        }
        for check in table.checks {
            items.append(self.constraint(check.name) + "CHECK (\(self.expression(check.expression)))")
        }
        return "CREATE TABLE \(table.tableName) (\n    " + items.joined(separator: ",\n    ") + "\n)"
    }

    package static func createEnum(_ definition: EnumDefinition) -> String {
        let values = definition.values.map { SQLText.literal($0) }.joined(separator: ", ")
        return "CREATE TYPE \(TableName(schema: definition.schema, name: definition.name)) AS ENUM (\(values))"
    }

    package static func createIndex(_ index: IndexDefinition, on table: TableName) -> String {
        let elements = index.elements.map { element in
            var text =
                switch element.key {
                case .column(let name): SQLText.identifier(name)
                case .expression(let expression): "(\(self.expression(expression)))"
                }
            if let collation = element.collation {
                text +=
                    " COLLATE \(collation.split(separator: ".").map { SQLText.identifier(String($0)) }.joined(separator: "."))"
            }
            if element.isDescending { text += " DESC" }
            if let nullsFirst = element.nullsFirst { text += nullsFirst ? " NULLS FIRST" : " NULLS LAST" }
            return text
        }
        var text = "CREATE \(index.isUnique ? "UNIQUE " : "")INDEX \(SQLText.identifier(index.name)) ON \(table)"
        text += " USING \(SQLText.identifier(index.method)) (\(elements.joined(separator: ", ")))"
        if !index.includedColumns.isEmpty { text += " INCLUDE (\(SQLText.identifiers(index.includedColumns)))" }
        if let predicate = index.predicate { text += " WHERE \(self.expression(predicate))" }
        return text
    }

    static func addEnumValue(_ statement: AddEnumValue) -> String {
        let name = TableName(schema: statement.schema, name: statement.name)
        let text = "ALTER TYPE \(name) ADD VALUE IF NOT EXISTS \(SQLText.literal(statement.value))"
        return switch statement.place {
        case .last: text
        case .before(let neighbour): text + " BEFORE \(SQLText.literal(neighbour))"
        case .after(let neighbour): text + " AFTER \(SQLText.literal(neighbour))"
        }
    }

    package static func type(_ type: ColumnType) -> String {
        var text: String
        let sizes = type.sizes.isEmpty ? "" : "(" + type.sizes.map(String.init).joined(separator: ",") + ")"
        switch type.name {
        case "timestamptz": text = "timestamp\(sizes) with time zone"
        case "timetz": text = "time\(sizes) with time zone"
        case "timestamp", "time": text = "\(type.name)\(sizes) without time zone"
        case "varchar": text = "character varying\(sizes)"
        // Without a size it is not char(1): the name itself has to be used.
        case "bpchar": text = type.sizes.isEmpty ? "bpchar" : "character\(sizes)"
        case "varbit": text = "bit varying\(sizes)"
        case "bit", "interval", "numeric": text = "\(type.name)\(sizes)"
        case "float4": text = "real"
        case "float8": text = "double precision"
        case "int2": text = "smallint"
        case "int4": text = "integer"
        case "int8": text = "bigint"
        case "bool": text = "boolean"
        case "uuid", "text", "json", "jsonb", "bytea", "date", "money", "inet", "cidr", "macaddr", "xml", "oid",
            "regclass",
            "tsvector", "tsquery", "point":
            text = type.name
        default:
            text = type.name.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
                .map { SQLText.identifier(String($0)) }.joined(separator: ".")
            text += sizes
        }
        for size in type.arrayDimensions { text += size < 0 ? "[]" : "[\(size)]" }
        return text
    }

    private static func column(_ column: ColumnDefinition) -> String {
        var text = "\(SQLText.identifier(column.name)) \(self.type(column.type))"
        if column.isNotNull { text += " NOT NULL" }
        if let expression = column.generationExpression {
            text += " GENERATED ALWAYS AS (\(self.expression(expression))) STORED"
        } else if let expression = column.defaultExpression {
            text += " DEFAULT \(self.operand(expression))"
        }
        switch column.identity {
        case .always: text += " GENERATED ALWAYS AS IDENTITY"
        case .byDefault: text += " GENERATED BY DEFAULT AS IDENTITY"
        case nil: break
        }
        return text
    }

    private static func constraint(_ name: String) -> String { "CONSTRAINT \(SQLText.identifier(name)) " }

    private static func foreignKey(_ key: ForeignKey) -> String {
        var text = "FOREIGN KEY (\(SQLText.identifiers(key.columns))) REFERENCES \(key.referencedTable)"
        if !key.referencedColumns.isEmpty { text += "(\(SQLText.identifiers(key.referencedColumns)))" }
        if key.onUpdate != .noAction { text += " ON UPDATE \(key.onUpdate.rawValue)" }
        if key.onDelete != .noAction { text += " ON DELETE \(key.onDelete.rawValue)" }
        if key.isDeferrable { text += " DEFERRABLE" }
        if key.isInitiallyDeferred { text += " INITIALLY DEFERRED" }
        return text
    }

    // MARK: - Expressions

    /// In parentheses unless nothing can come between its parts.
    private static func operand(_ expression: SQLExpression) -> String {
        switch expression {
        case .null, .boolean, .string, .bits, .column, .function, .valueFunction, .opaque, .array:
            self.expression(expression)
        case .number(let text) where !text.hasPrefix("-"): text
        default: "(\(self.expression(expression)))"
        }
    }

    package static func expression(_ expression: SQLExpression) -> String {
        func list(_ expressions: [SQLExpression]) -> String {
            expressions.map { self.expression($0) }.joined(separator: ", ")
        }
        func path(_ names: [String]) -> String { names.map { SQLText.identifier($0) }.joined(separator: ".") }
        switch expression {
        case .null: return "NULL"
        case .boolean(let value): return value ? "true" : "false"
        case .number(let text), .bits(let text), .opaque(let text): return text
        case .string(let text): return SQLText.literal(text)
        case .column(let names): return path(names)
        case .allColumns: return "*"
        case .function(let name, let arguments): return "\(path(name))(\(list(arguments)))"
        case .valueFunction(let name, let precision): return precision.map { "\(name)(\($0))" } ?? name
        case .cast(let operand, let type): return "\(self.operand(operand))::\(self.type(type))"
        case .unary(let symbol, let operand): return "\(symbol) \(self.operand(operand))"
        case .binary(let symbol, let left, let right):
            return "\(self.operand(left)) \(symbol) \(self.operand(right))"
        case .conjunction(let terms): return terms.map { self.operand($0) }.joined(separator: " AND ")
        case .disjunction(let terms): return terms.map { self.operand($0) }.joined(separator: " OR ")
        case .negation(let operand): return "NOT \(self.operand(operand))"
        case .test(let operand, let truth, let isNegated):
            return "\(self.operand(operand)) IS \(isNegated ? "NOT " : "")\(truth.rawValue)"
        case .distinct(let left, let right, let isNegated):
            return "\(self.operand(left)) IS \(isNegated ? "NOT " : "")DISTINCT FROM \(self.operand(right))"
        case .membership(let operand, let members, let isNegated):
            return "\(self.operand(operand)) \(isNegated ? "NOT " : "")IN (\(list(members)))"
        case .between(let operand, let lower, let upper, let isNegated):
            return "\(self.operand(operand)) \(isNegated ? "NOT " : "")BETWEEN "
                + "\(self.operand(lower)) AND \(self.operand(upper))"
        case .like(let operand, let pattern, let escape, let ignoresCase, let isNegated):
            let text = "\(self.operand(operand)) \(isNegated ? "NOT " : "")\(ignoresCase ? "ILIKE" : "LIKE") "
            return text + self.operand(pattern) + (escape.map { " ESCAPE \(self.operand($0))" } ?? "")
        case .quantified(let symbol, let left, let isAll, let right):
            return "\(self.operand(left)) \(symbol) \(isAll ? "ALL" : "ANY") (\(self.expression(right)))"
        case .conditional(let operand, let branches, let otherwise):
            var text = "CASE" + (operand.map { " \(self.operand($0))" } ?? "")
            for branch in branches {
                text += " WHEN \(self.operand(branch.condition)) THEN \(self.operand(branch.result))"
            }
            return text + (otherwise.map { " ELSE \(self.operand($0))" } ?? "") + " END"
        case .array(let elements): return "ARRAY[\(list(elements))]"
        case .row(let elements): return "ROW(\(list(elements)))"
        case .element(let operand, let index): return "\(self.operand(operand))[\(self.expression(index))]"
        case .collated(let operand, let collation): return "\(self.operand(operand)) COLLATE \(path(collation))"
        }
    }
}
