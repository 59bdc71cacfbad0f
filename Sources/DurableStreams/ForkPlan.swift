import ExactText
import NIOCore

/// The fork headers of a PUT.
package struct ForkRequest: Hashable, Sendable {
    @ExactText package var sourceName: String
    /// nil: the tail of the source at that moment.
    package var offset: StreamOffset?
    package var subOffset: UInt64

    package init(sourceName: String, offset: StreamOffset? = nil, subOffset: UInt64 = 0) {
        self.sourceName = sourceName
        self.offset = offset
        self.subOffset = subOffset
    }

    /// Whether a fork that exists is the one asked for. A request without an offset agrees with any: where the tail was
    /// when the first of two equal requests came can not be told from the second.
    func matches(_ origin: ForkOrigin) -> Bool {
        guard self.sourceName.isExactly(origin.sourceName), self.subOffset == origin.subOffset else { return false }
        guard let offset = self.offset else { return true }
        return offset == origin.offset
    }
}

/// A fork that passed the checks against its source; what is left is to find the place of its sub-offset.
package struct ForkPlan: Sendable {
    package let source: StreamIdentity
    package let contentType: ContentType
    package let lifetime: Lifetime
    package let inheritsLifetime: Bool
    package let retention: StreamRetention?
    /// Position in the source that the offset means.
    package let anchor: UInt64
    package let request: ForkRequest

    /// Whether ``position(nextAppendEnd:bytes:)`` is needed: there is a sub-offset.
    package var hasSubOffset: Bool { self.request.subOffset > 0 }
    /// Whether it needs the bytes as well, because messages must be counted.
    package var needsBytes: Bool { self.hasSubOffset && self.contentType.isJSON }

    /// Where the fork leaves its source.
    ///
    /// - Parameters:
    ///   - nextAppendEnd: end of the append that begins at the anchor, or holds it.
    ///   - bytes: the stored bytes from the anchor to there, if ``needsBytes``.
    package func position(nextAppendEnd: UInt64, bytes: ByteBuffer?) throws(StreamError) -> UInt64 {
        guard self.hasSubOffset else { return self.anchor }
        let room = nextAppendEnd > self.anchor ? nextAppendEnd - self.anchor : 0
        if self.contentType.isJSON {
            guard let bytes, let length = StoredMessages.length(ofFirst: self.request.subOffset, in: bytes),
                UInt64(length) <= room
            else { throw Self.overshoot }
            return self.anchor + UInt64(length)
        }
        guard self.request.subOffset <= room else { throw Self.overshoot }
        return self.anchor + self.request.subOffset
    }

    static let overshoot = StreamError(
        .badRequest, "Stream-Fork-Sub-Offset reaches beyond the append at the fork offset.")

    /// The configuration of the new stream.
    package func configuration(position: UInt64) -> StreamConfiguration {
        StreamConfiguration(
            contentType: self.contentType, lifetime: self.lifetime,
            fork: ForkOrigin(
                sourceName: self.request.sourceName, source: self.source,
                offset: StreamOffset(position: self.anchor), subOffset: self.request.subOffset, position: position,
                inheritsLifetime: self.inheritsLifetime), retention: self.retention)
    }
}

extension CreateRequest {
    /// Checks the fork headers against the source. Pass nil for a source that is missing or expired.
    package func planFork(from source: StreamState?) throws(StreamError) -> ForkPlan {
        guard let fork = self.fork, let source else {
            throw StreamError(.notFound, "The stream to fork from does not exist.")
        }
        if source.isSoftDeleted {
            throw StreamError(.forkFromTombstone, "The stream to fork from was deleted.")
        }
        if fork.subOffset > 0, fork.offset == nil {
            throw StreamError(.badRequest, "Stream-Fork-Sub-Offset needs Stream-Fork-Offset.")
        }
        let anchor = fork.offset?.position ?? source.tail
        guard anchor <= source.tail else {
            throw StreamError(.invalidOffset, "Stream-Fork-Offset lies beyond the tail of the source.")
        }
        guard anchor >= source.earliest else { throw StreamState.offsetGone(earliest: source.earliest) }
        if let contentType = self.contentType, !contentType.matches(source.contentType) {
            throw StreamError(.contentTypeMismatch, "The source holds \(source.contentType.text).")
        }
        if fork.subOffset > source.tail - anchor { throw ForkPlan.overshoot }
        var lifetime = self.lifetime
        var inheritsLifetime = false
        if case .none = self.lifetime {
            lifetime = source.configuration.lifetime
            inheritsLifetime = true
        }
        // The server's default is for streams that have no source.
        let own = self.retention.flatMap { $0.isOwn ? $0 : nil }
        return ForkPlan(
            source: source.identity, contentType: source.contentType, lifetime: lifetime,
            inheritsLifetime: inheritsLifetime, retention: own ?? source.configuration.retention?.inherited,
            anchor: anchor,
            request: fork)
    }
}
