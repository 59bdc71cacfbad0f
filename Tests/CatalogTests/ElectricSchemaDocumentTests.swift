import Testing

@testable import Catalog

@Suite("Stored schemas of the legacy service")
struct ElectricSchemaDocumentTests {
    @Test(arguments: [false, true])
    func legacyForm(isSnakeCase: Bool) throws {
        var text = """
            {"enums":[{"name":{"name":"color","schema":"public"},"values":["RED","GR\\u00dcN"]}],"tables":[{"columns":[
            {"constraints":[{"notNull":{}}],"name":"id","type":{"name":"uuid"}},{"name":"p","type":{"name":"varchar","size":[10],"array":[-1]}}],
            "constraints":[{"primary":{"keys":["id"],"name":"items_pkey"}},{"foreign":{"fkCols":["p"],"matchType":"SIMPLE","name":"items_p_fkey",
            "onDelete":"CASCADE","onUpdate":4,"pkCols":["id"],"pkTable":{"name":"parents","schema":"public"}}},{"mystery":{}}],
            "indexes":[{"columns":[{"name":"p","ordering":"DESC","nullsOrdering":"FIRST"}],"name":"i","table":{"name":"items"},"unique":true,"using":"btree"}],
            "name":{"name":"items","schema":"public"},"oid":-5},{"broken":1}],"extra":{"x":[1.5e3,null,true]}}
            """
        if isSnakeCase {
            for (camel, snake) in [
                ("notNull", "not_null"), ("fkCols", "fk_cols"), ("pkCols", "pk_cols"), ("pkTable", "pk_table"),
                ("onDelete", "on_delete"), ("onUpdate", "on_update"), ("nullsOrdering", "nulls_ordering"),
            ] {
                text = text.replacing(camel, with: snake)
            }
        }
        let schema = try ElectricSchemaDocument.decode(text)
        #expect(schema.enumeration("color")?.values == ["RED", "GRÜN"])
        #expect(
            schema.tables == [
                TableDefinition(
                    name: "items", oid: 4_294_967_291,
                    columns: [
                        ColumnDefinition(name: "id", type: ColumnType("uuid"), isNotNull: true),
                        ColumnDefinition(name: "p", type: ColumnType("varchar", sizes: [10], arrayDimensions: [-1])),
                    ],
                    primaryKey: ["id"], primaryKeyName: "items_pkey",
                    foreignKeys: [
                        ForeignKey(
                            name: "items_p_fkey", columns: ["p"], referencedTable: TableName(name: "parents"),
                            referencedColumns: ["id"], onDelete: .cascade, onUpdate: .setDefault)
                    ],
                    indexes: [
                        IndexDefinition(
                            name: "i", isUnique: true,
                            elements: [.init(.column("p"), isDescending: true, nullsFirst: true)])
                    ])
            ])
    }

    @Test func roundTrip() throws {
        var schema = SchemaModel()
        let text = """
            CREATE TYPE s."Fär""be" AS ENUM ('a', 'tab\tquote"');
            CREATE TABLE a (id int PRIMARY KEY, x text DEFAULT 'ü' CHECK (x <> ''), y numeric(3,1)[] UNIQUE, z int GENERATED ALWAYS AS (id + 1) STORED);
            CREATE TABLE s.b (id int REFERENCES a ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, PRIMARY KEY (id));
            CREATE UNIQUE INDEX i ON a USING gin (lower(x) DESC NULLS LAST, y COLLATE "C") INCLUDE (z) WHERE id > 0
            """
        for parsed in try DDLParser.parse(text) { try schema.apply(parsed.statement) }
        #expect(try ElectricSchemaDocument.decode(ElectricSchemaDocument.encode(schema)) == schema)
    }

    @Test(arguments: [
        "", "[]", "{", "{\"a\":}", "{} x", "\"\\", "{\"a\":\"\\uD83D\\u0041\"}", "nul", "{\"a\" 1}", "[1,]", "\"\\u12",
    ])
    func malformed(text: String) {
        #expect(throws: CatalogError(.malformedDocument, "")) { try ElectricSchemaDocument.decode(text) }
    }

    @Test func depthIsBounded() {
        let text = String(repeating: "[", count: 100_000)
        #expect(throws: CatalogError(.malformedDocument, "")) { try ElectricSchemaDocument.decode(text) }
    }
}
