internal import NIOCore
internal import PostgresWire

/// Collects encoded operations.
struct OperationBlockBuilder {
    private var tables: [SatelliteTable] = []
    private var tableIndexes: [UInt32: Int32] = [:]
    private var changes: [OperationBlock.Change] = []
    private var owners: [OperationBlock.Ownership] = []
    private var operations = ByteBuffer()

    var isEmpty: Bool { self.changes.isEmpty }
    var byteCount: Int { self.operations.readableBytes }

    mutating func reserve(byteCount: Int) {
        self.operations.reserveCapacity(byteCount)
    }

    mutating func insert(_ layout: RowLayout, new: Tuple, tags: EncodedTags) {
        let start = self.operations.writerIndex
        OperationEncoder.appendInsert(table: layout.table, row: layout.row(new), tags: tags, to: &self.operations)
        var ownership: OperationBlock.Ownership?
        if layout.table.ownerColumn != nil { ownership = .init(new: layout.owner(of: new)) }
        self.append(.insert, layout.table, start: start, end: self.operations.writerIndex, ownership)
    }

    mutating func update(_ layout: RowLayout, old: Tuple, new: Tuple, tags: EncodedTags) {
        let start = self.operations.writerIndex
        let oldRow = layout.row(old)
        let newRow = layout.row(new)
        OperationEncoder.appendUpdate(
            table: layout.table, old: oldRow, new: newRow, tags: tags, to: &self.operations)
        let end = self.operations.writerIndex
        var ownership: OperationBlock.Ownership?
        if layout.table.ownerColumn != nil {
            var owners = OperationBlock.Ownership(old: layout.owner(of: old), new: layout.owner(of: new))
            if owners.old != owners.new {
                OperationEncoder.appendInsert(table: layout.table, row: newRow, tags: tags, to: &self.operations)
                let middle = self.operations.writerIndex
                OperationEncoder.appendGone(table: layout.table, row: oldRow, to: &self.operations)
                owners.insert = end..<middle
                owners.gone = middle..<self.operations.writerIndex
            }
            ownership = owners
        }
        self.append(.update, layout.table, start: start, end: end, ownership)
    }

    mutating func delete(_ layout: RowLayout, old: Tuple) {
        let start = self.operations.writerIndex
        OperationEncoder.appendDelete(table: layout.table, old: layout.row(old), to: &self.operations)
        var ownership: OperationBlock.Ownership?
        if layout.table.ownerColumn != nil { ownership = .init(old: layout.owner(of: old)) }
        self.append(.delete, layout.table, start: start, end: self.operations.writerIndex, ownership)
    }

    /// A removal of which only the key is known; it goes to every user, since nothing tells whose row it was.
    mutating func gone(_ table: SatelliteTable, row: TupleRow) {
        let start = self.operations.writerIndex
        OperationEncoder.appendGone(table: table, row: row, to: &self.operations)
        self.append(.gone, table, start: start, end: self.operations.writerIndex, nil)
    }

    mutating func take() -> OperationBlock {
        let block = OperationBlock(
            tables: self.tables, changes: self.changes, owners: self.owners, operations: self.operations)
        self = OperationBlockBuilder()
        return block
    }

    private mutating func append(
        _ kind: OperationEncoder.Kind, _ table: SatelliteTable, start: Int, end: Int,
        _ ownership: OperationBlock.Ownership?
    ) {
        var owner: Int32 = -1
        if let ownership {
            owner = Int32(self.owners.count)
            self.owners.append(ownership)
        }
        self.changes.append(.init(table: self.index(of: table), kind: kind, owner: owner, start: start, end: end))
    }

    private mutating func index(of table: SatelliteTable) -> Int32 {
        if let index = self.tableIndexes[table.oid] { return index }
        let index = Int32(self.tables.count)
        self.tables.append(table)
        self.tableIndexes[table.oid] = index
        return index
    }
}
