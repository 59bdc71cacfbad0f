import DurableStreams
import NIOCore
import StreamStore
import Synchronization

/// What a deletion does to one stream. The record of a deletion holds all of it, so that it is replayed without looking
/// at what the streams were.
enum DeletionStep: UInt8 {
    /// It stays for its forks and is found by nobody else.
    case softDelete = 0
    case remove = 1
    /// One fork less refers to it.
    case release = 2
}

extension StreamDirectory {
    /// Deletes a stream, or hides it while forks need it; replies when that is durable.
    package func delete(
        _ name: String, now: UInt64, target: (any CompletionTarget)? = nil,
        reply: @escaping @Sendable (Result<Void, StreamError>) -> Void
    ) {
        let hash = Self.hash(name)
        let shard = self.shards[self.shardIndex(hash)]
        var batch = DeliveryBatch()
        var expired: StreamEntry?
        let failure = self.families.withLock { _ -> StreamError? in
            let found = shard.withLock { () -> Result<StreamEntry, StreamError> in
                guard let entry = shard.table[name, hash] else { return .failure(Self.notFound) }
                if entry.state.isSoftDeleted { return .failure(Self.gone) }
                if self.isExpired(entry, now: now) {
                    expired = entry
                    return .failure(Self.notFound)
                }
                return .success(entry)
            }
            do throws(StreamError) {
                try self.remove(
                    try found.get(), now: now, isExpiry: false, target: target,
                    completion: StreamCompletion(.delete(reply)), batch: &batch)
                return nil
            } catch {
                return error
            }
        }
        batch.deliver()
        if let expired { self.expire(expired, now: now) }
        if let failure { reply(.failure(failure)) }
    }

    /// Removes a stream and, up its line, sources that only waited for it. Families are locked.
    func remove(
        _ entry: StreamEntry, now: UInt64, isExpiry: Bool, target: (any CompletionTarget)?,
        completion: StreamCompletion?, batch: inout DeliveryBatch
    ) throws(StreamError) {
        if let error = self.admissionError(byteCount: 0, isDeletion: true) { throw error }
        let steps = self.deletionSteps(entry)
        let removed = steps.filter { $0.1 == .remove }.map(\.0)
        try self.withShards(of: steps.map(\.0.hash)) { () throws(StreamError) in
            var transaction: AcidChange?
            if case .acid = self.engine {
                let states = steps.compactMap { entry, step -> StreamState? in
                    var state = entry.stateToCommit
                    switch step {
                    case .softDelete: state.isSoftDeleted = true
                    case .release: state.forkCount -= 1
                    case .remove: return nil
                    }
                    return state
                }
                transaction = AcidChange(
                    environment: entry.environment, states: states, removed: removed.map(\.state.identity),
                    payload: nil, payloadEnd: 0, messageCount: 0)
            }
            let change = Change(
                .delete, entry: entry, tail: entry.state.tail, isClosed: entry.state.isClosed, target: target,
                completion: completion, collected: removed.filter { $0 !== entry },
                released: steps.last { $0.1 == .release }?.0, isExpiry: isExpiry,
                transaction: transaction)
            if case .files(let engine) = self.engine {
                let shard = self.shard(of: entry)
                shard.scratch.clear()
                DeleteRecord(at: now, isExpiry: isExpiry, steps: steps.map { ($0.state.identity, $1) })
                    .encode(into: &shard.scratch)
                let end = try engine.append(change, head: shard.scratch, body: nil)
                for (other, _) in steps {
                    other.lastRecordEnd = end
                    self.shard(of: other).markDirty(other)
                }
            }
            for (other, step) in steps { self.apply(step, to: other) }
            if case .acid = self.engine {
                for other in removed {
                    self.shard(of: other).leaving.began(other.state.name, environment: other.environment)
                }
            }
            self.began(change)
            switch self.engine {
            case .memory:
                self.settle(change, bytes: ByteBuffer(), batch: &batch)
                for other in change.collected { self.dropTail(of: other) }
                if let other = change.released { self.release(other) }
            case .files: break
            case .acid(let engine): engine.submit(change)
            }
        }
    }

    /// What has to happen to which stream. Families are locked, so that none of it changes meanwhile.
    private func deletionSteps(_ entry: StreamEntry) -> [(StreamEntry, DeletionStep)] {
        guard self.forkCount(of: entry) == 0 else { return [(entry, .softDelete)] }
        var steps: [(StreamEntry, DeletionStep)] = [(entry, .remove)]
        var source = entry.source
        while let current = source {
            let isLast = self.shard(of: current).withLock {
                current.state.isSoftDeleted && current.state.forkCount == 1
            }
            guard isLast else {
                steps.append((current, .release))
                break
            }
            steps.append((current, .remove))
            source = current.source
        }
        return steps
    }

    private func forkCount(of entry: StreamEntry) -> UInt32 {
        self.shard(of: entry).withLock { entry.state.forkCount }
    }

    private func apply(_ step: DeletionStep, to entry: StreamEntry) {
        self.shard(of: entry).statistics.leaves(entry, by: step)
        switch step {
        case .softDelete: entry.state.isSoftDeleted = true
        case .release: entry.state.forkCount -= 1
        case .remove:
            entry.flags.insert(.isRemoved)
            self.shard(of: entry).table.remove(entry)
            let count = entry.state.tail - entry.floor
            if count > 0 { self.totalBytes.wrappingSubtract(count, ordering: .relaxed) }
            let producers = entry.state.producerBytes
            if producers > 0 { self.producerBytes.wrappingSubtract(producers, ordering: .relaxed) }
        }
    }
}
