import NIOCore

/// The responses of each operation.
extension StreamResponse {
    private typealias Headers = [(name: String, value: String)]

    // MARK: Writing

    /// - Parameter location: absolute URL of the stream.
    package static func created(_ outcome: CreateOutcome, location: String) -> StreamResponse {
        var headers: Headers = [("Content-Type", outcome.contentType.text)]
        if outcome.isNew { headers.append(("Location", location)) }
        headers.append((StreamHeaderName.nextOffset, outcome.tail.token))
        if outcome.isClosed { headers.append((StreamHeaderName.closed, "true")) }
        return StreamResponse(status: outcome.isNew ? 201 : 200, headers: headers)
    }

    package static func appended(_ outcome: AppendOutcome) -> StreamResponse {
        var headers: Headers = [(StreamHeaderName.nextOffset, outcome.tail.token)]
        if outcome.isClosed { headers.append((StreamHeaderName.closed, "true")) }
        if let epoch = outcome.producerEpoch { headers.append((StreamHeaderName.producerEpoch, String(epoch))) }
        if let seq = outcome.producerSeq { headers.append((StreamHeaderName.producerSeq, String(seq))) }
        let isNewProducerData = outcome.kind == .appended && outcome.producerEpoch != nil
        return StreamResponse(status: isNewProducerData ? 200 : 204, headers: headers)
    }

    package static let deleted = StreamResponse(status: 204)

    package static let methodNotAllowed: StreamResponse = {
        var response = StreamResponse.error(StreamError(.methodNotAllowed), instance: nil)
        response.headers.append(("Allow", StreamHeaderName.methods.joined(separator: ", ")))
        return response
    }()

    // MARK: Reading

    package static func head(_ state: StreamState) -> StreamResponse {
        self.head(
            identity: state.identity, configuration: state.configuration, tail: state.tail, isClosed: state.isClosed,
            earliest: state.earliest)
    }

    package static func head(
        identity: StreamIdentity, configuration: StreamConfiguration, tail: UInt64, isClosed: Bool,
        earliest: UInt64 = 0
    ) -> StreamResponse {
        var headers: Headers = [
            ("Content-Type", configuration.contentType.text),
            (StreamHeaderName.nextOffset, StreamOffset(position: tail).token),
            ("Cache-Control", CachePolicy.noStore),
            ("ETag", EntityTag(identity: identity, start: earliest, end: tail, isFinal: isClosed).description),
        ]
        switch configuration.lifetime {
        case .none: break
        case .ttl(let seconds): headers.append((StreamHeaderName.ttl, String(seconds)))
        case .deadline(_, let text): headers.append((StreamHeaderName.expiresAt, text))
        }
        if let bytes = configuration.retention?.maximumBytes {
            headers.append((StreamHeaderName.retentionBytes, String(bytes)))
        }
        if let seconds = configuration.retention?.maximumAgeSeconds {
            headers.append((StreamHeaderName.retentionSeconds, String(seconds)))
        }
        if earliest > 0 { headers.append(Self.earliest(earliest)) }
        if isClosed { headers.append((StreamHeaderName.closed, "true")) }
        return StreamResponse(status: 200, headers: headers)
    }

    /// A catch-up read, or a long-poll that has data: 200, or 304 when the client has it already.
    ///
    /// - Parameters:
    ///   - coding: how the body will be packed.
    ///   - varies: whether it depends on the client how the body is packed.
    package static func read(
        _ facts: ReadFacts, policy: CachePolicy, ifNoneMatch: String? = nil, coding: ContentCoding? = nil,
        varies: Bool = false
    ) -> StreamResponse {
        var headers: Headers = []
        var isUnchanged = false
        if var tag = facts.entityTag {
            tag.coding = coding
            if let known = ifNoneMatch.flatMap({ tag.named(by: $0) }) {
                isUnchanged = true
                tag = known
            }
            headers.append(("ETag", tag.description))
        }
        // Why: what one user's browser kept must not be shown to the next who signs in there.
        let varying = (policy.scope == .user ? ["Authorization", "Cookie"] : []) + (varies ? ["Accept-Encoding"] : [])
        if !varying.isEmpty { headers.append(("Vary", varying.joined(separator: ", "))) }
        headers.append(("Cache-Control", Self.caching(facts, policy)))
        headers += Self.position(facts)
        if isUnchanged { return StreamResponse(status: 304, headers: headers) }
        headers.append(("Content-Type", facts.contentType.text))
        if let coding { headers.append(("Content-Encoding", coding.rawValue)) }
        return StreamResponse(status: 200, headers: headers, body: .content(facts.framing))
    }

    /// A long-poll that ends without data: its time is up, the stream is closed, or the server stops.
    ///
    /// - Parameter facts: `end` is the offset up to which data was really delivered.
    package static func nothingNew(_ facts: ReadFacts) -> StreamResponse {
        var headers = Self.position(facts)
        headers.append(("Cache-Control", CachePolicy.noStore))
        return StreamResponse(status: 204, headers: headers)
    }

    private static func position(_ facts: ReadFacts) -> [(name: String, value: String)] {
        var headers: Headers = [(StreamHeaderName.nextOffset, StreamOffset(position: facts.end).token)]
        if facts.isAtTail { headers.append((StreamHeaderName.upToDate, "true")) }
        if facts.isFinal { headers.append((StreamHeaderName.closed, "true")) }
        if let cursor = facts.cursor { headers.append((StreamHeaderName.cursor, String(cursor))) }
        if let earliest = facts.earliest { headers.append(Self.earliest(earliest)) }
        return headers
    }

    private static func earliest(_ position: UInt64) -> (name: String, value: String) {
        (StreamHeaderName.earliestOffset, StreamOffset(position: position).token)
    }

    private static func caching(_ facts: ReadFacts, _ policy: CachePolicy) -> String {
        if facts.isNow { return CachePolicy.noStore }
        // Why: who is told to start over must not get an old beginning out of a cache, which would lead there again.
        if facts.isMovingStart, policy.scope != .none { return CachePolicy.noCache }
        return policy.value(isSealed: facts.isSealed)
    }

    /// The head of an event stream.
    ///
    /// - Parameter earliest: where a stream begins whose beginning was asked for, if that is not at 0.
    package static func events(_ contentType: ContentType, earliest: UInt64 = 0) -> StreamResponse {
        var headers: Headers = [
            ("Content-Type", "text/event-stream"), ("Cache-Control", CachePolicy.noCache), ("X-Accel-Buffering", "no"),
        ]
        if contentType.kind == .binary { headers.append((StreamHeaderName.sseDataEncoding, "base64")) }
        if earliest > 0 { headers.append(Self.earliest(earliest)) }
        return StreamResponse(status: 200, headers: headers, body: .events)
    }

    // MARK: Errors

    /// A refusal as a problem document.
    ///
    /// - Parameters:
    ///   - instance: path and query of the request, without scheme and host.
    ///   - isHead: true leaves the body away.
    package static func error(_ error: StreamError, instance: String?, isHead: Bool = false) -> StreamResponse {
        var headers: Headers = [("Cache-Control", CachePolicy.noStore)]
        if let tail = error.tail { headers.append((StreamHeaderName.nextOffset, tail.token)) }
        if let earliest = error.earliest { headers.append((StreamHeaderName.earliestOffset, earliest.token)) }
        if error.isClosed { headers.append((StreamHeaderName.closed, "true")) }
        if let epoch = error.producerEpoch { headers.append((StreamHeaderName.producerEpoch, String(epoch))) }
        if let seq = error.expectedSeq { headers.append((StreamHeaderName.producerExpectedSeq, String(seq))) }
        if let seq = error.receivedSeq { headers.append((StreamHeaderName.producerReceivedSeq, String(seq))) }
        if let seconds = error.retryAfterSeconds { headers.append(("Retry-After", String(seconds))) }
        if error.code == .unauthorized { headers.append(("WWW-Authenticate", "Bearer")) }
        var response = StreamResponse(status: error.code.status, headers: headers)
        response.errorCode = error.code.code
        if isHead { return response }
        response.headers.append(("Content-Type", "application/problem+json"))
        var text = JSONText()
        text.beginObject()
        text.member("type", error.code.type)
        text.member("title", error.code.title)
        text.member("status", UInt64(error.code.status))
        text.member("code", error.code.code)
        if !error.detail.isEmpty { text.member("detail", error.detail) }
        if let instance { text.key("instance"); text.string(instance) }
        text.endObject()
        response.body = .bytes(text.bytes)
        return response
    }
}

extension ReadFacts {
    /// Whether what was read will be read again the same way for ever: the range ends before the tail, or the stream has.
    package var isSealed: Bool { !self.isNow && !self.hasRetention && (self.isFinal || !self.isAtTail) }
}
