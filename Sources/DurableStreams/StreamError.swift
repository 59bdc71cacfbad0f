/// A refusal: what a client is told, and the facts that travel in headers beside it.
///
/// Two errors are equal when their codes are.
package struct StreamError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What few refusals carry; kept aside so that an error stays small.
    private final class Extras: Sendable {
        let tail: StreamOffset?
        let isClosed: Bool
        let producerEpoch: UInt64?
        let expectedSeq: UInt64?
        let receivedSeq: UInt64?
        let retryAfterSeconds: UInt64?
        let earliest: StreamOffset?

        init(
            tail: StreamOffset?, isClosed: Bool, producerEpoch: UInt64?, expectedSeq: UInt64?, receivedSeq: UInt64?,
            retryAfterSeconds: UInt64?, earliest: StreamOffset?
        ) {
            self.tail = tail
            self.isClosed = isClosed
            self.producerEpoch = producerEpoch
            self.expectedSeq = expectedSeq
            self.receivedSeq = receivedSeq
            self.retryAfterSeconds = retryAfterSeconds
            self.earliest = earliest
        }
    }

    package let code: StreamErrorCode
    /// A sentence on this very case. Never holds stored data, tokens or paths of the machine.
    package let detail: String
    private let extras: Extras?

    package init(
        _ code: StreamErrorCode, _ detail: String = "", tail: StreamOffset? = nil, isClosed: Bool = false,
        producerEpoch: UInt64? = nil, expectedSeq: UInt64? = nil, receivedSeq: UInt64? = nil,
        retryAfterSeconds: UInt64? = nil, earliest: StreamOffset? = nil
    ) {
        self.code = code
        self.detail = detail
        let hasExtras =
            tail != nil || isClosed || producerEpoch != nil || expectedSeq != nil || receivedSeq != nil
            || retryAfterSeconds != nil || earliest != nil
        self.extras =
            hasExtras
            ? Extras(
                tail: tail, isClosed: isClosed, producerEpoch: producerEpoch, expectedSeq: expectedSeq,
                receivedSeq: receivedSeq, retryAfterSeconds: retryAfterSeconds, earliest: earliest)
            : nil
    }

    /// The tail, sent as `Stream-Next-Offset`.
    package var tail: StreamOffset? { self.extras?.tail }
    /// The first offset that is still there, sent as `Stream-Earliest-Offset`.
    package var earliest: StreamOffset? { self.extras?.earliest }
    /// Whether `Stream-Closed: true` goes with the refusal.
    package var isClosed: Bool { self.extras?.isClosed ?? false }
    /// The epoch in force, sent as `Producer-Epoch`.
    package var producerEpoch: UInt64? { self.extras?.producerEpoch }
    package var expectedSeq: UInt64? { self.extras?.expectedSeq }
    package var receivedSeq: UInt64? { self.extras?.receivedSeq }

    /// Sent as `Retry-After`. Refusals that pass by themselves always have one.
    package var retryAfterSeconds: UInt64? {
        if let seconds = self.extras?.retryAfterSeconds { return seconds }
        switch self.code {
        case .unavailable, .rateLimited:
            return 1
        case .tooManyProducers:
            return 60
        default:
            return nil
        }
    }

    package static func == (lhs: StreamError, rhs: StreamError) -> Bool { lhs.code == rhs.code }

    package var description: String { self.detail.isEmpty ? self.code.code : "\(self.code.code): \(self.detail)" }
}
