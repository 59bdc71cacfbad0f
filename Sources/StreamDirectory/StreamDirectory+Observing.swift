import DurableStreams
import Synchronization

extension StreamDirectory {
    /// What readers may know of a stream now. Does not renew its life.
    package func lookup(_ name: String, now: UInt64) -> Result<StreamView, StreamError> {
        self.found(name, now: now) { entry, _ in entry.view }
    }

    /// Renews the life of a stream with a sliding lifetime, as a read does.
    package func touch(_ name: String, now: UInt64) {
        _ = self.found(name, now: now) { entry, _ in self.touch(entry, now: now) }
    }

    /// Watches a stream until cancelled or until the stream is gone.
    ///
    /// - Parameters:
    ///   - identity: The stream that is meant; another one under the name counts as none. Nil for whichever is there.
    ///   - target: Where `body` runs; nil for the thread that made the change durable.
    ///   - body: Called after each change of the durable tail or of closure, and a last time when the stream is gone.
    /// - Returns: what is true now; changes after that are told.
    package func observe(
        _ name: String, identity: StreamIdentity? = nil, now: UInt64, target: (any CompletionTarget)? = nil,
        _ body: @escaping @Sendable (StreamNotice) -> Void
    ) -> Result<(observer: TailObserver, view: StreamView), StreamError> {
        self.found(name, identity: identity, now: now) { entry, _ in
            (self.add(to: entry, target: target, waitsBeyond: nil, body), entry.view)
        }
    }

    /// Calls `body` once: when the durable tail lies beyond a position, when the stream is closed or gone; at once if
    /// that is so.
    package func wait(
        _ name: String, identity: StreamIdentity? = nil, beyond position: UInt64, now: UInt64,
        target: (any CompletionTarget)? = nil, _ body: @escaping @Sendable (StreamNotice) -> Void
    ) -> Result<TailObserver, StreamError> {
        var batch = DeliveryBatch()
        let result = self.found(name, identity: identity, now: now) { entry, _ -> TailObserver in
            let observer = self.add(to: entry, target: target, waitsBeyond: position, body)
            let isClosed = entry.flags.contains(.isDurablyClosed)
            if entry.durableTail > position || isClosed {
                entry.live?.observers[observer.id] = nil
                entry.rest()
                let notice = StreamNotice(tail: entry.durableTail, isClosed: isClosed, end: nil)
                batch.add(StreamCompletion(.notice(observer, notice)), to: target)
            }
            return observer
        }
        batch.deliver()
        return result
    }

    /// Ends an observation. A notice that is on its way already may still come.
    package func cancel(_ observer: TailObserver, now: UInt64) {
        let entry = observer.entry
        self.shard(of: entry).withLock {
            guard let live = entry.live, live.observers.removeValue(forKey: observer.id) != nil else { return }
            if live.observers.isEmpty, !entry.isRemoved {
                self.touch(entry, now: now)
                entry.rest()
            }
        }
    }

    private func add(
        to entry: StreamEntry, target: (any CompletionTarget)?, waitsBeyond: UInt64?,
        _ body: @escaping @Sendable (StreamNotice) -> Void
    ) -> TailObserver {
        let id = self.nextObserver.wrappingAdd(1, ordering: .relaxed).oldValue
        let observer = TailObserver(entry: entry, id: id, target: target, waitsBeyond: waitsBeyond, body: body)
        entry.inUse.observers[id] = observer
        self.keep(entry)
        return observer
    }

    /// Tells observers what has become durable. The shard is locked.
    func notify(_ entry: StreamEntry, end: StreamNotice.End?, batch: inout DeliveryBatch) {
        guard let live = entry.live, !live.observers.isEmpty else { return }
        let notice = StreamNotice(
            tail: entry.durableTail, isClosed: entry.flags.contains(.isDurablyClosed), end: end)
        if end != nil {
            for observer in live.observers.values {
                batch.add(StreamCompletion(.notice(observer, notice)), to: observer.target)
            }
            live.observers = [:]
            return
        }
        var served: [UInt64] = []
        for (id, observer) in live.observers {
            if let position = observer.waitsBeyond {
                guard notice.tail > position || notice.isClosed else { continue }
                served.append(id)
            }
            batch.add(StreamCompletion(.notice(observer, notice)), to: observer.target)
        }
        if served.count == live.observers.count {
            live.observers = [:]
        } else {
            for id in served { live.observers[id] = nil }
        }
        if !served.isEmpty, live.observers.isEmpty { self.touch(entry, now: self.clock()) }
    }

    /// Looks a stream up for readers and runs `body` under its lock.
    func found<Value>(
        _ name: String, identity: StreamIdentity? = nil, now: UInt64,
        _ body: (StreamEntry, StreamShard) -> Value
    ) -> Result<Value, StreamError> {
        let hash = Self.hash(name)
        let shard = self.shards[self.shardIndex(hash)]
        var expired: StreamEntry?
        let result = shard.withLock { () -> Result<Value, StreamError> in
            guard let entry = shard.table[name, hash], entry.isVisible,
                identity == nil || identity == entry.state.identity
            else { return .failure(Self.notFound) }
            if entry.state.isSoftDeleted { return .failure(Self.gone) }
            if self.isExpired(entry, now: now) {
                expired = entry
                return .failure(Self.notFound)
            }
            return .success(body(entry, shard))
        }
        if let expired { self.expire(expired, now: now) }
        return result
    }
}
