import ExactText

/// What an idempotent producer says about one request: who it is, in which epoch, and the number of the request.
package struct ProducerClaim: Hashable, Sendable {
    @ExactText package var id: String
    package var epoch: UInt64
    package var seq: UInt64

    package init(id: String, epoch: UInt64, seq: UInt64) {
        self.id = id
        self.epoch = epoch
        self.seq = seq
    }

    /// Largest epoch and sequence number: what a double holds exactly.
    package static let maximumNumber: UInt64 = 9_007_199_254_740_991
    /// Longest identifier in bytes.
    package static let maximumIDLength = 1024
}

/// The last accepted request of one producer on one stream.
package struct ProducerState: Hashable, Sendable {
    package var epoch: UInt64
    package var lastSeq: UInt64
    /// Milliseconds since 1970.
    package var updatedAt: UInt64

    package init(epoch: UInt64, lastSeq: UInt64, updatedAt: UInt64) {
        self.epoch = epoch
        self.lastSeq = lastSeq
        self.updatedAt = updatedAt
    }
}
