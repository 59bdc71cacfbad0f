package import ExactText
package import NIOCore

/// A transaction that a client made, checked and in the server's terms.
package struct ClientTransaction: Hashable, Sendable {
    package var clientID: String
    /// The client's position of the transaction; opaque, to be stored and given back as it is.
    package var clientLSN: ByteBuffer
    /// Milliseconds since the Unix epoch, by the client's clock. Together with the client's id it is the tag of every
    /// change inside.
    package var commitTimestamp: UInt64
    /// In the client's order; never empty.
    package var changes: [ClientChange]

    package init(clientID: String, clientLSN: ByteBuffer, commitTimestamp: UInt64, changes: [ClientChange]) {
        self.clientID = clientID
        self.clientLSN = clientLSN
        self.commitTimestamp = commitTimestamp
        self.changes = changes
    }

    package var tag: Tag { Tag(milliseconds: Int64(clamping: self.commitTimestamp), source: self.clientID) }

    /// Size of the row values, for limits on what may wait.
    package var byteCount: Int {
        self.changes.reduce(64) { $0 + $1.byteCount }
    }
}

/// One row change of a client.
package struct ClientChange: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case insert
        case update
        case delete
        /// Keeps a referenced row alive, or revives it: it modifies no column.
        case compensation
    }

    package var table: SatelliteTable
    package var kind: Kind
    /// The row, one entry per column of ``table``: the new row of an insert or update, the old row of a delete, the
    /// primary key of a compensation.
    package var values: [ClientValue]
    /// Per column of ``table``, whether the change modifies it. Never true for primary keys, nor for columns that the
    /// client did not send.
    package var changed: [Bool]
    /// The versions of the row that the client had seen and replaces.
    package var observedTags: [Tag]

    /// The values by column name, without those that the client did not send.
    package var valuesByName: ExactDictionary<ClientValue> {
        var result: ExactDictionary<ClientValue> = [:]
        for (index, value) in self.values.enumerated() where value != .absent {
            result[self.table.columns[index].name] = value
        }
        return result
    }

    var byteCount: Int {
        self.values.reduce(64 + self.observedTags.count * 48) { total, value in
            if case .bytes(let bytes) = value { return total + bytes.readableBytes + 16 }
            return total + 16
        }
    }
}

/// A column's value in a client's change.
package enum ClientValue: Hashable, Sendable {
    /// The client's schema does not have the column yet: it must be neither overwritten nor made NULL.
    case absent
    case null
    /// The value as text, but for `bytea`: the bytes themselves.
    case bytes(ByteBuffer)
}

/// Why a client's message cannot be accepted. Ends the session.
package struct ClientWriteError: Error, Hashable {
    /// For the client.
    package var message: String
    /// The client's position of the transaction, where the refusal names it.
    package var clientLSN: ByteBuffer?

    init(_ message: String, clientLSN: ByteBuffer? = nil) {
        self.message = message
        self.clientLSN = clientLSN
    }

    /// The text of the legacy service for everything malformed.
    static let malformed = ClientWriteError("unexpected error")
}
