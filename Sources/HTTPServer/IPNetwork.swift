import NIOCore

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// An IP address; IPv4 is kept as IPv4-mapped IPv6, so that both notations of one address are equal.
package struct IPAddress: Hashable, Sendable {
    let high: UInt64
    let low: UInt64

    var isIPv4: Bool { self.high == 0 && self.low >> 32 == 0xFFFF }

    package init?(_ text: String) {
        // Why: older forms such as `127.1` are read by some resolvers and would name other machines to other readers.
        guard text.utf8.count <= 45, !text.utf8.contains(0) else { return nil }
        var bytes = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET, text, &bytes) == 1 {
            self.init(v4: bytes[0..<4])
        } else if inet_pton(AF_INET6, text, &bytes) == 1 {
            self.init(v6: bytes[0..<16])
        } else {
            return nil
        }
    }

    package init?(_ address: SocketAddress) {
        let bytes = address.withSockAddr { pointer, size in Array(UnsafeRawBufferPointer(start: pointer, count: size)) }
        switch address {
        // Where the address lies in `sockaddr_in` and `sockaddr_in6`.
        case .v4 where bytes.count >= 8: self.init(v4: bytes[4..<8])
        case .v6 where bytes.count >= 24: self.init(v6: bytes[8..<24])
        default: return nil
        }
    }

    private init(v4 bytes: ArraySlice<UInt8>) {
        self.high = 0
        self.low = bytes.reduce(0xFFFF) { $0 << 8 | UInt64($1) }
    }

    private init(v6 bytes: ArraySlice<UInt8>) {
        self.high = bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        self.low = bytes.suffix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }
}

/// An address or a block of addresses in CIDR notation.
package struct IPNetwork: Hashable, Sendable {
    private let address: IPAddress
    private let prefix: Int

    /// `10.0.0.0/8`, `192.0.2.7`, `2001:db8::/32`, `::ffff:10.0.0.0/104`; bits behind the prefix do not matter.
    package init?(_ text: String) {
        let halves = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(String(halves[0])) else { return nil }
        let isDotted = !halves[0].contains(":")
        self.address = address
        guard halves.count == 2 else {
            self.prefix = 128
            return
        }
        let digits = halves[1].utf8
        guard (1...3).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }),
            let length = Int(halves[1]), length <= (isDotted ? 32 : 128)
        else { return nil }
        self.prefix = isDotted ? 96 + length : length
    }

    package func contains(_ other: IPAddress) -> Bool {
        func mask(_ bits: Int) -> UInt64 { bits <= 0 ? 0 : bits >= 64 ? .max : ~(UInt64.max >> UInt64(bits)) }
        // Why: `::/0` means IPv6; it must not trust every IPv4 peer by way of the mapped notation.
        guard self.prefix >= 96 || !other.isIPv4 else { return false }
        return (self.address.high ^ other.high) & mask(self.prefix) == 0
            && (self.address.low ^ other.low) & mask(self.prefix - 64) == 0
    }
}
