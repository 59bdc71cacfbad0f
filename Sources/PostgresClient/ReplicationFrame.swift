package import NIOCore
package import PostgresWire

/// What a replication connection received.
package enum ReplicationFrame: Sendable, Hashable {
    /// One message of the output plugin. `start` is its position in the WAL, `end` the server's present end of WAL.
    case xlogData(start: LSN, end: LSN, message: ByteBuffer)
    /// A sign of life. `end` is a position before which nothing more is to come.
    case keepalive(end: LSN, replyRequested: Bool)
    /// Nothing came within the time given, or somebody called `wake()`.
    case idle
    /// The server has ended the stream; the connection takes commands again.
    case ended
}

/// Many messages in one piece of memory: what came in one go.
///
/// ``bytes`` has the layout of a `TransactionPiece`: for each message a 32-bit big-endian length and the message.
package struct ReplicationBatch: Sendable {
    package struct Message: Sendable, Hashable {
        package var start: LSN
        package var end: LSN
        /// Where the message lies in ``ReplicationBatch/bytes``, without its length.
        package var offset: Int
        package var length: Int
    }

    package var bytes = ByteBuffer()
    package var messages: [Message] = []
    /// The last keepalive, if one came in the batch.
    package var keepaliveEnd: LSN?
    /// The server wants a status at once.
    package var replyRequested = false
    package var hasEnded = false

    package init() {}

    package var isEmpty: Bool { self.messages.isEmpty && self.keepaliveEnd == nil && !self.hasEnded }

    /// The bytes of a message: a slice, nothing is copied.
    package subscript(_ message: Message) -> ByteBuffer {
        self.bytes.getSlice(at: message.offset, length: message.length) ?? ByteBuffer()
    }

    /// Empties the batch. Slices that were taken from it keep their bytes.
    package mutating func removeAll() {
        self.bytes.clear()
        self.messages.removeAll(keepingCapacity: true)
        self.keepaliveEnd = nil
        self.replyRequested = false
        self.hasEnded = false
    }
}

/// The answer to `IDENTIFY_SYSTEM`.
package struct SystemIdentity: Sendable, Hashable {
    /// Differs between clusters; physical copies of a cluster share it.
    package var systemIdentifier: String
    /// Rises with each promotion and each recovery to a point in time.
    package var timeline: Int
    /// The server's present end of WAL.
    package var position: LSN
    package var database: String?
}
