extension DDLParser {
    /// After CREATE [UNIQUE] INDEX.
    mutating func parseCreateIndex(isUnique: Bool) throws(CatalogError) -> DDLStatement {
        let isConcurrent = self.acceptWord("concurrently")
        let ifNotExists = self.acceptWords("if", "not", "exists")
        var name = ""
        if !self.current.isWord("on") || self.token(ahead: 1).isWord("on") {
            // Why: names with a schema are not allowed by Postgres, but some tools write them.
            name = try self.parseQualifiedName().last ?? ""
        }
        try self.expectWord("on")
        _ = self.acceptWord("only")
        let table = try self.parseTableName()
        let method = self.acceptWord("using") ? try self.parseName() : "btree"
        var index = IndexDefinition(name: name, isUnique: isUnique, method: method, elements: [])
        try self.expectPunctuation("(")
        repeat { index.elements.append(try self.parseIndexElement()) } while self.acceptPunctuation(",")
        try self.expectPunctuation(")")
        if self.acceptWord("include") { index.includedColumns = try self.parseNameList() }
        if !self.acceptWords("nulls", "not", "distinct") { _ = self.acceptWords("nulls", "distinct") }
        if self.acceptWord("with") { try self.skipParentheses() }
        if self.acceptWord("tablespace") { _ = try self.parseName() }
        if self.acceptWord("where") {
            index.predicate = try self.parseExpression(isRestricted: false) { _ in false }
        }
        return .createIndex(
            CreateIndex(
                table: table, ifNotExists: ifNotExists, isConcurrent: isConcurrent, isNamed: !name.isEmpty, index: index
            ))
    }

    private mutating func parseIndexElement() throws(CatalogError) -> IndexDefinition.Element {
        var element: IndexDefinition.Element
        if self.current.isPunctuation("(") {
            let expression = try self.parseEnclosedExpression()
            if case .column(let path) = expression, path.count == 1 {
                element = IndexDefinition.Element(.column(path[0]))
            } else {
                element = IndexDefinition.Element(.expression(expression))
            }
        } else if self.isPlainColumn {
            element = IndexDefinition.Element(.column(try self.parseName()))
        } else {
            // A function call: it needs no parentheses around it.
            let expression = try self.parseExpression(minimum: 200, isRestricted: true)
            element = IndexDefinition.Element(.expression(expression))
        }
        if self.acceptWord("collate") {
            element.collation = try self.parseQualifiedName().joined(separator: ".")
        }
        if let word = self.current.word, !["asc", "desc", "nulls"].contains(word) {
            try self.skipOperatorClass()
        } else if case .quotedName = self.current.kind {
            try self.skipOperatorClass()
        }
        if self.acceptWord("desc") { element.isDescending = true } else { _ = self.acceptWord("asc") }
        if self.acceptWords("nulls", "first") {
            element.nullsFirst = true
        } else if self.acceptWords("nulls", "last") {
            element.nullsFirst = false
        }
        return element
    }

    private mutating func skipOperatorClass() throws(CatalogError) {
        _ = try self.parseQualifiedName()
        if self.current.isPunctuation("(") { try self.skipParentheses() }
    }

    private var isPlainColumn: Bool {
        switch self.current.kind {
        case .word, .quotedName:
            !self.token(ahead: 1).isPunctuation("(") && !self.token(ahead: 1).isPunctuation(".")
        default: false
        }
    }

    // MARK: - Types

    /// After CREATE TYPE.
    mutating func parseCreateType(from start: Int) throws(CatalogError) -> DDLStatement {
        let parts = try self.parseQualifiedName()
        guard self.acceptWords("as", "enum") else {
            self.index = start
            return self.skipStatement(tag: "CREATE TYPE")
        }
        try self.expectPunctuation("(")
        var values: [String] = []
        if !self.acceptPunctuation(")") {
            repeat { values.append(try self.parseString()) } while self.acceptPunctuation(",")
            try self.expectPunctuation(")")
        }
        let schema = parts.count > 1 ? parts[parts.count - 2] : TableName.defaultSchema
        return .createEnum(EnumDefinition(schema: schema, name: parts[parts.count - 1], values: values))
    }

    /// After ALTER TYPE.
    mutating func parseAlterType(from start: Int) throws(CatalogError) -> DDLStatement {
        let parts = try self.parseQualifiedName()
        guard self.acceptWords("add", "value") else {
            self.index = start
            return self.skipStatement(tag: "ALTER TYPE")
        }
        let ifNotExists = self.acceptWords("if", "not", "exists")
        let value = try self.parseString()
        var place = AddEnumValue.Place.last
        if self.acceptWord("before") {
            place = .before(try self.parseString())
        } else if self.acceptWord("after") {
            place = .after(try self.parseString())
        }
        let schema = parts.count > 1 ? parts[parts.count - 2] : TableName.defaultSchema
        return .addEnumValue(
            AddEnumValue(
                schema: schema, name: parts[parts.count - 1], value: value, place: place, ifNotExists: ifNotExists))
    }
}
