import ExactText

/// The tables and enums that the statements so far have made.
package struct SchemaModel: Hashable, Sendable {
    private var tablesByName: [TableName: TableDefinition]
    private var enumsByTypeName: ExactDictionary<EnumDefinition>

    package init() {
        self.tablesByName = [:]
        self.enumsByTypeName = [:]
    }

    /// Of two of one name the later is kept.
    package init(tables: [TableDefinition], enums: [EnumDefinition] = []) {
        self.init()
        for table in tables { self.tablesByName[table.tableName] = table }
        for definition in enums { self.enumsByTypeName[definition.typeName] = definition }
    }

    /// Sorted by name.
    package var tables: [TableDefinition] {
        self.tablesByName.values.sorted { $0.tableName < $1.tableName }
    }

    /// Sorted by name.
    package var enums: [EnumDefinition] {
        self.enumsByTypeName.values.sorted { (ExactText($0.schema), ExactText($0.name)) < (ExactText($1.schema), ExactText($1.name)) }
    }

    package var isEmpty: Bool { self.tablesByName.isEmpty && self.enumsByTypeName.isEmpty }

    package func table(_ name: TableName) -> TableDefinition? { self.tablesByName[name] }

    package func table(_ name: String) -> TableDefinition? { self.tablesByName[TableName(name: name)] }

    /// The enum that a column of this type refers to.
    package func enumeration(_ typeName: String) -> EnumDefinition? { self.enumsByTypeName[typeName] }

    /// Puts a definition in, in place of one of the same name: for what was read from the database's catalogue.
    package mutating func insert(_ table: TableDefinition) { self.tablesByName[table.tableName] = table }

    package mutating func insert(_ definition: EnumDefinition) {
        self.enumsByTypeName[definition.typeName] = definition
    }

    package mutating func removeTable(_ name: TableName) { self.tablesByName[name] = nil }

    // MARK: - Statements

    /// What a statement did to the model.
    package enum Change: Hashable, Sendable {
        case table(TableDefinition)
        /// The definition of the index, with its name, and of its table.
        case index(IndexDefinition, on: TableDefinition)
        case enumeration(EnumDefinition)
        /// Nothing that is not there already, or nothing that concerns the model.
        case none
    }

    /// Carries a statement out on the model. When it throws, the model is as before.
    @discardableResult
    package mutating func apply(_ statement: DDLStatement) throws(CatalogError) -> Change {
        switch statement {
        case .createTable(let statement): try self.createTable(statement)
        case .alterTable(let statement): try self.alterTable(statement)
        case .createIndex(let statement): try self.createIndex(statement)
        case .createEnum(let definition): self.createEnum(definition)
        case .addEnumValue(let statement): try self.addEnumValue(statement)
        case .other: .none
        }
    }

    private mutating func createTable(_ statement: CreateTable) throws(CatalogError) -> Change {
        guard self.tablesByName[statement.name] == nil else {
            if statement.ifNotExists { return .none }
            throw CatalogError(.duplicateTable, "Table \(statement.name) exists already")
        }
        var table = TableDefinition(schema: statement.name.schema, name: statement.name.name)
        for column in statement.columns { try Self.append(column, to: &table) }
        try self.add(statement.constraints, to: &table)
        self.tablesByName[statement.name] = table
        return .table(table)
    }

    private mutating func alterTable(_ statement: AlterTable) throws(CatalogError) -> Change {
        let added = statement.addedColumns
        guard !added.isEmpty else { return .none }
        guard var table = self.tablesByName[statement.name] else {
            if statement.ifExists { return .none }
            throw CatalogError(.unknownTable, "Table \(statement.name) is not known")
        }
        for clause in added {
            if clause.ifNotExists, table.column(clause.column.name) != nil { continue }
            try Self.append(clause.column, to: &table)
            try self.add(clause.constraints, to: &table)
        }
        guard table != self.tablesByName[statement.name] else { return .none }
        self.tablesByName[statement.name] = table
        return .table(table)
    }

    private mutating func createIndex(_ statement: CreateIndex) throws(CatalogError) -> Change {
        guard var table = self.tablesByName[statement.table] else {
            throw CatalogError(.unknownTable, "Table \(statement.table) is not known")
        }
        var index = statement.index
        if !statement.isNamed {
            let columns = Self.indexColumnNames(index.elements)
            index.name = ObjectNames.choose(
                table.name, ObjectNames.addition(columns), label: "idx", taken: table.takenNames)
        }
        if let position = table.indexes.firstIndex(where: { $0.name.isExactly(index.name) }) {
            if statement.ifNotExists || table.indexes[position] == index { return .none }
            table.indexes[position] = index
        } else {
            table.indexes.append(index)
        }
        self.tablesByName[statement.table] = table
        return .index(index, on: table)
    }

    /// A definition that is there already changes nothing, since every table that uses a type may bring it along.
    private mutating func createEnum(_ definition: EnumDefinition) -> Change {
        guard self.enumsByTypeName[definition.typeName] == nil else { return .none }
        self.enumsByTypeName[definition.typeName] = definition
        return .enumeration(definition)
    }

    private mutating func addEnumValue(_ statement: AddEnumValue) throws(CatalogError) -> Change {
        guard var definition = self.enumsByTypeName[statement.typeName] else {
            throw CatalogError(.unknownType, "Type \(SQLText.identifier(statement.typeName)) is not known")
        }
        guard !definition.values.containsExactly(statement.value) else { return .none }
        var position = definition.values.count
        switch statement.place {
        case .last: break
        case .before(let neighbour): position = definition.values.firstIndexExactly(of: neighbour) ?? position
        case .after(let neighbour): position = definition.values.firstIndexExactly(of: neighbour).map { $0 + 1 } ?? position
        }
        definition.values.insert(statement.value, at: position)
        self.enumsByTypeName[statement.typeName] = definition
        return .enumeration(definition)
    }

    // MARK: - Parts of tables

    private static func append(_ column: ColumnDefinition, to table: inout TableDefinition) throws(CatalogError) {
        guard table.column(column.name) == nil else {
            throw CatalogError(
                .duplicateColumn, "Column \(SQLText.identifier(column.name)) of \(table.tableName) exists already")
        }
        table.columns.append(column)
    }

    private func add(_ constraints: [TableConstraint], to table: inout TableDefinition) throws(CatalogError) {
        // Why: names of one's own are taken before any is chosen, whatever the order of the constraints.
        var taken = table.takenNames
        for constraint in constraints { if let name = constraint.name { taken.insert(name) } }
        func named(_ name: String?, _ addition: String?, _ label: String) -> String {
            let chosen = name ?? ObjectNames.choose(table.name, addition, label: label, taken: taken)
            taken.insert(chosen)
            return chosen
        }
        for constraint in constraints {
            for column in constraint.columns where table.column(column) == nil {
                throw CatalogError(
                    .unknownColumn, "Column \(SQLText.identifier(column)) of \(table.tableName) is not known")
            }
            switch constraint {
            case .primaryKey(let name, let columns):
                table.primaryKey = columns
                table.primaryKeyName = named(name, nil, "pkey")
                Self.setNotNull(columns, in: &table)
            case .notNull(let column):
                Self.setNotNull([column], in: &table)
            case .unique(let name, let columns):
                let name = named(name, ObjectNames.addition(columns), "key")
                table.uniqueConstraints.append(UniqueConstraint(name: name, columns: columns))
            case .check(let name, let expression):
                let columns = expression.columnNames.filter { table.column($0) != nil }
                let name = named(name, columns.count == 1 ? columns.first : nil, "check")
                table.checks.append(CheckConstraint(name: name, expression: expression))
            case .foreignKey(let name, var key):
                key.name = named(name, ObjectNames.addition(key.columns), "fkey")
                if key.referencedColumns.isEmpty {
                    let isOwn = key.referencedTable == table.tableName
                    key.referencedColumns =
                        isOwn ? table.primaryKey : self.tablesByName[key.referencedTable]?.primaryKey ?? []
                }
                table.foreignKeys.append(key)
            case .exclusion:
                break
            }
        }
        // A reference to the table itself may stand before the primary key.
        for index in table.foreignKeys.indices where table.foreignKeys[index].referencedColumns.isEmpty {
            guard table.foreignKeys[index].referencedTable == table.tableName else { continue }
            table.foreignKeys[index].referencedColumns = table.primaryKey
        }
    }

    private static func setNotNull(_ columns: [String], in table: inout TableDefinition) {
        for index in table.columns.indices where columns.containsExactly(table.columns[index].name) {
            table.columns[index].isNotNull = true
        }
    }

    /// What Postgres calls the elements of an index when it chooses a name.
    private static func indexColumnNames(_ elements: [IndexDefinition.Element]) -> [String] {
        var names: [String] = []
        for element in elements {
            let base = Self.columnName(of: element.key)
            var name = base
            var number = 1
            while names.containsExactly(name) {
                name = ObjectNames.clipped(base, to: ObjectNames.limit - String(number).utf8.count) + String(number)
                number += 1
            }
            names.append(name)
        }
        return names
    }

    private static func columnName(of key: IndexDefinition.Key) -> String {
        switch key {
        case .column(let name): name
        case .expression(let expression): self.columnName(of: expression) ?? "expr"
        }
    }

    private static func columnName(of expression: SQLExpression) -> String? {
        switch expression {
        case .column(let path), .function(let path, _): path.last
        case .valueFunction(let name, _): name.lowercased()
        case .cast(let operand, let type): self.columnName(of: operand) ?? type.name
        case .collated(let operand, _), .element(let operand, _): self.columnName(of: operand)
        case .conditional: "case"
        case .array: "array"
        case .row: "row"
        default: nil
        }
    }
}

extension TableConstraint {
    /// As written.
    var name: String? {
        switch self {
        case .primaryKey(let name, _), .unique(let name, _), .check(let name, _), .foreignKey(let name, _),
            .exclusion(let name):
            name
        case .notNull: nil
        }
    }

    /// The columns of the table that it names outright.
    var columns: [String] {
        switch self {
        case .primaryKey(_, let columns), .unique(_, let columns): columns
        case .foreignKey(_, let key): key.columns
        case .notNull(let column): [column]
        case .check, .exclusion: []
        }
    }
}
