import Testing

@testable import Catalog

@Suite("Expressions")
struct ExpressionTests {
    private static let a = SQLExpression.column(["a"])
    private static let b = SQLExpression.column(["b"])

    @Test(
        arguments: [
            ("a OR b AND NOT a", .disjunction([a, .conjunction([b, .negation(a)])])),
            ("a AND b AND a", .conjunction([a, b, a])),
            (
                "1 + 2 * 3 ^ 2",
                .binary("+", .number("1"), .binary("*", .number("2"), .binary("^", .number("3"), .number("2"))))
            ),
            ("a - b - 1", .binary("-", .binary("-", a, b), .number("1"))),
            ("-1", .number("-1")), ("- a", .unary("-", a)),
            ("-1::int", .unary("-", .cast(.number("1"), ColumnType("int4")))),
            ("(-1)::int", .cast(.number("-1"), ColumnType("int4"))), ("+a", a), ("a != b", .binary("<>", a, b)),
            ("a <> b || a", .binary("<>", a, .binary("||", b, a))),
            (
                "a IS NOT NULL AND b ISNULL",
                .conjunction([.test(a, .null, isNegated: true), .test(b, .null, isNegated: false)])
            ),
            ("a IS NOT DISTINCT FROM b", .distinct(a, b, isNegated: true)),
            ("a IS UNKNOWN", .test(a, .unknown, isNegated: false)),
            ("a NOT IN (1, 2)", .membership(a, [.number("1"), .number("2")], isNegated: true)),
            (
                "a BETWEEN 1 AND 2 AND b",
                .conjunction([.between(a, lower: .number("1"), upper: .number("2"), isNegated: false), b])
            ),
            (
                "a LIKE 'x%' ESCAPE '!'",
                .like(a, pattern: .string("x%"), escape: .string("!"), ignoresCase: false, isNegated: false)
            ),
            ("a !~~* 'x'", .like(a, pattern: .string("x"), escape: nil, ignoresCase: true, isNegated: true)),
            ("a = ANY (ARRAY[1, b])", .quantified("=", a, isAll: false, .array([.number("1"), b]))),
            (
                "CASE a WHEN 1 THEN b ELSE NULL END",
                .conditional(operand: a, branches: [.init(condition: .number("1"), result: b)], otherwise: .null)
            ),
            ("a::text COLLATE \"C\"", .collated(.cast(a, ColumnType("text")), collation: ["C"])),
            ("t.a[1]", .element(.column(["t", "a"]), index: .number("1"))), ("(a, b)", .row([a, b])),
            ("date '2020-01-01'", .cast(.string("2020-01-01"), ColumnType("date"))),
            ("timestamp with time zone 'x'", .cast(.string("x"), ColumnType("timestamptz"))),
            ("date", .column(["date"])),
            ("CAST(a AS double precision)", .cast(a, ColumnType("float8"))),
            ("a AT TIME ZONE 'UTC'", .function(name: ["timezone"], arguments: [.string("UTC"), a])),
            ("a OPERATOR(pg_catalog.+) b", .binary("+", a, b)),
            ("count(*)", .function(name: ["count"], arguments: [.allColumns])),
            ("current_timestamp(3)", .valueFunction("CURRENT_TIMESTAMP", precision: 3)), ("TRUE", .boolean(true)),
            ("B'01'", .bits("B'01'")),
            ("lower(\"Ä\")", .function(name: ["lower"], arguments: [.column(["Ä"])])), ("~ a", .unary("~", a)),
        ] as [(String, SQLExpression)])
    func treesAndRoundTrips(text: String, expected: SQLExpression) throws {
        #expect(try DDLParser.parseExpression(text) == expected)
        #expect(try DDLParser.parseExpression(PostgresDialect.expression(expected)) == expected)
    }

    @Test(arguments: [
        ("true", "1"), ("false", "0"), ("NULL", "NULL"), ("'it''s'", "'it''s'"), ("'\\xAB'", "x'AB'"),
        ("'\\xABC'", "'\\xABC'"),
        ("'\\xAB'::bytea", "(CAST(x'AB' AS BLOB))"), ("concat(a, b)", "(coalesce(\"a\", '') || coalesce(\"b\", ''))"),
        ("concat()", "''"), ("CURRENT_TIMESTAMP", "current_timestamp"), ("LOCALTIMESTAMP", "current_timestamp"),
        ("CURRENT_DATE", "current_date"), ("CURRENT_TIME", "current_time"), ("LOCALTIME", "current_time"),
        ("now()", "current_timestamp"),
        ("a::varchar(10)", "(CAST(\"a\" AS TEXT(10)))"), ("CAST(a AS int)", "(CAST(\"a\" AS INTEGER))"),
        ("a > 5", "(\"a\" > 5)"),
        ("a + b * 2", "(\"a\" + (\"b\" * 2))"), ("a AND NOT b", "(\"a\" AND (NOT \"b\"))"),
        ("a IS NULL", "(\"a\" IS NULL)"),
        ("a IS NOT TRUE", "(\"a\" IS NOT TRUE)"), ("a IS DISTINCT FROM b", "(\"a\" IS NOT \"b\")"),
        ("a IN (1, 2)", "(\"a\" IN (1, 2))"),
        ("a = ANY (ARRAY['x'::text])", "(\"a\" IN ((CAST('x' AS TEXT))))"),
        ("a::text = ANY ((ARRAY['x'::varchar])::text[])", "((CAST(\"a\" AS TEXT)) IN ((CAST('x' AS TEXT))))"),
        ("a <> ALL (ARRAY[1])", "(\"a\" NOT IN (1))"), ("a BETWEEN 1 AND 2", "(\"a\" BETWEEN 1 AND 2)"),
        ("a ILIKE 'x'", "(\"a\" LIKE 'x')"),
        ("CASE WHEN a THEN 1 ELSE 2 END", "(CASE WHEN \"a\" THEN 1 ELSE 2 END)"),
        ("my_func(a, 1)", "my_func(\"a\", 1)"),
        ("pg_catalog.lower(t.a)", "lower(\"a\")"), ("-a", "(- \"a\")"), ("a COLLATE \"C\"", "\"a\""),
        ("\"Ä\"\"\" = 'ü'", "(\"Ä\"\"\" = 'ü')"),
    ])
    func sqliteText(text: String, expected: String) throws {
        #expect(SQLiteDialect.expression(try DDLParser.parseExpression(text)) == expected)
    }

    @Test(arguments: [
        "a ~ 'x'", "B'1'", "ARRAY[1]", "(a, b)", "a[1]", "nextval('s')", "CURRENT_USER", "x.f(a)", "a ^ 2",
        "a NOT LIKE 'x'",
    ])
    func withoutEquivalentInSQLite(text: String) throws {
        #expect(SQLiteDialect.expression(try DDLParser.parseExpression(text)) == nil)
        #expect(SQLiteDialect.expression(.conjunction([.boolean(true), try DDLParser.parseExpression(text)])) == nil)
    }

    @Test func depthIsBounded() throws {
        let nested = String(repeating: "(", count: 10_000) + "1" + String(repeating: ")", count: 10_000)
        #expect(throws: CatalogError(.tooComplex, "")) { try DDLParser.parseExpression(nested) }
        let chain = "1" + String(repeating: " + 1", count: 10_000)
        #expect(throws: CatalogError(.tooComplex, "")) { try DDLParser.parseExpression(chain) }
        let both = (0..<40).reduce("1") { text, _ in "(\(text)\(String(repeating: " + 1", count: 20)))" }
        #expect(throws: CatalogError(.tooComplex, "")) { try DDLParser.parseExpression(both) }
        let negations = String(repeating: "NOT ", count: 10_000) + "a"
        #expect(throws: CatalogError(.tooComplex, "")) { try DDLParser.parseExpression(negations) }
        let terms = try DDLParser.parseExpression("a" + String(repeating: " OR a", count: 20_000))
        guard case .disjunction(let list) = terms else {
            Issue.record("not a disjunction")
            return
        }
        #expect(list.count == 20_001)
    }

    /// In a statement, an expression beyond the bounds is kept as text.
    @Test func tooDeepACheckIsKeptAsText() throws {
        let nested = String(repeating: "(", count: 500) + "a" + String(repeating: ")", count: 500)
        let statements = try DDLParser.parse("CREATE TABLE t (a int CHECK (\(nested)), b int)")
        guard case .createTable(let table) = statements.first?.statement else {
            Issue.record("no table")
            return
        }
        #expect(table.columns.count == 2)
        #expect(table.constraints == [.check(name: nil, .opaque(nested))])
    }
}
