import ExactText

/// A column of a table.
package struct ColumnDefinition: Hashable, Sendable {
    package enum Identity: Hashable, Sendable { case always, byDefault }

    package var name: String
    package var type: ColumnType
    /// Declared, or implied by the primary key.
    package var isNotNull: Bool
    package var defaultExpression: SQLExpression?
    /// The expression of GENERATED ALWAYS AS (...).
    package var generationExpression: SQLExpression?
    package var identity: Identity?

    package init(
        name: String, type: ColumnType, isNotNull: Bool = false, defaultExpression: SQLExpression? = nil,
        generationExpression: SQLExpression? = nil, identity: Identity? = nil
    ) {
        self.name = name
        self.type = type
        self.isNotNull = isNotNull
        self.defaultExpression = defaultExpression
        self.generationExpression = generationExpression
        self.identity = identity
    }
}

package enum ReferentialAction: String, Hashable, Sendable, CaseIterable {
    case noAction = "NO ACTION"
    case restrict = "RESTRICT"
    case cascade = "CASCADE"
    case setNull = "SET NULL"
    case setDefault = "SET DEFAULT"
}

package struct ForeignKey: Hashable, Sendable {
    package var name: String
    package var columns: [String]
    package var referencedTable: TableName
    /// Empty when the statement did not say and the referenced table was not known.
    package var referencedColumns: [String]
    package var onDelete: ReferentialAction
    package var onUpdate: ReferentialAction
    package var isDeferrable: Bool
    package var isInitiallyDeferred: Bool

    package init(
        name: String, columns: [String], referencedTable: TableName, referencedColumns: [String],
        onDelete: ReferentialAction = .noAction, onUpdate: ReferentialAction = .noAction,
        isDeferrable: Bool = false, isInitiallyDeferred: Bool = false
    ) {
        self.name = name
        self.columns = columns
        self.referencedTable = referencedTable
        self.referencedColumns = referencedColumns
        self.onDelete = onDelete
        self.onUpdate = onUpdate
        self.isDeferrable = isDeferrable
        self.isInitiallyDeferred = isInitiallyDeferred
    }
}

package struct UniqueConstraint: Hashable, Sendable {
    package var name: String
    package var columns: [String]

    package init(name: String, columns: [String]) {
        self.name = name
        self.columns = columns
    }
}

package struct CheckConstraint: Hashable, Sendable {
    package var name: String
    package var expression: SQLExpression

    package init(name: String, expression: SQLExpression) {
        self.name = name
        self.expression = expression
    }
}

package struct IndexDefinition: Hashable, Sendable {
    package enum Key: Hashable, Sendable {
        case column(String)
        case expression(SQLExpression)
    }

    package struct Element: Hashable, Sendable {
        package var key: Key
        package var collation: String?
        package var isDescending: Bool
        /// NULLS FIRST or LAST where it was written.
        package var nullsFirst: Bool?

        package init(_ key: Key, collation: String? = nil, isDescending: Bool = false, nullsFirst: Bool? = nil) {
            self.key = key
            self.collation = collation
            self.isDescending = isDescending
            self.nullsFirst = nullsFirst
        }
    }

    package var name: String
    package var isUnique: Bool
    /// `btree`, `gin`, ...
    package var method: String
    package var elements: [Element]
    package var includedColumns: [String]
    package var predicate: SQLExpression?

    package init(
        name: String, isUnique: Bool = false, method: String = "btree", elements: [Element],
        includedColumns: [String] = [], predicate: SQLExpression? = nil
    ) {
        self.name = name
        self.isUnique = isUnique
        self.method = method
        self.elements = elements
        self.includedColumns = includedColumns
        self.predicate = predicate
    }
}

/// A table as its statements so far have left it.
package struct TableDefinition: Hashable, Sendable {
    package var schema: String
    package var name: String
    /// Where known. Statements do not tell it; a stored schema may.
    package var oid: UInt32?
    /// In table order.
    package var columns: [ColumnDefinition]
    /// The columns of the primary key in its order, empty without one.
    package var primaryKey: [String]
    package var primaryKeyName: String?
    package var foreignKeys: [ForeignKey]
    package var uniqueConstraints: [UniqueConstraint]
    package var checks: [CheckConstraint]
    package var indexes: [IndexDefinition]

    package init(
        schema: String = TableName.defaultSchema, name: String, oid: UInt32? = nil, columns: [ColumnDefinition] = [],
        primaryKey: [String] = [], primaryKeyName: String? = nil, foreignKeys: [ForeignKey] = [],
        uniqueConstraints: [UniqueConstraint] = [], checks: [CheckConstraint] = [], indexes: [IndexDefinition] = []
    ) {
        self.schema = schema
        self.name = name
        self.oid = oid
        self.columns = columns
        self.primaryKey = primaryKey
        self.primaryKeyName = primaryKeyName
        self.foreignKeys = foreignKeys
        self.uniqueConstraints = uniqueConstraints
        self.checks = checks
        self.indexes = indexes
    }

    package var tableName: TableName { TableName(schema: self.schema, name: self.name) }

    package func column(_ name: String) -> ColumnDefinition? {
        self.columns.first { $0.name.isExactly(name) }
    }

    package func columnIndex(_ name: String) -> Int? {
        self.columns.firstIndex { $0.name.isExactly(name) }
    }

    /// The foreign keys that clients are told of: those of one column. Clients fail on compound ones.
    package var announcedForeignKeys: [ForeignKey] {
        self.foreignKeys.filter { $0.columns.count == 1 }
    }

    /// The names that constraints and indexes of this table have taken.
    var takenNames: ExactSet {
        var names = ExactSet(self.foreignKeys.map(\.name))
        names.formUnion(self.uniqueConstraints.map(\.name))
        names.formUnion(self.checks.map(\.name))
        names.formUnion(self.indexes.map(\.name))
        if let name = self.primaryKeyName { names.insert(name) }
        return names
    }
}
