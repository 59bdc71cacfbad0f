import ExactText

/// What was fixed when a stream was created.
package struct StreamConfiguration: Hashable, Sendable {
    package var contentType: ContentType
    package var lifetime: Lifetime
    package var fork: ForkOrigin?
    /// Nil keeps everything.
    package var retention: StreamRetention? {
        get { self.retentions.first }
        set { self.retentions = newValue.map { [$0] } ?? [] }
    }
    // Why: most streams have none, and there may be a million; an empty array is a word.
    private var retentions: [StreamRetention] = []

    package init(
        contentType: ContentType, lifetime: Lifetime = .none, fork: ForkOrigin? = nil, retention: StreamRetention? = nil
    ) {
        self.contentType = contentType
        self.lifetime = lifetime
        self.fork = fork
        self.retention = retention
    }
}

/// Where a fork left its source.
///
/// The fork shares the source's bytes before ``position`` and keeps its own from there on, in the same count of bytes.
package struct ForkOrigin: Hashable, Sendable {
    @ExactText package var sourceName: String
    package var source: StreamIdentity
    /// The anchor: as requested, or the tail of the source when the request named none.
    package var offset: StreamOffset
    /// Messages (JSON) or bytes (other types) behind the anchor that belong to the fork as well.
    package var subOffset: UInt64
    /// Where the fork's own bytes begin.
    package var position: UInt64
    /// Whether the lifetime came from the source, not from the request. Tells a repeated request from a different one.
    package var inheritsLifetime: Bool

    package init(
        sourceName: String, source: StreamIdentity, offset: StreamOffset, subOffset: UInt64, position: UInt64,
        inheritsLifetime: Bool
    ) {
        self.sourceName = sourceName
        self.source = source
        self.offset = offset
        self.subOffset = subOffset
        self.position = position
        self.inheritsLifetime = inheritsLifetime
    }
}
