/// One POST to a stream, with its headers read and its body brought into stored form.
///
/// What was wrong with a part is kept beside it: which fault is reported depends on the state of the stream.
package struct AppendRequest: Sendable {
    /// The header as it came; nil when absent.
    package var contentType: String?
    /// The body by the request's own content type; nil when it is empty.
    package var payload: Result<StreamPayload, StreamError>?
    package var producer: Result<ProducerClaim?, StreamError>
    /// `Stream-Seq`.
    package var sequence: String?
    /// Whether the stream is to be closed behind the body.
    package var closes: Bool
    /// Extension: the tail that the writer expects.
    package var ifMatch: StreamOffset?

    package init(
        contentType: String?, payload: Result<StreamPayload, StreamError>?,
        producer: Result<ProducerClaim?, StreamError> = .success(nil), sequence: String? = nil, closes: Bool = false,
        ifMatch: StreamOffset? = nil
    ) {
        self.contentType = contentType
        self.payload = payload
        self.producer = producer
        self.sequence = sequence
        self.closes = closes
        self.ifMatch = ifMatch
    }
}

/// Bounds that an append must keep.
package struct AppendLimits: Hashable, Sendable {
    /// Largest count of stored bytes of one stream, inherited ones included.
    package var maximumStreamBytes: UInt64
    /// Most producers remembered for one stream. At the limit those idle for ``StreamState/producerRetention`` are
    /// forgotten; when there is none, new producers are turned away.
    package var maximumProducers: Int

    package init(maximumStreamBytes: UInt64 = StreamOffset.maximumPosition, maximumProducers: Int = 10_000) {
        self.maximumStreamBytes = min(maximumStreamBytes, StreamOffset.maximumPosition)
        self.maximumProducers = maximumProducers
    }
}

/// What is to be done with an append.
package enum AppendDecision: Sendable {
    /// Store the payload, apply the effect.
    case accept(AppendEffect)
    /// Answer, store nothing. For a duplicate: once what it repeats is durable.
    case answer(AppendOutcome)
    case refuse(StreamError)
}

/// What an append, or the repeat of one, is answered with.
package struct AppendOutcome: Hashable, Sendable {
    package enum Kind: UInt8, Sendable {
        /// Data was added.
        case appended
        /// The stream was closed without data.
        case closed
        /// A producer's request that had been accepted before.
        case duplicate
        /// A close of a stream that was closed.
        case alreadyClosed
    }

    package var kind: Kind
    package var tail: StreamOffset
    package var isClosed: Bool
    package var producerEpoch: UInt64?
    /// The highest accepted number of the producer, not the one of the request.
    package var producerSeq: UInt64?

    package init(
        kind: Kind, tail: StreamOffset, isClosed: Bool, producerEpoch: UInt64? = nil, producerSeq: UInt64? = nil
    ) {
        self.kind = kind
        self.tail = tail
        self.isClosed = isClosed
        self.producerEpoch = producerEpoch
        self.producerSeq = producerSeq
    }
}
