import ExactText

/// One flow between streams and a table.
package enum MirrorFlow: Hashable, Sendable {
    case streamToTable(StreamToTableFlow)
    case tableToStream(TableToStreamFlow)

    package var name: String {
        switch self {
        case .streamToTable(let flow): flow.name
        case .tableToStream(let flow): flow.name
        }
    }
}

/// The name of a table. Sessions have an empty search path, so a schema always belongs to it.
package struct MirrorTableName: Hashable, Sendable, CustomStringConvertible {
    @ExactText package var schema: String
    @ExactText package var name: String

    package init(schema: String, name: String) {
        self.schema = schema
        self.name = name
    }

    /// `table` or `schema.table`; the schema is `public` when none is named.
    package init(_ text: String) {
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        self.init(schema: parts.count == 2 ? parts[0] : "public", name: parts.last ?? "")
    }

    package var description: String { "\(self.schema).\(self.name)" }
}

/// What a flow from streams to a table does.
package struct StreamToTableFlow: Hashable, Sendable {
    /// How the table is written.
    package enum Mode: Hashable, Sendable {
        /// A row for each message. Without columns: those of the built-in event table.
        case events
        /// A row for each key; these columns are the key.
        case upsert(key: [String])
    }

    /// Where a flow without a checkpoint begins.
    package enum Start: Hashable, Sendable {
        case beginning, now
    }

    /// A column and the path in the JSON of a message that its value is at.
    package struct Column: Hashable, Sendable {
        /// Names of members, outermost first; empty for the whole message.
        package var path: [String]
        package var name: String

        package init(path: [String], name: String) {
            self.path = path
            self.name = name
        }
    }

    package var name: String
    package var source: StreamSelector
    package var target: MirrorTableName
    package var mode: Mode
    package var columns: [Column]
    /// Most messages of one transaction.
    package var batchSize: Int
    /// How long a batch that is not full waits for more.
    package var batchDelay: Duration
    /// Streams that are written at the same time; each takes a connection of the pool.
    package var workers: Int
    /// Nil: `penstock.mirror_dead_letters`.
    package var deadLetterTable: MirrorTableName?
    package var start: Start
    /// Makes the built-in event table where there is none.
    package var createsTable: Bool
    /// Makes a named source as a JSON stream where there is none.
    package var createsStreams: Bool

    package init(
        name: String, source: StreamSelector, target: MirrorTableName, mode: Mode = .events, columns: [Column] = [],
        batchSize: Int = 500, batchDelay: Duration = .milliseconds(100), workers: Int = 1,
        deadLetterTable: MirrorTableName? = nil, start: Start = .beginning, createsTable: Bool = false,
        createsStreams: Bool = false
    ) {
        self.name = name
        self.source = source
        self.target = target
        self.mode = mode
        self.columns = columns
        self.batchSize = max(1, batchSize)
        self.batchDelay = batchDelay
        self.workers = max(1, workers)
        self.deadLetterTable = deadLetterTable
        self.start = start
        self.createsTable = createsTable
        self.createsStreams = createsStreams
    }
}

/// What a flow from a table to a stream does.
package struct TableToStreamFlow: Hashable, Sendable {
    package var name: String
    package var source: MirrorTableName
    /// The stream; nothing else may write to it.
    package var target: String
    /// Adds the table to the feed's publication where it is missing.
    package var addsToPublication: Bool

    package init(name: String, source: MirrorTableName, target: String, addsToPublication: Bool = true) {
        self.name = name
        self.source = source
        self.target = target
        self.addsToPublication = addsToPublication
    }
}
