import DurableStreams
import NIOCore

// Records of the write-ahead log. The record's kind is `Change.Kind`, its key the identity of the stream. The payload
// of an append is its effect, then the bytes; those of the other two are below. Numbers are little-endian.

/// The head of a creation's record; the first content follows.
struct CreateRecord {
    var state: StreamState
    var payloadCount: Int
    var messageCount: Int

    private static let version: UInt8 = 1

    init(state: StreamState, payloadCount: Int, messageCount: Int) {
        self.state = state
        self.payloadCount = payloadCount
        self.messageCount = messageCount
    }

    func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(Self.version)
        buffer.writeInteger(UInt64(self.payloadCount), endianness: .little)
        buffer.writeInteger(UInt32(clamping: self.messageCount), endianness: .little)
        self.state.encode(into: &buffer)
    }

    /// Nil when the bytes are none. Leaves the content.
    init?(decoding buffer: inout ByteBuffer) {
        guard buffer.readInteger(as: UInt8.self) == Self.version,
            let payloadCount = buffer.readInteger(endianness: .little, as: UInt64.self),
            let messageCount = buffer.readInteger(endianness: .little, as: UInt32.self),
            let state = StreamState(decoding: &buffer), UInt64(buffer.readableBytes) == payloadCount
        else { return nil }
        self.init(state: state, payloadCount: Int(payloadCount), messageCount: Int(messageCount))
    }
}

/// A deletion: what becomes of which stream.
struct DeleteRecord {
    var at: UInt64
    var isExpiry: Bool
    var steps: [(StreamIdentity, DeletionStep)]

    private static let version: UInt8 = 1

    init(at: UInt64, isExpiry: Bool, steps: [(StreamIdentity, DeletionStep)]) {
        self.at = at
        self.isExpiry = isExpiry
        self.steps = steps
    }

    func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(Self.version)
        buffer.writeInteger(UInt8(self.isExpiry ? 1 : 0))
        buffer.writeInteger(self.at, endianness: .little)
        buffer.writeInteger(UInt32(self.steps.count), endianness: .little)
        for (identity, step) in self.steps {
            buffer.writeInteger(identity.rawValue, endianness: .little)
            buffer.writeInteger(step.rawValue)
        }
    }

    init?(decoding buffer: inout ByteBuffer) {
        guard buffer.readInteger(as: UInt8.self) == Self.version, let isExpiry = buffer.readInteger(as: UInt8.self),
            let at = buffer.readInteger(endianness: .little, as: UInt64.self),
            let count = buffer.readInteger(endianness: .little, as: UInt32.self),
            buffer.readableBytes == Int(count) * 9
        else { return nil }
        var steps: [(StreamIdentity, DeletionStep)] = []
        for _ in 0..<count {
            guard let identity = buffer.readInteger(endianness: .little, as: UInt64.self),
                let step = buffer.readInteger(as: UInt8.self).flatMap(DeletionStep.init(rawValue:))
            else { return nil }
            steps.append((StreamIdentity(rawValue: identity), step))
        }
        self.init(at: at, isExpiry: isExpiry != 0, steps: steps)
    }
}

/// A trimming: from where on the stream is kept.
struct TrimRecord {
    var at: UInt64
    var earliest: UInt64

    private static let version: UInt8 = 1

    init(at: UInt64, earliest: UInt64) {
        self.at = at
        self.earliest = earliest
    }

    func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(Self.version)
        buffer.writeInteger(self.at, endianness: .little)
        buffer.writeInteger(self.earliest, endianness: .little)
    }

    /// Nil when the bytes are none.
    init?(decoding buffer: ByteBuffer) {
        var rest = buffer
        guard rest.readInteger(as: UInt8.self) == Self.version, rest.readableBytes == 16,
            let at = rest.readInteger(endianness: .little, as: UInt64.self),
            let earliest = rest.readInteger(endianness: .little, as: UInt64.self)
        else { return nil }
        self.init(at: at, earliest: earliest)
    }
}
