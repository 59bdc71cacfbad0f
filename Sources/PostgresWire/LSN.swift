/// A position in the write-ahead log, in bytes from its beginning.
///
/// Printed the way Postgres prints it (`16/B374D848`); sent to Satellite clients as the decimal text of ``rawValue``.
package struct LSN: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64

    @inlinable
    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// The position before every other; Postgres calls it `InvalidXLogRecPtr`.
    package static let zero = LSN(rawValue: 0)

    /// Parses the `XXX/XXX` form; nil when the text is anything else.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2,
            parts.allSatisfy({ (1...8).contains($0.utf8.count) && $0.utf8.allSatisfy(Self.isHexDigit) }),
            let high = UInt64(parts[0], radix: 16), let low = UInt64(parts[1], radix: 16)
        else { return nil }
        self.rawValue = high << 32 | low
    }

    private static func isHexDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
            UInt8(ascii: "A")...UInt8(ascii: "F"):
            return true
        default:
            return false
        }
    }

    package var description: String {
        let high = String(self.rawValue >> 32, radix: 16, uppercase: true)
        let low = String(self.rawValue & 0xFFFF_FFFF, radix: 16, uppercase: true)
        return "\(high)/\(low)"
    }

    @inlinable
    package static func < (lhs: LSN, rhs: LSN) -> Bool {
        lhs.rawValue < rhs.rawValue
    }

    /// Bytes of WAL from `other` to this position; zero when `other` is ahead.
    package func distance(from other: LSN) -> UInt64 {
        self.rawValue > other.rawValue ? self.rawValue - other.rawValue : 0
    }
}
