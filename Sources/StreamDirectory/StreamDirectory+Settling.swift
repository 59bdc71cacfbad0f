import DurableStreams
import NIOCore
import StreamStore
import Synchronization

/// From decided to durable: what was told to wait is told now, readers see it.
extension StreamDirectory {
    /// Counts a change that was handed to the storage. The shard is locked.
    func began(_ change: Change) {
        self.waitingChanges.wrappingAdd(1, ordering: .relaxed)
        self.waitingBytes.wrappingAdd(change.payloadCount, ordering: .relaxed)
        if change.payloadCount > 0 {
            self.totalBytes.wrappingAdd(UInt64(change.payloadCount), ordering: .relaxed)
        }
        let live = change.entry.inUse
        live.pendingCount += 1
        live.lastChange = change
    }

    /// Settles changes that became durable together, in their order, and delivers what follows from it.
    func settle(_ delivery: LogDelivery) {
        var batch = DeliveryBatch()
        for item in delivery.items {
            guard let change = item.attachment as? Change else { continue }
            let bytes =
                change.payloadCount == 0
                ? nil
                : delivery.bytes.getSlice(
                    at: item.payloadIndex + item.payloadCount - change.payloadCount, length: change.payloadCount)
            self.shard(of: change.entry).withLock {
                self.settle(change, bytes: bytes ?? ByteBuffer(), batch: &batch)
            }
            for other in change.collected { self.forget(other) }
            self.settleRelease(of: change)
        }
        batch.deliver()
    }

    /// One durable change. The shard of its stream is locked.
    func settle(_ change: Change, bytes: ByteBuffer, batch: inout DeliveryBatch) {
        let entry = change.entry
        self.ended(change)
        self.shard(of: entry).statistics.settled(change, wasClosed: entry.flags.contains(.isDurablyClosed))
        switch change.kind {
        case .create, .append:
            let wasClosed = entry.flags.contains(.isDurablyClosed)
            entry.durableTail = change.tail
            if change.isClosed { entry.flags.insert(.isDurablyClosed) }
            entry.flags.insert(.isVisible)
            if change.payloadCount > 0, !entry.isRemoved { self.keep(bytes, of: change) }
            if entry.trimming != nil, change.payloadCount > 0 { self.noteRetention(entry) }
            if change.payloadCount > 0 || change.isClosed != wasClosed { self.notify(entry, end: nil, batch: &batch) }
        case .delete:
            self.notify(entry, end: change.isExpiry ? .expired : .deleted, batch: &batch)
            if entry.isRemoved { self.dropTail(of: entry) }
        case .trim: self.trimmed(entry, to: change.tail)
        }
        if let completion = change.completion { batch.add(completion, to: change.target) }
        for follower in change.followers { batch.add(follower.completion, to: follower.target) }
        change.followers = []
        entry.rest()
    }

    /// A deletion is durable: what its stream was forked from may have nothing to keep for others any more.
    func settleRelease(of change: Change) {
        guard let entry = change.released, entry.trimming != nil else { return }
        self.shard(of: entry).withLock { self.release(entry) }
    }

    private func ended(_ change: Change) {
        self.waitingChanges.wrappingSubtract(1, ordering: .relaxed)
        self.waitingBytes.wrappingSubtract(change.payloadCount, ordering: .relaxed)
        let live = change.entry.inUse
        live.pendingCount -= 1
        if live.lastChange === change { live.lastChange = nil }
    }

    private func keep(_ bytes: ByteBuffer, of change: Change) {
        var bytes = bytes
        switch self.engine {
        case .acid: return
        case .files: self.tailBytes.wrappingAdd(change.payloadCount, ordering: .relaxed)
        case .memory: bytes = bytes.withoutWaste
        }
        change.entry.inUse.tail.append(
            TailBuffer.Item(
                end: change.tail, messageCount: UInt32(clamping: change.messageCount), bytes: bytes))
    }

    /// A stream is gone: what it held in memory goes. The shard is locked.
    func dropTail(of entry: StreamEntry) {
        guard let live = entry.live else { return }
        let count = live.tail.removeAll(endingAtOrBefore: .max)
        if case .files = self.engine { self.tailBytes.wrappingSubtract(count, ordering: .relaxed) }
        entry.rest()
    }

    private func forget(_ entry: StreamEntry) {
        self.shard(of: entry).withLock { self.dropTail(of: entry) }
    }

    /// Answers when the stream's last change is durable, at once if it is. The shard is locked.
    func answerWhenSettled(
        _ entry: StreamEntry, _ completion: StreamCompletion, target: (any CompletionTarget)?,
        batch: inout DeliveryBatch
    ) {
        if let change = entry.live?.lastChange {
            if change.isAnswered { return batch.add(StreamCompletion(completion.body, error: Self.stalled), to: target) }
            change.followers.append((target, completion))
        } else if let error = self.failedError {
            // Why: whether what it repeats has become durable is not known.
            batch.add(StreamCompletion(completion.body, error: error), to: target)
        } else {
            batch.add(completion, to: target)
        }
    }

    private var failedError: StreamError? {
        if self.takesChanges.load(ordering: .acquiring) { return nil }
        if case .failed = self.condition { return self.conditionError }
        return nil
    }

    /// Changes that will not become durable: the storage failed or was closed.
    func drop(_ changes: [Change], _ error: StreamError) {
        var batch = DeliveryBatch()
        for change in changes {
            self.shard(of: change.entry).withLock {
                self.ended(change)
                if let completion = change.completion {
                    batch.add(StreamCompletion(completion.body, error: error), to: change.target)
                }
                for follower in change.followers {
                    batch.add(StreamCompletion(follower.completion.body, error: error), to: follower.target)
                }
                change.followers = []
            }
        }
        batch.deliver()
    }
}

extension ByteBuffer {
    /// The same bytes, in memory of their own where they would keep much more alive.
    fileprivate var withoutWaste: ByteBuffer {
        guard self.storageCapacity > 2 * self.readableBytes + 256 else { return self }
        var copy = ByteBufferAllocator().buffer(capacity: self.readableBytes)
        copy.writeImmutableBuffer(self)
        return copy
    }
}
