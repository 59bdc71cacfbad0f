/// Times and bounds that all flows share.
package struct MirrorOptions: Sendable {
    /// Pause after the first failure; it doubles up to the greatest. Each is shortened by chance, down to its half.
    package var firstBackoff: Duration = .milliseconds(100)
    package var greatestBackoff: Duration = .seconds(30)
    /// Pause after what a person has to put right: a missing table, a missing permission.
    package var fatalRetry: Duration = .seconds(30)
    /// How often new streams are looked for; less often where looking takes long.
    package var discoveryInterval: Duration = .seconds(1)
    /// How often the session that holds the leases is tried, and leases held by others are asked for.
    package var leaseInterval: Duration = .seconds(2)
    /// Bytes of a stream that are read at once.
    package var readBytes = 1 << 20
    /// Bytes of one append to a target; larger transactions and snapshots go in parts.
    package var partBytes = 1 << 20
    /// Bytes of appends to one target that may be on their way to the disk.
    package var inFlightBytes = 8 << 20
    /// How often a quiet table's position in the feed is noted.
    package var progressInterval: Duration = .seconds(10)

    package init() {}
}

/// Pauses between attempts.
struct Backoff: Sendable {
    let first: Duration
    let greatest: Duration
    private(set) var failures = 0

    init(_ options: MirrorOptions) {
        self.first = options.firstBackoff
        self.greatest = options.greatestBackoff
    }

    mutating func reset() { self.failures = 0 }

    /// The pause after one more failure; `chance` between 0 and 1 spreads those who failed together.
    mutating func next(chance: Double = Double.random(in: 0...1)) -> Duration {
        let pause = min(self.first * (1 << min(self.failures, 20)), self.greatest)
        self.failures += 1
        return pause * (0.5 + chance / 2)
    }
}
