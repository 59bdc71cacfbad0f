#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// An IP address. An IPv4 address written as an IPv6 one (`::ffff:10.0.0.1`) is the IPv4 address.
package struct NetworkAddress: Hashable, Sendable, CustomStringConvertible {
    /// 4 or 16 bytes.
    package let bytes: [UInt8]

    package init?(_ text: String) {
        guard let bytes = Self.parse(text) else { return nil }
        self.bytes = Self.isMapped(bytes) ? Array(bytes[12...]) : bytes
    }

    package var isIPv4: Bool { self.bytes.count == 4 }

    package var isLoopback: Bool {
        self.isIPv4 ? self.bytes[0] == 127 : self.bytes == [UInt8](repeating: 0, count: 15) + [1]
    }

    package var description: String {
        if self.isIPv4 { return self.bytes.map(String.init).joined(separator: ".") }
        return stride(from: 0, to: 16, by: 2).map {
            String(UInt16(self.bytes[$0]) << 8 | UInt16(self.bytes[$0 + 1]), radix: 16)
        }.joined(separator: ":")
    }

    fileprivate static func parse(_ text: String) -> [UInt8]? {
        guard text.utf8.count <= 45, !text.utf8.contains(0) else { return nil }
        var v4 = in_addr()
        if inet_pton(AF_INET, text, &v4) == 1 { return withUnsafeBytes(of: &v4) { Array($0) } }
        var v6 = in6_addr()
        if inet_pton(AF_INET6, text, &v6) == 1 { return withUnsafeBytes(of: &v6) { Array($0) } }
        return nil
    }

    fileprivate static func isMapped(_ bytes: [UInt8]) -> Bool {
        bytes.count == 16 && bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xff && bytes[11] == 0xff
    }
}

/// A network of addresses (`10.0.0.0/8`), or one address alone.
package struct NetworkPrefix: Hashable, Sendable, CustomStringConvertible {
    package let bytes: [UInt8]
    /// How many bits count.
    package let length: Int

    /// Bits behind the length are taken for zero.
    package init?(_ text: String) {
        let halves = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard halves.count <= 2, var bytes = NetworkAddress.parse(halves[0]) else { return nil }
        var length = bytes.count * 8
        if halves.count == 2 {
            guard let number = ValueParsing.integer(halves[1]), number <= length else { return nil }
            length = number
        }
        if NetworkAddress.isMapped(bytes) {
            guard length >= 96 else { return nil }
            bytes.removeFirst(12)
            length -= 96
        }
        for index in bytes.indices {
            let bits = max(0, min(8, length - index * 8))
            bytes[index] &= bits == 0 ? 0 : 0xff << UInt8(8 - bits)
        }
        self.bytes = bytes
        self.length = length
    }

    package func contains(_ address: NetworkAddress) -> Bool {
        guard address.bytes.count == self.bytes.count else { return false }
        for index in self.bytes.indices {
            let bits = max(0, min(8, self.length - index * 8))
            let mask: UInt8 = bits == 0 ? 0 : 0xff << UInt8(8 - bits)
            if address.bytes[index] & mask != self.bytes[index] { return false }
        }
        return true
    }

    package var description: String {
        (self.bytes.count == 4
            ? self.bytes.map(String.init).joined(separator: ".")
            : stride(from: 0, to: 16, by: 2).map {
                String(UInt16(self.bytes[$0]) << 8 | UInt16(self.bytes[$0 + 1]), radix: 16)
            }.joined(separator: ":")) + "/\(self.length)"
    }
}
