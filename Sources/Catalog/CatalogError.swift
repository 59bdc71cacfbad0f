/// Where in a text something was found wrong.
package struct SourcePosition: Hashable, Sendable, CustomStringConvertible {
    /// Bytes of UTF-8 before it.
    package var byteOffset: Int
    /// Characters before it plus one, as Postgres counts the position of an error.
    package var character: Int
    /// From 1.
    package var line: Int
    /// In characters, from 1.
    package var column: Int

    package init(byteOffset: Int, character: Int, line: Int, column: Int) {
        self.byteOffset = byteOffset
        self.character = character
        self.line = line
        self.column = column
    }

    package var description: String { "line \(self.line), column \(self.column)" }
}

/// Why a statement, a schema change, a label or a stored schema was refused.
///
/// Two errors are equal when their codes are. The message names identifiers, never the content of literals.
package struct CatalogError: Error, Hashable, Sendable, CustomStringConvertible {
    package struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Base: String {
            case syntax, tooLarge, tooComplex, unknownTable, unknownType, unknownColumn
            case duplicateTable, duplicateColumn, invalidVersion, malformedDocument
        }
        private var base: Base
        private init(_ base: Base) { self.base = base }
        package var description: String { self.base.rawValue }

        /// The text is not a statement.
        package static let syntax = Code(.syntax)
        /// The text is longer than what is looked at.
        package static let tooLarge = Code(.tooLarge)
        /// Expressions nest too deeply.
        package static let tooComplex = Code(.tooComplex)
        package static let unknownTable = Code(.unknownTable)
        package static let unknownType = Code(.unknownType)
        package static let unknownColumn = Code(.unknownColumn)
        package static let duplicateTable = Code(.duplicateTable)
        package static let duplicateColumn = Code(.duplicateColumn)
        /// A migration label with forbidden characters or of a forbidden length.
        package static let invalidVersion = Code(.invalidVersion)
        /// A stored schema that is not JSON or not a schema.
        package static let malformedDocument = Code(.malformedDocument)
    }

    package var code: Code
    package var message: String
    package var position: SourcePosition?

    package init(_ code: Code, _ message: String, at position: SourcePosition? = nil) {
        self.code = code
        self.message = message
        self.position = position
    }

    package static func == (left: Self, right: Self) -> Bool { left.code == right.code }
    package func hash(into hasher: inout Hasher) { hasher.combine(self.code) }

    package var description: String {
        guard let position = self.position else { return self.message }
        return "\(self.message) (\(position))"
    }
}
