/// A statement that changes the schema, as far as clients need to know of it.
package enum DDLStatement: Hashable, Sendable {
    case createTable(CreateTable)
    case alterTable(AlterTable)
    case createIndex(CreateIndex)
    case createEnum(EnumDefinition)
    case addEnumValue(AddEnumValue)
    /// Anything else, with the words it begins with.
    case other(tag: String)
}

/// A constraint as written, its name perhaps still to be chosen.
package enum TableConstraint: Hashable, Sendable {
    case primaryKey(name: String?, columns: [String])
    case unique(name: String?, columns: [String])
    case check(name: String?, SQLExpression)
    /// `definition.name` is empty when `name` is absent.
    case foreignKey(name: String?, definition: ForeignKey)
    case notNull(column: String)
    case exclusion(name: String?)
}

package struct CreateTable: Hashable, Sendable {
    package var name: TableName
    package var ifNotExists: Bool
    package var columns: [ColumnDefinition]
    /// Inline ones and those of the table, in the order written.
    package var constraints: [TableConstraint]
}

package struct AlterTable: Hashable, Sendable {
    package struct AddColumn: Hashable, Sendable {
        package var column: ColumnDefinition
        package var constraints: [TableConstraint]
        package var ifNotExists: Bool
        /// The clause as written, from ADD on.
        package var text: String
    }

    package enum Clause: Hashable, Sendable {
        case addColumn(AddColumn)
        /// A clause that clients are not told of, by its first words.
        case other(String)
    }

    package var name: TableName
    package var ifExists: Bool
    /// As written, up to and including the table's name.
    package var prefix: String
    package var clauses: [Clause]

    /// The columns it adds.
    package var addedColumns: [AddColumn] {
        self.clauses.compactMap { if case .addColumn(let column) = $0 { column } else { nil } }
    }
}

package struct CreateIndex: Hashable, Sendable {
    package var table: TableName
    package var ifNotExists: Bool
    package var isConcurrent: Bool
    /// Whether the name was written. When not, `index.name` is empty until the model chooses one.
    package var isNamed: Bool
    package var index: IndexDefinition
}

package struct AddEnumValue: Hashable, Sendable {
    package enum Place: Hashable, Sendable {
        case last
        case before(String)
        case after(String)
    }

    package var schema: String
    package var name: String
    package var value: String
    package var place: Place
    package var ifNotExists: Bool

    package var typeName: String { ColumnType.qualifiedName(schema: self.schema, name: self.name) }
}

/// A statement with the text it was made from.
package struct ParsedStatement: Hashable, Sendable {
    package var statement: DDLStatement
    /// Without the semicolon and without white space or comments at either end.
    package var text: String
    /// Where it begins, in bytes of UTF-8.
    package var byteOffset: Int
}
