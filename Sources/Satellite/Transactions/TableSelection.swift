/// Which of a transaction's tables a session gets, and on whose behalf.
///
/// The tables are counted as in ``OperationBlock/tables``. Sessions with equal selections get the same bytes.
package struct TableSelection: Hashable, Sendable {
    private var first64: UInt64 = 0
    private var rest: [UInt64] = []
    /// The user whose rows are selected; nil unless a selected table has an owner column, so that users share bytes
    /// where they may.
    package private(set) var user: String?

    package init() {}

    package init(tables: [SatelliteTable], user: String, where isSelected: (SatelliteTable) -> Bool) {
        for (index, table) in tables.enumerated() where isSelected(table) {
            self.insert(index)
            if table.ownerColumn != nil { self.user = user }
        }
    }

    package var isEmpty: Bool { self.first64 == 0 && self.rest.allSatisfy { $0 == 0 } }

    package func contains(_ index: Int) -> Bool {
        if index < 64 { return self.first64 & (1 << UInt64(index)) != 0 }
        let word = index / 64 - 1
        return word < self.rest.count && self.rest[word] & (1 << UInt64(index % 64)) != 0
    }

    private mutating func insert(_ index: Int) {
        if index < 64 {
            self.first64 |= 1 << UInt64(index)
            return
        }
        let word = index / 64 - 1
        while self.rest.count <= word { self.rest.append(0) }
        self.rest[word] |= 1 << UInt64(index % 64)
    }
}
