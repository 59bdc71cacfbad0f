import DurableStreams
import ExactText
import NIOCore
import StreamStore
import Synchronization

extension StreamDirectory {
    /// Why not created at once.
    private enum Obstacle {
        case error(StreamError)
        /// A stream whose time is over must go first.
        case expired(StreamEntry)
    }

    /// Creates a stream, with first content and closed if so asked, or confirms that one like it is there. Replies when
    /// that is durable. Blocks on the disk only for a fork at an offset into data that no longer lies in memory.
    package func create(
        _ name: String, _ request: CreateRequest, now: UInt64, target: (any CompletionTarget)? = nil,
        reply: @escaping @Sendable (Result<CreateOutcome, StreamError>) -> Void
    ) {
        // Twice: what has expired goes first. It cannot expire again at the same time.
        for _ in 0..<2 {
            var batch = DeliveryBatch()
            let obstacle =
                if let fork = request.fork {
                    self.families.withLock { _ in
                        self.createFork(name, request, fork, now: now, target: target, reply: reply, batch: &batch)
                    }
                } else {
                    self.createPlain(name, request, now: now, target: target, reply: reply, batch: &batch)
                }
            batch.deliver()
            switch obstacle {
            case nil: return
            case .error(let error): return reply(.failure(error))
            case .expired(let entry): self.expire(entry, now: now)
            }
        }
        reply(.failure(self.conditionError ?? StreamError(.unavailable, "The stream before it could not be removed.")))
    }

    private func createPlain(
        _ name: String, _ request: CreateRequest, now: UInt64, target: (any CompletionTarget)?,
        reply: @escaping @Sendable (Result<CreateOutcome, StreamError>) -> Void, batch: inout DeliveryBatch
    ) -> Obstacle? {
        let hash = Self.hash(name)
        let shard = self.shards[self.shardIndex(hash)]
        return shard.withLock { () -> Obstacle? in
            let existing = shard.table[name, hash]
            if let existing, self.isExpired(existing, now: now) { return .expired(existing) }
            do throws(StreamError) {
                guard
                    try self.decide(request, existing: existing, target: target, reply: reply, batch: &batch)
                else { return nil }
                try self.add(
                    name, hash, request, request.plainConfiguration, source: nil, now: now, target: target,
                    reply: reply,
                    batch: &batch)
                return nil
            } catch {
                return .error(error)
            }
        }
    }

    /// Families are locked.
    private func createFork(
        _ name: String, _ request: CreateRequest, _ fork: ForkRequest, now: UInt64, target: (any CompletionTarget)?,
        reply: @escaping @Sendable (Result<CreateOutcome, StreamError>) -> Void, batch: inout DeliveryBatch
    ) -> Obstacle? {
        let hash = Self.hash(name)
        let shard = self.shards[self.shardIndex(hash)]
        do throws(StreamError) {
            // Why a look ahead: one that is there already does not need the source any more.
            var expired: StreamEntry?
            let isNew = try shard.withLock { () throws(StreamError) -> Bool in
                let existing = shard.table[name, hash]
                if let existing, self.isExpired(existing, now: now) {
                    expired = existing
                    return false
                }
                return try self.decide(request, existing: existing, target: target, reply: reply, batch: &batch)
            }
            if let expired { return .expired(expired) }
            guard isNew else { return nil }

            let source = self.entry(named: fork.sourceName, now: now)
            let sourceState = source.map { source in self.shard(of: source).withLock { source.state } }
            let plan = try request.planFork(from: sourceState)
            guard let source else { throw Self.notFound }
            let configuration = plan.configuration(
                position: try self.position(of: plan, in: source, tail: sourceState?.tail ?? 0))
            return try self.withShards(of: [hash, source.hash]) { () throws(StreamError) -> Obstacle? in
                // Between the look ahead and here a plain creation may have come; the source cannot have gone.
                if let existing = shard.table[name, hash], self.isExpired(existing, now: now) {
                    return .expired(existing)
                }
                guard
                    try self.decide(
                        request, existing: shard.table[name, hash], target: target, reply: reply, batch: &batch)
                else { return nil }
                try self.add(
                    name, hash, request, configuration, source: source, now: now, target: target, reply: reply,
                    batch: &batch)
                return nil
            }
        } catch {
            return .error(error)
        }
    }

    /// Whether to go on and create; false when the request is answered. The shard is locked.
    private func decide(
        _ request: CreateRequest, existing: StreamEntry?, target: (any CompletionTarget)?,
        reply: @escaping @Sendable (Result<CreateOutcome, StreamError>) -> Void, batch: inout DeliveryBatch
    ) throws(StreamError) -> Bool {
        switch request.decide(existing: existing?.state) {
        case .create: return true
        case .refuse(let error): throw error
        case .confirm:
            guard let existing else { return true }
            let outcome = CreateOutcome(
                isNew: false, contentType: existing.state.contentType, tail: existing.state.tailOffset,
                isClosed: existing.state.isClosed)
            self.answerWhenSettled(
                existing, StreamCompletion(.create(reply, outcome)), target: target, batch: &batch)
            return false
        }
    }

    /// Where a fork leaves its source: reads one append for a sub-offset, and for an offset among the messages of JSON.
    private func position(
        of plan: ForkPlan, in source: StreamEntry, tail: UInt64
    ) throws(StreamError) -> UInt64 {
        guard plan.hasSubOffset else {
            // Why not for the tail: it may not be durable yet, and it is where a message ends.
            guard plan.contentType.isJSON, plan.request.offset != nil, plan.anchor > 0, plan.anchor < tail else {
                return plan.anchor
            }
            _ = try self.reading(of: source, from: plan.anchor, limit: 1)
            return plan.anchor
        }
        // What is not durable yet, nobody can have an offset of.
        let reading = try self.reading(of: source, from: plan.anchor, limit: 1)
        guard plan.needsBytes else { return try plan.position(nextAppendEnd: reading.end, bytes: nil) }
        let bytes: ByteBuffer
        do throws(StoreError) {
            bytes = try reading.bytes()
        } catch {
            throw StreamError(error)
        }
        return try plan.position(nextAppendEnd: reading.end, bytes: bytes)
    }

    /// Makes the stream. Its shard, and its source's, are locked.
    private func add(
        _ name: String, _ hash: UInt32, _ request: CreateRequest, _ configuration: StreamConfiguration,
        source: StreamEntry?, now: UInt64, target: (any CompletionTarget)?,
        reply: @escaping @Sendable (Result<CreateOutcome, StreamError>) -> Void, batch: inout DeliveryBatch
    ) throws(StreamError) {
        var configuration = configuration
        configuration.contentType = self.contentTypes.shared(configuration.contentType)
        let payload = try request.payload(as: configuration.contentType)
        let count = payload.bytes.readableBytes
        let base = configuration.fork?.position ?? 0
        // Since the request was checked against its source, that may have been trimmed.
        let earliest = source?.state.earliest ?? 0
        guard base >= earliest else { throw StreamState.offsetGone(earliest: earliest) }
        guard count == 0 || base - earliest + UInt64(count) <= self.appendLimits.maximumStreamBytes else {
            throw StreamError(.payloadTooLarge, "The stream would exceed its size limit.")
        }
        var environment: UInt8 = 0
        if case .acid(let engine) = self.engine { environment = source?.environment ?? engine.environment(for: name) }
        if let error = self.admissionError(byteCount: count, environment: environment) { throw error }
        if case .acid = self.engine {
            let waits = self.shards[self.shardIndex(hash)].leaving.wait(for: name, environment: environment) {
                [weak self] in
                guard let self else { return reply(.failure(StreamError(.unavailable, "The server is stopping."))) }
                self.create(name, request, now: now, target: target, reply: reply)
            }
            if waits { return }
        }
        let identity = StreamIdentity(rawValue: self.nextIdentity.wrappingAdd(1, ordering: .relaxed).oldValue)
        let state = StreamState(
            identity: identity, name: name, configuration: configuration, payloadCount: count,
            messageCount: payload.messageCount, closes: request.closes, earliest: earliest, at: now)
        let entry = StreamEntry(state: state, hash: hash, source: source)
        let outcome = CreateOutcome(
            isNew: true, contentType: configuration.contentType, tail: state.tailOffset, isClosed: state.isClosed)
        let shard = self.shard(of: entry)
        let completion = StreamCompletion(.create(reply, outcome))
        var transaction: AcidChange?
        if case .acid = self.engine {
            entry.environment = environment
            var states = [state]
            if var parent = source?.stateToCommit {
                parent.forkCount += 1
                states.append(parent)
            }
            transaction = AcidChange(
                environment: entry.environment, states: states, removed: [], payload: count > 0 ? payload.bytes : nil,
                payloadEnd: state.tail, messageCount: payload.messageCount)
        }
        let change = Change(
            .create, entry: entry, tail: state.tail, isClosed: state.isClosed, payloadCount: count,
            messageCount: payload.messageCount, target: target, completion: completion, transaction: transaction)
        if case .files(let engine) = self.engine {
            shard.scratch.clear()
            CreateRecord(state: state, payloadCount: count, messageCount: payload.messageCount)
                .encode(into: &shard.scratch)
            let end = try engine.append(change, head: shard.scratch, body: count > 0 ? payload.bytes : nil)
            entry.lastRecordEnd = end
            shard.markDirty(entry)
            if let source {
                source.lastRecordEnd = end
                self.shard(of: source).markDirty(source)
            }
        }
        source?.state.forkCount += 1
        shard.table.insert(entry)
        self.began(change)
        self.schedule(entry)
        switch self.engine {
        case .memory: self.settle(change, bytes: payload.bytes, batch: &batch)
        case .files: break
        case .acid(let engine): engine.submit(change)
        }
    }

    /// A stream that is there for others: not expired. Nil otherwise.
    func entry(named name: String, now: UInt64) -> StreamEntry? {
        let hash = Self.hash(name)
        let shard = self.shards[self.shardIndex(hash)]
        return shard.withLock {
            shard.table[name, hash].flatMap { self.isExpired($0, now: now) ? nil : $0 }
        }
    }
}

/// One copy of each content type that streams have, up to a number.
final class ContentTypePool: Sendable {
    private let types = Mutex<ExactDictionary<ContentType>>([:])
    private static let limit = 1024

    func shared(_ type: ContentType) -> ContentType {
        self.types.withLock { types in
            if let known = types[type.text] { return known }
            if types.count < Self.limit { types[type.text] = type }
            return type
        }
    }
}
