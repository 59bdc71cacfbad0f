import Testing

@testable import Catalog

/// Nothing that is read may trap, whatever it is.
@Suite("Arbitrary texts")
struct FuzzTests {
    private static let corpus = [
        "CREATE TABLE \"public\".\"ä\"\"b\" (\"id\" uuid NOT NULL DEFAULT E'\\u00e9'::text, x int[3] CHECK (x IN (1, $$a$$)), CONSTRAINT \"k\" PRIMARY KEY (\"id\")) /* c */",
        "ALTER TABLE ONLY s.t ADD COLUMN a varchar(10) REFERENCES p (q) ON DELETE SET NULL, ADD b numeric(3,1) NOT NULL, DROP c",
        "CREATE UNIQUE INDEX CONCURRENTLY i ON t USING btree (lower(a) DESC NULLS FIRST, (b || U&'\\0061')) INCLUDE (c) WHERE a BETWEEN 1 AND 2",
        "CREATE TYPE e AS ENUM ('ü', 'b''c'); ALTER TYPE e ADD VALUE 'd' BEFORE 'ü'",
        "CREATE TABLE t (a timestamp(3) with time zone GENERATED ALWAYS AS (CASE WHEN b THEN 1 ELSE -x'1F' END) STORED, EXCLUDE USING gist (a WITH &&))",
        "{\"tables\":[{\"name\":{\"name\":\"a\"},\"columns\":[{\"name\":\"b\",\"type\":{\"name\":\"int4\"}}],\"oid\":1e5}],\"enums\":[\"\\uD83D\\uDE00\"]}",
    ]

    private func read(_ text: String) {
        _ = try? ElectricSchemaDocument.decode(text)
        _ = try? DDLParser.parseExpression(text)
        _ = try? DDLParser.parseType(text)
        var builder = MigrationBuilder()
        guard let version = try? MigrationVersion("1") else { return }
        do {
            let built = try builder.build(version: version, queries: [text])
            // What was read once is read again, to the same definitions.
            for table in builder.schema.tables {
                let again = try DDLParser.parse(PostgresDialect.createTable(table))
                #expect(again.count == 1)
            }
            #expect(built.sqlite.operations.count <= built.postgresql.operations.count)
        } catch {
            if let position = error.position {
                #expect(position.byteOffset >= 0 && position.byteOffset <= text.utf8.count)
                #expect(position.character <= text.unicodeScalars.count + 1)
            }
        }
    }

    @Test(arguments: corpus) func everyTruncation(text: String) {
        let scalars = Array(text.unicodeScalars)
        for length in 0...scalars.count {
            var part = String.UnicodeScalarView()
            part.append(contentsOf: scalars[..<length])
            self.read(String(part))
            var rest = String.UnicodeScalarView()
            rest.append(contentsOf: scalars[length...])
            self.read(String(rest))
        }
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64]) func mutations(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<1_500 {
            var bytes = Array((Self.corpus.randomElement(using: &random) ?? "").utf8)
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                let position = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[position] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.insert(Array("()[]'\"$,;.:\\-*/E".utf8).randomElement(using: &random) ?? 0, at: position)
                case 2 where bytes.count > 1: bytes.remove(at: position)
                default:
                    let other = Array((Self.corpus.randomElement(using: &random) ?? "").utf8)
                    let start = Int.random(in: 0..<other.count, using: &random)
                    bytes.insert(contentsOf: other[start..<min(other.count, start + 12)], at: position)
                }
            }
            self.read(String(decoding: bytes, as: UTF8.self))
        }
    }
}
