package import NIOCore
package import PostgresWire

/// A committed transaction in the form in which sessions send it: made once, immutable, shared by all of them.
package final class SatelliteTransaction: Sendable {
    /// What of a transaction is sent as one client transaction.
    package enum Part: Hashable, Sendable {
        /// The migration. Clients that have it already skip it, so it never carries rows.
        case migration
        case rows
    }

    /// Position after the transaction; clients resume after it.
    package let position: LSN
    /// Position of the commit record, before ``position``. It is where the migration of a mixed transaction stands: a
    /// client that has applied that half only resumes before the rows.
    package let commitPosition: LSN
    package let xid: UInt64
    /// Milliseconds since the Unix epoch; exactly the client's own time for a client's transaction.
    package let commitTimestamp: UInt64
    /// The client that made it; nil for Postgres.
    package let origin: String?
    /// The schema after this transaction.
    package let schema: SatelliteSchema
    package let migration: SatelliteMigration?
    /// The row operations; empty when ``isLarge``.
    package let block: OperationBlock
    /// Whether the operations are read piece by piece from the log.
    package let isLarge: Bool
    /// Tables with row changes.
    package let tables: [SatelliteTable]
    /// Tables of which a change could not be expressed (an old row image is missing): sessions that hold rows of them
    /// start over.
    package let resyncTables: Set<UInt32>
    /// Contents of `electric.fk_chain_touch` messages, in order.
    package let touches: [ByteBuffer]

    private struct CacheKey: Hashable, Sendable {
        var part: Part
        var selection: TableSelection
        var dialect: SQLDialect
    }
    private let cache = FrameCache<CacheKey>()

    package init(
        position: LSN, commitPosition: LSN, xid: UInt64, commitTimestamp: UInt64, origin: String?,
        schema: SatelliteSchema, migration: SatelliteMigration? = nil, block: OperationBlock = .empty,
        largeTables: [SatelliteTable]? = nil, resyncTables: Set<UInt32> = [], touches: [ByteBuffer] = []
    ) {
        self.position = position
        self.commitPosition = commitPosition
        self.xid = xid
        self.commitTimestamp = commitTimestamp
        self.origin = origin
        self.schema = schema
        self.migration = migration
        self.block = block
        self.isLarge = largeTables != nil
        self.tables = largeTables ?? block.tables
        self.resyncTables = resyncTables
        self.touches = touches
    }

    package var hasRows: Bool { self.isLarge || !self.block.isEmpty }

    /// Memory held, cached frames included.
    package var byteCount: Int {
        256 + self.block.byteCount + self.cache.byteCount + self.touches.reduce(0) { $0 + $1.readableBytes }
    }

    /// The position that a part carries.
    package func position(of part: Part) -> LSN {
        part == .migration && self.hasRows ? self.commitPosition : self.position
    }

    /// The frames of a part, begin and commit included. Not for the rows of a large transaction.
    package func frames(_ part: Part, selection: TableSelection, dialect: SQLDialect) -> TransactionFrames {
        let key: CacheKey
        switch part {
        case .migration: key = CacheKey(part: part, selection: TableSelection(), dialect: dialect)
        case .rows: key = CacheKey(part: part, selection: selection, dialect: .sqlite)
        }
        return self.cache.value(for: key, budget: FrameBudget(for: self.block)) {
            switch part {
            case .migration:
                let batch = self.migration?.frames(position: self.position(of: part), dialect: dialect)
                return TransactionFrames(batch: batch ?? FrameBatch(), changeCount: 0)
            case .rows:
                let envelope = self.envelope
                var assembler = OpLogAssembler()
                assembler.append(envelope.begin)
                let count = self.block.append(selection, to: &assembler)
                assembler.append(envelope.commit)
                return TransactionFrames(batch: assembler.finish(), changeCount: count)
            }
        }
    }

    /// The begin of a large transaction, in a message of its own.
    package var beginFrame: FrameBatch { Self.frame(self.envelope.begin) }
    /// The commit of a large transaction, in a message of its own.
    package var commitFrame: FrameBatch { Self.frame(self.envelope.commit) }

    private static func frame(_ operation: [UInt8]) -> FrameBatch {
        var assembler = OpLogAssembler()
        assembler.append(operation)
        return assembler.finish()
    }

    private var envelope: TransactionEnvelope {
        TransactionEnvelope(
            position: self.position, xid: self.xid, timestamp: self.commitTimestamp, origin: self.origin,
            isMigration: false)
    }
}
