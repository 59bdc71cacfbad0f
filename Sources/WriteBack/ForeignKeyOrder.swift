internal import ExactText
internal import PostgresClient

/// An order of the changes of a transaction in which no row comes before one that it refers to.
///
/// Clients check foreign keys at commit, so their changes come in any order; Postgres checks after each change unless
/// the constraint is deferrable. Used only when the order of the client has failed.
struct ForeignKeyOrder {
    /// How far a table is from those that refer to nothing.
    private var ranks: ExactDictionary<Int> = [:]

    /// - Parameter references: pairs of a referring and a referenced table.
    init(references: [(child: String, parent: String)]) {
        var parents: ExactDictionary<[String]> = [:]
        for pair in references where !pair.child.isExactly(pair.parent) {
            parents[pair.child, default: []].append(pair.parent) }
        var ranks: ExactDictionary<Int> = [:]
        // A table on a cycle gets a rank all the same; no order of tables would do for it.
        func rank(_ table: String, _ path: ExactSet) -> Int {
            if let known = ranks[table] { return known }
            let above = (parents[table] ?? []).filter { !path.contains($0) }
            let value = above.map { rank($0, path.union([table])) + 1 }.max() ?? 0
            ranks[table] = value
            return value
        }
        for table in parents.keys.sortedExactly() { _ = rank(table, []) }
        self.ranks = ranks
    }

    /// Reads the references between electrified tables.
    static func read(from connection: PostgresConnection) async throws -> ForeignKeyOrder {
        let result = try await connection.query(
            """
            SELECT ce.schema_name || '.' || ce.table_name, pe.schema_name || '.' || pe.table_name
            FROM pg_catalog.pg_constraint k
            JOIN electric.electrified ce ON ce.oid = k.conrelid
            JOIN electric.electrified pe ON pe.oid = k.confrelid
            WHERE k.contype = 'f'
            """)
        return ForeignKeyOrder(references: result.rows.map { ($0[0] ?? "", $0[1] ?? "") })
    }

    /// Rows that come or stay: referenced tables first. Then rows that go: referring tables first. Nil when the order
    /// would be the same, or when a row is changed more than once, where the client's own order matters.
    func sorted(_ changes: [WriteChange], keyNames: (WriteChange) -> [String]) -> [WriteChange]? {
        var seen: Set<[[UInt8]?]> = []
        for change in changes {
            var key: [[UInt8]?] = [Array(change.schema.utf8), Array(change.table.utf8)]
            for name in keyNames(change) { key.append(change.columns.first { $0.name.isExactly(name) }?.value) }
            guard seen.insert(key).inserted else { return nil }
        }
        func place(_ change: WriteChange) -> (Int, Int) {
            let rank = self.ranks["\(change.schema).\(change.table)"] ?? 0
            return change.kind == .delete ? (1, -rank) : (0, rank)
        }
        let placed = changes.enumerated().map { (place: place($0.element), index: $0.offset) }
        let order = placed.sorted { ($0.place.0, $0.place.1, $0.index) < ($1.place.0, $1.place.1, $1.index) }.map(
            \.index)
        return order == Array(changes.indices) ? nil : order.map { changes[$0] }
    }
}
