/// Reads the statements that make up a schema: CREATE TABLE, ALTER TABLE, CREATE INDEX, CREATE TYPE ... AS ENUM and
/// ALTER TYPE ... ADD VALUE, in canonical and in hand-written forms.
///
/// It is not a judge of statements: Postgres has accepted them. What it does not need to understand it steps over, and
/// expressions that it cannot take apart are kept as text.
package struct DDLParser {
    /// How deep expressions and parentheses may nest.
    static let maximumDepth = 48
    /// How many operators of one expression may take the result of one before them on the same level as their left
    /// side, which deepens the tree without nesting. AND and OR do not: they become lists.
    static let maximumNestedOperators = 256

    let source: DDLSource
    let tokens: [DDLToken]
    var index = 0
    var depth = 0
    var nestedOperators = 0

    private init(_ text: String) throws(CatalogError) {
        self.source = DDLSource(text)
        self.tokens = try DDLTokenizer.tokens(of: self.source)
    }

    /// The statements of `text`. Empty ones are left out.
    package static func parse(_ text: String) throws(CatalogError) -> [ParsedStatement] {
        var parser = try DDLParser(text)
        var statements: [ParsedStatement] = []
        while true {
            while parser.acceptPunctuation(";") {}
            if parser.current.kind == .end { return statements }
            statements.append(try parser.parseStatement())
        }
    }

    /// An expression alone, as Postgres prints it.
    package static func parseExpression(_ text: String) throws(CatalogError) -> SQLExpression {
        var parser = try DDLParser(text)
        let expression = try parser.parseExpression()
        guard parser.current.kind == .end else { throw parser.syntaxError() }
        return expression
    }

    /// A type alone, as Postgres prints it.
    package static func parseType(_ text: String) throws(CatalogError) -> ColumnType {
        var parser = try DDLParser(text)
        let type = try parser.parseType().type
        guard parser.current.kind == .end else { throw parser.syntaxError() }
        return type
    }

    private mutating func parseStatement() throws(CatalogError) -> ParsedStatement {
        let start = self.current.start
        let statement: DDLStatement
        if self.current.isWord("create") {
            statement = try self.parseCreate()
        } else if self.current.isWord("alter") {
            statement = try self.parseAlter()
        } else {
            statement = self.skipStatement(tag: self.leadingWords(1))
        }
        guard self.current.isPunctuation(";") || self.current.kind == .end else { throw self.syntaxError() }
        let end = self.index > 0 ? self.tokens[self.index - 1].end : start
        return ParsedStatement(statement: statement, text: self.source.text(start..<max(start, end)), byteOffset: start)
    }

    private mutating func parseCreate() throws(CatalogError) -> DDLStatement {
        let start = self.index
        self.advance()
        if self.acceptWords("unlogged", "table") || self.acceptWords("table") {
            return try self.parseCreateTable(from: start)
        }
        if self.current.isWord("unique") || self.current.isWord("index") {
            let isUnique = self.acceptWord("unique")
            if self.acceptWord("index") { return try self.parseCreateIndex(isUnique: isUnique) }
        }
        if self.acceptWord("type") { return try self.parseCreateType(from: start) }
        self.index = start
        return self.skipStatement(tag: self.leadingWords(2))
    }

    private mutating func parseAlter() throws(CatalogError) -> DDLStatement {
        let start = self.index
        self.advance()
        if self.acceptWord("table") { return try self.parseAlterTable(from: start) }
        if self.acceptWord("type") { return try self.parseAlterType(from: start) }
        self.index = start
        return self.skipStatement(tag: self.leadingWords(2))
    }

    // MARK: - Tokens

    var current: DDLToken { self.tokens[self.index] }

    func token(ahead: Int) -> DDLToken { self.tokens[min(self.index + ahead, self.tokens.count - 1)] }

    mutating func advance() {
        if self.index < self.tokens.count - 1 { self.index += 1 }
    }

    mutating func acceptWord(_ word: String) -> Bool {
        guard self.current.isWord(word) else { return false }
        self.advance()
        return true
    }

    /// All of the words in a row, or nothing.
    mutating func acceptWords(_ words: String...) -> Bool {
        for (offset, word) in words.enumerated() where !self.token(ahead: offset).isWord(word) { return false }
        for _ in words { self.advance() }
        return true
    }

    mutating func acceptPunctuation(_ text: String) -> Bool {
        guard self.current.isPunctuation(text) else { return false }
        self.advance()
        return true
    }

    mutating func expectWord(_ word: String) throws(CatalogError) {
        guard self.acceptWord(word) else { throw self.syntaxError() }
    }

    mutating func expectPunctuation(_ text: String) throws(CatalogError) {
        guard self.acceptPunctuation(text) else { throw self.syntaxError() }
    }

    func syntaxError() -> CatalogError {
        let token = self.current
        let position = self.source.position(at: token.start)
        switch token.kind {
        case .end: return CatalogError(.syntax, "syntax error at end of input", at: position)
        case .string, .bits: return CatalogError(.syntax, "syntax error at or near a string", at: position)
        default:
            let near = self.source.text(token.start..<token.end)
            return CatalogError(.syntax, "syntax error at or near \"\(near)\"", at: position)
        }
    }

    /// Runs one level deeper.
    mutating func enter() throws(CatalogError) {
        guard self.depth < Self.maximumDepth else {
            throw CatalogError(
                .tooComplex, "expression nests too deeply", at: self.source.position(at: self.current.start))
        }
        self.depth += 1
    }

    mutating func leave() { self.depth -= 1 }

    // MARK: - Names

    mutating func parseName() throws(CatalogError) -> String {
        switch self.current.kind {
        case .word(let name), .quotedName(let name):
            self.advance()
            return name
        default:
            throw self.syntaxError()
        }
    }

    /// `name`, `schema.name` or `database.schema.name`.
    mutating func parseQualifiedName() throws(CatalogError) -> [String] {
        var parts = [try self.parseName()]
        while parts.count < 3, self.acceptPunctuation(".") { parts.append(try self.parseName()) }
        return parts
    }

    mutating func parseTableName() throws(CatalogError) -> TableName {
        let parts = try self.parseQualifiedName()
        let name = parts[parts.count - 1]
        return parts.count == 1 ? TableName(name: name) : TableName(schema: parts[parts.count - 2], name: name)
    }

    /// `(a, b)`.
    mutating func parseNameList() throws(CatalogError) -> [String] {
        try self.expectPunctuation("(")
        var names: [String] = []
        repeat { names.append(try self.parseName()) } while self.acceptPunctuation(",")
        try self.expectPunctuation(")")
        return names
    }

    mutating func parseString() throws(CatalogError) -> String {
        guard case .string(let text) = self.current.kind else { throw self.syntaxError() }
        self.advance()
        return text
    }

    // MARK: - Stepping over

    /// Up to `count` leading keywords, upper case.
    func leadingWords(_ count: Int) -> String {
        var words: [String] = []
        for offset in 0..<count {
            guard let word = self.token(ahead: offset).word else { break }
            words.append(word.uppercased())
        }
        return words.joined(separator: " ")
    }

    /// To the end of the statement.
    mutating func skipStatement(tag: String) -> DDLStatement {
        var level = 0
        while self.current.kind != .end {
            if self.current.isPunctuation("(") { level += 1 }
            if self.current.isPunctuation(")") { level -= 1 }
            if level <= 0, self.current.isPunctuation(";") { break }
            self.advance()
        }
        return .other(tag: tag)
    }

    /// From an opening parenthesis to behind the one that closes it.
    mutating func skipParentheses() throws(CatalogError) {
        try self.expectPunctuation("(")
        var level = 1
        while level > 0 {
            if self.current.kind == .end { throw self.syntaxError() }
            if self.current.isPunctuation("(") { level += 1 }
            if self.current.isPunctuation(")") { level -= 1 }
            self.advance()
        }
    }

    /// Over tokens, in parentheses or not, until one outside of parentheses satisfies `isEnd`, or the statement or the
    /// enclosing list ends.
    mutating func skip(until isEnd: (DDLToken) -> Bool) {
        var level = 0
        while self.current.kind != .end {
            let token = self.current
            if level == 0, token.isPunctuation(";") || token.isPunctuation(")") || isEnd(token) { return }
            if token.isPunctuation("(") || token.isPunctuation("[") { level += 1 }
            if token.isPunctuation(")") || token.isPunctuation("]") { level = max(0, level - 1) }
            self.advance()
        }
    }
}
