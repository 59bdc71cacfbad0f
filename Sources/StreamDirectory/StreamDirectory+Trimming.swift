import DurableStreams
import NIOCore
import StreamStore
import Synchronization

/// Retention: what is beyond a stream's bounds is first hidden, by a change as every other, and then given back.
extension StreamDirectory {
    /// Streams looked at in one pass; the rest is for the next.
    private static let trimCount = 4096

    /// Trims what is over its bounds. Called each second by the directory's own thread; work grows with what is due, not
    /// with what is there. Blocks for looking up where appends end. Returns how many streams were trimmed.
    @discardableResult
    package func applyRetention(now: UInt64) -> Int {
        var due: [StreamEntry] = []
        while due.count < Self.trimCount, let entry = self.ages.withLock({ $0.popDue(now: now) }) {
            self.shard(of: entry).withLock { entry.trimming?.isScheduled = false }
            due.append(entry)
        }
        for shard in self.shards {
            shard.withLock {
                let count = min(shard.overBound.count, max(0, Self.trimCount - due.count))
                guard count > 0 else { return }
                for entry in shard.overBound.suffix(count) { entry.trimming?.isQueued = false }
                due += shard.overBound.suffix(count)
                shard.overBound.removeLast(count)
            }
        }
        var count = 0
        for entry in due {
            let result = self.trim(entry, now: now, completion: nil)
            if case .success(true) = result { count += 1 }
            self.shard(of: entry).withLock {
                self.scheduleAge(of: entry, notBefore: now + 1000)
                // What could not be done now is tried again; what is left of the others is the next append's to tell.
                if case .failure = result { self.queueOverBound(entry) }
            }
        }
        return count
    }

    /// Trims one stream now; replies when that is durable, also when there is nothing to do.
    package func trim(_ name: String, now: UInt64, reply: @escaping @Sendable (Result<Void, StreamError>) -> Void) {
        switch self.found(name, now: now, { entry, _ in entry }) {
        case .failure(let error): reply(.failure(error))
        case .success(let entry):
            switch self.trim(entry, now: now, completion: StreamCompletion(.delete(reply))) {
            case .success(true): break
            case .success(false): reply(.success(()))
            case .failure(let error): reply(.failure(error))
            }
        }
    }

    /// Puts a stream where the next pass finds it, if there is or will be anything to do. The shard is locked.
    func noteRetention(_ entry: StreamEntry) {
        self.queueOverBound(entry)
        self.scheduleAge(of: entry)
    }

    private func queueOverBound(_ entry: StreamEntry) {
        guard let trimming = entry.trimming, !trimming.isQueued, !entry.isRemoved, !entry.state.isSoftDeleted,
            entry.state.isOverBound(tail: entry.durableTail)
        else { return }
        trimming.isQueued = true
        self.shard(of: entry).overBound.append(entry)
    }

    private func scheduleAge(of entry: StreamEntry, notBefore: UInt64 = 0) {
        guard let trimming = entry.trimming, !trimming.isScheduled, !entry.isRemoved, !entry.state.isSoftDeleted,
            let deadline = entry.state.nextAgeBound
        else { return }
        trimming.isScheduled = true
        self.ages.withLock { $0.insert(entry, deadline: max(deadline, notBefore)) }
    }

    /// Whether a change was made.
    private func trim(
        _ entry: StreamEntry, now: UInt64, completion: StreamCompletion?
    ) -> Result<Bool, StreamError> {
        let shard = self.shard(of: entry)
        let (bytes, age, start) = shard.withLock { () -> (UInt64?, UInt64?, UInt64) in
            guard !entry.isRemoved, !entry.state.isSoftDeleted else { return (nil, nil, 0) }
            return (
                entry.state.byteBound(tail: entry.durableTail),
                entry.state.ageBound(tail: entry.durableTail, at: now), entry.state.earliest
            )
        }
        var batch = DeliveryBatch()
        do throws(StreamError) {
            var target = age ?? 0
            // Why outside of the lock: it may read an index.
            if let bytes, bytes > target, let end = try self.lastEnd(of: entry, atOrBefore: bytes, after: start) {
                target = max(target, end)
            }
            guard target > start else { return .success(false) }
            let isTrimmed = try shard.withLock { () throws(StreamError) -> Bool in
                guard !entry.isRemoved, !entry.state.isSoftDeleted, target > entry.state.earliest,
                    target <= entry.durableTail
                else { return false }
                try self.trim(entry, shard, to: target, now: now, completion: completion, batch: &batch)
                return true
            }
            batch.deliver()
            return .success(isTrimmed)
        } catch {
            return .failure(error)
        }
    }

    /// Makes the change. The shard is locked.
    private func trim(
        _ entry: StreamEntry, _ shard: StreamShard, to position: UInt64, now: UInt64, completion: StreamCompletion?,
        batch: inout DeliveryBatch
    ) throws(StreamError) {
        if let error = self.admissionError(byteCount: 0, isDeletion: true) { throw error }
        var next = entry.stateToStore
        next.trim(to: position)
        var transaction: AcidChange?
        if case .acid = self.engine {
            transaction = AcidChange(
                environment: entry.environment, states: [next], removed: [], payload: nil, payloadEnd: 0,
                messageCount: 0)
        }
        let change = Change(
            .trim, entry: entry, tail: position, isClosed: entry.state.isClosed, target: nil, completion: completion,
            transaction: transaction)
        if case .files(let engine) = self.engine {
            shard.scratch.clear()
            TrimRecord(at: now, earliest: position).encode(into: &shard.scratch)
            entry.lastRecordEnd = try engine.append(change, head: shard.scratch, body: nil)
            shard.markDirty(entry)
        }
        entry.state.trim(to: position)
        self.began(change)
        switch self.engine {
        case .memory: self.settle(change, bytes: ByteBuffer(), batch: &batch)
        case .files: break
        case .acid(let engine): engine.submit(change)
        }
    }

    /// A stream that the last process left: what it may not have come to is done now. The shard is locked.
    func recoverTrimming(of entry: StreamEntry) {
        guard let trimming = entry.trimming, !entry.isRemoved else { return }
        self.noteRetention(entry)
        switch self.engine {
        case .memory: break
        case .files:
            // Also where the floor is as it should be: the bytes before it may still be on the disk.
            if trimming.floor > entry.base || trimming.earliest > trimming.floor {
                self.shard(of: entry).markDirty(entry)
            }
        case .acid(let engine):
            // With forks the floor is where the records begin that were left for them.
            if !self.raiseFloor(of: entry), trimming.earliest > trimming.floor, let start = engine.start(of: entry),
                start > trimming.floor
            {
                self.totalBytes.wrappingSubtract(start - trimming.floor, ordering: .relaxed)
                trimming.floor = start
            }
            if trimming.floor > entry.base { engine.trimmed(entry, to: trimming.floor) }
        }
    }

    /// A trimming is durable. The shard is locked.
    func trimmed(_ entry: StreamEntry, to position: UInt64) {
        guard let trimming = entry.trimming, position > trimming.earliest else { return }
        self.shard(of: entry).statistics.trimmedBytes += position - trimming.earliest
        trimming.earliest = position
        self.release(entry)
    }

    /// Gives back, in memory and `acid`, what nobody needs any more; with files a checkpoint does. The shard is locked.
    func release(_ entry: StreamEntry) {
        switch self.engine {
        case .files: return
        case .memory, .acid: break
        }
        guard self.raiseFloor(of: entry), let floor = entry.trimming?.floor else { return }
        switch self.engine {
        case .memory:
            _ = entry.live?.tail.removeAll(endingAtOrBefore: floor)
            entry.rest()
        case .acid(let engine): engine.trimmed(entry, to: floor)
        case .files: break
        }
    }

    /// Moves up to where bytes are needed no more. What was read before that is under a lease, what comes later finds the
    /// new floor. The shard is locked.
    ///
    /// A fork made from now on begins at `earliest` or later; while there are any, all they may inherit stays.
    ///
    /// - Returns: Whether it moved.
    @discardableResult
    func raiseFloor(of entry: StreamEntry) -> Bool {
        guard let trimming = entry.trimming, !entry.isRemoved, entry.state.forkCount == 0,
            trimming.earliest > trimming.floor, !trimming.leases.hasAny(before: trimming.earliest)
        else { return false }
        self.totalBytes.wrappingSubtract(trimming.earliest - trimming.floor, ordering: .relaxed)
        trimming.floor = trimming.earliest
        return true
    }

    /// The last end of an append at or before a position; nil if none lies after `start`. Blocks.
    private func lastEnd(
        of entry: StreamEntry, atOrBefore position: UInt64, after start: UInt64
    ) throws(StreamError) -> UInt64? {
        guard position > start else { return nil }
        if position < entry.base {
            guard let source = self.shard(of: entry).withLock({ entry.source }) else { return nil }
            return try self.lastEnd(of: source, atOrBefore: position, after: start)
        }
        var found: UInt64? = entry.base > start ? entry.base : nil
        if case .acid(let engine) = self.engine {
            found = try engine.lastEnd(of: entry, atOrBefore: position) ?? found
        } else {
            found = try self.lastEndStored(entry, atOrBefore: position) ?? found
        }
        return found.flatMap { $0 > start ? $0 : nil }
    }

    private func lastEndStored(_ entry: StreamEntry, atOrBefore position: UInt64) throws(StreamError) -> UInt64? {
        for _ in 0..<8 {
            let (stored, end) = self.shard(of: entry).withLock { () -> (StoredPart?, UInt64?) in
                if position >= entry.checkpointedTail {
                    if let end = entry.live?.tail.lastEnd(atOrBefore: position) { return (nil, end) }
                    return (nil, entry.checkpointedTail)
                }
                return (self.stored(entry, from: entry.trimming?.floor ?? entry.base), nil)
            }
            guard let stored, case .files(let engine) = self.engine else { return end }
            do throws(StoreError) {
                return try engine.lastEnd(in: stored, atOrBefore: position)
            } catch {
                // A checkpoint has moved it.
                if error.code == .trimmed || (error.code == .io && error.systemError == SystemError.noEntry) {
                    continue
                }
                throw StreamError(error)
            }
        }
        return nil
    }
}

extension TailBuffer {
    /// The last end of an append at or before a position, of those that are wanted.
    func lastEnd(atOrBefore position: UInt64) -> UInt64? {
        let index = self.firstIndex(endingAfter: position)
        return index > self.live.startIndex ? self.items[index - 1].end : nil
    }
}

extension FileEngine {
    func lastEnd(
        in stored: StreamDirectory.StoredPart, atOrBefore position: UInt64
    ) throws(StoreError) -> UInt64? {
        switch stored.placement {
        case .none: return nil
        case .inline: return try self.snapshot(at: stored.snapshotOffset).appends.last { $0.end <= position }?.end
        case .files:
            let files = try self.pool.files(of: stored.identity)
            let after = try files.firstEntry(endingAfter: position, count: stored.indexCount)
            return after > 0 ? try files.entry(after - 1).end : nil
        }
    }

    /// Gives the disk back what lies before a stream's floor. The snapshot that says so is durable.
    ///
    /// Faults change nothing for anybody: the bytes stay where they are until the next trimming.
    func free(_ identity: StreamIdentity, base: UInt64, indexCount: UInt64, upTo floor: UInt64) {
        do throws(StoreError) {
            let files = try self.pool.files(of: identity)
            let entries = try files.firstEntry(endingAfter: floor, count: indexCount)
            do throws(FileError) {
                try files.data.free(upTo: floor - base)
                try files.index.free(upTo: entries * UInt64(StreamFiles.entryCount))
            } catch {
                throw StoreError(error)
            }
        } catch {
            return
        }
    }
}
