import ExactText
import NIOCore

extension StreamState {
    /// Decides on an append. Changes nothing: the caller stores the payload and then applies the effect, all under the
    /// lock that orders this stream's changes.
    ///
    /// The checks come in the protocol's order, so that of two faults the same one is reported everywhere: deleted, empty
    /// body, malformed producer headers, fencing and duplicates, closed, gaps, content type, body, sequence, expected
    /// tail, size.
    package func decideAppend(
        _ request: AppendRequest, at now: UInt64, limits: AppendLimits = AppendLimits()
    ) -> AppendDecision {
        do throws(StreamError) {
            return try self.checkedAppend(request, at: now, limits: limits)
        } catch {
            return .refuse(error)
        }
    }

    private func checkedAppend(
        _ request: AppendRequest, at now: UInt64, limits: AppendLimits
    ) throws(StreamError) -> AppendDecision {
        if self.isSoftDeleted { throw StreamError(.gone, "The stream was deleted; forks still use its data.") }
        if request.payload == nil, !request.closes {
            throw StreamError(.emptyBody, "An append needs a body, or Stream-Closed: true.")
        }
        let claim = try request.producer.get()
        if let claim, let answer = try self.answerToKnown(claim) { return .answer(answer) }
        if self.isClosed {
            if request.payload == nil, claim == nil {
                return .answer(AppendOutcome(kind: .alreadyClosed, tail: self.tailOffset, isClosed: true))
            }
            throw self.closedError
        }
        var forgetsIdleProducers = false
        if let claim { forgetsIdleProducers = try self.checkOrder(of: claim, at: now, limits: limits) }

        var payload: StreamPayload?
        if let body = request.payload {
            guard let contentType = request.contentType, !contentType.isEmpty else {
                throw StreamError(.badRequest, "An append with a body needs a Content-Type.")
            }
            guard self.contentType.matches(text: contentType) else {
                throw StreamError(.contentTypeMismatch, "The stream holds \(self.contentType.text).")
            }
            payload = try body.get()
        }
        if let sequence = request.sequence, let last = self.lastSequence,
            !last.utf8.lexicographicallyPrecedes(sequence.utf8)
        {
            throw StreamError(.sequenceConflict, "Stream-Seq must be greater than the last one.")
        }
        if let expected = request.ifMatch, expected != self.tailOffset {
            throw StreamError(.preconditionFailed, "The tail is not the expected one.", tail: self.tailOffset)
        }
        let count = payload?.bytes.readableBytes ?? 0
        let kept = self.tail - self.earliest
        let room = limits.maximumStreamBytes >= kept ? limits.maximumStreamBytes - kept : 0
        guard count == 0 || UInt64(count) <= room else {
            throw StreamError(.payloadTooLarge, "The stream would exceed its size limit.", tail: self.tailOffset)
        }
        var effect = AppendEffect(
            payloadCount: count, messageCount: payload?.messageCount ?? 0, claim: claim, sequence: request.sequence,
            closes: request.closes, at: now)
        effect.forgetsIdleProducers = forgetsIdleProducers
        return .accept(effect)
    }

    private var closedError: StreamError {
        StreamError(.streamClosed, "No more data can be added.", tail: self.tailOffset, isClosed: true)
    }

    /// Fencing, and the answer to requests that were accepted before.
    private func answerToKnown(_ claim: ProducerClaim) throws(StreamError) -> AppendOutcome? {
        guard let known = self.producers[claim.id] else { return nil }
        if claim.epoch < known.epoch {
            throw StreamError(
                .producerEpochFenced, "A newer epoch of this producer is in force.",
                tail: self.isClosed ? self.tailOffset : nil, isClosed: self.isClosed, producerEpoch: known.epoch)
        }
        guard claim.epoch == known.epoch, claim.seq <= known.lastSeq else { return nil }
        // Why: once a stream is closed, only the very request that closed it counts as a repeat.
        if self.isClosed, claim != self.closingClaim { return nil }
        return AppendOutcome(
            kind: .duplicate, tail: self.tailOffset, isClosed: self.isClosed, producerEpoch: known.epoch,
            producerSeq: known.lastSeq)
    }

    /// Checks that a request that is new is the next one of its producer. Returns whether others have to be forgotten
    /// for it.
    private func checkOrder(
        of claim: ProducerClaim, at now: UInt64, limits: AppendLimits
    ) throws(StreamError) -> Bool {
        guard let known = self.producers[claim.id] else {
            guard claim.seq == 0 else { throw Self.gap(expected: 0, received: claim.seq) }
            guard self.producers.count >= limits.maximumProducers else { return false }
            // Why not the one that is idle longest, whenever that was: its next repeat would be taken for new data.
            guard self.producers.values.contains(where: { Self.isForgettable($0, at: now) }) else {
                throw StreamError(.tooManyProducers, "The stream has as many producers as it can remember.")
            }
            return true
        }
        if claim.epoch > known.epoch {
            guard claim.seq == 0 else {
                throw StreamError(.badRequest, "A new epoch must begin with Producer-Seq 0.")
            }
            return false
        }
        guard claim.seq == known.lastSeq + 1 else {
            throw Self.gap(expected: known.lastSeq + 1, received: claim.seq)
        }
        return false
    }

    private static func gap(expected: UInt64, received: UInt64) -> StreamError {
        StreamError(
            .sequenceConflict, "Producer-Seq does not follow the last accepted one.", expectedSeq: expected,
            receivedSeq: received)
    }

    private static func isForgettable(_ producer: ProducerState, at now: UInt64) -> Bool {
        now > producer.updatedAt && now - producer.updatedAt > Self.producerRetention
    }

    /// Producers that have been idle for so long that they may be forgotten.
    package func forgettableProducers(at now: UInt64) -> [String] {
        self.producers.filter { Self.isForgettable($0.value, at: now) }.map(\.key)
    }

    /// What one producer takes in memory, roughly.
    package static func byteCount(ofProducer id: String) -> Int { id.utf8.count + 96 }

    /// What an append's producer takes, if it is a new one.
    package func producerBytes(addedBy effect: AppendEffect) -> Int {
        guard let claim = effect.claim, self.producers[claim.id] == nil else { return 0 }
        return Self.byteCount(ofProducer: claim.id)
    }

    /// Remembers, or forgets, what a producer has done last: also for whoever keeps producers apart from the state.
    package mutating func setProducer(_ id: String, _ producer: ProducerState?) {
        let old: ProducerState?
        if let producer {
            old = self.producers.updateValue(producer, forKey: id)
        } else {
            old = self.producers.removeValue(forKey: id)
        }
        if (old == nil) != (producer == nil) {
            self.producerBytes += old == nil ? Self.byteCount(ofProducer: id) : -Self.byteCount(ofProducer: id)
        }
    }

    /// Takes over an accepted append, from a decision or from a log record.
    package mutating func apply(_ effect: AppendEffect) {
        if effect.payloadCount > 0, let retention = self.configuration.retention {
            let start = self.tail
            self.retained?.lastStart = start
            self.retained?.appended(end: start + UInt64(effect.payloadCount), at: effect.at, retention)
        }
        self.tail += UInt64(effect.payloadCount)
        self.messageCount += UInt64(effect.messageCount)
        if let claim = effect.claim {
            if effect.forgetsIdleProducers {
                for id in self.forgettableProducers(at: effect.at) { self.setProducer(id, nil) }
            }
            self.setProducer(
                claim.id, ProducerState(epoch: claim.epoch, lastSeq: claim.seq, updatedAt: effect.at))
        }
        if let sequence = effect.sequence { self.lastSequence = sequence }
        if effect.closes {
            self.isClosed = true
            self.closingClaim = effect.claim
        }
        self.updatedAt = max(self.updatedAt, effect.at)
        self.touch(at: effect.at)
    }

    /// What the writer is told, once the effect was applied and is durable.
    package func outcome(of effect: AppendEffect) -> AppendOutcome {
        AppendOutcome(
            kind: effect.payloadCount > 0 ? .appended : effect.closes ? .closed : .appended, tail: self.tailOffset,
            isClosed: effect.closes, producerEpoch: effect.claim?.epoch, producerSeq: effect.claim?.seq)
    }
}
