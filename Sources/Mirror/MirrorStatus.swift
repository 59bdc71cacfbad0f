/// How one flow does, for metrics, health and logs.
package struct MirrorFlowStatus: Sendable {
    package enum Direction: String, Sendable {
        case streamToTable = "stream-to-table"
        case tableToStream = "table-to-stream"
    }

    package var name: String
    package var direction: Direction
    /// Why the flow as a whole does not get on; nil if it does.
    package var problem: String?
    /// One for each stream that the flow knows; of a flow from a table, its target.
    package var streams: [MirrorStreamStatus]
}

/// How the mirroring of one stream does.
package struct MirrorStreamStatus: Sendable {
    package enum State: String, CaseIterable, Sendable {
        /// Getting ready: table, checkpoint, feed.
        case starting
        /// Another worker has the lease.
        case standby
        /// Reading the table as it is.
        case snapshot
        case following
        /// A failure that passes by itself.
        case retrying
        /// A failure that a person has to put right; tried again from time to time.
        case failed
        /// The stream was closed and is in the table to its end.
        case finished
        /// The stream is no longer there.
        case gone
    }

    package var stream: String
    package var state: State
    package var problem: String?
    /// Bytes of the stream, or of the feed, that are not mirrored yet.
    package var lagBytes: UInt64 = 0
    /// How long there has been something that is not mirrored yet.
    package var lagSeconds: Double = 0
    package var batches: UInt64 = 0
    package var messages: UInt64 = 0
    package var retries: UInt64 = 0
    package var deadLetters: UInt64 = 0
    /// How often the stream was begun anew: recreated streams, and tables read once more.
    package var restarts: UInt64 = 0

    init(stream: String, state: State) {
        self.stream = stream
        self.state = state
    }
}
