package import PostgresWire

/// The form in which clients see positions of the stream: the decimal text of the 64-bit LSN.
package enum ServerPosition {
    package static func encode(_ lsn: LSN) -> [UInt8] {
        Array(String(lsn.rawValue).utf8)
    }

    /// Nil for everything but plain decimal digits that fit 64 bits.
    package static func decode(_ bytes: some Collection<UInt8>) -> LSN? {
        guard (1...20).contains(bytes.count) else { return nil }
        var value: UInt64 = 0
        for byte in bytes {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            let (shifted, overflow1) = value.multipliedReportingOverflow(by: 10)
            let (sum, overflow2) = shifted.addingReportingOverflow(UInt64(byte - UInt8(ascii: "0")))
            guard !overflow1, !overflow2 else { return nil }
            value = sum
        }
        return LSN(rawValue: value)
    }
}
