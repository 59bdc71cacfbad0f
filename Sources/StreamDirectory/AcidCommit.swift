import DurableStreams
import ExactText
import NIOCore

extension LMDBEnvironment {
    /// One transaction for all of it: the last state of each stream, every append.
    func commit(_ changes: [Change]) throws(LMDBEnvironment.Fault) {
        var states: [UInt64: StreamState] = [:]
        var removed: Set<UInt64> = []
        var producers: [UInt64: ExactDictionary<AcidProducer>] = [:]
        var largest: UInt64 = 0
        for change in changes {
            guard let transaction = change.transaction else { continue }
            for state in transaction.states { states[state.identity.rawValue] = state }
            for producer in transaction.producers {
                producers[change.entry.state.identity.rawValue, default: [:]][producer.id] = producer
            }
            for identity in transaction.removed { removed.insert(identity.rawValue) }
            if change.kind == .create { largest = max(largest, change.entry.state.identity.rawValue) }
        }
        var encoded = ByteBuffer()
        try self.write { transaction throws(LMDBEnvironment.Fault) in
            for change in changes {
                guard let acid = change.transaction, let payload = acid.payload, payload.readableBytes > 0 else {
                    continue
                }
                let identity = change.entry.state.identity.rawValue
                try self.put(
                    self.records, LMDBEnvironment.key(identity, acid.payloadEnd),
                    count: 8 + payload.readableBytes,
                    in: transaction
                ) { target in
                    target.storeBytes(of: appendChecksum(payload).littleEndian, toByteOffset: 0, as: UInt32.self)
                    target.storeBytes(
                        of: UInt32(clamping: acid.messageCount).littleEndian, toByteOffset: 4, as: UInt32.self)
                    payload.withUnsafeReadableBytes {
                        UnsafeMutableRawBufferPointer(rebasing: target[8...]).copyMemory(from: $0)
                    }
                }
            }
            for (identity, state) in states where !removed.contains(identity) {
                encoded.clear()
                state.encode(into: &encoded)
                try self.put(self.streams, LMDBEnvironment.key(identity), encoded, in: transaction)
            }
            for (identity, moved) in producers where !removed.contains(identity) {
                for (_, producer) in moved {
                    try AcidProducers.write(producer, of: identity, self, in: transaction)
                }
            }
            for identity in removed {
                try self.delete(self.streams, LMDBEnvironment.key(identity), in: transaction)
                try self.put(self.garbage, LMDBEnvironment.key(identity), ByteBuffer(), in: transaction)
            }
            if largest > 0 {
                try self.put(
                    self.streams, LMDBEnvironment.key(0), ByteBuffer(integer: largest + 1, endianness: .little),
                    in: transaction)
            }
        }
    }
}
