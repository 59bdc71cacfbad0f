import NIOCore
import PostgresWire

/// The records of the change log, inside the store's own framing and checksum.
///
/// The store's key of a record is a position: the end of the transaction; for a piece, one more than the position of the
/// commit record, which lies after every earlier transaction's end; for progress, the position reached.
enum ChangeLogRecord {
    enum Kind: UInt8, Sendable {
        /// Header, then all messages.
        case transaction = 1
        /// Ordinal, then some messages of a large transaction.
        case piece = 2
        /// Header, number of pieces before, then the last messages.
        case largeCommit = 3
        /// A relation message, in force from here on.
        case definition = 4
        /// Nothing of ours up to the key.
        case progress = 5
    }

    static let headerLength = 32

    static func key(ofPieceAt finalLSN: LSN) -> UInt64 { finalLSN.rawValue + 1 }

    static func write(_ header: TransactionHeader, to buffer: inout ByteBuffer) {
        buffer.writeInteger(header.xid)
        buffer.writeInteger(header.commitLSN.rawValue)
        buffer.writeInteger(header.endLSN.rawValue)
        buffer.writeInteger(header.commitTime)
    }

    static func readHeader(_ buffer: inout ByteBuffer) throws -> TransactionHeader {
        guard let (xid, commit, end, time) = buffer.readMultipleIntegers(as: (UInt64, UInt64, UInt64, Int64).self)
        else { throw ChangeLogError(reason: "a record of the change log is shorter than its header") }
        return TransactionHeader(
            xid: xid, commitLSN: LSN(rawValue: commit), endLSN: LSN(rawValue: end), commitTime: time)
    }
}

/// The change log holds something that no version of this program writes.
package struct ChangeLogError: Error, Hashable, CustomStringConvertible {
    package var reason: String

    package init(reason: String) {
        self.reason = reason
    }

    package var description: String { self.reason }
}

/// The definitions of relations along the log.
struct DefinitionHistory: Sendable {
    /// In force at the oldest record that is kept.
    private(set) var base: [UInt32: Relation]
    /// Later ones, by the log offset from which they hold.
    private var changes: [(offset: UInt64, relation: Relation)] = []
    private(set) var current: [UInt32: Relation]

    init(base: [UInt32: Relation] = [:]) {
        self.base = base
        self.current = base
    }

    mutating func add(_ relation: Relation, at offset: UInt64) {
        self.changes.append((offset, relation))
        self.current[relation.oid] = relation
    }

    /// Definitions in force for the record at `offset`.
    func definitions(at offset: UInt64) -> [UInt32: Relation] {
        guard let last = self.changes.last, last.offset >= offset else { return self.current }
        var definitions = self.base
        for change in self.changes where change.offset < offset { definitions[change.relation.oid] = change.relation }
        return definitions
    }

    /// Forgets what only trimmed records needed.
    mutating func trim(before offset: UInt64) {
        self.base = self.definitions(at: offset)
        self.changes.removeAll { $0.offset < offset }
    }
}
