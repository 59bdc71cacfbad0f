import ExactText

/// The name of a table with its schema.
package struct TableName: Hashable, Sendable, Comparable, CustomStringConvertible {
    package static let defaultSchema = "public"

    @ExactText package var schema: String
    @ExactText package var name: String

    package init(schema: String = TableName.defaultSchema, name: String) {
        self.schema = schema
        self.name = name
    }

    /// Quoted, for messages and SQL.
    package var description: String {
        "\(SQLText.identifier(self.schema)).\(SQLText.identifier(self.name))"
    }

    package static func < (left: Self, right: Self) -> Bool {
        (left._schema, left._name) < (right._schema, right._name)
    }
}
