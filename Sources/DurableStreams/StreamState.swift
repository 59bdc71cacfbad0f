import ExactText

/// Everything about one stream but its bytes.
///
/// A value: decisions look at it, effects change it, and the same effects read back from a log bring it to the same
/// state again. Expiry is asked for by the caller (``isExpired(at:isBeingRead:)``), since it depends on live readers.
package struct StreamState: Hashable, Sendable {
    package let identity: StreamIdentity
    @ExactText package private(set) var name: String
    package let configuration: StreamConfiguration
    /// Stored bytes, inherited ones included; the position of the next append.
    package internal(set) var tail: UInt64
    /// Messages of the stream's own bytes: JSON values, or appends of other types.
    package internal(set) var messageCount: UInt64
    package internal(set) var isClosed: Bool
    /// The producer's request that closed the stream, if it was one.
    package internal(set) var closingClaim: ProducerClaim?
    /// The last accepted `Stream-Seq`; one scope for the whole stream.
    package internal(set) var lastSequence: String?
    package internal(set) var producers: ExactDictionary<ProducerState>
    /// What the producers take in memory, roughly.
    package internal(set) var producerBytes = 0
    /// Whoever stores the state stores its producers by themselves: they are not in its encoded form.
    package var keepsProducersApart = false
    /// Milliseconds since 1970, as the two after it.
    package let createdAt: UInt64
    package internal(set) var updatedAt: UInt64
    package internal(set) var lastTouched: UInt64
    /// Deleted by its owner, kept for forks.
    package var isSoftDeleted: Bool
    /// Living streams that forked directly from this one.
    package var forkCount: UInt32
    /// With a retention only.
    package internal(set) var retained: RetainedRange? {
        get { self.retainedRanges.first }
        set { self.retainedRanges = newValue.map { [$0] } ?? [] }
    }
    // Why: as of the configuration's retention.
    private var retainedRanges: [RetainedRange] = []

    /// A stream as its creation leaves it.
    ///
    /// - Parameters:
    ///   - payload: what the creating request brought, behind the inherited bytes.
    ///   - earliest: of a fork, where its source begins.
    package init(
        identity: StreamIdentity, name: String, configuration: StreamConfiguration, payloadCount: Int = 0,
        messageCount: Int = 0, closes: Bool = false, earliest: UInt64 = 0, at now: UInt64
    ) {
        self.identity = identity
        self.name = name
        self.configuration = configuration
        self.tail = (configuration.fork?.position ?? 0) + UInt64(payloadCount)
        self.messageCount = UInt64(messageCount)
        self.isClosed = closes
        self.closingClaim = nil
        self.lastSequence = nil
        self.producers = [:]
        self.createdAt = now
        self.updatedAt = now
        self.lastTouched = now
        self.isSoftDeleted = false
        self.forkCount = 0
        if let retention = configuration.retention {
            let base = configuration.fork?.position ?? 0
            // Where the last append of what a fork inherits begins is not known: all of it stays until there is another.
            var retained = RetainedRange(earliest: earliest, lastStart: payloadCount > 0 ? base : earliest)
            // What a fork inherits is as old as the fork.
            if self.tail > earliest { retained.appended(end: self.tail, at: now, retention) }
            self.retained = retained
        }
    }

    package var contentType: ContentType { self.configuration.contentType }
    package var tailOffset: StreamOffset { StreamOffset(position: self.tail) }

    /// How long a producer is remembered at least, in milliseconds.
    package static let producerRetention: UInt64 = 7 * 24 * 60 * 60 * 1000

    /// The state to be stored where producers are kept apart.
    package var withoutProducers: StreamState {
        guard self.keepsProducersApart else { return self }
        var state = self
        state.producers = [:]
        state.producerBytes = 0
        return state
    }

    // MARK: Expiry

    /// When the stream expires if nothing touches it; nil for never.
    package var expiry: UInt64? {
        self.configuration.lifetime.expiry(lastTouched: self.lastTouched)
    }

    /// Whether the stream's life is over.
    ///
    /// A live reader keeps a stream with a sliding lifetime; it does not hold up a fixed deadline. When the last live
    /// reader goes, touch the stream so that the countdown begins then.
    package func isExpired(at now: UInt64, isBeingRead: Bool = false) -> Bool {
        if isBeingRead, case .ttl = self.configuration.lifetime { return false }
        guard let expiry = self.expiry else { return false }
        return now >= expiry
    }

    /// Sets the start of the countdown, also back: where it was written down ahead of itself.
    package mutating func restartCountdown(at now: UInt64) {
        self.lastTouched = now
    }

    /// Starts the countdown of a sliding lifetime anew: for each read that reaches the service and each write.
    package mutating func touch(at now: UInt64) {
        self.lastTouched = max(self.lastTouched, now)
    }
}
