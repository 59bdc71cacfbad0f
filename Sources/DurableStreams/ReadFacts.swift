/// What is known about a range that was read, as far as a response depends on it.
package struct ReadFacts: Hashable, Sendable {
    package var identity: StreamIdentity
    package var contentType: ContentType
    package var start: UInt64
    package var end: UInt64
    /// Whether ``end`` was the tail when the range was read.
    package var isAtTail: Bool
    /// Whether the stream was closed when the range was read.
    package var isClosed: Bool
    /// Whether the request asked for `now`, so that the response depends on the moment.
    package var isNow: Bool
    /// For live reads.
    package var cursor: UInt64?
    /// Where the stream begins, of a read that asked for its beginning and got it later than at 0.
    package var earliest: UInt64?
    /// Whether a read of the beginning may begin elsewhere later.
    package var isMovingStart: Bool
    /// Whether the range may be dropped one day.
    package var hasRetention: Bool

    package init(
        identity: StreamIdentity, contentType: ContentType, start: UInt64, end: UInt64, isAtTail: Bool,
        isClosed: Bool, isNow: Bool = false, cursor: UInt64? = nil, isFromStart: Bool = false,
        hasRetention: Bool = false
    ) {
        self.identity = identity
        self.contentType = contentType
        self.start = start
        self.end = end
        self.isAtTail = isAtTail
        self.isClosed = isClosed
        self.isNow = isNow
        self.cursor = cursor
        self.hasRetention = hasRetention
        self.isMovingStart = hasRetention && isFromStart
        self.earliest = self.isMovingStart && start > 0 ? start : nil
    }

    /// Whether the range ends where the stream ends for good.
    package var isFinal: Bool { self.isClosed && self.isAtTail }
    /// The tag of the range; nil for `now`.
    package var entityTag: EntityTag? {
        self.isNow
            ? nil : EntityTag(identity: self.identity, start: self.start, end: self.end, isFinal: self.isFinal)
    }
    package var framing: ContentFraming { self.contentType.isJSON ? .jsonArray : .plain }
}
