package import ExactText

/// The electrified tables at one point of the stream. Immutable; a migration makes a new object.
package final class SatelliteSchema: Sendable {
    package let tables: [UInt32: SatelliteTable]
    /// Names of tables in `public`.
    private let publicTables: ExactDictionary<UInt32>
    private let shadowTables: ExactDictionary<UInt32>
    /// Every migration version that was ever applied.
    package let versions: ExactSet

    package init(tables: [SatelliteTable], versions: ExactSet = []) {
        var byOID: [UInt32: SatelliteTable] = [:]
        var byName: ExactDictionary<UInt32> = [:]
        var byShadow: ExactDictionary<UInt32> = [:]
        for table in tables {
            byOID[table.oid] = table
            if table.schema == "public" { byName[table.name] = table.oid }
            byShadow[table.shadowName] = table.oid
        }
        self.tables = byOID
        self.publicTables = byName
        self.shadowTables = byShadow
        self.versions = versions
    }

    package static let empty = SatelliteSchema(tables: [])

    package func table(oid: UInt32) -> SatelliteTable? { self.tables[oid] }

    package func table(publicName name: String) -> SatelliteTable? {
        self.publicTables[name].flatMap { self.tables[$0] }
    }

    /// The table whose conflict metadata lies in `electric.<name>`.
    package func table(shadowName name: String) -> SatelliteTable? {
        self.shadowTables[name].flatMap { self.tables[$0] }
    }

    /// The given tables and all tables that their foreign keys reach, in a stable order. Cycles are followed once.
    package func closure(of roots: [UInt32]) -> [SatelliteTable] {
        var seen = Set<UInt32>()
        var queue = roots
        var result: [SatelliteTable] = []
        var next = 0
        while next < queue.count {
            let oid = queue[next]
            next += 1
            guard seen.insert(oid).inserted, let table = self.tables[oid] else { continue }
            result.append(table)
            queue.append(contentsOf: table.parents)
        }
        return result
    }
}
