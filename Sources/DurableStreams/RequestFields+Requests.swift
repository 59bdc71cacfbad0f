import NIOCore

extension RequestFields {
    // MARK: PUT

    /// The request that the fields and the body of a PUT make.
    ///
    /// - Parameters:
    ///   - root: the path under which streams live, without a slash at its end.
    ///   - defaultRetention: for requests that name none.
    package func createRequest(
        body: consuming ByteBuffer?, root: String, names: StreamNameRules, defaultRetention: StreamRetention? = nil
    ) throws(StreamError) -> CreateRequest {
        try self.checkRepeats()
        let contentType = try self.parsedContentType()
        let lifetime = try self.lifetime()
        let retention = try self.retention() ?? defaultRetention?.inherited
        let fork = try self.forkRequest(root: root, names: names)
        return CreateRequest(
            contentType: contentType, lifetime: lifetime, retention: retention, fork: fork, closes: self.closes,
            body: body)
    }

    private func retention() throws(StreamError) -> StreamRetention? {
        StreamRetention(
            maximumBytes: try Self.bound(self.retentionBytes, StreamHeaderName.retentionBytes),
            maximumAgeSeconds: try Self.bound(self.retentionSeconds, StreamHeaderName.retentionSeconds))
    }

    private static func bound(_ text: String?, _ name: String) throws(StreamError) -> UInt64? {
        guard let text else { return nil }
        guard let number = HeaderText.decimal(HeaderText.trimmed(text), maximum: StreamRetention.maximumNumber),
            number > 0
        else {
            throw StreamError(
                .badRequest, "\(name) must be a whole number from 1 to \(StreamRetention.maximumNumber).")
        }
        return number
    }

    private func checkRepeats() throws(StreamError) {
        if let name = self.repeated { throw StreamError(.badRequest, "\(name) may be given only once.") }
    }

    private func parsedContentType() throws(StreamError) -> ContentType? {
        guard let text = self.contentType, !HeaderText.trimmed(text).isEmpty else { return nil }
        guard let contentType = ContentType(text) else {
            throw StreamError(.badRequest, "Content-Type is not a media type.")
        }
        return contentType
    }

    private func lifetime() throws(StreamError) -> Lifetime {
        switch (self.ttl, self.expiresAt) {
        case (nil, nil):
            return .none
        case (_?, _?):
            throw StreamError(.badRequest, "Stream-TTL and Stream-Expires-At exclude each other.")
        case (let text?, nil):
            guard let seconds = HeaderText.decimal(HeaderText.trimmed(text), maximum: Lifetime.maximumSeconds) else {
                throw StreamError(
                    .badRequest,
                    "Stream-TTL must be a whole number of seconds, no more than \(Lifetime.maximumSeconds).")
            }
            return .ttl(seconds: seconds)
        case (nil, let text?):
            let value = HeaderText.trimmed(text)
            guard let milliseconds = Timestamp.milliseconds(value) else {
                throw StreamError(.badRequest, "Stream-Expires-At must be a date and time with a zone.")
            }
            return .deadline(milliseconds: milliseconds, text: value)
        }
    }

    private func forkRequest(root: String, names: StreamNameRules) throws(StreamError) -> ForkRequest? {
        guard let source = self.forkedFrom else {
            if self.forkSubOffset != nil {
                throw StreamError(.badRequest, "Stream-Fork-Sub-Offset needs Stream-Forked-From.")
            }
            if self.forkOffset != nil {
                throw StreamError(.badRequest, "Stream-Fork-Offset needs Stream-Forked-From.")
            }
            return nil
        }
        let name = try names.name(forkSource: source, root: root)
        var offset: StreamOffset?
        if let text = self.forkOffset {
            guard let parsed = StreamOffset(token: HeaderText.trimmed(text)) else {
                throw StreamError(.invalidOffset, "Stream-Fork-Offset is not an offset.")
            }
            offset = parsed
        }
        var subOffset: UInt64 = 0
        if let text = self.forkSubOffset {
            guard let parsed = HeaderText.decimal(HeaderText.trimmed(text), maximum: StreamOffset.maximumPosition)
            else {
                throw StreamError(.badRequest, "Stream-Fork-Sub-Offset must be a whole number.")
            }
            subOffset = parsed
        }
        if subOffset > 0, offset == nil {
            throw StreamError(.badRequest, "Stream-Fork-Sub-Offset needs Stream-Fork-Offset.")
        }
        return ForkRequest(sourceName: name, offset: offset, subOffset: subOffset)
    }

    // MARK: POST

    /// The request that the fields and the body of a POST make.
    ///
    /// The body is brought into stored form here, by the type that the request names: should the stream have another, the
    /// append is refused anyway.
    package func appendRequest(body: consuming ByteBuffer?) throws(StreamError) -> AppendRequest {
        try self.checkRepeats()
        if let sequence = self.sequence, sequence.utf8.count > Self.maximumSequenceLength || sequence.isEmpty {
            throw StreamError(
                .badRequest, "Stream-Seq must have 1 to \(Self.maximumSequenceLength) bytes.")
        }
        var request = AppendRequest(
            contentType: self.contentType, payload: nil, producer: self.producerClaim(), sequence: self.sequence,
            closes: self.closes, ifMatch: try self.expectedTail())
        if let bytes = body, bytes.readableBytes > 0 {
            body = nil
            request.payload = self.payload(consume bytes)
        }
        return request
    }

    /// Longest `Stream-Seq` in bytes.
    package static let maximumSequenceLength = 1024

    private func payload(_ body: consuming ByteBuffer) -> Result<StreamPayload, StreamError> {
        // Why: a missing or malformed type is reported by the decision, in its turn; until then any form will do.
        let contentType = self.contentType.flatMap { Self.knownType($0) ?? ContentType($0) } ?? .octetStream
        do throws(StreamError) {
            return .success(try StreamPayload.encode(body: body, contentType: contentType))
        } catch {
            return .failure(error)
        }
    }

    /// The usual spellings, without taking the text apart.
    private static func knownType(_ text: String) -> ContentType? {
        switch text {
        case "application/json": return .json
        case "application/octet-stream": return .octetStream
        default: return nil
        }
    }

    /// All three producer fields, or none.
    func producerClaim() -> Result<ProducerClaim?, StreamError> {
        if self.producerID == nil, self.producerEpoch == nil, self.producerSeq == nil { return .success(nil) }
        guard let id = self.producerID, let epochText = self.producerEpoch, let seqText = self.producerSeq else {
            return .failure(
                StreamError(.badRequest, "Producer-Id, Producer-Epoch and Producer-Seq must come together."))
        }
        guard !HeaderText.trimmed(id).isEmpty, id.utf8.count <= ProducerClaim.maximumIDLength else {
            return .failure(
                StreamError(.badRequest, "Producer-Id must have 1 to \(ProducerClaim.maximumIDLength) bytes."))
        }
        guard let epoch = Self.producerNumber(epochText), let seq = Self.producerNumber(seqText) else {
            return .failure(
                StreamError(
                    .badRequest,
                    "Producer-Epoch and Producer-Seq must be whole numbers up to \(ProducerClaim.maximumNumber)."))
        }
        return .success(ProducerClaim(id: id, epoch: epoch, seq: seq))
    }

    private static func producerNumber(_ text: String) -> UInt64? {
        HeaderText.decimal(HeaderText.trimmed(text), maximum: ProducerClaim.maximumNumber)
    }

    /// `If-Match` with an offset, bare or in quotes; `*` expects nothing in particular.
    private func expectedTail() throws(StreamError) -> StreamOffset? {
        guard let value = self.ifMatch.map({ HeaderText.trimmed($0) }), value != "*" else { return nil }
        var text = value[...]
        if text.utf8.count >= 2, text.hasPrefix("\""), text.hasSuffix("\"") { text = text.dropFirst().dropLast() }
        guard let offset = StreamOffset(token: text) else {
            throw StreamError(.badRequest, "If-Match on an append must hold an offset.")
        }
        return offset
    }
}
