import Testing

@testable import Catalog

@Suite("Tokens")
struct DDLTokenizerTests {
    private func kinds(_ text: String) throws -> [DDLToken.Kind] {
        Array(try DDLTokenizer.tokens(of: DDLSource(text)).map(\.kind).dropLast())
    }

    @Test(
        arguments: [
            ("Grüße", DDLToken.Kind.word("grüße")), ("ÄB", .word("Äb")),
            ("\"MiXed \"\"q\"\"\"", .quotedName("MiXed \"q\"")),
            ("'it''s'", .string("it's")), ("'a\\n'", .string("a\\n")),
            ("E'a\\n\\'\\x41\\101\\u00e9'", .string("a\n'AAé")),
            ("e'\\U0001F600'", .string("😀")), ("E'\\uD83D\\uDE00'", .string("😀")), ("N'x'", .string("x")),
            ("'a'\n  'b'", .string("ab")), ("$$it's $1$$", .string("it's $1")), ("$ü$a$$b$ü$", .string("a$$b")),
            ("U&'\\00e9\\+01F600\\\\'", .string("é😀\\")), ("U&\"d\\0061t\"", .quotedName("dat")),
            ("X'1F'", .bits("X'1F'")), ("b'01'", .bits("b'01'")), ("12", .number("12")), ("1.5e-3", .number("1.5e-3")),
            (".5", .number(".5")), ("0xFF", .number("0xFF")), ("1_000", .number("1000")), ("$12", .parameter("$12")),
            ("a$b", .word("a$b")), ("::", .punctuation("::")), ("->>", .symbol("->>")), ("=>", .punctuation("=>")),
            ("<=", .symbol("<=")), ("/* a /* b */ c */ x", .word("x")), ("-- c\nx", .word("x")),
        ] as [(String, DDLToken.Kind)])
    func oneToken(text: String, expected: DDLToken.Kind) throws {
        #expect(try self.kinds(text) == [expected])
    }

    @Test func operatorsEndBeforeCommentsAndSigns() throws {
        #expect(try self.kinds("1*-2") == [.number("1"), .symbol("*"), .symbol("-"), .number("2")])
        #expect(try self.kinds("a@-b") == [.word("a"), .symbol("@-"), .word("b")])
        #expect(try self.kinds("a+--x\nb") == [.word("a"), .symbol("+"), .word("b")])
        #expect(try self.kinds("a/*x*/b") == [.word("a"), .word("b")])
        #expect(try self.kinds("1..2") == [.number("1"), .punctuation(".."), .number("2")])
    }

    @Test func stringsOnOneLineAreTwo() throws {
        #expect(try self.kinds("'a' 'b'") == [.string("a"), .string("b")])
    }

    @Test func namesAreCutToSixtyThreeBytesAtACharacter() throws {
        let name = String(repeating: "a", count: 62) + "éé"
        #expect(try self.kinds(name) == [.word(String(repeating: "a", count: 62))])
        #expect(try self.kinds("\"\(name)\"") == [.quotedName(String(repeating: "a", count: 62))])
    }

    @Test(arguments: [
        ("a 'open", 2, "unterminated quoted string"), ("é \"open", 2, "unterminated quoted identifier"),
        ("a\n/* open", 2, "unterminated /* comment"), ("x $t$ open", 2, "unterminated dollar-quoted string"),
        ("x \"\"", 2, "zero-length delimited identifier"), ("x E'\\u12'", 4, "invalid Unicode escape"),
        ("x 12a", 2, "trailing junk after numeric literal"), ("x {", 2, "syntax error at or near \"{\""),
        ("E'\\xff'", 1, "invalid byte sequence in a string"), ("U&'\\D83D'", 0, "invalid Unicode surrogate pair"),
        ("x $", 2, "syntax error at or near \"$\""), ("a\u{0}b", 1, "zero byte in statement"),
    ])
    func mistakesAreReportedWhereTheyBegin(text: String, character: Int, message: String) throws {
        let error = try #require(throws: CatalogError.self) { try self.kinds(text) }
        #expect(error.message == message)
        #expect(error.position?.byteOffset == text.unicodeScalars.prefix(character).reduce(0) { $0 + $1.utf8.count })
        #expect(error.position?.character == character + 1)
    }

    @Test func positionsCountLinesAndCharacters() {
        let position = DDLSource("äb\ncéd").position(at: 6)
        #expect(position == SourcePosition(byteOffset: 6, character: 6, line: 2, column: 3))
    }

    @Test func tooLongATextIsRefused() {
        let text = String(repeating: " ", count: DDLTokenizer.maximumLength + 1)
        #expect(throws: CatalogError(.tooLarge, "")) { try DDLParser.parse(text) }
    }
}
