/// Counters and gauges of one log, at one moment.
package struct LogMetrics: Sendable {
    package var recordsAppended: UInt64 = 0
    /// Groups of records that were written, and synced where that is done each time, together.
    package var batchCount: UInt64 = 0
    /// With record headers.
    package var bytesAppended: UInt64 = 0
    /// Appended since the last durable moment.
    package var pendingBytes: UInt64 = 0
    /// How often an append was turned away because too much was pending.
    package var fullCount: UInt64 = 0
    /// How often the disk was found full.
    package var diskFullCount: UInt64 = 0
    package var segmentCount = 0
    /// Durable bytes kept on disk.
    package var totalBytes: UInt64 = 0
    package var syncs = SyncTimes()
}

/// How long syncs took.
package struct SyncTimes: Sendable {
    /// Upper bounds of the buckets in seconds; one more bucket holds what is above the last.
    package static let bounds: [Double] = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
    ]

    package private(set) var count: UInt64 = 0
    package private(set) var totalSeconds = 0.0
    package private(set) var lastSeconds = 0.0
    /// Syncs in each bucket, not cumulative.
    package private(set) var buckets = [UInt64](repeating: 0, count: SyncTimes.bounds.count + 1)

    package init() {}

    package mutating func add(_ duration: Duration) {
        let parts = duration.components
        let seconds = Double(parts.seconds) + Double(parts.attoseconds) * 1e-18
        self.count += 1
        self.totalSeconds += seconds
        self.lastSeconds = seconds
        self.buckets[Self.bounds.firstIndex { seconds <= $0 } ?? Self.bounds.count] += 1
    }

    /// Takes in the times of another disk.
    package mutating func add(_ other: SyncTimes) {
        self.count += other.count
        self.totalSeconds += other.totalSeconds
        self.lastSeconds = max(self.lastSeconds, other.lastSeconds)
        for index in self.buckets.indices { self.buckets[index] += other.buckets[index] }
    }
}
