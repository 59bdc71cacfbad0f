import DurableStreams
import NIOCore
import StreamStore

/// A change that was decided and is on its way to the disk, with what is to happen when it is there.
final class Change: LogAttachment, @unchecked Sendable {
    // Why unchecked: what is variable is guarded by the lock of the entry's shard.

    enum Kind: UInt8 {
        case create = 1
        case append = 2
        case delete = 3
        /// What is before a position is dropped.
        case trim = 4
    }

    let kind: Kind
    let entry: StreamEntry
    /// The stream's tail with this change; of a trimming, where the stream begins.
    let tail: UInt64
    let isClosed: Bool
    /// Payload bytes, which end the record.
    let payloadCount: Int
    let messageCount: Int
    let target: (any CompletionTarget)?
    var completion: StreamCompletion?
    /// It was told that it waits for room on the disk.
    var isAnswered = false
    /// Answers that wait for the same moment: repeats of requests that are not durable yet.
    var followers: [(target: (any CompletionTarget)?, completion: StreamCompletion)] = []
    /// Other streams that a deletion has removed for good.
    let collected: [StreamEntry]
    /// What a deletion has left without forks, perhaps.
    let released: StreamEntry?
    /// `acid`: what its transaction writes.
    let transaction: AcidChange?
    /// For a deletion: whether the stream's time was over.
    let isExpiry: Bool

    init(
        _ kind: Kind, entry: StreamEntry, tail: UInt64, isClosed: Bool, payloadCount: Int = 0, messageCount: Int = 0,
        target: (any CompletionTarget)?, completion: StreamCompletion?, collected: [StreamEntry] = [],
        released: StreamEntry? = nil, isExpiry: Bool = false, transaction: AcidChange? = nil
    ) {
        self.isExpiry = isExpiry
        self.kind = kind
        self.entry = entry
        self.tail = tail
        self.isClosed = isClosed
        self.payloadCount = payloadCount
        self.messageCount = messageCount
        self.target = target
        self.completion = completion
        self.collected = collected
        self.released = released
        self.transaction = transaction
    }
}
