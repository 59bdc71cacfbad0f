import PostgresWire
import Satellite
import Testing

@testable import SatelliteEndpoint

struct SchemaMisfitTests {
    private let table = SatelliteTable(
        oid: 7, name: "ev",
        columns: [.init(name: "id", typeName: "int4", isPrimaryKey: true), .init(name: "a", typeName: "text")])

    private func relation(_ columns: String...) -> Relation {
        Relation(
            oid: 7, schema: "public", name: "ev", replicaIdentity: .full,
            columns: columns.map { Relation.Column(name: $0, typeOID: 25) })
    }

    @Test func columnsInAnotherOrderFit() {
        #expect(SchemaMisfit(self.relation("a", "id"), self.table) == nil)
    }

    @Test func whatWasAddedAndWhatIsGoneIsNamed() throws {
        let misfit = try #require(SchemaMisfit(self.relation("id", "b"), self.table))
        #expect(misfit.description == "public.ev (columns added: b; columns gone: a)")
        #expect(misfit.remedy.contains("note_table_change('\"public\".\"ev\"')"))
    }
}
