import DurableStreams
import Synchronization

extension StreamDirectory {
    /// Whether a stream's time is over. The shard is locked.
    func isExpired(_ entry: StreamEntry, now: UInt64) -> Bool {
        !entry.state.isSoftDeleted && entry.state.isExpired(at: now, isBeingRead: entry.hasObservers)
    }

    /// Puts a stream that will expire into the heap. The shard is locked, or the stream new.
    func schedule(_ entry: StreamEntry, notBefore: UInt64 = 0) {
        guard !entry.flags.contains(.isScheduled), let deadline = entry.state.expiry, deadline < .max else { return }
        entry.flags.insert(.isScheduled)
        self.expiries.withLock { $0.insert(entry, deadline: max(deadline, notBefore)) }
    }

    /// After a write or read: the heap learns of a later deadline when the old one has come.
    func reschedule(_ entry: StreamEntry) {
        self.schedule(entry)
    }

    /// Removes what has expired. Called each second by the directory's own thread; work grows with what is due, not
    /// with what is there. Returns how many streams went.
    @discardableResult
    package func sweep(now: UInt64) -> Int {
        var count = 0
        while let entry = self.expiries.withLock({ $0.popDue(now: now) }) {
            let shard = self.shard(of: entry)
            let isExpired = shard.withLock { () -> Bool in
                entry.flags.remove(.isScheduled)
                guard !entry.isRemoved, !entry.state.isSoftDeleted else { return false }
                if self.isExpired(entry, now: now) { return true }
                // Kept by a reader beyond its time: looked at again soon.
                self.schedule(entry, notBefore: now + 1000)
                return false
            }
            if isExpired, self.expire(entry, now: now) { count += 1 }
        }
        return count
    }

    /// Removes a stream whose time is over, if it still is. Returns whether it went.
    @discardableResult
    func expire(_ entry: StreamEntry, now: UInt64) -> Bool {
        var batch = DeliveryBatch()
        let went = self.families.withLock { _ -> Bool in
            let shard = self.shard(of: entry)
            guard shard.withLock({ !entry.isRemoved && self.isExpired(entry, now: now) }) else { return false }
            do throws(StreamError) {
                try self.remove(entry, now: now, isExpiry: true, target: nil, completion: nil, batch: &batch)
                return true
            } catch {
                // The disk may have no room now; what has expired is not found all the same.
                shard.withLock { self.schedule(entry, notBefore: now + 5000) }
                return false
            }
        }
        batch.deliver()
        return went
    }

    /// Starts the countdown of a sliding lifetime anew. The shard is locked.
    func touch(_ entry: StreamEntry, now: UInt64) {
        guard case .ttl(let seconds) = entry.state.configuration.lifetime else { return }
        let before = entry.state.lastTouched
        entry.state.touch(at: now)
        // Why not always: a stream that is read all the time would be in every checkpoint.
        if case .files = self.engine, entry.state.lastTouched - before > min(seconds * 50, 10_000) {
            self.shard(of: entry).markDirty(entry)
        }
    }
}
