import WebAddresses

/// A number of bytes.
package struct ByteCount: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var bytes: Int64

    package init(bytes: Int64) {
        self.bytes = bytes
    }

    package static func < (left: ByteCount, right: ByteCount) -> Bool { left.bytes < right.bytes }

    package var description: String { "\(self.bytes) bytes" }

    /// Reads a size of the legacy service: a decimal number above zero and an optional suffix of one letter, with white
    /// space allowed around the suffix. Small letters count in thousands (`k`, `m`, `g`), capital ones in powers of two
    /// (`K`, `M`, `G`). The result is cut to whole bytes. Nil for anything else.
    package init?(size text: String) {
        var rest = Array(text.utf8)[...]
        func digits() -> ArraySlice<UInt8> {
            let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            rest = rest.dropFirst(digits.count)
            return digits
        }
        let whole = digits()
        var fraction: ArraySlice<UInt8> = []
        if rest.first == UInt8(ascii: ".") {
            rest = rest.dropFirst()
            fraction = digits()
            guard !fraction.isEmpty else { return nil }
        }
        guard !whole.isEmpty else { return nil }
        let suffix = rest.filter { $0 != 0x20 && $0 != 0x09 && $0 != 0x0a && $0 != 0x0d }
        let unit: Int64
        switch String(decoding: suffix, as: UTF8.self) {
        case "": unit = 1
        case "k": unit = 1000
        case "m": unit = 1_000_000
        case "g": unit = 1_000_000_000
        case "K": unit = 1 << 10
        case "M": unit = 1 << 20
        case "G": unit = 1 << 30
        default: return nil
        }
        guard let units = Int64(String(decoding: whole, as: UTF8.self)) else { return nil }
        let (bytes, overflowed) = units.multipliedReportingOverflow(by: unit)
        // Digits beyond the twelfth are far below one byte in any unit; twelve of them times 2^30 overflow nothing
        // when the product is taken in full width.
        let shown = fraction.prefix(12)
        let numerator = shown.reduce(UInt64(0)) { $0 * 10 + UInt64($1 - UInt8(ascii: "0")) }
        let denominator = shown.reduce(UInt64(1)) { power, _ in power * 10 }
        let part = denominator.dividingFullWidth(numerator.multipliedFullWidth(by: UInt64(unit))).quotient
        let (total, overflowedAgain) = bytes.addingReportingOverflow(Int64(part))
        guard !overflowed, !overflowedAgain, total > 0 else { return nil }
        self.bytes = total
    }
}

/// The simple formats of variables.
enum ValueParsing {
    static let trueWords: Set<String> = ["1", "t", "true", "y", "yes", "on", "enable", "enabled"]
    static let falseWords: Set<String> = ["0", "f", "false", "n", "no", "off", "disable", "disabled"]

    /// A boolean in any of the usual words and any case.
    static func boolean(_ text: String) -> Bool? {
        let word = text.lowercased()
        if self.trueWords.contains(word) { return true }
        if self.falseWords.contains(word) { return false }
        return nil
    }

    /// A whole number of digits alone: no sign, no white space, nothing behind it.
    static func integer(_ text: String) -> Int? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
            return nil
        }
        return Int(text)
    }

    /// A TCP port.
    static func port(_ text: String) -> UInt16? {
        guard let number = self.integer(text), (1...65535).contains(number) else { return nil }
        return UInt16(number)
    }

    static func isBlank(_ text: String) -> Bool { text.allSatisfy(\.isWhitespace) }

    /// `text` in quotes for a message, with whatever could upset a terminal written out, and not too long.
    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars.prefix(80) {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\r": quoted += "\\r"
            case "\t": quoted += "\\t"
            case _ where scalar.properties.generalCategory == .control || scalar.properties.generalCategory == .format:
                quoted += "\\u{\(String(scalar.value, radix: 16))}"
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        if text.unicodeScalars.count > 80 { quoted += "…" }
        return quoted + "\""
    }

    /// `["a", "b"]`
    static func list(_ values: [String]) -> String {
        "[" + values.map { "\"\($0)\"" }.joined(separator: ", ") + "]"
    }

    /// The parts of a comma-separated list, trimmed, empty ones left out.
    static func commaSeparated(_ text: String) -> [String] {
        text.split(separator: ",").map { part in
            var part = part
            while part.first?.isWhitespace == true { part.removeFirst() }
            while part.last?.isWhitespace == true { part.removeLast() }
            return String(part)
        }.filter { !$0.isEmpty }
    }

    /// `text` with `%41` and the like decoded; nil for broken escapes, zero bytes and what is not UTF-8.
    static func percentDecoded(_ text: some StringProtocol) -> String? {
        PercentCoding.decoded(text).flatMap { $0.utf8.contains(0) ? nil : $0 }
    }
}
