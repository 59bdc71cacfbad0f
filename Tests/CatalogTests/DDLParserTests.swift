import Testing

@testable import Catalog

@Suite("Statements")
struct DDLParserTests {
    private func statement(_ text: String) throws -> DDLStatement {
        let statements = try DDLParser.parse(text)
        #expect(statements.count == 1)
        return try #require(statements.first).statement
    }

    private func table(_ text: String) throws -> CreateTable {
        guard case .createTable(let table) = try self.statement(text) else {
            throw CatalogError(.syntax, "not a CREATE TABLE: \(text)")
        }
        return table
    }

    @Test(arguments: [
        ("int", ColumnType("int4")), ("integer", ColumnType("int4")), ("int4", ColumnType("int4")),
        ("smallint", ColumnType("int2")), ("bigint", ColumnType("int8")), ("real", ColumnType("float4")),
        ("double precision", ColumnType("float8")), ("float", ColumnType("float8")),
        ("float(24)", ColumnType("float4")),
        ("float(25)", ColumnType("float8")), ("numeric(10, 2)", ColumnType("numeric", sizes: [10, 2])),
        ("numeric(3,-2)", ColumnType("numeric", sizes: [3, -2])), ("decimal", ColumnType("numeric")),
        ("boolean", ColumnType("bool")), ("text", ColumnType("text")), ("character varying", ColumnType("varchar")),
        ("character varying(10)", ColumnType("varchar", sizes: [10])),
        ("VARCHAR(10)", ColumnType("varchar", sizes: [10])),
        ("character(3)", ColumnType("bpchar", sizes: [3])), ("char", ColumnType("bpchar", sizes: [1])),
        ("\"char\"", ColumnType("char")), ("bpchar", ColumnType("bpchar")),
        ("national character varying(4)", ColumnType("varchar", sizes: [4])),
        ("timestamp", ColumnType("timestamp")), ("timestamp without time zone", ColumnType("timestamp")),
        ("timestamp(3) with time zone", ColumnType("timestamptz", sizes: [3])),
        ("timestamptz", ColumnType("timestamptz")),
        ("time with time zone", ColumnType("timetz")), ("time(6)", ColumnType("time", sizes: [6])),
        ("interval day to second(3)", ColumnType("interval", sizes: [3])), ("interval", ColumnType("interval")),
        ("bit(4)", ColumnType("bit", sizes: [4])), ("bit varying(4)", ColumnType("varbit", sizes: [4])),
        ("uuid", ColumnType("uuid")), ("jsonb", ColumnType("jsonb")), ("bytea", ColumnType("bytea")),
        ("pg_catalog.int8", ColumnType("int8")), ("public.color", ColumnType("color")),
        ("\"Color\"", ColumnType("Color")),
        ("other.\"Größe\"", ColumnType("other.Größe")), ("int[]", ColumnType("int4", arrayDimensions: [-1])),
        ("text[3][]", ColumnType("text", arrayDimensions: [3, -1])),
        ("varchar(5)[]", ColumnType("varchar", sizes: [5], arrayDimensions: [-1])),
        ("timestamp(3) with time zone[]", ColumnType("timestamptz", sizes: [3], arrayDimensions: [-1])),
        ("int ARRAY", ColumnType("int4", arrayDimensions: [-1])),
        ("int ARRAY[4]", ColumnType("int4", arrayDimensions: [4])),
        ("public.geometry(Point,4326)", ColumnType("geometry", sizes: [4326])),
    ])
    func typesAreKnownByTheirCatalogueNames(text: String, expected: ColumnType) throws {
        #expect(try DDLParser.parseType(text) == expected)
        #expect(try DDLParser.parseType(PostgresDialect.type(expected)) == expected)
    }

    @Test func canonicalTable() throws {
        let text = """
            CREATE TABLE "public"."items" (
                "id" uuid NOT NULL,
                "content" character varying NOT NULL,
                "größe ""x"" y" public."Color",
                "parent" uuid,
                CONSTRAINT "items_pkey" PRIMARY KEY ("id"),
                CONSTRAINT "items_parent_fkey" FOREIGN KEY ("parent") REFERENCES "public"."parents"("id") ON DELETE CASCADE
            )
            """
        let table = try self.table(text)
        #expect(table.name == TableName(name: "items"))
        #expect(
            table.columns == [
                ColumnDefinition(name: "id", type: ColumnType("uuid"), isNotNull: true),
                ColumnDefinition(name: "content", type: ColumnType("varchar"), isNotNull: true),
                ColumnDefinition(name: "größe \"x\" y", type: ColumnType("Color")),
                ColumnDefinition(name: "parent", type: ColumnType("uuid")),
            ])
        let key = ForeignKey(
            name: "items_parent_fkey", columns: ["parent"], referencedTable: TableName(name: "parents"),
            referencedColumns: ["id"], onDelete: .cascade)
        #expect(
            table.constraints == [
                .primaryKey(name: "items_pkey", columns: ["id"]),
                .foreignKey(name: "items_parent_fkey", definition: key),
            ])
        var model = SchemaModel()
        guard case .table(let definition) = try model.apply(.createTable(table)) else {
            Issue.record("no table")
            return
        }
        let again = PostgresDialect.createTable(definition)
        #expect(again == text.replacing("public.\"Color\"", with: "\"Color\""))
    }

    @Test func handWrittenTable() throws {
        let table = try self.table(
            """
            create unlogged table if not exists Shop.Orders ( -- comment
              id bigserial primary key,
              "n" int generated always as identity (start 5) unique nulls not distinct,
              total numeric(8,2) default 0.0 check (total >= 0) not null collate "C",
              kind text constraint k not null default 'a''b'::text,
              day date default CURRENT_DATE,
              twice int generated always as (n * 2) stored,
              customer uuid references customers on update set null deferrable initially deferred,
              exclude int,
              weird int default (select 1),
              other int default pg_catalog.nextval('s'::regclass) null,
              unique (kind, day) include (total) with (fillfactor = 70),
              constraint c1 check (kind in ('x', 'y')) no inherit not valid,
              foreign key (n, day) references b (x, y) match full on delete set default,
              exclude using gist (day with &&)
            ) partition by range (day) with (fillfactor=70) tablespace t;
            """)
        #expect(table.ifNotExists)
        #expect(table.name == TableName(schema: "shop", name: "orders"))
        #expect(
            table.columns.map(\.name) == [
                "id", "n", "total", "kind", "day", "twice", "customer", "exclude", "weird", "other",
            ])
        #expect(
            table.columns.map(\.isNotNull) == [
                true, true, true, true, false, false, false, false, false, false,
            ])
        #expect(table.columns[1].identity == .always)
        #expect(table.columns[2].defaultExpression == .number("0.0"))
        #expect(table.columns[3].defaultExpression == .cast(.string("a'b"), ColumnType("text")))
        #expect(table.columns[4].defaultExpression == .valueFunction("CURRENT_DATE", precision: nil))
        #expect(table.columns[5].generationExpression == .binary("*", .column(["n"]), .number("2")))
        #expect(table.columns[8].defaultExpression == .opaque("(select 1)"))
        #expect(
            table.columns[9].defaultExpression
                == .function(
                    name: ["pg_catalog", "nextval"], arguments: [.cast(.string("s"), ColumnType("regclass"))]))
        let customer = ForeignKey(
            name: "", columns: ["customer"], referencedTable: TableName(name: "customers"), referencedColumns: [],
            onUpdate: .setNull, isDeferrable: true, isInitiallyDeferred: true)
        let compound = ForeignKey(
            name: "", columns: ["n", "day"], referencedTable: TableName(name: "b"), referencedColumns: ["x", "y"],
            onDelete: .setDefault)
        #expect(
            table.constraints == [
                .primaryKey(name: nil, columns: ["id"]),
                .unique(name: nil, columns: ["n"]),
                .check(name: nil, .binary(">=", .column(["total"]), .number("0"))),
                .foreignKey(name: nil, definition: customer),
                .unique(name: nil, columns: ["kind", "day"]),
                .check(
                    name: "c1",
                    .membership(.column(["kind"]), [.string("x"), .string("y")], isNegated: false)),
                .foreignKey(name: nil, definition: compound),
                .exclusion(name: nil),
            ])
    }

    @Test(arguments: [
        ("CREATE TABLE a AS SELECT 1", "CREATE TABLE"), ("CREATE TABLE a (x, y) AS SELECT 1", "CREATE TABLE AS"),
        ("CREATE TABLE a (LIKE b INCLUDING ALL)", "CREATE TABLE LIKE"),
        ("CREATE TABLE a (x int) INHERITS (b)", "CREATE TABLE INHERITS"),
        ("CREATE TABLE a PARTITION OF b DEFAULT", "CREATE TABLE"), ("CREATE TEMP TABLE a (x int)", "CREATE TEMP"),
        ("CREATE OR REPLACE FUNCTION f() RETURNS int AS $$ ; $$ LANGUAGE sql", "CREATE OR"),
        ("CREATE TYPE a AS (x int)", "CREATE TYPE"), ("CREATE TYPE a", "CREATE TYPE"),
        ("ALTER TYPE a RENAME TO b", "ALTER TYPE"), ("DROP INDEX i", "DROP"), ("DO 'BEGIN; END'", "DO"),
        ("ALTER INDEX a RENAME TO b", "ALTER INDEX"), ("CREATE INDEXES", "CREATE INDEXES"),
        ("CREATE UNIQUE THING", "CREATE UNIQUE"), ("(SELECT 1; x)", ""),
        ("ALTER TABLE ALL IN TABLESPACE a SET b", "ALTER TABLE"),
    ])
    func otherStatementsAreSteppedOver(text: String, tag: String) throws {
        #expect(try self.statement(text) == .other(tag: tag))
    }

    @Test func alterTableClauses() throws {
        let text = """
            /* lead */ ALTER TABLE ONLY public."Tä" ADD COLUMN IF NOT EXISTS "ß" text DEFAULT 'x,y' NOT NULL, ADD n int REFERENCES p,
            DROP COLUMN old, ALTER COLUMN a TYPE numeric(4,2) USING (a, 1), ADD CONSTRAINT c CHECK (a > 0), RENAME b TO c ; -- end
            """
        guard case .alterTable(let statement) = try self.statement(text) else {
            Issue.record("no ALTER TABLE")
            return
        }
        #expect(statement.name == TableName(name: "Tä"))
        #expect(statement.prefix == "ALTER TABLE ONLY public.\"Tä\"")
        #expect(statement.clauses.count == 6)
        #expect(
            statement.addedColumns.map(\.text) == [
                "ADD COLUMN IF NOT EXISTS \"ß\" text DEFAULT 'x,y' NOT NULL", "ADD n int REFERENCES p",
            ])
        #expect(statement.addedColumns.map(\.ifNotExists) == [true, false])
        #expect(statement.addedColumns[0].column.isNotNull)
        let others = statement.clauses.compactMap { if case .other(let text) = $0 { text } else { nil } }
        #expect(others == ["DROP COLUMN", "ALTER COLUMN", "ADD CONSTRAINT", "RENAME B"])
    }

    @Test func indexes() throws {
        let text = """
            CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "iä" ON ONLY public.t USING btree
            (a, "B" COLLATE "de_DE" text_pattern_ops DESC NULLS LAST, lower((c)::text) ASC, ((d || 'x'::text)) NULLS FIRST, e gist_ops(siglen='32'))
            INCLUDE (f, g) NULLS NOT DISTINCT WITH (fillfactor='70') TABLESPACE x WHERE ((a > 0) AND (b IS NOT NULL))
            """
        guard case .createIndex(let statement) = try self.statement(text) else {
            Issue.record("no CREATE INDEX")
            return
        }
        #expect(statement.isConcurrent && statement.ifNotExists && statement.isNamed && statement.index.isUnique)
        #expect(statement.index.name == "iä")
        let lower = SQLExpression.function(name: ["lower"], arguments: [.cast(.column(["c"]), ColumnType("text"))])
        let joined = SQLExpression.binary("||", .column(["d"]), .cast(.string("x"), ColumnType("text")))
        #expect(
            statement.index.elements == [
                .init(.column("a")),
                .init(.column("B"), collation: "de_DE", isDescending: true, nullsFirst: false),
                .init(.expression(lower)),
                .init(.expression(joined), nullsFirst: true),
                .init(.column("e")),
            ])
        #expect(statement.index.includedColumns == ["f", "g"])
        #expect(
            statement.index.predicate
                == .conjunction([
                    .binary(">", .column(["a"]), .number("0")), .test(.column(["b"]), .null, isNegated: true),
                ]))
    }

    @Test func enums() throws {
        #expect(
            try self.statement("CREATE TYPE \"public\".\"Farbe\" AS ENUM ('RÖT', 'it''s')")
                == .createEnum(EnumDefinition(name: "Farbe", values: ["RÖT", "it's"])))
        #expect(
            try self.statement("create type s.e as enum ()")
                == .createEnum(EnumDefinition(schema: "s", name: "e", values: [])))
        #expect(
            try self.statement("ALTER TYPE e ADD VALUE IF NOT EXISTS 'x' BEFORE 'y'")
                == .addEnumValue(
                    AddEnumValue(schema: "public", name: "e", value: "x", place: .before("y"), ifNotExists: true)))
    }

    @Test func severalStatementsWithTheirTexts() throws {
        let text = ";; CREATE TYPE e AS ENUM ('a;b') ; /* x */ SELECT 'ü'; -- y\n\tDROP TABLE t ;"
        let statements = try DDLParser.parse(text)
        #expect(statements.map(\.text) == ["CREATE TYPE e AS ENUM ('a;b')", "SELECT 'ü'", "DROP TABLE t"])
        #expect(statements.map(\.byteOffset) == [3, 43, 62])
        #expect(try DDLParser.parse(" \n-- nothing\n").isEmpty)
    }

    @Test(arguments: [
        ("CREATE TABLE t (a int", 1, 22, "syntax error at end of input"),
        ("CREATE TABLE t\n  (ä int nit null)", 2, 10, "syntax error at or near \"nit\""),
        ("CREATE TABLE 'x' (a int)", 1, 14, "syntax error at or near a string"),
        ("CREATE TABLE t (a int,)", 1, 23, "syntax error at or near \")\""),
        ("ALTER TABLE t ADD COLUMN a int foo", 1, 32, "syntax error at or near \"foo\""),
        ("CREATE INDEX i ON t (a", 1, 23, "syntax error at end of input"),
        ("CREATE TYPE e AS ENUM (a)", 1, 24, "syntax error at or near \"a\""),
        ("CREATE TABLE t (a int(99999999999))", 1, 23, "syntax error at or near \"99999999999\""),
        ("CREATE TABLE t (a int) foo", 1, 24, "syntax error at or near \"foo\""),
        ("CREATE TABLE t (a int REFERENCES p ON DELETE foo)", 1, 46, "syntax error at or near \"foo\""),
    ])
    func mistakesSayWhere(text: String, line: Int, column: Int, message: String) throws {
        let error = try #require(throws: CatalogError.self) { try DDLParser.parse(text) }
        #expect(error.code == .syntax)
        #expect(error.message == message)
        #expect(error.position?.line == line)
        #expect(error.position?.column == column)
        #expect(error.description == "\(message) (line \(line), column \(column))")
    }
}
