/// The number that lets caches tell one round of live reads from the next.
package struct StreamCursor: Hashable, Sendable {
    /// Seconds of one round.
    package var intervalSeconds: UInt64
    /// When the count began, in seconds since 1970.
    package var epochSeconds: UInt64

    package init(intervalSeconds: UInt64 = 20, epochSeconds: UInt64 = 1_728_432_000) {
        self.intervalSeconds = max(intervalSeconds, 1)
        self.epochSeconds = epochSeconds
    }

    /// Largest cursor that is understood.
    package static let maximum: UInt64 = 9_007_199_254_740_991

    /// The number of the round at `now`, in milliseconds since 1970.
    package func current(at now: UInt64) -> UInt64 {
        let seconds = now / 1000
        return seconds > self.epochSeconds ? (seconds - self.epochSeconds) / self.intervalSeconds : 0
    }

    /// The cursor of a response: the current round, or a later one when the client already knows the current.
    ///
    /// The step ahead is random, worth 1 to 3600 seconds, so that clients which collided do not collide again.
    package func next(
        at now: UInt64, after known: UInt64?, using random: inout some RandomNumberGenerator
    ) -> UInt64 {
        let current = self.current(at: now)
        guard let known, known >= current else { return current }
        let step = max(UInt64.random(in: 1...3600, using: &random) / self.intervalSeconds, 1)
        return known + step
    }
}
