extension DDLParser {
    // MARK: - CREATE TABLE

    /// After TABLE. Forms that take their columns from elsewhere (AS, LIKE, OF, PARTITION OF, INHERITS) are `.other`.
    mutating func parseCreateTable(from start: Int) throws(CatalogError) -> DDLStatement {
        let ifNotExists = self.acceptWords("if", "not", "exists")
        let name = try self.parseTableName()
        guard self.current.isPunctuation("(") else {
            let isKnown = ["as", "of", "partition", "using", "with", "on", "tablespace"].contains {
                self.current.isWord($0)
            }
            guard isKnown else { throw self.syntaxError() }
            return self.skipStatement(tag: "CREATE TABLE")
        }
        self.advance()
        var columns: [ColumnDefinition] = []
        var constraints: [TableConstraint] = []
        if !self.acceptPunctuation(")") {
            repeat {
                if self.current.isWord("like") { return self.skipEnclosed(from: start, tag: "CREATE TABLE LIKE") }
                if let constraint = try self.parseTableConstraint() {
                    constraints.append(constraint)
                } else if self.isColumnNameAlone {
                    return self.skipEnclosed(from: start, tag: "CREATE TABLE AS")
                } else {
                    columns.append(try self.parseColumn(into: &constraints))
                }
            } while self.acceptPunctuation(",")
            try self.expectPunctuation(")")
        }
        while let word = self.current.word {
            switch word {
            case "inherits", "as":
                return self.skipStatement(tag: "CREATE TABLE \(word.uppercased())")
            case "partition", "using", "with", "without", "on", "tablespace":
                self.advance()
                self.skip { Self.tableOptionWords.contains($0.word ?? "") }
            default:
                throw self.syntaxError()
            }
        }
        return .createTable(
            CreateTable(name: name, ifNotExists: ifNotExists, columns: columns, constraints: constraints))
    }

    private static let tableOptionWords: Set<String> = [
        "inherits", "as", "partition", "using", "with", "without", "on", "tablespace",
    ]

    private mutating func skipEnclosed(from start: Int, tag: String) -> DDLStatement {
        self.index = start
        return self.skipStatement(tag: tag)
    }

    /// A name that a comma or parenthesis follows: the column list of CREATE TABLE ... AS.
    private var isColumnNameAlone: Bool {
        self.token(ahead: 1).isPunctuation(",") || self.token(ahead: 1).isPunctuation(")")
    }

    // MARK: - Columns

    /// A column's name, type and constraints. The latter are appended, except what the column itself holds.
    mutating func parseColumn(into constraints: inout [TableConstraint]) throws(CatalogError) -> ColumnDefinition {
        let name = try self.parseName()
        let reference = try self.parseType()
        var column = ColumnDefinition(name: name, type: reference.type, isNotNull: reference.isSerial)
        if reference.isSerial { column.defaultExpression = .function(name: ["nextval"], arguments: []) }
        while try self.parseColumnConstraint(of: &column, into: &constraints) {}
        return column
    }

    private static let columnConstraintWords: Set<String> = [
        "constraint", "not", "null", "default", "primary", "unique", "check", "references", "generated", "collate",
        "deferrable", "initially", "storage", "compression",
    ]

    private mutating func parseColumnConstraint(
        of column: inout ColumnDefinition, into constraints: inout [TableConstraint]
    ) throws(CatalogError) -> Bool {
        let name = self.acceptWord("constraint") ? try self.parseName() : nil
        guard let word = self.current.word else {
            if name != nil { throw self.syntaxError() }
            return false
        }
        switch word {
        case "not":
            self.advance()
            if self.acceptWord("null") {
                _ = self.acceptWords("no", "inherit")
                column.isNotNull = true
            } else {
                guard self.acceptWord("deferrable") || self.acceptWord("valid") || self.acceptWord("enforced") else {
                    throw self.syntaxError()
                }
            }
        case "null", "enforced":
            self.advance()
        case "default":
            self.advance()
            column.defaultExpression = try self.parseExpression(isRestricted: true) {
                Self.columnConstraintWords.contains($0.word ?? "")
            }
        case "primary":
            self.advance()
            try self.expectWord("key")
            try self.skipIndexParameters()
            constraints.append(.primaryKey(name: name, columns: [column.name]))
        case "unique":
            self.advance()
            self.skipNullsDistinct()
            try self.skipIndexParameters()
            constraints.append(.unique(name: name, columns: [column.name]))
        case "check":
            self.advance()
            constraints.append(.check(name: name, try self.parseEnclosedExpression()))
            _ = self.acceptWords("no", "inherit")
        case "references":
            constraints.append(try self.parseReferences(name: name, columns: [column.name]))
        case "generated":
            try self.parseGenerated(&column)
        case "collate":
            self.advance()
            _ = try self.parseQualifiedName()
        case "storage", "compression":
            self.advance()
            _ = try self.parseName()
        case "deferrable":
            self.advance()
        case "initially":
            self.advance()
            guard self.acceptWord("deferred") || self.acceptWord("immediate") else { throw self.syntaxError() }
        default:
            if name != nil { throw self.syntaxError() }
            return false
        }
        return true
    }

    private mutating func parseGenerated(_ column: inout ColumnDefinition) throws(CatalogError) {
        self.advance()
        let isAlways = self.acceptWord("always")
        if !isAlways, !self.acceptWords("by", "default") { throw self.syntaxError() }
        try self.expectWord("as")
        if self.acceptWord("identity") {
            if self.current.isPunctuation("(") { try self.skipParentheses() }
            column.identity = isAlways ? .always : .byDefault
            column.isNotNull = true
            return
        }
        column.generationExpression = try self.parseEnclosedExpression()
        if !self.acceptWord("stored") { _ = self.acceptWord("virtual") }
    }

    // MARK: - Constraints

    /// A constraint of the table, or nil when what comes is a column.
    mutating func parseTableConstraint() throws(CatalogError) -> TableConstraint? {
        let name = self.acceptWord("constraint") ? try self.parseName() : nil
        guard let word = self.current.word else {
            if name != nil { throw self.syntaxError() }
            return nil
        }
        let constraint: TableConstraint
        switch word {
        case "primary" where self.token(ahead: 1).isWord("key"):
            self.advance()
            self.advance()
            constraint = .primaryKey(name: name, columns: try self.parseKeyColumns())
        case "unique":
            self.advance()
            self.skipNullsDistinct()
            constraint = .unique(name: name, columns: try self.parseKeyColumns())
        case "check":
            self.advance()
            constraint = .check(name: name, try self.parseEnclosedExpression())
            _ = self.acceptWords("no", "inherit")
        case "foreign" where self.token(ahead: 1).isWord("key"):
            self.advance()
            self.advance()
            let columns = try self.parseNameList()
            guard self.current.isWord("references") else { throw self.syntaxError() }
            return try self.parseReferences(name: name, columns: columns)
        case "exclude" where self.token(ahead: 1).isWord("using") || self.token(ahead: 1).isPunctuation("("):
            self.skip { $0.isPunctuation(",") }
            return .exclusion(name: name)
        case "not" where self.token(ahead: 1).isWord("null"):
            self.advance()
            self.advance()
            constraint = .notNull(column: try self.parseName())
            _ = self.acceptWords("no", "inherit")
        default:
            if name != nil { throw self.syntaxError() }
            return nil
        }
        _ = try self.parseConstraintAttributes()
        return constraint
    }

    private mutating func parseKeyColumns() throws(CatalogError) -> [String] {
        if self.acceptWords("using", "index") {
            _ = try self.parseName()
            return []
        }
        let columns = try self.parseNameList()
        try self.skipIndexParameters()
        return columns
    }

    private mutating func skipNullsDistinct() {
        if !self.acceptWords("nulls", "not", "distinct") { _ = self.acceptWords("nulls", "distinct") }
    }

    /// INCLUDE (...), WITH (...), USING INDEX TABLESPACE name.
    private mutating func skipIndexParameters() throws(CatalogError) {
        if self.acceptWord("include") { try self.skipParentheses() }
        if self.current.isWord("with"), self.token(ahead: 1).isPunctuation("(") {
            self.advance()
            try self.skipParentheses()
        }
        if self.acceptWords("using", "index", "tablespace") { _ = try self.parseName() }
    }

    /// From REFERENCES on, with what follows about deferral.
    private mutating func parseReferences(name: String?, columns: [String]) throws(CatalogError) -> TableConstraint {
        try self.expectWord("references")
        let table = try self.parseTableName()
        let referenced = self.current.isPunctuation("(") ? try self.parseNameList() : []
        var key = ForeignKey(name: name ?? "", columns: columns, referencedTable: table, referencedColumns: referenced)
        while true {
            if self.acceptWord("match") {
                _ = try self.parseName()
            } else if self.acceptWords("on", "delete") {
                key.onDelete = try self.parseAction()
            } else if self.acceptWords("on", "update") {
                key.onUpdate = try self.parseAction()
            } else {
                break
            }
        }
        let attributes = try self.parseConstraintAttributes()
        key.isDeferrable = attributes.isDeferrable
        key.isInitiallyDeferred = attributes.isInitiallyDeferred
        return .foreignKey(name: name, definition: key)
    }

    private mutating func parseAction() throws(CatalogError) -> ReferentialAction {
        if self.acceptWords("no", "action") { return .noAction }
        if self.acceptWord("restrict") { return .restrict }
        if self.acceptWord("cascade") { return .cascade }
        let action: ReferentialAction
        if self.acceptWords("set", "null") {
            action = .setNull
        } else if self.acceptWords("set", "default") {
            action = .setDefault
        } else {
            throw self.syntaxError()
        }
        if self.current.isPunctuation("(") { try self.skipParentheses() }
        return action
    }

    private mutating func parseConstraintAttributes() throws(CatalogError) -> (
        isDeferrable: Bool, isInitiallyDeferred: Bool
    ) {
        var isDeferrable = false
        var isInitiallyDeferred = false
        while true {
            if self.acceptWords("not", "deferrable") || self.acceptWords("not", "valid")
                || self.acceptWords("not", "enforced") || self.acceptWord("enforced")
                || self.acceptWords("no", "inherit") || self.acceptWords("initially", "immediate")
            {
                continue
            }
            if self.acceptWord("deferrable") {
                isDeferrable = true
            } else if self.acceptWords("initially", "deferred") {
                isDeferrable = true
                isInitiallyDeferred = true
            } else {
                return (isDeferrable, isInitiallyDeferred)
            }
        }
    }

    // MARK: - ALTER TABLE

    /// After ALTER TABLE.
    mutating func parseAlterTable(from start: Int) throws(CatalogError) -> DDLStatement {
        if self.current.isWord("all"), self.token(ahead: 1).isWord("in") {
            return self.skipStatement(tag: "ALTER TABLE")
        }
        let ifExists = self.acceptWords("if", "exists")
        _ = self.acceptWord("only")
        let name = try self.parseTableName()
        if self.current.isSymbol("*") { self.advance() }
        let prefix = self.source.text(self.tokens[start].start..<self.tokens[self.index - 1].end)
        var clauses: [AlterTable.Clause] = []
        repeat { clauses.append(try self.parseAlterClause()) } while self.acceptPunctuation(",")
        return .alterTable(AlterTable(name: name, ifExists: ifExists, prefix: prefix, clauses: clauses))
    }

    private static let constraintStarts: Set<String> = [
        "constraint", "primary", "unique", "check", "foreign", "exclude",
    ]

    private mutating func parseAlterClause() throws(CatalogError) -> AlterTable.Clause {
        let start = self.current.start
        guard self.acceptWord("add") else {
            guard self.current.word != nil else { throw self.syntaxError() }
            return self.skipClause(self.leadingWords(2))
        }
        let saysColumn = self.acceptWord("column")
        let ifNotExists = self.acceptWords("if", "not", "exists")
        if !saysColumn, !ifNotExists {
            if let word = self.current.word, Self.constraintStarts.contains(word), self.beginsConstraint(word) {
                return self.skipClause("ADD \(word.uppercased())")
            }
            if self.current.isWord("not"), self.token(ahead: 1).isWord("null") {
                return self.skipClause("ADD NOT NULL")
            }
        }
        var constraints: [TableConstraint] = []
        let column = try self.parseColumn(into: &constraints)
        guard
            self.current.kind == .end || self.current.isPunctuation(",") || self.current.isPunctuation(";")
        else { throw self.syntaxError() }
        let text = self.source.text(start..<self.tokens[self.index - 1].end)
        return .addColumn(
            AlterTable.AddColumn(column: column, constraints: constraints, ifNotExists: ifNotExists, text: text))
    }

    /// EXCLUDE is a name as well.
    private func beginsConstraint(_ word: String) -> Bool {
        word != "exclude" || self.token(ahead: 1).isWord("using") || self.token(ahead: 1).isPunctuation("(")
    }

    private mutating func skipClause(_ description: String) -> AlterTable.Clause {
        self.skip { $0.isPunctuation(",") }
        return .other(description)
    }
}
