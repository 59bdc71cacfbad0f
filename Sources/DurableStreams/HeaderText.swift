/// Small tests on the text of header fields.
enum HeaderText {
    /// Whether `byte` may stand in a token of HTTP.
    static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"),
            UInt8(ascii: "%"), UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"),
            UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "^"), UInt8(ascii: "_"), UInt8(ascii: "`"),
            UInt8(ascii: "|"), UInt8(ascii: "~"):
            return true
        default:
            return false
        }
    }

    /// Whether two texts are equal when the case of ASCII letters does not count. Allocates nothing for native strings.
    static func equalIgnoringCase(_ lhs: String, _ rhs: StaticString) -> Bool {
        guard lhs.utf8.count == rhs.utf8CodeUnitCount else { return false }
        var index = 0
        for byte in lhs.utf8 {
            let other = rhs.utf8Start[index]
            index += 1
            if byte == other { continue }
            guard byte ^ other == 0x20, (byte | 0x20) &- UInt8(ascii: "a") < 26 else { return false }
        }
        return true
    }

    /// A decimal number without sign, leading zero, point or exponent, no larger than `maximum`.
    static func decimal(_ text: some StringProtocol, maximum: UInt64) -> UInt64? {
        var value: UInt64 = 0
        var count = 0
        for byte in text.utf8 {
            let digit = byte &- UInt8(ascii: "0")
            guard digit < 10 else { return nil }
            if count > 0, value == 0 { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
            guard !overflow, !carry, sum <= maximum else { return nil }
            value = sum
            count += 1
        }
        return count == 0 ? nil : value
    }

    /// Removes blanks and tabs on both sides.
    static func trimmed(_ text: some StringProtocol) -> String {
        var slice = Substring(text)
        while let first = slice.utf8.first, first == 0x20 || first == 0x09 { slice = slice.dropFirst() }
        while let last = slice.utf8.last, last == 0x20 || last == 0x09 { slice = slice.dropLast() }
        return String(slice)
    }
}
