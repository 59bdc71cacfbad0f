internal import NIOCore

/// Row operations of one transaction, encoded once, in commit order: all of them, or a part of a large transaction.
package final class OperationBlock: Sendable {
    /// One encoded operation.
    struct Change: Hashable, Sendable {
        var table: Int32
        var kind: OperationEncoder.Kind
        /// Index into ``owners``, or -1 for tables without an owner column.
        var owner: Int32
        /// Range in ``operations``.
        var start: Int
        var end: Int
    }

    /// Who sees a change of a row in a table with an owner column; nil is everybody.
    struct Ownership: Hashable, Sendable {
        var old: String?
        var new: String?
        /// What is sent instead of an update to a user who could not see the row before.
        var insert: Range<Int>?
        /// What is sent instead of an update to a user who can no longer see the row.
        var gone: Range<Int>?
    }

    /// The tables that the changes are of.
    package let tables: [SatelliteTable]
    let changes: [Change]
    let owners: [Ownership]
    let operations: ByteBuffer
    private let cache = FrameCache<TableSelection>()

    package static let empty = OperationBlock(tables: [], changes: [], owners: [], operations: ByteBuffer())

    init(tables: [SatelliteTable], changes: [Change], owners: [Ownership], operations: ByteBuffer) {
        self.tables = tables
        self.changes = changes
        self.owners = owners
        self.operations = operations
    }

    package var isEmpty: Bool { self.changes.isEmpty }
    package var changeCount: Int { self.changes.count }
    package var byteCount: Int { self.operations.readableBytes + self.changes.count * MemoryLayout<Change>.stride }

    /// The selected operations in op logs of their own, without begin and commit.
    package func frames(_ selection: TableSelection) -> FrameBatch {
        self.cache.value(for: selection, budget: FrameBudget(for: self)) {
            var assembler = OpLogAssembler()
            let count = self.append(selection, to: &assembler)
            return TransactionFrames(batch: assembler.finish(), changeCount: count)
        }.batch
    }

    /// Appends the selected operations and returns how many they were.
    func append(_ selection: TableSelection, to assembler: inout OpLogAssembler) -> Int {
        var count = 0
        for change in self.changes where selection.contains(Int(change.table)) {
            guard let range = self.range(of: change, for: selection.user) else { continue }
            assembler.append(range, of: self.operations)
            count += 1
        }
        assembler.finishRun(self.operations)
        return count
    }

    /// The operation that `user` gets for a change; nil if it is none of theirs.
    private func range(of change: Change, for user: String?) -> Range<Int>? {
        guard change.owner >= 0 else { return change.start..<change.end }
        let owner = self.owners[Int(change.owner)]
        let sawOld = owner.old == nil || owner.old == user
        let seesNew = owner.new == nil || owner.new == user
        switch change.kind {
        case .insert: return seesNew ? change.start..<change.end : nil
        case .delete, .gone: return sawOld ? change.start..<change.end : nil
        case .update:
            switch (sawOld, seesNew) {
            case (true, true): return change.start..<change.end
            case (false, true): return owner.insert
            case (true, false): return owner.gone
            case (false, false): return nil
            }
        }
    }
}

/// Frames of (a part of) a transaction for one selection.
package struct TransactionFrames: Sendable {
    package var batch: FrameBatch
    /// Row operations inside; zero means begin and commit alone.
    package var changeCount: Int
}

/// How much a block or transaction may keep in its frame cache.
///
/// When it is used up, further selections are encoded for each session anew: slower, never wrong.
struct FrameBudget {
    static let entries = 256
    var byteCount: Int

    init(for block: OperationBlock) {
        self.byteCount = max(64 << 10, 4 * block.operations.readableBytes)
    }
}
