/// The type of a column.
package struct ColumnType: Hashable, Sendable {
    /// As in `pg_type.typname` (`int4`, `varchar`, `timestamptz`); a type of a user's own by its bare name when it is in
    /// `public`, else `schema.name`.
    package var name: String
    /// The modifiers in parentheses: `varchar(10)` has `[10]`, `numeric(8,2)` has `[8, 2]`.
    package var sizes: [Int]
    /// One entry per array dimension, -1 where no size was given; empty for a scalar.
    package var arrayDimensions: [Int]

    package init(_ name: String, sizes: [Int] = [], arrayDimensions: [Int] = []) {
        self.name = name
        self.sizes = sizes
        self.arrayDimensions = arrayDimensions
    }

    package var isArray: Bool { !self.arrayDimensions.isEmpty }

    /// The bare name under which a type of `schema` is known.
    static func qualifiedName(schema: String, name: String) -> String {
        schema == TableName.defaultSchema || schema == "pg_catalog" ? name : "\(schema).\(name)"
    }
}

/// A type made by CREATE TYPE ... AS ENUM.
package struct EnumDefinition: Hashable, Sendable {
    package var schema: String
    package var name: String
    /// In their order.
    package var values: [String]

    package init(schema: String = TableName.defaultSchema, name: String, values: [String]) {
        self.schema = schema
        self.name = name
        self.values = values
    }

    /// The name by which a column's ``ColumnType`` refers to it.
    package var typeName: String { ColumnType.qualifiedName(schema: self.schema, name: self.name) }
}
