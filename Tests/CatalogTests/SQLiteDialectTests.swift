import ExactText
import Testing

@testable import Catalog

@Suite("SQLite dialect")
struct SQLiteDialectTests {
    private func sqlite(_ queries: String..., schema: SchemaModel = SchemaModel()) throws -> [String] {
        try MigrationBuilder.build(version: MigrationVersion("1"), queries: queries, schema: schema, dialect: .sqlite)
            .operations.flatMap(\.statements).map(\.sql)
    }

    @Test(arguments: [
        ("int2", "INTEGER"), ("int4", "INTEGER"), ("int8", "INTEGER"), ("serial", "INTEGER"), ("bigserial", "INTEGER"),
        ("smallserial", "INTEGER"), ("real", "REAL"), ("float", "REAL"), ("double precision", "REAL"),
        ("numeric", "REAL"),
        ("decimal(10,2)", "REAL(10, 2)"), ("money", "REAL"), ("text", "TEXT"), ("varchar", "TEXT"),
        ("varchar(10)", "TEXT(10)"),
        ("char(3)", "TEXT(3)"), ("bpchar", "TEXT"), ("bytea", "BLOB"), ("date", "TEXT"), ("time", "TEXT"),
        ("timetz", "TEXT"),
        ("timestamp", "TEXT"), ("timestamptz", "TEXT"), ("timestamp(3)", "TEXT(3)"), ("bool", "INTEGER"),
        ("uuid", "TEXT"),
        ("json", "TEXT_JSON"), ("jsonb", "TEXT_JSON"), ("int[]", "TEXT_JSON"), ("varchar(3)[]", "TEXT_JSON"),
        ("color", "TEXT"),
        ("tsvector", "TEXT"), ("interval", "TEXT"),
    ])
    func types(text: String, expected: String) throws {
        #expect(SQLiteDialect.type(try DDLParser.parseType(text)) == expected)
    }

    @Test func tableLayout() throws {
        let statements = try self.sqlite(
            """
            CREATE TABLE "public"."items" (
                "id" uuid,
                "content" character varying NOT NULL,
                "it""em" timestamp(3) with time zone,
                "parent" uuid,
                CONSTRAINT "items_pkey" PRIMARY KEY ("id"),
                CONSTRAINT "items_parent_fkey" FOREIGN KEY ("parent") REFERENCES "public"."parents"("id") ON UPDATE SET NULL ON DELETE CASCADE
            )
            """)
        #expect(
            statements == [
                """
                CREATE TABLE "items" (
                  "id" TEXT NOT NULL,
                  "content" TEXT NOT NULL,
                  "it""em" TEXT(3),
                  "parent" TEXT,
                  CONSTRAINT "items_parent_fkey" FOREIGN KEY ("parent") REFERENCES "parents" ("id") ON DELETE CASCADE ON UPDATE SET NULL,
                  CONSTRAINT "items_pkey" PRIMARY KEY ("id")
                );

                """
            ])
    }

    @Test func constraintsAreSortedByKindAndContent() throws {
        let statements = try self.sqlite(
            """
            CREATE TABLE IF NOT EXISTS t (
                b int UNIQUE, a int UNIQUE DEFAULT 5 NOT NULL, PRIMARY KEY (b, a), CHECK (b > a), c text DEFAULT 'it''s' CHECK (c <> ''),
                d timestamptz DEFAULT now(), e bool DEFAULT true, f text DEFAULT lower('X'), g int GENERATED ALWAYS AS (a + 1) STORED,
                h uuid DEFAULT gen_random_uuid(), i int DEFAULT -1, j text DEFAULT 'x'::text, k int CHECK (k ~ 'x'),
                FOREIGN KEY (c) REFERENCES q, FOREIGN KEY (a) REFERENCES t (a) ON DELETE NO ACTION
            )
            """)
        #expect(
            statements == [
                """
                CREATE TABLE IF NOT EXISTS "t" (
                  "b" INTEGER NOT NULL,
                  "a" INTEGER NOT NULL DEFAULT 5,
                  "c" TEXT DEFAULT 'it''s',
                  "d" TEXT DEFAULT current_timestamp,
                  "e" INTEGER DEFAULT 1,
                  "f" TEXT DEFAULT (lower('X')),
                  "g" INTEGER GENERATED ALWAYS AS ("a" + 1) STORED,
                  "h" TEXT,
                  "i" INTEGER DEFAULT -1,
                  "j" TEXT DEFAULT (CAST('x' AS TEXT)),
                  "k" INTEGER,
                  CONSTRAINT "t_check" CHECK ("b" > "a"),
                  CONSTRAINT "t_c_check" CHECK ("c" <> ''),
                  CONSTRAINT "t_a_fkey" FOREIGN KEY ("a") REFERENCES "t" ("a"),
                  CONSTRAINT "t_c_fkey" FOREIGN KEY ("c") REFERENCES "q",
                  CONSTRAINT "t_pkey" PRIMARY KEY ("b", "a"),
                  CONSTRAINT "t_a_key" UNIQUE ("a"),
                  CONSTRAINT "t_b_key" UNIQUE ("b")
                );

                """
            ])
    }

    @Test func addedColumns() throws {
        let statements = try self.sqlite(
            "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY)",
            """
            ALTER TABLE t ADD COLUMN "ä" varchar NOT NULL, ADD b int NOT NULL DEFAULT 7, ADD c int REFERENCES p ON DELETE CASCADE,
              ADD d timestamp NOT NULL DEFAULT now(), ADD e int UNIQUE, ADD f int GENERATED ALWAYS AS (1) STORED, ADD IF NOT EXISTS b text
            """)
        #expect(
            statements.suffix(6) == [
                "ALTER TABLE \"t\" ADD COLUMN \"ä\" TEXT NOT NULL;\n",
                "ALTER TABLE \"t\" ADD COLUMN \"b\" INTEGER NOT NULL DEFAULT 7;\n",
                "ALTER TABLE \"t\" ADD COLUMN \"c\" INTEGER REFERENCES \"p\" (\"id\") ON DELETE CASCADE;\n",
                "ALTER TABLE \"t\" ADD COLUMN \"d\" TEXT;\n",
                "ALTER TABLE \"t\" ADD COLUMN \"e\" INTEGER;\n",
                "ALTER TABLE \"t\" ADD COLUMN \"f\" INTEGER;\n",
            ])
    }

    @Test(arguments: [
        ("CREATE INDEX i ON t (a, b DESC)", "CREATE INDEX \"i\" ON \"t\" (\"a\" ASC, \"b\" DESC);\n"),
        (
            "CREATE UNIQUE INDEX IF NOT EXISTS \"I\"\"x\" ON public.t USING hash (a)",
            "CREATE UNIQUE INDEX IF NOT EXISTS \"I\"\"x\" ON \"t\" (\"a\" ASC);\n"
        ),
        (
            "CREATE INDEX i ON t USING btree (lower(b), a NULLS FIRST) INCLUDE (a) WHERE (a IS NOT NULL)",
            "CREATE INDEX \"i\" ON \"t\" (lower(\"b\") ASC, \"a\" ASC) WHERE (\"a\" IS NOT NULL);\n"
        ),
        ("CREATE INDEX ON t (a, lower(b))", "CREATE INDEX \"t_a_lower_idx\" ON \"t\" (\"a\" ASC, lower(\"b\") ASC);\n"),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX \"i\" ON \"t\" (\"a\" ASC);\n"),
    ])
    func indexes(text: String, expected: String) throws {
        #expect(try self.sqlite("CREATE TABLE t (a int PRIMARY KEY, b text)", text).last == expected)
    }

    @Test func indexWithoutEquivalentIsLeftOut() throws {
        let statements = try self.sqlite("CREATE TABLE t (a int, b text)", "CREATE INDEX i ON t (a) WHERE b ~ 'x'")
        #expect(statements.count == 1)
    }

    @Test func namesThatPostgresChooses() throws {
        let long = String(repeating: "t", count: 63)
        let column = String(repeating: "ä", count: 31)
        #expect(ObjectNames.make(long, nil, label: "pkey") == String(repeating: "t", count: 58) + "_pkey")
        #expect(
            ObjectNames.make(long, column, label: "fkey")
                == String(repeating: "t", count: 29) + "_" + String(repeating: "ä", count: 14) + "_fkey")
        #expect(ObjectNames.make("t", column, label: "fkey") == "t_" + String(repeating: "ä", count: 28) + "_fkey")
        #expect(ObjectNames.choose("t", nil, label: "check", taken: ["t_check", "t_check1"]) == "t_check2")
        var model = SchemaModel()
        let text = """
            CREATE TABLE t (a int CHECK (a > 1) CHECK (a > 2), b int, CONSTRAINT zz CHECK (a > 3), CHECK (a > b), CHECK (a < b), CHECK (b <> 1), CHECK (1 < 2));
            CREATE INDEX ON t (a, lower(b::text), (a + b), (b + a)); CREATE INDEX ON t ((b::text)); CREATE INDEX ON t (coalesce(a, b));
            CREATE INDEX ON t ((CASE WHEN a = 1 THEN b END)); CREATE INDEX ON t (a, a); CREATE INDEX ON t ((b::text::bytea)); CREATE INDEX ON t ((NULL::int));
            CREATE UNIQUE INDEX ON t (a, b) WHERE a IN (1, 2); CREATE INDEX ON t ((b BETWEEN 1 AND 3))
            """
        for parsed in try DDLParser.parse(text) { try model.apply(parsed.statement) }
        // As Postgres 15 chose for the same statements.
        #expect(
            model.table("t")?.checks.map(\.name) == [
                "t_a_check", "t_a_check1", "zz", "t_check", "t_check1", "t_b_check", "t_check2",
            ])
        #expect(
            model.table("t")?.indexes.map(\.name) == [
                "t_a_lower_expr_expr1_idx", "t_b_idx", "t_coalesce_idx", "t_case_idx", "t_a_a1_idx", "t_b_idx1",
                "t_int4_idx", "t_a_b_idx",
                "t_expr_idx",
            ])
    }
}
