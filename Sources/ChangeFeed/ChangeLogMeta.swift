import NIOCore
import PostgresWire
import StreamStore

/// What is kept beside the log: which stream it belongs to, and the definitions in force at its oldest record.
struct ChangeLogMeta: Sendable {
    static let version: UInt32 = 1

    var identity: StreamIdentity
    var definitions: [UInt32: Relation]

    func encoded() -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(self.identity.systemIdentifier)
        buffer.writeInteger(self.identity.timeline)
        buffer.writeInteger(self.identity.epoch)
        buffer.writeInteger(self.identity.base.rawValue)
        Self.write(ByteBuffer(string: self.identity.slotName), to: &buffer)
        buffer.writeInteger(UInt32(self.definitions.count))
        for relation in self.definitions.values {
            var message = ByteBuffer()
            relation.write(to: &message)
            Self.write(message, to: &buffer)
        }
        return buffer
    }

    init(identity: StreamIdentity, definitions: [UInt32: Relation]) {
        self.identity = identity
        self.definitions = definitions
    }

    init(decoding contents: ByteBuffer) throws {
        var buffer = contents
        guard
            let (system, timeline, epoch, base) = buffer.readMultipleIntegers(
                as: (UInt64, UInt32, UInt64, UInt64).self),
            let slot = Self.read(&buffer), let count = buffer.readInteger(as: UInt32.self)
        else { throw ChangeLogError(reason: "the change log's identity file is cut short") }
        self.identity = StreamIdentity(
            systemIdentifier: system, timeline: timeline, slotName: String(buffer: slot), epoch: epoch,
            base: LSN(rawValue: base))
        self.definitions = [:]
        for _ in 0..<count {
            guard let message = Self.read(&buffer) else {
                throw ChangeLogError(reason: "the change log's identity file is cut short")
            }
            let relation = try Relation(message: message)
            self.definitions[relation.oid] = relation
        }
    }

    private static func write(_ bytes: ByteBuffer, to buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt32(bytes.readableBytes))
        buffer.writeImmutableBuffer(bytes)
    }

    private static func read(_ buffer: inout ByteBuffer) -> ByteBuffer? {
        guard let count = buffer.readInteger(as: UInt32.self) else { return nil }
        return buffer.readSlice(length: Int(count))
    }
}
