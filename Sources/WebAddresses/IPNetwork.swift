/// An address or a block of addresses in CIDR notation. Both notations of an address of version 4 are the same.
package struct IPNetwork: Hashable, Sendable {
    /// With zeros behind the prefix.
    private let address: IPAddress
    /// How many bits count.
    private let length: Int

    /// `10.0.0.0/8`, `192.0.2.7`, `2001:db8::/32`, `::ffff:10.0.0.0/104`; bits behind the prefix do not matter.
    package init?(_ text: String) {
        let halves = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let written = IPAddress(halves[0]) else { return nil }
        let address = written.unmapped
        var length = Self.bits(written)
        if halves.count == 2 {
            let digits = halves[1].utf8
            guard (1...3).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }),
                let number = Int(halves[1]), number <= length
            else { return nil }
            length = number
        }
        // Why: `::/0` means version 6; a block that is wider than the mapped ones must not hold every address of version 4.
        length -= Self.bits(written) - Self.bits(address)
        guard length >= 0 else { return nil }
        self.length = length
        self.address = Self.cut(address, to: length)
    }

    package func contains(_ other: IPAddress) -> Bool {
        Self.cut(other.unmapped, to: self.length) == self.address
    }

    private static func bits(_ address: IPAddress) -> Int {
        if case .v4 = address { 32 } else { 128 }
    }

    /// The address with zeros behind its first bits.
    private static func cut(_ address: IPAddress, to length: Int) -> IPAddress {
        func mask(_ bits: Int) -> UInt64 { bits <= 0 ? 0 : bits >= 64 ? .max : ~(UInt64.max >> UInt64(bits)) }
        switch address {
        case .v4(let value): return .v4(value & UInt32(truncatingIfNeeded: mask(length + 32)))
        case .v6(let high, let low): return .v6(high: high & mask(length), low: low & mask(length - 64))
        }
    }
}
