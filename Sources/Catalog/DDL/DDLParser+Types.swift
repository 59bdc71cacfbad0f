extension DDLParser {
    /// A type as written, and whether it was one of the serial ones.
    struct TypeReference {
        var type: ColumnType
        var isSerial = false
    }

    mutating func parseType() throws(CatalogError) -> TypeReference {
        _ = self.acceptWord("setof")
        var reference = try self.parseScalarType()
        if self.acceptWord("array") {
            var size = -1
            if self.acceptPunctuation("[") {
                size = try self.parseInteger()
                try self.expectPunctuation("]")
            }
            reference.type.arrayDimensions = [size]
            return reference
        }
        while self.acceptPunctuation("[") {
            var size = -1
            if !self.current.isPunctuation("]") { size = try self.parseInteger() }
            try self.expectPunctuation("]")
            guard reference.type.arrayDimensions.count < Self.maximumDepth else { throw self.syntaxError() }
            reference.type.arrayDimensions.append(size)
        }
        return reference
    }

    private mutating func parseScalarType() throws(CatalogError) -> TypeReference {
        guard let word = self.current.word else { return try self.parseNamedType() }
        switch word {
        case "double":
            guard self.token(ahead: 1).isWord("precision") else { return try self.parseNamedType() }
            self.advance()
            self.advance()
            return TypeReference(type: ColumnType("float8"))
        case "national":
            guard self.token(ahead: 1).isWord("character") || self.token(ahead: 1).isWord("char") else {
                return try self.parseNamedType()
            }
            self.advance()
            return try self.parseCharacterType()
        case "character", "char", "nchar":
            return try self.parseCharacterType()
        case "varchar":
            self.advance()
            return TypeReference(type: ColumnType("varchar", sizes: try self.parseModifiers()))
        case "bit":
            self.advance()
            let isVarying = self.acceptWord("varying")
            let sizes = try self.parseModifiers()
            return TypeReference(
                type: ColumnType(isVarying ? "varbit" : "bit", sizes: sizes.isEmpty && !isVarying ? [1] : sizes))
        case "timestamp", "time":
            self.advance()
            let sizes = try self.parseModifiers()
            let hasZone = self.acceptWords("with", "time", "zone")
            if !hasZone { _ = self.acceptWords("without", "time", "zone") }
            return TypeReference(type: ColumnType(hasZone ? word + "tz" : word, sizes: sizes))
        case "interval":
            self.advance()
            return TypeReference(type: ColumnType("interval", sizes: try self.parseIntervalModifiers()))
        case "float":
            self.advance()
            let precision = try self.parseModifiers().first ?? 53
            return TypeReference(type: ColumnType(precision <= 24 ? "float4" : "float8"))
        default:
            return try self.parseNamedType()
        }
    }

    private mutating func parseCharacterType() throws(CatalogError) -> TypeReference {
        self.advance()
        let isVarying = self.acceptWord("varying")
        let sizes = try self.parseModifiers()
        if isVarying { return TypeReference(type: ColumnType("varchar", sizes: sizes)) }
        return TypeReference(type: ColumnType("bpchar", sizes: sizes.isEmpty ? [1] : sizes))
    }

    private mutating func parseIntervalModifiers() throws(CatalogError) -> [Int] {
        let fields: Set<String> = ["year", "month", "day", "hour", "minute", "second"]
        if let word = self.current.word, fields.contains(word) {
            self.advance()
            if self.current.isWord("to"), let last = self.token(ahead: 1).word, fields.contains(last) {
                self.advance()
                self.advance()
            }
        }
        return try self.parseModifiers()
    }

    private mutating func parseNamedType() throws(CatalogError) -> TypeReference {
        let isQuoted = self.current.word == nil
        let parts = try self.parseQualifiedName()
        let name = parts[parts.count - 1]
        let sizes = try self.parseModifiers()
        guard parts.count == 1 else {
            let typeName = ColumnType.qualifiedName(schema: parts[parts.count - 2], name: name)
            return TypeReference(type: ColumnType(typeName, sizes: sizes))
        }
        if !isQuoted {
            if let serial = Self.serialTypes[name] { return TypeReference(type: ColumnType(serial), isSerial: true) }
            if let standard = Self.standardNames[name] {
                return TypeReference(type: ColumnType(standard, sizes: sizes))
            }
        }
        return TypeReference(type: ColumnType(name, sizes: sizes))
    }

    /// `(10)`, `(8, 2)`; other modifiers than whole numbers are stepped over.
    private mutating func parseModifiers() throws(CatalogError) -> [Int] {
        guard self.acceptPunctuation("(") else { return [] }
        var sizes: [Int] = []
        while !self.acceptPunctuation(")") {
            switch self.current.kind {
            case .number, .symbol("-"):
                sizes.append(try self.parseInteger())
            case .word, .quotedName, .string:
                self.advance()
            default:
                throw self.syntaxError()
            }
            guard self.current.isPunctuation(")") || self.acceptPunctuation(",") else { throw self.syntaxError() }
        }
        return sizes
    }

    mutating func parseInteger() throws(CatalogError) -> Int {
        let isNegative = self.current.isSymbol("-")
        if isNegative { self.advance() }
        guard case .number(let text) = self.current.kind, let value = Int32(text) else { throw self.syntaxError() }
        self.advance()
        return isNegative ? -Int(value) : Int(value)
    }

    private static let standardNames = [
        "int": "int4", "integer": "int4", "smallint": "int2", "bigint": "int8", "real": "float4",
        "boolean": "bool", "decimal": "numeric", "dec": "numeric",
    ]

    private static let serialTypes = [
        "serial": "int4", "serial4": "int4", "smallserial": "int2", "serial2": "int2", "bigserial": "int8",
        "serial8": "int8",
    ]
}
