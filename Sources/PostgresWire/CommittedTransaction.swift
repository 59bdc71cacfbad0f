import NIOCore

/// What identifies a committed transaction.
package struct TransactionHeader: Hashable, Sendable {
    /// 64-bit transaction id.
    package var xid: UInt64
    /// Position of the commit record.
    package var commitLSN: LSN
    /// Position after the commit record. It is the transaction's position in the stream, in the change log and for clients.
    package var endLSN: LSN
    /// Microseconds since the Unix epoch.
    package var commitTime: Int64

    package init(xid: UInt64, commitLSN: LSN, endLSN: LSN, commitTime: Int64) {
        self.xid = xid
        self.commitLSN = commitLSN
        self.endLSN = endLSN
        self.commitTime = commitTime
    }
}

/// A run of `pgoutput` messages of one transaction, without its Begin and Commit.
///
/// Layout: for each message a 32-bit big-endian length and the message itself, as it came from the server. A transaction is
/// one piece, or several when it is too large to be held in memory.
package struct TransactionPiece: Hashable, Sendable {
    package var bytes: ByteBuffer

    package init(bytes: ByteBuffer = ByteBuffer()) {
        self.bytes = bytes
    }

    package var byteCount: Int { self.bytes.readableBytes }

    package mutating func append(message: ByteBuffer) {
        self.bytes.writeInteger(UInt32(message.readableBytes))
        self.bytes.writeImmutableBuffer(message)
    }

    /// Calls `body` with each message in order.
    package func forEachMessage(_ body: (ByteBuffer) throws -> Void) throws {
        var rest = self.bytes
        while rest.readableBytes > 0 {
            guard let length = rest.readInteger(as: UInt32.self), let message = rest.readSlice(length: Int(length)) else {
                throw ReplicationDecodingError(kind: nil, reason: "a transaction piece is cut short")
            }
            try body(message)
        }
    }
}

/// A transaction that Postgres has committed, whole in memory.
package struct CommittedTransaction: Hashable, Sendable {
    package var header: TransactionHeader
    /// Definitions in force when the transaction began; newer ones come as messages inside the piece, before their first use.
    package var relations: [UInt32: Relation]
    package var piece: TransactionPiece

    package init(header: TransactionHeader, relations: [UInt32: Relation], piece: TransactionPiece) {
        self.header = header
        self.relations = relations
        self.piece = piece
    }
}
