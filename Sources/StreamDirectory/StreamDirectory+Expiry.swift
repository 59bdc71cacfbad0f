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
        self.renewKept(now: now)
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
        guard case .ttl = entry.state.configuration.lifetime else { return }
        entry.state.touch(at: now)
        self.storeTouch(of: entry)
    }

    /// Has the start of the countdown written down, later than it is: so a stream that is read all the time is written
    /// now and then only, and no restart takes a renewal back that the disk had time for. The shard is locked.
    private func storeTouch(of entry: StreamEntry) {
        guard entry.state.lastTouched + Self.touchMargin > entry.storedTouch else { return }
        entry.storedTouch = entry.state.lastTouched &+ Self.touchAdvance
        switch self.engine {
        case .memory: break
        case .files: self.shard(of: entry).markDirty(entry)
        case .acid(let engine): engine.touched(entry)
        }
    }

    /// How far ahead of a read a stored countdown begins, and how near to that the next one is stored, in milliseconds.
    static let touchAdvance: UInt64 = 30_000
    private static let touchMargin: UInt64 = 7000

    /// A live reader has come: while it stays, the countdown begins anew again and again. The shard is locked.
    func keep(_ entry: StreamEntry) {
        guard case .ttl = entry.state.configuration.lifetime, !entry.flags.contains(.isKept) else { return }
        entry.flags.insert(.isKept)
        self.keptEntries.withLock { $0.append(entry) }
    }

    private func renewKept(now: UInt64) {
        let entries = self.keptEntries.withLock { entries in
            defer { entries = [] }
            return entries
        }
        let kept = entries.filter { entry in
            self.shard(of: entry).withLock {
                guard entry.hasObservers, !entry.isRemoved else {
                    entry.flags.remove(.isKept)
                    return false
                }
                self.touch(entry, now: now)
                return true
            }
        }
        self.keptEntries.withLock { $0 += kept }
    }
}
