import NIOCore
import PostgresWire

/// One committed transaction as consumers of the feed get it.
package enum FeedEntry: Sendable {
    case whole(CommittedTransaction)
    /// Too large for memory: its pieces are read from the log one after the other.
    case large(LargeTransaction)

    package var header: TransactionHeader {
        switch self {
        case .whole(let transaction): return transaction.header
        case .large(let transaction): return transaction.header
        }
    }
}

/// A transaction whose messages lie in the log in several pieces.
package struct LargeTransaction: Sendable {
    package var header: TransactionHeader
    /// Definitions in force when the transaction began.
    package var relations: [UInt32: Relation]
    /// Offsets of the records that hold the pieces; the last is the commit record.
    var offsets: [UInt64]

    package var pieceCount: Int { self.offsets.count }
}

/// What a consumer gets when it asks for what follows a position.
package enum FeedReadResult: Sendable {
    /// In order; empty when the position is the newest.
    case entries([FeedEntry])
    /// The position lies before what is kept, or belongs to another history: the consumer must start over.
    case behindWindow
}
