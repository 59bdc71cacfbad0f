package import ExactText

/// A transaction of a client, as it is written to Postgres.
package struct WriteTransaction: Sendable, Hashable {
    package var clientID: String
    /// The client's own position, opaque to us. Postgres keeps the last one that was dealt with.
    package var clientLSN: [UInt8]
    /// When the client committed, by its own clock: milliseconds since the Unix epoch. With the client's id it is the
    /// tag of the writes.
    package var commitTimestampMilliseconds: Int64
    package var changes: [WriteChange]

    package init(
        clientID: String, clientLSN: [UInt8], commitTimestampMilliseconds: Int64, changes: [WriteChange]
    ) {
        self.clientID = clientID
        self.clientLSN = clientLSN
        self.commitTimestampMilliseconds = commitTimestampMilliseconds
        self.changes = changes
    }

    /// Roughly what the transaction takes in memory.
    package var byteCount: Int {
        self.changes.reduce(128 + self.clientLSN.count) { $0 + $1.byteCount }
    }
}

/// A change of one row.
package struct WriteChange: Sendable, Hashable {
    package enum Kind: String, Sendable, Hashable {
        case insert
        case update
        case delete
        /// Brings a row back to life that another row refers to, without changing any column.
        case compensation
    }

    package struct Column: Sendable, Hashable {
        package var name: String
        /// Text of the value as the protocol carries it (bytes themselves for `bytea`); nil for NULL.
        package var value: [UInt8]?

        package init(_ name: String, _ value: [UInt8]?) {
            self.name = name
            self.value = value
        }

        package init(_ name: String, text: String?) {
            self.init(name, text.map { Array($0.utf8) })
        }
    }

    package struct ObservedTag: Sendable, Hashable {
        package var timestampMilliseconds: Int64
        /// Nil for a write made in Postgres.
        package var source: String?

        package init(timestampMilliseconds: Int64, source: String?) {
            self.timestampMilliseconds = timestampMilliseconds
            self.source = source
        }
    }

    package var kind: Kind
    package var schema: String
    package var table: String
    /// Every column the client knows: the new row, for a delete the old one, for a compensation at least the primary
    /// key. A column that is absent (the client's schema is older than ours) keeps its present value.
    package var columns: [Column]
    /// For an update, names of the columns it changes.
    package var modifiedColumns: ExactSet
    package var observedTags: [ObservedTag]

    package init(
        kind: Kind, schema: String = "public", table: String, columns: [Column], modifiedColumns: ExactSet = [],
        observedTags: [ObservedTag] = []
    ) {
        self.kind = kind
        self.schema = schema
        self.table = table
        self.columns = columns
        self.modifiedColumns = modifiedColumns
        self.observedTags = observedTags
    }

    var byteCount: Int {
        self.columns.reduce(96 + self.observedTags.count * 48) { $0 + 64 + ($1.value?.count ?? 0) }
    }
}

/// Why Postgres did not take a transaction. Trying it again would not help; the client's acknowledged position is
/// behind it.
package struct WriteRejection: Error, Sendable, Hashable {
    package var clientLSN: [UInt8]
    package var sqlState: String
    /// For the client whose data it is; it may hold values, and does not belong in a log.
    package var message: String
}

/// What became of a transaction.
package enum WriteOutcome: Sendable, Hashable {
    /// It is in Postgres.
    case applied
    case rejected(WriteRejection)
    /// The service ended before the transaction's turn came, or before anybody could tell. The client sends it again,
    /// which is harmless.
    case abandoned
}
