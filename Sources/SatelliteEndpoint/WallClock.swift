import Glibc

/// The time of day.
enum WallClock {
    /// Seconds since the Unix epoch.
    static var seconds: Int64 {
        Int64(time(nil))
    }
}
