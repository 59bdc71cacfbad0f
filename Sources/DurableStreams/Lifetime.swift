/// How long a stream lives.
package enum Lifetime: Sendable {
    case none
    /// Seconds since the last read or write.
    case ttl(seconds: UInt64)
    /// A fixed point in time, in milliseconds since 1970. `text` is what the creator wrote and what is echoed.
    case deadline(milliseconds: UInt64, text: String)

    /// Largest sliding lifetime: beyond it a deadline in milliseconds is no longer an exact number everywhere.
    package static let maximumSeconds: UInt64 = 9_007_199_254_740

    /// When a stream expires that was last touched at `lastTouched`; nil for never. Saturates instead of overflowing.
    package func expiry(lastTouched: UInt64) -> UInt64? {
        switch self {
        case .none:
            return nil
        case .ttl(let seconds):
            let (milliseconds, overflow) = seconds.multipliedReportingOverflow(by: 1000)
            if overflow { return .max }
            let (sum, carry) = lastTouched.addingReportingOverflow(milliseconds)
            return carry ? .max : sum
        case .deadline(let milliseconds, _):
            return milliseconds
        }
    }
}

extension Lifetime: Hashable {
    /// Two spellings of the same point in time are the same deadline.
    package static func == (lhs: Lifetime, rhs: Lifetime) -> Bool {
        switch (lhs, rhs) {
        case (.none, .none):
            return true
        case (.ttl(let left), .ttl(let right)):
            return left == right
        case (.deadline(let left, _), .deadline(let right, _)):
            return left == right
        default:
            return false
        }
    }

    package func hash(into hasher: inout Hasher) {
        switch self {
        case .none:
            hasher.combine(0)
        case .ttl(let seconds):
            hasher.combine(1)
            hasher.combine(seconds)
        case .deadline(let milliseconds, _):
            hasher.combine(2)
            hasher.combine(milliseconds)
        }
    }
}
