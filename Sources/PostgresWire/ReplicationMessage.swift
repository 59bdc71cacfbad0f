import NIOCore

/// The messages of the `pgoutput` plugin (PostgreSQL documentation, "Logical Replication Message Formats").
///
/// Times are microseconds since the Unix epoch. Messages of a streamed (not yet committed) transaction carry the id of the
/// subtransaction they belong to; it is nil otherwise.
package enum ReplicationMessage: Hashable, Sendable {
    case begin(Begin)
    case commit(Commit)
    case origin(lsn: LSN, name: String)
    case relation(Relation, xid: UInt32?)
    case type(oid: UInt32, schema: String, name: String, xid: UInt32?)
    case insert(Insert)
    case update(Update)
    case delete(Delete)
    case truncate(Truncate)
    case logical(Logical)
    case streamStart(xid: UInt32, firstSegment: Bool)
    case streamStop
    case streamCommit(xid: UInt32, Commit)
    case streamAbort(xid: UInt32, subtransaction: UInt32)

    package struct Begin: Hashable, Sendable {
        /// Position of the commit record.
        package var finalLSN: LSN
        package var commitTime: Int64
        package var xid: UInt32
    }

    package struct Commit: Hashable, Sendable {
        package var commitLSN: LSN
        /// Position after the commit record: the transaction's position everywhere in Penstock.
        package var endLSN: LSN
        package var commitTime: Int64
    }

    package struct Insert: Hashable, Sendable {
        package var relation: UInt32
        package var new: Tuple
        package var xid: UInt32?
    }

    package struct Update: Hashable, Sendable {
        package var relation: UInt32
        /// The whole old row (`O`, replica identity full) or its key (`K`, other columns null); nil if not sent.
        package var old: Tuple?
        package var oldIsKeyOnly: Bool
        package var new: Tuple
        package var xid: UInt32?
    }

    package struct Delete: Hashable, Sendable {
        package var relation: UInt32
        package var old: Tuple
        package var oldIsKeyOnly: Bool
        package var xid: UInt32?
    }

    package struct Truncate: Hashable, Sendable {
        package var relations: [UInt32]
        package var cascade: Bool
        package var restartIdentity: Bool
        package var xid: UInt32?
    }

    /// A message written by `pg_logical_emit_message`.
    package struct Logical: Hashable, Sendable {
        package var transactional: Bool
        package var lsn: LSN
        package var prefix: String
        package var content: ByteBuffer
        package var xid: UInt32?
    }

    /// The first byte of each message.
    package enum Kind: UInt8, Sendable {
        case begin = 0x42  // B
        case commit = 0x43  // C
        case origin = 0x4F  // O
        case relation = 0x52  // R
        case type = 0x59  // Y
        case insert = 0x49  // I
        case update = 0x55  // U
        case delete = 0x44  // D
        case truncate = 0x54  // T
        case logical = 0x4D  // M
        case streamStart = 0x53  // S
        case streamStop = 0x45  // E
        case streamCommit = 0x63  // c
        case streamAbort = 0x41  // A
    }
}

/// A message that does not follow the format: the stream cannot be trusted any further.
package struct ReplicationDecodingError: Error, Hashable, CustomStringConvertible {
    /// The message's first byte, if there was one.
    package var kind: UInt8?
    package var reason: String

    package init(kind: UInt8?, reason: String) {
        self.kind = kind
        self.reason = reason
    }

    package var description: String {
        let kind = self.kind.map { "'\(Character(UnicodeScalar($0)))'" } ?? "empty"
        return "malformed replication message (\(kind)): \(self.reason)"
    }
}
