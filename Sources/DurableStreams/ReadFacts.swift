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

    package init(
        identity: StreamIdentity, contentType: ContentType, start: UInt64, end: UInt64, isAtTail: Bool,
        isClosed: Bool, isNow: Bool = false, cursor: UInt64? = nil
    ) {
        self.identity = identity
        self.contentType = contentType
        self.start = start
        self.end = end
        self.isAtTail = isAtTail
        self.isClosed = isClosed
        self.isNow = isNow
        self.cursor = cursor
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
