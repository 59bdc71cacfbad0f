/// A point in time as tokens count it: seconds since 1970-01-01 00:00 UTC, fractions allowed.
package struct UnixTime: Hashable, Comparable, Sendable {
    /// Seconds since the epoch.
    package var seconds: Double

    package init(seconds: Double) {
        self.seconds = seconds
    }

    /// Makes a time of whole microseconds, as the clocks and Postgres deliver it.
    package init(microseconds: Int64) {
        self.seconds = Double(microseconds) / 1_000_000
    }

    package static func < (left: UnixTime, right: UnixTime) -> Bool { left.seconds < right.seconds }
}
