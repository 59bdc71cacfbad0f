/// How much of a stream is kept at least; what is older may go. At least one of the two bounds is set.
package struct StreamRetention: Hashable, Sendable {
    /// Stored bytes at the end of the stream.
    package var maximumBytes: UInt64?
    /// Age of appends.
    package var maximumAgeSeconds: UInt64?
    /// Whether the request that made the stream said so itself; false for the server's default, and what a fork has
    /// from its source. Tells a repeated request from a different one.
    package var isOwn: Bool

    /// Nil when there is no bound.
    package init?(maximumBytes: UInt64? = nil, maximumAgeSeconds: UInt64? = nil, isOwn: Bool = true) {
        guard maximumBytes != nil || maximumAgeSeconds != nil else { return nil }
        self.maximumBytes = maximumBytes
        self.maximumAgeSeconds = maximumAgeSeconds
        self.isOwn = isOwn
    }

    /// Largest bound of either kind.
    package static let maximumNumber = Lifetime.maximumSeconds

    /// The same bounds, not asked for by a request of this stream.
    package var inherited: StreamRetention {
        var copy = self
        copy.isOwn = false
        return copy
    }

    /// Whether a request that asks for `wanted` would have led to `existing`. One that asks for nothing agrees with what
    /// was not asked for either, also when the server's default has changed since.
    static func matches(_ wanted: StreamRetention?, _ existing: StreamRetention?) -> Bool {
        let asked = wanted.flatMap { $0.isOwn ? $0 : nil }
        guard let existing, existing.isOwn else { return asked == nil }
        return asked == existing
    }

    /// How many bytes more than the bound are let gather before a stream is trimmed, so that not every append is
    /// followed by a trimming.
    package var slack: UInt64 { (self.maximumBytes ?? 0) / 16 }

    /// Appends of one such span of time, in milliseconds, are counted as old as the last of them.
    var agePeriod: UInt64 { max(1000, (self.maximumAgeSeconds ?? 0) * 1000 / 32) }
    /// The age in milliseconds.
    var maximumAge: UInt64? { self.maximumAgeSeconds.map { $0 * 1000 } }
}

/// What a stream with a retention knows of its past.
package struct RetainedRange: Hashable, Sendable {
    /// Bytes before `end` are at least as old as `time`, in milliseconds since 1970.
    package struct Age: Hashable, Sendable {
        package var end: UInt64
        package var time: UInt64
    }

    /// Readers find nothing before this. Where an append ends, or 0.
    package internal(set) var earliest: UInt64
    /// Where the last append begins; it is never dropped.
    package internal(set) var lastStart: UInt64
    /// Rising; only with a bound on age.
    package internal(set) var ages: [Age] = []

    /// Most ages remembered. Beyond it the oldest counts as young as the one after it.
    static let maximumAges = 48

    init(earliest: UInt64, lastStart: UInt64) {
        self.earliest = earliest
        self.lastStart = lastStart
    }

    /// Takes note of bytes that end at `end`.
    mutating func appended(end: UInt64, at time: UInt64, _ retention: StreamRetention) {
        guard retention.maximumAgeSeconds != nil else { return }
        let period = retention.agePeriod
        if let last = self.ages.last {
            // Why not earlier than the one before: the clock may have been put back.
            let time = max(last.time, time)
            if time / period == last.time / period {
                self.ages[self.ages.count - 1] = Age(end: end, time: time)
            } else {
                self.ages.append(Age(end: end, time: time))
            }
        } else {
            self.ages.append(Age(end: end, time: time))
        }
        if self.ages.count > Self.maximumAges { self.ages.removeFirst() }
    }

    mutating func trim(to position: UInt64) {
        self.earliest = max(self.earliest, position)
        self.ages.removeAll { $0.end <= self.earliest }
    }
}

/// What of a stream is to be dropped.
extension StreamState {
    /// The first position that readers find.
    package var earliest: UInt64 { self.retained?.earliest ?? 0 }
    package var earliestOffset: StreamOffset { StreamOffset(position: self.earliest) }

    /// Whether bytes beyond the bound have gathered.
    ///
    /// - Parameter tail: the durable one.
    package func isOverBound(tail: UInt64) -> Bool {
        guard let retention = self.configuration.retention, let bytes = retention.maximumBytes else { return false }
        let kept = tail - min(self.earliest, tail)
        return kept > bytes && kept - bytes > retention.slack
    }

    /// Everything before the last end of an append that is at or before this may go for the bound on bytes; nil when there
    /// is nothing.
    package func byteBound(tail: UInt64) -> UInt64? {
        guard let bytes = self.configuration.retention?.maximumBytes, tail > bytes, tail - bytes > self.earliest else {
            return nil
        }
        return tail - bytes
    }

    /// Where the bytes end that are too old, which is where an append ends; nil when there are none that may go.
    package func ageBound(tail: UInt64, at now: UInt64) -> UInt64? {
        guard let retained = self.retained, let age = self.configuration.retention?.maximumAge else { return nil }
        let old = retained.ages.last { $0.end <= tail && $0.time &+ age <= now }
        guard let end = old.map({ min($0.end, retained.lastStart) }), end > retained.earliest else { return nil }
        return end
    }

    /// When ``ageBound(tail:at:)`` may have something new; nil for never unless something is appended.
    package var nextAgeBound: UInt64? {
        guard let retained = self.retained, let age = self.configuration.retention?.maximumAge,
            retained.lastStart > retained.earliest, let first = retained.ages.first
        else { return nil }
        return first.time &+ age
    }

    /// Drops what lies before a position, from a decision or from a log record.
    package mutating func trim(to position: UInt64) {
        let end = min(position, self.tail)
        self.retained?.trim(to: end)
    }

    /// What a read below the kept range is told.
    package static func offsetGone(earliest: UInt64) -> StreamError {
        StreamError(
            .offsetGone, "The stream begins later: what was before has been dropped.",
            earliest: StreamOffset(position: earliest))
    }
}
