import DurableStreams

/// What happened to a stream that someone watches.
package struct StreamNotice: Sendable {
    package enum End: Hashable, Sendable {
        case deleted
        case expired
        /// The directory is closing.
        case released
    }

    /// The durable tail; several appends may have become one notice.
    package var tail: UInt64
    package var isClosed: Bool
    /// Set when the stream is gone; the last notice then.
    package var end: End?
}

/// Someone's interest in a stream's durable end.
///
/// Repeating observers are called whenever the tail moved or the stream was closed, and one last time when it is gone;
/// made once per stream and event loop they carry any number of readers. Observers that wait are called once. Neither
/// lets its stream expire before it is cancelled or has had its last call.
package final class TailObserver: Sendable {
    let entry: StreamEntry
    let id: UInt64
    let target: (any CompletionTarget)?
    /// For those that wait: not called before the tail is beyond this. Nil for those that repeat.
    let waitsBeyond: UInt64?
    private let body: @Sendable (StreamNotice) -> Void

    init(
        entry: StreamEntry, id: UInt64, target: (any CompletionTarget)?, waitsBeyond: UInt64?,
        body: @escaping @Sendable (StreamNotice) -> Void
    ) {
        self.entry = entry
        self.id = id
        self.target = target
        self.waitsBeyond = waitsBeyond
        self.body = body
    }

    func deliver(_ notice: StreamNotice) {
        self.body(notice)
    }
}
