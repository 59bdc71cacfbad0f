import CLMDB
import DurableStreams
import ExactText
import NIOCore

/// What a transaction writes of one producer.
struct AcidProducer: Sendable {
    var id: String
    /// Nil: it is forgotten.
    var state: ProducerState?
}

/// The producers of streams in `acid`, each in a place of its own, so that a commit writes only those that it moves.
///
/// A key is the stream and a hash of the producer's name, which may be longer than a key. Producers with one hash share
/// a value: a list of name, epoch, number and time.
enum AcidProducers {
    static func write(
        _ producer: AcidProducer, of identity: UInt64, _ environment: LMDBEnvironment, in transaction: OpaquePointer
    ) throws(LMDBEnvironment.Fault) {
        let key = Self.key(identity, producer.id)
        let found = try environment.get(environment.producers, key, in: transaction)
        var list = found.flatMap(Self.list) ?? []
        list.removeAll { $0.id.isExactly(producer.id) }
        if producer.state != nil { list.append(producer) }
        guard !list.isEmpty else { return try environment.delete(environment.producers, key, in: transaction) }
        var value = ByteBuffer()
        for producer in list {
            guard let state = producer.state else { continue }
            value.writeInteger(UInt32(producer.id.utf8.count), endianness: .little)
            value.writeString(producer.id)
            for number in [state.epoch, state.lastSeq, state.updatedAt] {
                value.writeInteger(number, endianness: .little)
            }
        }
        try environment.put(environment.producers, key, value, in: transaction)
    }

    /// The producers of one value; nil when the bytes are none.
    static func list(_ bytes: ByteBuffer) -> [AcidProducer]? {
        var bytes = bytes
        var list: [AcidProducer] = []
        while bytes.readableBytes > 0 {
            guard let count = bytes.readInteger(endianness: .little, as: UInt32.self),
                let id = bytes.readString(length: Int(count)),
                let epoch = bytes.readInteger(endianness: .little, as: UInt64.self),
                let lastSeq = bytes.readInteger(endianness: .little, as: UInt64.self),
                let updatedAt = bytes.readInteger(endianness: .little, as: UInt64.self)
            else { return nil }
            list.append(
                AcidProducer(id: id, state: ProducerState(epoch: epoch, lastSeq: lastSeq, updatedAt: updatedAt)))
        }
        return list
    }

    private static func key(_ identity: UInt64, _ id: String) -> ByteBuffer {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in id.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return LMDBEnvironment.key(identity, hash)
    }
}
