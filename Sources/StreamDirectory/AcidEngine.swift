import DurableStreams
import NIOCore
import StreamStore

struct AcidChange: Sendable {
    /// The environment of the family.
    var environment: UInt8
    /// States after the change.
    var states: [StreamState]
    var removed: [StreamIdentity]
    var payload: ByteBuffer?
    /// Where the payload ends in the first stream of `states`.
    var payloadEnd: UInt64
    var messageCount: Int
}

final class AcidEngine: Sendable {
    static func open(_ configuration: StreamDirectoryConfiguration, shardCount: Int) throws(StoreError) -> (AcidEngine, RecoveredStreams) {
        throw StoreError(.invalidState, "not here yet")
    }
    func flush() {}
    func verify(_ entry: StreamEntry) -> StoreError? { nil }
    func start(_ directory: StreamDirectory) {}
    func submit(_ change: Change) {}
    func environment(for name: String) -> UInt8 { 0 }
    func read(_ identity: StreamIdentity, environment: UInt8, upTo cap: UInt64, into gathering: inout StreamDirectory.Gathering) throws(StreamError) {}
    func close() throws(StoreError) {}
}
