/// An address of IP version 4 or 6.
package enum IPAddress: Hashable, Sendable {
    case v4(UInt32)
    case v6(high: UInt64, low: UInt64)

    /// Parses four decimal numbers without leading zeros, or the text of a version 6 address without zone and brackets.
    package init?(_ text: some StringProtocol) {
        if text.contains(":") {
            guard let parsed = Self.parseV6(Substring(text)) else { return nil }
            self = parsed
        } else {
            guard let parsed = Self.parseV4(Substring(text)) else { return nil }
            self = .v4(parsed)
        }
    }

    private static func parseV4(_ text: Substring) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard let number = Self.decimal(part) else { return nil }
            value = value << 8 | number
        }
        return value
    }

    /// A number up to 255 without leading zeros: resolvers differ in what those mean.
    private static func decimal(_ text: Substring) -> UInt32? {
        guard (1...3).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            text.utf8.count == 1 || text.utf8.first != 0x30, let number = UInt32(text), number <= 255
        else { return nil }
        return number
    }

    private static func parseV6(_ text: Substring) -> IPAddress? {
        var halves: [[UInt16]] = []
        let gap = text.range(of: "::")
        let sides = gap.map { [text[..<$0.lowerBound], text[$0.upperBound...]] } ?? [text]
        for (index, side) in sides.enumerated() {
            guard let groups = Self.groups(side, mayEndInV4: index == sides.count - 1) else { return nil }
            halves.append(groups)
        }
        var groups = halves[0]
        if halves.count == 2 {
            let missing = 8 - groups.count - halves[1].count
            guard missing >= 1 else { return nil }
            groups += Array(repeating: 0, count: missing) + halves[1]
        }
        guard groups.count == 8 else { return nil }
        let high = groups[..<4].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        let low = groups[4...].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        return .v6(high: high, low: low)
    }

    private static func groups(_ text: Substring, mayEndInV4: Bool) -> [UInt16]? {
        if text.isEmpty { return [] }
        var groups: [UInt16] = []
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            if mayEndInV4, index == parts.count - 1, part.contains(".") {
                guard let embedded = Self.parseV4(part) else { return nil }
                groups += [UInt16(truncatingIfNeeded: embedded >> 16), UInt16(truncatingIfNeeded: embedded)]
            } else {
                guard (1...4).contains(part.utf8.count), part.utf8.allSatisfy({ PercentCoding.hexDigit($0) != nil }),
                    let group = UInt16(part, radix: 16)
                else { return nil }
                groups.append(group)
            }
        }
        return groups
    }

    /// From the 4 or 16 bytes of an address in network order.
    package init?(bytes: some Collection<UInt8>) {
        switch bytes.count {
        case 4: self = .v4(bytes.reduce(0) { $0 << 8 | UInt32($1) })
        case 16:
            self = .v6(
                high: bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) },
                low: bytes.suffix(8).reduce(0) { $0 << 8 | UInt64($1) })
        default: return nil
        }
    }

    /// The address of version 4 that one of version 6 stands for (`::ffff:10.0.0.1`); every other is itself.
    package var unmapped: IPAddress {
        if case .v6(0, let low) = self, low >> 32 == 0xFFFF { .v4(UInt32(truncatingIfNeeded: low)) } else { self }
    }

    /// Whether the address is the machine itself.
    package var isLoopback: Bool {
        switch self.unmapped {
        case .v4(let value): value >> 24 == 127
        case .v6(let high, let low): high == 0 && low == 1
        }
    }

    /// Whether the address belongs to the public internet: not private, local, shared, reserved, for documentation, for
    /// groups, or known to serve metadata. Version 6 addresses that carry one of version 4 are judged by that.
    package var isPublic: Bool {
        switch self {
        case .v4(let value):
            return !Self.closedV4.contains { value >> (32 - $0.bits) == $0.prefix >> (32 - $0.bits) }
                && value != Self.metadataV4
        case .v6(let high, let low):
            // Mapped, and the two well-known translation prefixes.
            if high == 0, low >> 32 == 0xFFFF { return IPAddress.v4(UInt32(truncatingIfNeeded: low)).isPublic }
            if high == 0x0064_FF9B_0000_0000, low >> 32 == 0 {
                return IPAddress.v4(UInt32(truncatingIfNeeded: low)).isPublic
            }
            if high >> 48 == 0x2002 { return IPAddress.v4(UInt32(truncatingIfNeeded: high >> 16)).isPublic }
            // Only 2000::/3 is handed out; within it, these are not for hosts of the internet.
            guard high >> 61 == 1 else { return false }
            if high >> 32 == 0x2001_0000 { return false }
            if high >> 36 == 0x2001_001 || high >> 36 == 0x2001_002 { return false }
            if high >> 48 == 0x2001, high >> 32 & 0xFFFF == 0x0DB8 { return false }
            if high >> 44 == 0x3FFF0 { return false }
            return true
        }
    }

    private static let metadataV4: UInt32 = 168 << 24 | 63 << 16 | 129 << 8 | 16

    private static let closedV4: [(prefix: UInt32, bits: UInt32)] = [
        (0, 8), (10 << 24, 8), (100 << 24 | 64 << 16, 10), (127 << 24, 8), (169 << 24 | 254 << 16, 16),
        (172 << 24 | 16 << 16, 12), (192 << 24, 24), (192 << 24 | 2 << 8, 24), (192 << 24 | 88 << 16 | 99 << 8, 24),
        (192 << 24 | 168 << 16, 16), (198 << 24 | 18 << 16, 15), (198 << 24 | 51 << 16 | 100 << 8, 24),
        (203 << 24 | 113 << 8, 24), (224 << 24, 4), (240 << 24, 4),
    ]
}

extension Substring {
    /// First place of a text; without Foundation.
    fileprivate func range(of needle: String) -> Range<Substring.Index>? {
        var start = self.startIndex
        while start < self.endIndex {
            if self[start...].hasPrefix(needle) { return start..<self.index(start, offsetBy: needle.count) }
            start = self.index(after: start)
        }
        return nil
    }
}
