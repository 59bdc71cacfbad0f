import Logging
import PostgresClient
import PostgresWire
import Satellite
import Synchronization

/// How a table in the stream differs from the electrified schema: a migration was made that nothing has captured.
struct SchemaMisfit: Hashable, Sendable, CustomStringConvertible {
    var relation: Relation
    /// Columns of the table that clients do not know.
    var unknown: [String]
    /// Columns that clients know and the table no longer has.
    var missing: [String]

    /// Nil when both have the same columns.
    init?(_ relation: Relation, _ table: SatelliteTable) {
        let names = relation.columns.map(\.name)
        self.relation = relation
        self.unknown = names.filter { table.columnIndex($0) == nil }
        self.missing = table.columns.map(\.name).filter { relation.columnIndex($0) == nil }
        if self.unknown.isEmpty, self.missing.isEmpty { return nil }
    }

    var description: String {
        var parts: [String] = []
        if !self.unknown.isEmpty { parts.append("columns added: \(self.unknown.joined(separator: ", "))") }
        if !self.missing.isEmpty { parts.append("columns gone: \(self.missing.joined(separator: ", "))") }
        return "\(self.relation.schema).\(self.relation.name) (\(parts.joined(separator: "; ")))"
    }

    var remedy: String { Self.remedy(SQLText.identifier(self.relation.schema, self.relation.name)) }

    static func remedy(_ table: String) -> String {
        "make columns that are gone again, then as a superuser: SELECT electric.install_event_triggers(); "
            + "SELECT electric.note_table_change(\(SQLText.literal(table)));"
    }

    static let clientText = "A table has changed without a migration that is known"

    /// Whether an error of a query by the known schema says that a table or a column of it is gone.
    static func isSign(_ error: PostgresError) -> Bool { error.sqlState == "42703" || error.sqlState == "42P01" }
}

extension SatelliteHub {
    /// Compares definitions by which rows came with the electrified schema. A table that differs is reported once.
    func compare(_ relations: [Relation]) async throws {
        let schema = self.schema
        for relation in relations {
            let oid = relation.oid
            guard let table = schema.table(oid: oid) else { continue }
            guard var misfit = SchemaMisfit(relation, table) else {
                self.state.withLock { _ = $0.misfits.removeValue(forKey: oid) }
                continue
            }
            guard self.state.withLock({ $0.misfits[oid]?.relation != relation }) else { continue }
            if !misfit.missing.isEmpty {
                // Why: the schema may be newer than this transaction; the migration that added the column is still to come.
                let now = try await self.source.load(including: nil).schema.table(oid: oid)
                misfit.missing.removeAll { now?.columnIndex($0) != nil }
            }
            if misfit.missing.isEmpty, misfit.unknown.isEmpty { continue }
            self.state.withLock { $0.misfits[oid] = misfit }
            self.logger.error(
                "a table has changed without a captured migration: clients get rows without what they do not know",
                metadata: ["table": "\(misfit)", "remedy": "\(misfit.remedy)"])
        }
    }
}
