import NIOCore

/// The pieces of which records and snapshots are made.
extension ByteBuffer {
    /// Writes a number in groups of seven bits, the lowest first.
    mutating func writeCompact(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            self.writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        self.writeInteger(UInt8(truncatingIfNeeded: rest))
    }

    /// Reads a number written by ``writeCompact(_:)``; nil when it is cut off or does not fit.
    mutating func readCompact() -> UInt64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while let byte = self.readInteger(as: UInt8.self) {
            let bits = UInt64(byte & 0x7F)
            if shift == 63, bits > 1 { return nil }
            value |= bits << shift
            if byte & 0x80 == 0 { return value }
            shift += 7
            if shift > 63 { return nil }
        }
        return nil
    }

    mutating func writeText(_ text: String) {
        self.writeCompact(UInt64(text.utf8.count))
        self.writeString(text)
    }

    mutating func readText() -> String? {
        guard let length = self.readCompact(), let count = Int(exactly: length), count <= self.readableBytes else {
            return nil
        }
        return self.readString(length: count)
    }

    mutating func writeClaim(_ claim: ProducerClaim) {
        self.writeText(claim.id)
        self.writeCompact(claim.epoch)
        self.writeCompact(claim.seq)
    }

    mutating func readClaim() -> ProducerClaim? {
        guard let id = self.readText(), let epoch = self.readCompact(), let seq = self.readCompact() else { return nil }
        return ProducerClaim(id: id, epoch: epoch, seq: seq)
    }
}
