import DurableStreams
import NIOCore
import StreamStore

/// Reads what environments hold.
struct AcidRecovery {
    private var entries: [UInt64: StreamEntry] = [:]
    private var nextIdentity: UInt64 = 1

    /// Takes in the streams of one environment; returns whose records are still to be removed.
    mutating func read(_ environment: LMDBEnvironment, number: UInt8) throws(StoreError) -> [UInt64] {
        var found: [StreamEntry] = []
        var garbage: [UInt64] = []
        var next: UInt64 = 1
        var isDamaged = false
        do throws(LMDBEnvironment.Fault) {
            try environment.read { transaction throws(LMDBEnvironment.Fault) in
                try environment.forEach(environment.streams, from: LMDBEnvironment.key(0), in: transaction) {
                    key, value, _ in
                    let identity = LMDBEnvironment.number(key, at: 0)
                    var bytes = ByteBuffer(bytes: value)
                    if identity == 0 {
                        next = bytes.readInteger(endianness: .little) ?? 1
                        return true
                    }
                    guard let state = StreamState(decoding: &bytes), state.identity.rawValue == identity else {
                        isDamaged = true
                        return false
                    }
                    let entry = StreamEntry(state: state, hash: StreamDirectory.hash(state.name), source: nil)
                    entry.environment = number
                    entry.checkpointedTail = state.tail
                    found.append(entry)
                    return true
                }
                let entries = Dictionary(found.map { ($0.state.identity.rawValue, $0) }) { first, _ in first }
                try environment.forEach(environment.producers, from: LMDBEnvironment.key(0), in: transaction) {
                    key, value, _ in
                    // Of streams that are gone, until they are tidied away.
                    guard let entry = entries[LMDBEnvironment.number(key, at: 0)] else { return true }
                    guard let list = AcidProducers.list(ByteBuffer(bytes: value)) else {
                        isDamaged = true
                        return false
                    }
                    for producer in list { entry.state.setProducer(producer.id, producer.state) }
                    return true
                }
                try environment.forEach(environment.garbage, from: LMDBEnvironment.key(0), in: transaction) {
                    key, _, _ in
                    garbage.append(LMDBEnvironment.number(key, at: 0))
                    return true
                }
            }
        } catch {
            throw error.storeError(environment.path)
        }
        if isDamaged { throw StoreError(.corrupt, "a stream's state cannot be read", file: environment.path) }
        for entry in found { self.entries[entry.state.identity.rawValue] = entry }
        self.nextIdentity = max(self.nextIdentity, next, (found.last?.state.identity.rawValue ?? 0) + 1)
        return garbage
    }

    func finished() throws(StoreError) -> RecoveredStreams {
        for entry in self.entries.values {
            guard let fork = entry.state.configuration.fork else { continue }
            guard let source = self.entries[fork.source.rawValue] else {
                throw StoreError(.corrupt, "the source of a fork is missing")
            }
            entry.source = source
        }
        return RecoveredStreams(entries: Array(self.entries.values), dirty: [], nextIdentity: self.nextIdentity)
    }
}
