import NIOCore

/// All that an accepted append changes besides the bytes themselves: what one log record holds.
package struct AppendEffect: Hashable, Sendable {
    /// Stored bytes.
    package var payloadCount: Int
    package var messageCount: Int
    package var claim: ProducerClaim?
    package var sequence: String?
    package var closes: Bool
    /// Milliseconds since 1970.
    package var at: UInt64
    /// Producers that have been idle for long make room for a new one.
    package var forgetsIdleProducers = false

    package init(
        payloadCount: Int, messageCount: Int, claim: ProducerClaim? = nil, sequence: String? = nil,
        closes: Bool = false, at: UInt64
    ) {
        self.payloadCount = payloadCount
        self.messageCount = messageCount
        self.claim = claim
        self.sequence = sequence
        self.closes = closes
        self.at = at
    }

    private static let version: UInt8 = 1

    private struct Flags: OptionSet {
        var rawValue: UInt8
        static let claim = Flags(rawValue: 1)
        static let sequence = Flags(rawValue: 2)
        static let closes = Flags(rawValue: 4)
        static let forgetsIdleProducers = Flags(rawValue: 8)
        static let all: Flags = [.claim, .sequence, .closes, .forgetsIdleProducers]
    }

    /// Writes the effect: a byte of version and flags, then numbers of variable length and texts.
    package func encode(into buffer: inout ByteBuffer) {
        var flags: Flags = []
        if self.claim != nil { flags.insert(.claim) }
        if self.sequence != nil { flags.insert(.sequence) }
        if self.closes { flags.insert(.closes) }
        if self.forgetsIdleProducers { flags.insert(.forgetsIdleProducers) }
        buffer.writeInteger(Self.version << 4 | flags.rawValue)
        buffer.writeCompact(UInt64(self.payloadCount))
        buffer.writeCompact(UInt64(self.messageCount))
        buffer.writeCompact(self.at)
        if let claim = self.claim { buffer.writeClaim(claim) }
        if let sequence = self.sequence { buffer.writeText(sequence) }
    }

    /// Reads an effect; nil when the bytes are none, or come from a newer version.
    package init?(decoding buffer: inout ByteBuffer) {
        guard let first = buffer.readInteger(as: UInt8.self), first >> 4 == Self.version else { return nil }
        let flags = Flags(rawValue: first & 0x0F)
        guard flags.isSubset(of: .all), let payloadCount = buffer.readCompact().flatMap(Int.init(exactly:)),
            let messageCount = buffer.readCompact().flatMap(Int.init(exactly:)), let at = buffer.readCompact()
        else { return nil }
        self.payloadCount = payloadCount
        self.messageCount = messageCount
        self.at = at
        self.closes = flags.contains(.closes)
        self.forgetsIdleProducers = flags.contains(.forgetsIdleProducers)
        if flags.contains(.claim) {
            guard let claim = buffer.readClaim() else { return nil }
            self.claim = claim
        }
        if flags.contains(.sequence) {
            guard let sequence = buffer.readText() else { return nil }
            self.sequence = sequence
        }
    }
}
