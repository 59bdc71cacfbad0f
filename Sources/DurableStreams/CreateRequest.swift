import ExactText
import NIOCore

/// One PUT of a stream, with its headers read.
package struct CreateRequest: Sendable {
    /// nil when the request names none: the default type, or the one of the source.
    package let contentType: ContentType?
    /// ``Lifetime/none`` when the request names none.
    package let lifetime: Lifetime
    /// nil when the request names none; not its own where it is the server's default.
    package let retention: StreamRetention?
    package let fork: ForkRequest?
    package let closes: Bool
    private let body: ByteBuffer?
    /// The body in stored form, where the type was known beforehand.
    private let prepared: Result<StreamPayload, StreamError>?

    /// - Parameter body: nil or empty for none. It is brought into stored form right here, outside of any lock, unless
    ///   its type is the one of a source yet to be looked up.
    package init(
        contentType: ContentType?, lifetime: Lifetime = .none, retention: StreamRetention? = nil,
        fork: ForkRequest? = nil, closes: Bool = false, body: consuming ByteBuffer? = nil
    ) {
        self.contentType = contentType
        self.lifetime = lifetime
        self.retention = retention
        self.fork = fork
        self.closes = closes
        let known = contentType ?? (fork == nil ? .octetStream : nil)
        guard let bytes = body, bytes.readableBytes > 0 else {
            self.body = nil
            self.prepared = nil
            return
        }
        guard let known else {
            self.body = bytes
            self.prepared = nil
            return
        }
        self.body = nil
        body = nil
        do throws(StreamError) {
            self.prepared = .success(
                try StreamPayload.encode(body: consume bytes, contentType: known, allowsEmptyArray: true))
        } catch {
            self.prepared = .failure(error)
        }
    }

    /// The body in stored form for a stream of type `contentType`.
    package func payload(as contentType: ContentType) throws(StreamError) -> StreamPayload {
        if let prepared = self.prepared { return try prepared.get() }
        guard let body = self.body else { return .empty }
        return try StreamPayload.encode(body: body, contentType: contentType, allowsEmptyArray: true)
    }

    /// What to do, given the stream that lives under the name. Pass nil for an expired one.
    package func decide(existing: StreamState?) -> CreateDecision {
        guard let existing else { return .create }
        if existing.isSoftDeleted {
            return .refuse(StreamError(.pathBlocked, "The path stays blocked until the last fork is gone."))
        }
        guard self.matches(existing) else {
            return .refuse(StreamError(.alreadyExists, "A stream with another configuration lives here."))
        }
        return .confirm
    }

    /// Whether `existing` is what this request would have created. The body does not count.
    private func matches(_ existing: StreamState) -> Bool {
        let configuration = existing.configuration
        guard self.closes == existing.isClosed,
            StreamRetention.matches(self.retention, configuration.retention)
        else { return false }
        switch (self.fork, configuration.fork) {
        case (nil, nil):
            return (self.contentType ?? .octetStream).matches(configuration.contentType)
                && self.lifetime == configuration.lifetime
        case (let fork?, let origin?):
            guard fork.matches(origin) else { return false }
            if let contentType = self.contentType, !contentType.matches(configuration.contentType) { return false }
            if case .none = self.lifetime { return origin.inheritsLifetime }
            return !origin.inheritsLifetime && self.lifetime == configuration.lifetime
        case (nil, let origin?):
            // The fork that the mirror made of its own snapshot: nobody else can know that it is one.
            return origin.sourceName.hasExactPrefix(StreamNameRules.reservedSegment + "/")
                && (self.contentType ?? .octetStream).matches(configuration.contentType)
                && self.lifetime == configuration.lifetime
        default:
            return false
        }
    }

    /// The configuration of a stream that is no fork.
    package var plainConfiguration: StreamConfiguration {
        StreamConfiguration(
            contentType: self.contentType ?? .octetStream, lifetime: self.lifetime, retention: self.retention)
    }
}

/// What to do with a PUT.
package enum CreateDecision: Sendable {
    /// Create the stream: from ``CreateRequest/plainConfiguration``, or by ``CreateRequest/planFork(from:)``.
    case create
    /// The stream is there as asked for: 200, nothing changes.
    case confirm
    case refuse(StreamError)
}

/// What a successful PUT is answered with.
package struct CreateOutcome: Hashable, Sendable {
    /// False when the stream had been there before.
    package var isNew: Bool
    package var contentType: ContentType
    package var tail: StreamOffset
    package var isClosed: Bool

    package init(isNew: Bool, contentType: ContentType, tail: StreamOffset, isClosed: Bool) {
        self.isNew = isNew
        self.contentType = contentType
        self.tail = tail
        self.isClosed = isClosed
    }
}
