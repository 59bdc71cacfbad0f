import DurableStreams
import NIOCore
import StreamStore
import Synchronization

extension StreamDirectory {
    /// Appends to a stream, closes it, or both; replies when that is durable. Never blocks on the disk.
    ///
    /// - Parameters:
    ///   - target: Where the reply is to run; nil for the thread that settles it.
    ///   - reply: Called once, possibly before this returns.
    package func append(
        _ name: String, _ request: AppendRequest, now: UInt64, target: (any CompletionTarget)? = nil,
        reply: @escaping @Sendable (Result<DurableStreams.AppendOutcome, StreamError>) -> Void
    ) {
        let hash = Self.hash(name)
        let shard = self.shards[self.shardIndex(hash)]
        var batch = DeliveryBatch()
        var expired: StreamEntry?
        let failure = shard.withLock { () -> StreamError? in
            guard let entry = shard.table[name, hash] else { return Self.notFound }
            if self.isExpired(entry, now: now) {
                expired = entry
                return entry.state.isSoftDeleted ? Self.gone : Self.notFound
            }
            switch entry.state.decideAppend(request, at: now, limits: self.appendLimits) {
            case .refuse(let error):
                return error
            case .answer(let outcome):
                self.answerWhenSettled(
                    entry, StreamCompletion(.append(reply, outcome)), target: target, batch: &batch)
                return nil
            case .accept(let effect):
                do throws(StreamError) {
                    let body: ByteBuffer? =
                        if case .success(let payload) = request.payload { payload.bytes } else { nil }
                    try self.store(effect, body, entry, shard, target: target, reply: reply, batch: &batch)
                    return nil
                } catch {
                    return error
                }
            }
        }
        batch.deliver()
        if let expired { self.expire(expired, now: now) }
        if let failure { reply(.failure(failure)) }
    }

    private func store(
        _ effect: AppendEffect, _ body: ByteBuffer?, _ entry: StreamEntry, _ shard: StreamShard,
        target: (any CompletionTarget)?,
        reply: @escaping @Sendable (Result<DurableStreams.AppendOutcome, StreamError>) -> Void,
        batch: inout DeliveryBatch
    ) throws(StreamError) {
        let addedBytes = effect.payloadCount + entry.state.producerBytes(addedBy: effect)
        if let error = self.admissionError(byteCount: addedBytes, environment: entry.environment) { throw error }
        let producerBytes = entry.state.producerBytes
        defer {
            let change = entry.state.producerBytes - producerBytes
            if change != 0 { self.producerBytes.wrappingAdd(change, ordering: .relaxed) }
        }
        switch self.engine {
        case .memory:
            entry.state.apply(effect)
            let change = Change(
                .append, entry: entry, tail: entry.state.tail, isClosed: entry.state.isClosed,
                payloadCount: effect.payloadCount, messageCount: effect.messageCount, target: target,
                completion: StreamCompletion(.append(reply, entry.state.outcome(of: effect))))
            self.began(change)
            self.settle(change, bytes: body ?? ByteBuffer(), batch: &batch)
        case .files(let engine):
            let outcome = DurableStreams.AppendOutcome(
                of: effect, tail: entry.state.tail + UInt64(effect.payloadCount))
            let change = Change(
                .append, entry: entry, tail: entry.state.tail + UInt64(effect.payloadCount),
                isClosed: effect.closes || entry.state.isClosed, payloadCount: effect.payloadCount,
                messageCount: effect.messageCount, target: target,
                completion: StreamCompletion(.append(reply, outcome)))
            shard.scratch.clear()
            effect.encode(into: &shard.scratch)
            entry.lastRecordEnd = try engine.append(change, head: shard.scratch, body: body)
            entry.state.apply(effect)
            shard.markDirty(entry)
            self.began(change)
        case .acid(let engine):
            let producers = entry.applyKeepingProducersApart(effect)
            let change = Change(
                .append, entry: entry, tail: entry.state.tail, isClosed: entry.state.isClosed,
                payloadCount: effect.payloadCount, messageCount: effect.messageCount, target: target,
                completion: StreamCompletion(.append(reply, entry.state.outcome(of: effect))),
                transaction: AcidChange(
                    environment: entry.environment, states: [entry.stateToCommit], removed: [], payload: body,
                    payloadEnd: entry.state.tail, messageCount: effect.messageCount, producers: producers))
            self.began(change)
            engine.submit(change)
        }
        entry.storedTouch = max(entry.storedTouch, entry.state.lastTouched)
        self.reschedule(entry)
    }

    var appendLimits: AppendLimits {
        let limits = self.configuration.limits
        return AppendLimits(
            maximumStreamBytes: limits.streamBytes ?? StreamOffset.maximumPosition, maximumProducers: limits.producers)
    }

    static var notFound: StreamError { StreamError(.notFound, "There is no such stream.") }
    static var gone: StreamError { StreamError(.gone, "The stream was deleted; forks still use its data.") }
}

extension DurableStreams.AppendOutcome {
    /// As `StreamState.outcome(of:)`, before the effect is applied.
    init(of effect: AppendEffect, tail: UInt64) {
        self.init(
            kind: effect.payloadCount > 0 ? .appended : effect.closes ? .closed : .appended,
            tail: StreamOffset(position: tail), isClosed: effect.closes, producerEpoch: effect.claim?.epoch,
            producerSeq: effect.claim?.seq)
    }
}
