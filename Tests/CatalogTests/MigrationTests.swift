import Testing

@testable import Catalog

@Suite("Migrations")
struct MigrationTests {
    private static let items =
        "CREATE TABLE \"public\".\"items\" (\n    \"id\" uuid NOT NULL,\n    CONSTRAINT \"items_pkey\" PRIMARY KEY (\"id\")\n)"
    private static let color = "CREATE TYPE \"public\".\"color\" AS ENUM ('RED', 'GREEN')"

    private func version(_ label: String) throws -> MigrationVersion { try MigrationVersion(label) }

    @Test func aTableWithItsEnum() throws {
        var builder = MigrationBuilder()
        let built = try builder.build(version: self.version("1"), queries: [Self.color, Self.items + " ;\n"])
        let table = try #require(builder.schema.table("items"))
        let color = EnumDefinition(name: "color", values: ["RED", "GREEN"])
        #expect(
            built.sqlite.operations == [
                MigrationOperation(statements: [], affected: .enumeration(color)),
                MigrationOperation(
                    statements: [.init(kind: .createTable, sql: SQLiteDialect.createTable(table))],
                    affected: .table(table)),
            ])
        #expect(
            built.postgresql.operations == [
                MigrationOperation(
                    statements: [.init(kind: .createEnumType, sql: Self.color)], affected: .enumeration(color)),
                MigrationOperation(statements: [.init(kind: .createTable, sql: Self.items)], affected: .table(table)),
            ])
        #expect(built.migration(for: .postgresql).script == "\(Self.color);\n\n\(Self.items);")
        #expect(built.sqlite.script.hasSuffix("\n);"))
    }

    @Test func anEnumIsSentOnce() throws {
        var builder = MigrationBuilder()
        _ = try builder.build(version: self.version("1"), queries: [Self.color, Self.items])
        let second = try builder.build(version: self.version("2"), queries: [Self.color, "CREATE TABLE b (c color)"])
        for dialect in SQLDialect.allCases { #expect(second.migration(for: dialect).operations.count == 1) }
    }

    @Test func anAddedEnumValue() throws {
        var builder = MigrationBuilder()
        _ = try builder.build(version: self.version("1"), queries: [Self.color])
        let built = try builder.build(
            version: self.version("2"), queries: ["ALTER TYPE color ADD VALUE 'BLUE' AFTER 'RED'"])
        let color = EnumDefinition(name: "color", values: ["RED", "BLUE", "GREEN"])
        #expect(built.sqlite.operations == [MigrationOperation(statements: [], affected: .enumeration(color))])
        #expect(
            built.postgresql.operations.flatMap(\.statements) == [
                .init(
                    kind: .createEnumType,
                    sql: "ALTER TYPE \"public\".\"color\" ADD VALUE IF NOT EXISTS 'BLUE' AFTER 'RED'")
            ])
    }

    @Test func columnsComeOneStatementEachInOneOperation() throws {
        var builder = MigrationBuilder()
        _ = try builder.build(version: self.version("1"), queries: [Self.items])
        let built = try builder.build(
            version: self.version("2"),
            queries: ["ALTER TABLE items ADD COLUMN \"ß\" text, ADD b int4 NOT NULL, DROP COLUMN c", "DROP INDEX i"])
        #expect(built.skipped == ["ALTER TABLE DROP COLUMN", "DROP"])
        let operation = try #require(built.postgresql.operations.first)
        #expect(built.postgresql.operations.count == 1)
        #expect(
            operation.statements == [
                .init(kind: .alterAddColumn, sql: "ALTER TABLE items ADD COLUMN \"ß\" text"),
                .init(kind: .alterAddColumn, sql: "ALTER TABLE items ADD b int4 NOT NULL"),
            ])
        guard case .table(let table) = operation.affected else {
            Issue.record("no table")
            return
        }
        #expect(table.columns.map(\.name) == ["id", "ß", "b"])
        #expect(built.sqlite.operations.first?.statements.count == 2)
    }

    @Test func snapshotsAreOfTheTimeOfTheStatement() throws {
        var builder = MigrationBuilder()
        let built = try builder.build(
            version: self.version("1"),
            queries: [Self.items, "ALTER TABLE \"public\".\"items\" ADD COLUMN \"a\" integer;"])
        let counts = built.sqlite.operations.map { operation in
            if case .table(let table) = operation.affected { table.columns.count } else { 0 }
        }
        #expect(counts == [1, 2])
        #expect(
            built.postgresql.operations[1].statements.map(\.sql) == [
                "ALTER TABLE \"public\".\"items\" ADD COLUMN \"a\" integer"
            ])
    }

    @Test func indexesHaveNoAffectedEntityAndAreNotConcurrent() throws {
        var builder = MigrationBuilder()
        let built = try builder.build(
            version: self.version("1"),
            queries: [Self.items, "CREATE INDEX CONCURRENTLY \"concurrently\" ON items (id)"])
        #expect(
            built.postgresql.operations.last
                == MigrationOperation(
                    statements: [.init(kind: .createIndex, sql: "CREATE INDEX \"concurrently\" ON items (id)")],
                    affected: .none))
    }

    @Test func compoundForeignKeysAreNotAnnounced() throws {
        var builder = MigrationBuilder()
        _ = try builder.build(
            version: self.version("1"),
            queries: [
                "CREATE TABLE p (x int, y int, z int UNIQUE, PRIMARY KEY (x, y))",
                "CREATE TABLE c (a int, b int, z int REFERENCES p (z), FOREIGN KEY (a, b) REFERENCES p)",
            ])
        let table = try #require(builder.schema.table("c"))
        #expect(table.foreignKeys.map(\.name) == ["c_z_fkey", "c_a_b_fkey"])
        #expect(table.foreignKeys[1].referencedColumns == ["x", "y"])
        #expect(table.announcedForeignKeys.map(\.name) == ["c_z_fkey"])
    }

    @Test(arguments: [
        (Self.items, CatalogError.Code.duplicateTable), ("ALTER TABLE nope ADD a int", .unknownTable),
        ("CREATE INDEX i ON nope (a)", .unknownTable), ("ALTER TABLE items ADD id int", .duplicateColumn),
        ("CREATE TABLE x (a int, PRIMARY KEY (b))", .unknownColumn), ("ALTER TYPE nope ADD VALUE 'x'", .unknownType),
        ("CREATE TABLE", .syntax),
    ])
    func whatDoesNotFitLeavesTheSchemaAlone(query: String, code: CatalogError.Code) throws {
        var builder = MigrationBuilder()
        _ = try builder.build(version: self.version("1"), queries: [Self.items])
        let before = builder.schema
        #expect(throws: CatalogError(code, "")) {
            try builder.build(version: self.version("2"), queries: ["CREATE TABLE y (a int)", query])
        }
        #expect(builder.schema == before)
    }

    @Test func whatIsThereAlreadyGivesNothing() throws {
        var builder = MigrationBuilder()
        _ = try builder.build(version: self.version("1"), queries: [Self.items, "CREATE INDEX i ON items (id)"])
        let built = try builder.build(
            version: self.version("2"),
            queries: [
                "CREATE TABLE IF NOT EXISTS items (x int)", "CREATE INDEX IF NOT EXISTS i ON items (id)",
                "ALTER TABLE items ADD COLUMN IF NOT EXISTS id int", "ALTER TABLE IF EXISTS nope ADD a int",
            ])
        #expect(built.sqlite.operations.isEmpty && built.postgresql.operations.isEmpty)
    }
}

@Suite("Migration versions")
struct MigrationVersionTests {
    @Test(arguments: ["", "a/b", "a b", "ä", ".", "..", String(repeating: "1", count: 256), "a\n"])
    func refused(label: String) {
        #expect(throws: CatalogError(.invalidVersion, "")) { try MigrationVersion(label) }
    }

    @Test(arguments: [
        ("20240101", true), ("_a", true), ("a1", false), ("-1", false), (String(repeating: "1", count: 255), true),
    ])
    func acceptedByClients(label: String, expected: Bool) throws {
        #expect(try MigrationVersion(label).isAcceptedByClients == expected)
    }

    @Test(arguments: [
        ("2", nil, "2"), ("2", "1", "2"), ("1", "2", "2.000001"), ("2", "2", "2.000001"), ("2", "2.000001", "2.000002"),
        ("init", nil, "0_init"), ("init", "2", "2.000001"), ("2.000002", "2.999999", "2.999999.000001"),
        ("a", "0", "0_a"),
    ])
    func labelsRise(label: String, previous: String?, expected: String) throws {
        let before = try previous.map { try MigrationVersion($0) }
        #expect(try MigrationVersion(label).following(before).label == expected)
    }

    @Test func labelsRiseWhateverComes() throws {
        var random = SeededGenerator(seed: 7)
        var previous: MigrationVersion?
        for _ in 0..<20_000 {
            let length = Int.random(in: 1...255, using: &random)
            let characters = "0_.-zA9".map { $0 }
            let label = String((0..<length).map { _ in characters.randomElement(using: &random) ?? "0" })
            guard let version = try? MigrationVersion(label) else { continue }
            let next = version.following(previous)
            #expect(next.isAcceptedByClients)
            #expect((try? MigrationVersion(next.label)) != nil)
            if let previous { #expect(previous < next, "\(previous) \(next)") }
            previous = next.label.hasPrefix("_") ? nil : next
        }
    }
}
