extension DDLParser {
    /// How tightly operators bind, by Postgres' table.
    private enum Precedence {
        static let disjunction = 10
        static let conjunction = 20
        static let negation = 30
        static let test = 40
        static let comparison = 50
        static let matching = 60
        static let other = 70
        static let additive = 80
        static let multiplicative = 90
        static let power = 100
        static let zone = 110
        static let collation = 120
        static let sign = 130
        static let element = 140
        static let cast = 150
    }

    private enum Infix {
        case disjunction, conjunction, test, matching, zone, collation, element, cast
        case isNull(isNegated: Bool)
        /// With how many tokens it is written.
        case symbol(String, length: Int)
    }

    /// The expression in the parentheses that come next. Where it cannot be taken apart it is kept as text.
    mutating func parseEnclosedExpression() throws(CatalogError) -> SQLExpression {
        let start = self.index
        guard self.current.isPunctuation("(") else { throw self.syntaxError() }
        do throws(CatalogError) {
            self.advance()
            let expression = try self.parseExpression()
            try self.expectPunctuation(")")
            return expression
        } catch {
            self.index = start
            try self.skipParentheses()
            return self.opaque(from: start + 1, to: self.index - 1)
        }
    }

    /// The expression that reaches to where `isEnd` says, kept as text when it cannot be taken apart.
    mutating func parseExpression(
        isRestricted: Bool, until isEnd: (DDLToken) -> Bool
    ) throws(CatalogError) -> SQLExpression {
        let start = self.index
        do throws(CatalogError) {
            let expression = try self.parseExpression(isRestricted: isRestricted)
            let token = self.current
            guard
                token.kind == .end || token.isPunctuation(";") || token.isPunctuation(",") || token.isPunctuation(")")
                    || isEnd(token)
            else { throw self.syntaxError() }
            return expression
        } catch {
            self.index = start
            self.skip { $0.isPunctuation(",") || isEnd($0) }
            guard self.index > start else { throw error }
            return self.opaque(from: start, to: self.index)
        }
    }

    private func opaque(from start: Int, to end: Int) -> SQLExpression {
        guard end > start else { return .opaque("") }
        return .opaque(self.source.text(self.tokens[start].start..<self.tokens[end - 1].end))
    }

    /// - Parameter isRestricted: without AND, OR, NOT, IS NULL, IN, LIKE, BETWEEN and COLLATE, as a DEFAULT is.
    mutating func parseExpression(
        minimum: Int = 0, isRestricted: Bool = false
    ) throws(CatalogError) -> SQLExpression {
        if self.depth == 0 { self.nestedOperators = 0 }
        try self.enter()
        defer { self.leave() }
        var left = try self.parsePrefix(isRestricted: isRestricted)
        var chain = 0
        while let (infix, precedence) = self.infix(isRestricted: isRestricted), precedence >= minimum {
            switch infix {
            case .conjunction:
                self.advance()
                let right = try self.parseExpression(minimum: precedence + 1)
                if case .conjunction(var terms) = left {
                    // Why: no second owner, or each term would copy all before it.
                    left = .null
                    terms.append(right)
                    left = .conjunction(terms)
                } else {
                    left = .conjunction([left, right])
                }
                continue
            case .disjunction:
                self.advance()
                let right = try self.parseExpression(minimum: precedence + 1)
                if case .disjunction(var terms) = left {
                    // Why: no second owner, or each term would copy all before it.
                    left = .null
                    terms.append(right)
                    left = .disjunction(terms)
                } else {
                    left = .disjunction([left, right])
                }
                continue
            default:
                break
            }
            chain += 1
            if chain > 1 {
                self.nestedOperators += 1
                guard self.nestedOperators <= Self.maximumNestedOperators else {
                    throw CatalogError(
                        .tooComplex, "expression is too long", at: self.source.position(at: self.current.start))
                }
            }
            left = try self.parseInfix(infix, precedence: precedence, left: left, isRestricted: isRestricted)
        }
        return left
    }

    // MARK: - Operators

    private func infix(isRestricted: Bool) -> (Infix, Int)? {
        let token = self.current
        switch token.kind {
        case .symbol(let text):
            return (.symbol(text, length: 1), Self.precedence(of: text))
        case .punctuation("::"): return (.cast, Precedence.cast)
        case .punctuation("["): return (.element, Precedence.element)
        case .word(let word):
            switch word {
            case "is":
                if isRestricted, !self.isDistinctFrom(ahead: 1) { return nil }
                return (.test, Precedence.test)
            case "operator":
                guard self.token(ahead: 1).isPunctuation("(") else { return nil }
                var ahead = 2
                while self.token(ahead: ahead + 1).isPunctuation(".") { ahead += 2 }
                guard case .symbol(let text) = self.token(ahead: ahead).kind,
                    self.token(ahead: ahead + 1).isPunctuation(")")
                else { return nil }
                return (.symbol(text, length: ahead + 2), Precedence.other)
            default:
                return isRestricted ? nil : self.wordInfix(word)
            }
        default: return nil
        }
    }

    private func wordInfix(_ word: String) -> (Infix, Int)? {
        switch word {
        case "or": return (.disjunction, Precedence.disjunction)
        case "and": return (.conjunction, Precedence.conjunction)
        case "isnull": return (.isNull(isNegated: false), Precedence.test)
        case "notnull": return (.isNull(isNegated: true), Precedence.test)
        case "in", "like", "ilike", "between", "similar": return (.matching, Precedence.matching)
        case "not":
            guard let next = self.token(ahead: 1).word,
                ["in", "like", "ilike", "between", "similar"].contains(next)
            else { return nil }
            return (.matching, Precedence.matching)
        case "at":
            return self.token(ahead: 1).isWord("time") ? (.zone, Precedence.zone) : nil
        case "collate": return (.collation, Precedence.collation)
        default: return nil
        }
    }

    private func isDistinctFrom(ahead: Int) -> Bool {
        let first = self.token(ahead: ahead).isWord("not") ? ahead + 1 : ahead
        return self.token(ahead: first).isWord("distinct") && self.token(ahead: first + 1).isWord("from")
    }

    private static func precedence(of symbol: String) -> Int {
        switch symbol {
        case "=", "<", ">", "<=", ">=", "<>", "!=": Precedence.comparison
        case "+", "-": Precedence.additive
        case "*", "/", "%": Precedence.multiplicative
        case "^": Precedence.power
        default: Precedence.other
        }
    }

    private mutating func parseInfix(
        _ infix: Infix, precedence: Int, left: SQLExpression, isRestricted: Bool
    ) throws(CatalogError) -> SQLExpression {
        switch infix {
        case .symbol(let symbol, let length):
            for _ in 0..<length { self.advance() }
            return try self.parseOperand(symbol, precedence: precedence, left: left, isRestricted: isRestricted)
        case .cast:
            self.advance()
            return .cast(left, try self.parseType().type)
        case .element:
            self.advance()
            let index = try self.parseExpression()
            try self.expectPunctuation("]")
            return .element(left, index: index)
        case .isNull(let isNegated):
            self.advance()
            return .test(left, .null, isNegated: isNegated)
        case .test:
            return try self.parseTest(left, isRestricted: isRestricted)
        case .matching:
            return try self.parseMatching(left)
        case .zone:
            guard self.acceptWords("at", "time", "zone") else { throw self.syntaxError() }
            let zone = try self.parseExpression(minimum: precedence + 1)
            return .function(name: ["timezone"], arguments: [zone, left])
        case .collation:
            self.advance()
            return .collated(left, collation: try self.parseQualifiedName())
        case .conjunction, .disjunction:
            throw self.syntaxError()
        }
    }

    private mutating func parseOperand(
        _ symbol: String, precedence: Int, left: SQLExpression, isRestricted: Bool
    ) throws(CatalogError) -> SQLExpression {
        let isAll = self.current.isWord("all")
        if isAll || self.current.isWord("any") || self.current.isWord("some"),
            self.token(ahead: 1).isPunctuation("(")
        {
            self.advance()
            try self.expectPunctuation("(")
            let right = try self.parseExpression()
            try self.expectPunctuation(")")
            return .quantified(symbol, left, isAll: isAll, right)
        }
        let right = try self.parseExpression(minimum: precedence + 1, isRestricted: isRestricted)
        switch symbol {
        case "~~": return .like(left, pattern: right, escape: nil, ignoresCase: false, isNegated: false)
        case "!~~": return .like(left, pattern: right, escape: nil, ignoresCase: false, isNegated: true)
        case "~~*": return .like(left, pattern: right, escape: nil, ignoresCase: true, isNegated: false)
        case "!~~*": return .like(left, pattern: right, escape: nil, ignoresCase: true, isNegated: true)
        case "!=": return .binary("<>", left, right)
        default: return .binary(symbol, left, right)
        }
    }

    private mutating func parseTest(_ left: SQLExpression, isRestricted: Bool) throws(CatalogError) -> SQLExpression {
        self.advance()
        let isNegated = self.acceptWord("not")
        if self.acceptWords("distinct", "from") {
            let right = try self.parseExpression(minimum: Precedence.comparison, isRestricted: isRestricted)
            return .distinct(left, right, isNegated: isNegated)
        }
        guard let word = self.current.word, let truth = SQLExpression.Truth(rawValue: word.uppercased()) else {
            throw self.syntaxError()
        }
        self.advance()
        return .test(left, truth, isNegated: isNegated)
    }

    private mutating func parseMatching(_ left: SQLExpression) throws(CatalogError) -> SQLExpression {
        let isNegated = self.acceptWord("not")
        if self.acceptWord("in") {
            try self.expectPunctuation("(")
            let list = try self.parseList(closedBy: ")")
            guard !list.isEmpty else { throw self.syntaxError() }
            return .membership(left, list, isNegated: isNegated)
        }
        if self.acceptWord("between") {
            guard !self.current.isWord("symmetric") else { throw self.syntaxError() }
            _ = self.acceptWord("asymmetric")
            let lower = try self.parseExpression(minimum: Precedence.other, isRestricted: true)
            try self.expectWord("and")
            let upper = try self.parseExpression(minimum: Precedence.other, isRestricted: true)
            return .between(left, lower: lower, upper: upper, isNegated: isNegated)
        }
        let ignoresCase = self.current.isWord("ilike")
        guard ignoresCase || self.current.isWord("like") else { throw self.syntaxError() }
        self.advance()
        let pattern = try self.parseExpression(minimum: Precedence.other)
        let escape = self.acceptWord("escape") ? try self.parseExpression(minimum: Precedence.other) : nil
        return .like(left, pattern: pattern, escape: escape, ignoresCase: ignoresCase, isNegated: isNegated)
    }

    // MARK: - Operands

    private mutating func parsePrefix(isRestricted: Bool) throws(CatalogError) -> SQLExpression {
        if !isRestricted, self.acceptWord("not") {
            return .negation(try self.parseExpression(minimum: Precedence.negation))
        }
        guard case .symbol(let symbol) = self.current.kind else { return try self.parsePrimary() }
        self.advance()
        guard symbol == "-" || symbol == "+" else {
            return .unary(symbol, try self.parseExpression(minimum: Precedence.other + 1, isRestricted: isRestricted))
        }
        // Why: `-1::int` is minus (1::int) in Postgres, so the number takes the sign only without a cast behind it.
        let operand = try self.parseExpression(minimum: Precedence.sign, isRestricted: isRestricted)
        if symbol == "+" { return operand }
        if case .number(let digits) = operand, !digits.hasPrefix("-") { return .number("-" + digits) }
        return .unary("-", operand)
    }

    private mutating func parsePrimary() throws(CatalogError) -> SQLExpression {
        switch self.current.kind {
        case .number(let text):
            self.advance()
            return .number(text)
        case .string(let text):
            self.advance()
            return .string(text)
        case .bits(let text):
            self.advance()
            return .bits(text)
        case .punctuation("("):
            self.advance()
            guard !self.current.isWord("select"), !self.current.isWord("with") else { throw self.syntaxError() }
            let list = try self.parseList(closedBy: ")")
            guard let first = list.first else { throw self.syntaxError() }
            return list.count == 1 ? first : .row(list)
        case .word(let word):
            return try self.parseWord(word)
        case .quotedName:
            return try self.parseReference()
        default:
            throw self.syntaxError()
        }
    }

    private mutating func parseWord(_ word: String) throws(CatalogError) -> SQLExpression {
        let opensList = self.token(ahead: 1).isPunctuation("(")
        switch word {
        case "null", "true", "false":
            self.advance()
            return word == "null" ? .null : .boolean(word == "true")
        case "current_timestamp", "current_time", "localtimestamp", "localtime":
            self.advance()
            guard self.acceptPunctuation("(") else { return .valueFunction(word.uppercased(), precision: nil) }
            let precision = try self.parseInteger()
            try self.expectPunctuation(")")
            return .valueFunction(word.uppercased(), precision: precision)
        case "current_date", "current_user", "session_user", "user", "current_role", "current_catalog":
            self.advance()
            return .valueFunction(word.uppercased(), precision: nil)
        case "cast" where opensList:
            self.advance()
            try self.expectPunctuation("(")
            let operand = try self.parseExpression()
            try self.expectWord("as")
            let type = try self.parseType().type
            try self.expectPunctuation(")")
            return .cast(operand, type)
        case "case":
            return try self.parseCase()
        case "array" where self.token(ahead: 1).isPunctuation("["):
            self.advance()
            self.advance()
            return .array(try self.parseList(closedBy: "]"))
        case "row" where opensList:
            self.advance()
            self.advance()
            return .row(try self.parseList(closedBy: ")"))
        case "select", "exists", "extract", "position", "overlay", "trim", "xmlparse", "and", "or", "from", "where",
            "when", "then", "else", "end", "in", "is", "as", "any", "all", "some", "collate", "constraint", "default",
            "references", "check", "unique", "primary", "foreign":
            throw self.syntaxError()
        case "timestamp", "time", "interval", "double", "character", "char", "bit", "national", "date":
            let start = self.index
            if let type = try? self.parseType().type, case .string(let text) = self.current.kind {
                self.advance()
                return .cast(.string(text), type)
            }
            self.index = start
            return try self.parseReference()
        default:
            return try self.parseReference()
        }
    }

    private mutating func parseCase() throws(CatalogError) -> SQLExpression {
        self.advance()
        let operand = self.current.isWord("when") ? nil : try self.parseExpression()
        var branches: [SQLExpression.Branch] = []
        while self.acceptWord("when") {
            let condition = try self.parseExpression()
            try self.expectWord("then")
            branches.append(SQLExpression.Branch(condition: condition, result: try self.parseExpression()))
        }
        guard !branches.isEmpty else { throw self.syntaxError() }
        let otherwise = self.acceptWord("else") ? try self.parseExpression() : nil
        try self.expectWord("end")
        return .conditional(operand: operand, branches: branches, otherwise: otherwise)
    }

    /// A column, a function call, or a literal with its type before it.
    private mutating func parseReference() throws(CatalogError) -> SQLExpression {
        let path = try self.parseQualifiedName()
        if self.acceptPunctuation("(") { return try self.parseCall(path) }
        if case .string(let text) = self.current.kind, path.count <= 2 {
            self.advance()
            let name = path[path.count - 1]
            let schema = path.count == 2 ? path[0] : TableName.defaultSchema
            let known = path.count == 1 ? Self.literalTypes[name] : nil
            return .cast(.string(text), ColumnType(known ?? ColumnType.qualifiedName(schema: schema, name: name)))
        }
        return .column(path)
    }

    private static let literalTypes = [
        "int": "int4", "integer": "int4", "smallint": "int2", "bigint": "int8", "real": "float4",
        "boolean": "bool", "decimal": "numeric", "dec": "numeric", "float": "float8",
    ]

    private mutating func parseCall(_ path: [String]) throws(CatalogError) -> SQLExpression {
        if self.current.isSymbol("*"), self.token(ahead: 1).isPunctuation(")") {
            self.advance()
            self.advance()
            return .function(name: path, arguments: [.allColumns])
        }
        let arguments = try self.parseList(closedBy: ")")
        if let word = self.current.word, ["filter", "over", "within"].contains(word) { throw self.syntaxError() }
        return .function(name: path, arguments: arguments)
    }

    /// Expressions up to the closing sign, which is consumed.
    private mutating func parseList(closedBy close: String) throws(CatalogError) -> [SQLExpression] {
        var list: [SQLExpression] = []
        if self.acceptPunctuation(close) { return list }
        repeat { list.append(try self.parseExpression()) } while self.acceptPunctuation(",")
        try self.expectPunctuation(close)
        return list
    }
}
