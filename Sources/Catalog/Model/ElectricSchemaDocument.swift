import ExactText

/// The JSON in which the legacy service keeps the schema of each migration version (column `schema` of
/// `electric.schema`): the JSON form of its protobuf messages.
package enum ElectricSchemaDocument {
    /// - Throws: ``CatalogError/Code/malformedDocument`` for what is not JSON or has no object at its top. Within it
    ///   everything unknown or incomplete is stepped over.
    package static func decode(_ text: String) throws(CatalogError) -> SchemaModel {
        let document = try JSONReader.read(text)
        guard case .object = document else {
            throw CatalogError(.malformedDocument, "The stored schema is not a JSON object")
        }
        let tables = (document["tables"]?.elements ?? []).compactMap { self.table($0) }
        let enums = (document["enums"]?.elements ?? []).compactMap { self.enumeration($0) }
        return SchemaModel(tables: tables, enums: enums)
    }

    // MARK: - Decoding

    /// A member by its protobuf name or the camel-case form of it.
    private static func member(_ value: JSONValue, _ name: String) -> JSONValue? {
        if let found = value[name] { return found }
        let words = name.split(separator: "_")
        guard words.count > 1 else { return nil }
        return value[String(words[0]) + words.dropFirst().map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()]
    }

    private static func strings(_ value: JSONValue?) -> [String] { (value?.elements ?? []).compactMap(\.string) }

    private static func rangeVar(_ value: JSONValue?) -> TableName? {
        guard let value else { return nil }
        if let name = value.string { return TableName(name: name) }
        guard let name = value["name"]?.string else { return nil }
        return TableName(schema: value["schema"]?.string ?? TableName.defaultSchema, name: name)
    }

    private static func enumeration(_ value: JSONValue) -> EnumDefinition? {
        guard let name = self.rangeVar(value["name"]) else { return nil }
        return EnumDefinition(schema: name.schema, name: name.name, values: self.strings(value["values"]))
    }

    private static func table(_ value: JSONValue) -> TableDefinition? {
        guard let name = self.rangeVar(value["name"]) else { return nil }
        var table = TableDefinition(
            schema: name.schema, name: name.name, oid: value["oid"]?.integer.flatMap { self.oid($0) })
        for column in value["columns"]?.elements ?? [] {
            guard let columnName = column["name"]?.string, let type = self.type(column["type"]) else { continue }
            var definition = ColumnDefinition(name: columnName, type: type)
            for constraint in column["constraints"]?.elements ?? [] {
                self.apply(constraint, to: &definition, of: &table)
            }
            table.columns.append(definition)
        }
        for constraint in value["constraints"]?.elements ?? [] {
            var none: ColumnDefinition?
            self.apply(constraint, column: &none, to: &table)
        }
        for index in table.columns.indices where table.primaryKey.containsExactly(table.columns[index].name) {
            table.columns[index].isNotNull = true
        }
        table.indexes = (value["indexes"]?.elements ?? []).compactMap { self.index($0) }
        return table
    }

    /// OIDs beyond 31 bits may have been stored as negative numbers.
    private static func oid(_ number: Int) -> UInt32? {
        guard number != 0 else { return nil }
        return UInt32(exactly: number) ?? Int32(exactly: number).map { UInt32(bitPattern: $0) }
    }

    private static func type(_ value: JSONValue?) -> ColumnType? {
        guard let value, let name = value["name"]?.string else { return nil }
        return ColumnType(
            name, sizes: (value["size"]?.elements ?? []).compactMap(\.integer),
            arrayDimensions: (value["array"]?.elements ?? []).compactMap(\.integer))
    }

    private static func apply(
        _ constraint: JSONValue, to column: inout ColumnDefinition, of table: inout TableDefinition
    ) {
        var own: ColumnDefinition? = column
        self.apply(constraint, column: &own, to: &table)
        if let own { column = own }
    }

    private static func apply(
        _ constraint: JSONValue, column: inout ColumnDefinition?, to table: inout TableDefinition
    ) {
        func columns(_ value: JSONValue, _ name: String) -> [String] {
            let names = self.strings(self.member(value, name))
            return names.isEmpty ? (column.map { [$0.name] } ?? []) : names
        }
        if self.member(constraint, "not_null") != nil {
            column?.isNotNull = true
        } else if let primary = constraint["primary"] {
            table.primaryKey = columns(primary, "keys")
            table.primaryKeyName = primary["name"]?.string
        } else if let unique = constraint["unique"] {
            let keys = columns(unique, "keys")
            let name = unique["name"]?.string ?? ObjectNames.make(table.name, ObjectNames.addition(keys), label: "key")
            table.uniqueConstraints.append(UniqueConstraint(name: name, columns: keys))
        } else if let check = constraint["check"] {
            guard let expression = self.expression(check["expr"]) else { return }
            let name = check["name"]?.string ?? ObjectNames.make(table.name, nil, label: "check")
            table.checks.append(CheckConstraint(name: name, expression: expression))
        } else if let foreign = constraint["foreign"] {
            let own = columns(foreign, "fk_cols")
            guard let referenced = self.rangeVar(self.member(foreign, "pk_table")), !own.isEmpty else { return }
            let name = foreign["name"]?.string ?? ObjectNames.make(table.name, ObjectNames.addition(own), label: "fkey")
            table.foreignKeys.append(
                ForeignKey(
                    name: name, columns: own, referencedTable: referenced,
                    referencedColumns: self.strings(self.member(foreign, "pk_cols")),
                    onDelete: self.action(self.member(foreign, "on_delete")),
                    onUpdate: self.action(self.member(foreign, "on_update")),
                    isDeferrable: foreign["deferrable"]?.bool ?? false,
                    isInitiallyDeferred: foreign["initdeferred"]?.bool ?? false))
        } else if let generated = constraint["generated"] {
            column?.generationExpression = self.expression(generated["expr"])
        } else if let value = constraint["default"] {
            column?.defaultExpression = self.expression(value["expr"])
        } else if constraint["identity"] != nil {
            column?.identity = .byDefault
        }
    }

    private static let actions: [ReferentialAction] = [.noAction, .restrict, .cascade, .setNull, .setDefault]

    private static func action(_ value: JSONValue?) -> ReferentialAction {
        if let number = value?.integer, self.actions.indices.contains(number) { return self.actions[number] }
        let words = value?.string?.split(separator: "_").joined(separator: " ") ?? ""
        return ReferentialAction(rawValue: words) ?? .noAction
    }

    private static func index(_ value: JSONValue) -> IndexDefinition? {
        guard let name = value["name"]?.string else { return nil }
        var index = IndexDefinition(
            name: name, isUnique: value["unique"]?.bool ?? false, method: value["using"]?.string ?? "btree",
            elements: [], includedColumns: self.strings(value["including"]),
            predicate: self.expression(value["where"]))
        for column in value["columns"]?.elements ?? [] {
            var key: IndexDefinition.Key?
            if let name = column["name"]?.string { key = .column(name) }
            if key == nil { key = self.expression(column["expr"]).map { .expression($0) } }
            guard let key else { return nil }
            let ordering = column["ordering"]
            let nulls = self.member(column, "nulls_ordering")
            index.elements.append(
                IndexDefinition.Element(
                    key, collation: column["collation"]?.string,
                    isDescending: ordering?.string == "DESC" || ordering?.integer == 2,
                    nullsFirst: nulls.map { $0.string == "FIRST" || $0.integer == 1 }))
        }
        return index
    }

    /// Our own form of an expression is its text. Legacy never stored any: tables with expressions were refused.
    private static func expression(_ value: JSONValue?) -> SQLExpression? {
        guard let text = value?["sql"]?.string else { return nil }
        return (try? DDLParser.parseExpression(text)) ?? .opaque(text)
    }

    // MARK: - Encoding

    package static func encode(_ schema: SchemaModel) -> String {
        let document = JSONValue.object([
            "tables": .array(schema.tables.map { self.encode($0) }),
            "enums": .array(
                schema.enums.map { definition in
                    JSONValue.object([
                        "name": self.encode(TableName(schema: definition.schema, name: definition.name)),
                        "values": self.encode(definition.values),
                    ])
                }),
        ])
        var bytes: [UInt8] = []
        document.write(into: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func encode(_ name: TableName) -> JSONValue {
        .object(["name": .string(name.name), "schema": .string(name.schema)])
    }

    private static func encode(_ strings: [String]) -> JSONValue { .array(strings.map { .string($0) }) }

    private static func encode(_ numbers: [Int]) -> JSONValue { .array(numbers.map { .number(String($0)) }) }

    private static func encode(_ expression: SQLExpression) -> JSONValue {
        .object(["sql": .string(PostgresDialect.expression(expression))])
    }

    private static func encode(_ table: TableDefinition) -> JSONValue {
        .object([
            "name": self.encode(table.tableName),
            "columns": .array(table.columns.map { self.encode($0) }),
            "constraints": .array(self.constraints(of: table)),
            "indexes": .array(table.indexes.map { self.encode($0, of: table.tableName) }),
            "oid": table.oid.map { .number(String($0)) },
        ])
    }

    private static func encode(_ column: ColumnDefinition) -> JSONValue {
        var constraints: [JSONValue] = []
        if column.isNotNull { constraints.append(.object(["notNull": .object([])])) }
        if let expression = column.defaultExpression {
            constraints.append(.object(["default": .object(["expr": self.encode(expression)])]))
        }
        if let expression = column.generationExpression {
            constraints.append(
                .object(["generated": .object(["when": .string("ALWAYS"), "expr": self.encode(expression)])]))
        }
        if column.identity != nil { constraints.append(.object(["identity": .object([])])) }
        return .object([
            "name": .string(column.name),
            "type": .object([
                "name": .string(column.type.name), "size": self.encode(column.type.sizes),
                "array": self.encode(column.type.arrayDimensions),
            ]),
            "constraints": .array(constraints),
        ])
    }

    private static func constraints(of table: TableDefinition) -> [JSONValue] {
        var constraints: [JSONValue] = []
        if !table.primaryKey.isEmpty {
            constraints.append(
                .object([
                    "primary": .object([
                        "name": table.primaryKeyName.map { .string($0) }, "keys": self.encode(table.primaryKey),
                    ])
                ]))
        }
        for key in table.foreignKeys {
            constraints.append(
                .object([
                    "foreign": .object([
                        "name": .string(key.name), "deferrable": .bool(key.isDeferrable),
                        "initdeferred": .bool(key.isInitiallyDeferred), "onUpdate": self.encode(key.onUpdate),
                        "onDelete": self.encode(key.onDelete), "fkCols": self.encode(key.columns),
                        "pkTable": self.encode(key.referencedTable), "pkCols": self.encode(key.referencedColumns),
                    ])
                ]))
        }
        for unique in table.uniqueConstraints {
            constraints.append(
                .object(["unique": .object(["name": .string(unique.name), "keys": self.encode(unique.columns)])]))
        }
        for check in table.checks {
            constraints.append(
                .object(["check": .object(["name": .string(check.name), "expr": self.encode(check.expression)])]))
        }
        return constraints
    }

    private static func encode(_ action: ReferentialAction) -> JSONValue {
        .string(action.rawValue.split(separator: " ").joined(separator: "_"))
    }

    private static func encode(_ index: IndexDefinition, of table: TableName) -> JSONValue {
        let columns = index.elements.map { element in
            var name: JSONValue?
            var expression: JSONValue?
            switch element.key {
            case .column(let column): name = .string(column)
            case .expression(let tree): expression = self.encode(tree)
            }
            return JSONValue.object([
                "name": name, "expr": expression, "collation": element.collation.map { .string($0) },
                "ordering": .string(element.isDescending ? "DESC" : "ASC"),
                "nullsOrdering": element.nullsFirst.map { .string($0 ? "FIRST" : "LAST") },
            ])
        }
        return .object([
            "name": .string(index.name), "table": self.encode(table), "unique": .bool(index.isUnique),
            "columns": .array(columns), "including": self.encode(index.includedColumns),
            "where": index.predicate.map { self.encode($0) }, "using": .string(index.method),
        ])
    }
}
