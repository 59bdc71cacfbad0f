import DurableStreams
import ExactText
import Logging
import NIOCore
import PostgresClient
import StreamDirectory
import Synchronization

/// Which streams there are, and which of them are this process's.
extension StreamFollower {
    /// Takes up streams that are new or that have come again under an old name. Returns whether there were any.
    func discover() async throws -> Bool {
        var views: [StreamView] = []
        switch self.flow.source {
        case .names(let names):
            for name in names where self.flow.source.matches(name) {
                if let view = try? self.calls.lookup(name) { views.append(view) }
            }
        case .prefix, .pattern:
            views = try await self.calls.list().filter { !$0.isSoftDeleted && self.flow.source.matches($0.view.name) }
                .map(\.view)
        }
        var foundNew = false
        for view in views {
            let isKnown = self.state.withLock { state -> Bool in
                guard let record = state.records[view.name], record.identity == view.identity else { return false }
                if record.observer == nil {
                    self.noticed(view.name, tail: view.tail, isClosed: view.isClosed, in: &state)
                }
                return true
            }
            if isKnown { continue }
            foundNew = true
            self.takeUp(view)
        }
        return foundNew
    }

    func takeUp(_ view: StreamView) {
        let stale = self.state.withLock { state -> TailObserver? in
            let old = state.records[view.name]
            var status = old?.status ?? MirrorStreamStatus(stream: view.name, state: .standby)
            if old != nil { status.restarts += 1 }
            status.state = .standby
            var record = Record(
                identity: view.identity, backoff: Backoff(self.options), tail: view.tail, status: status)
            // A worker that still serves the one before finds out by itself and leaves the rest to the next round.
            if case .running? = old?.phase { record.phase = .running }
            record.isDirty = true
            state.records[view.name] = record
            return old?.observer
        }
        if let stale { self.calls.directory.cancel(stale, now: self.calls.now) }
        // Why not for all: a watched stream with a sliding lifetime would never expire. Those are looked at from time to time.
        if case .ttl = view.configuration.lifetime { return }
        let name = view.name
        let identity = view.identity
        let result = self.calls.directory.observe(name, identity: identity, now: self.calls.now) { [weak self] notice in
            self?.received(notice, of: name, identity: identity)
        }
        guard case .success(let watch) = result else { return }
        self.state.withLock { state in
            guard state.records[name]?.identity == identity else { return }
            state.records[name]?.observer = watch.observer
            self.noticed(name, tail: watch.view.tail, isClosed: watch.view.isClosed, in: &state)
        }
    }

    func received(_ notice: StreamNotice, of name: String, identity: StreamIdentity) {
        self.state.withLock { state in
            guard state.records[name]?.identity == identity else { return }
            if notice.end != nil { state.records[name]?.observer = nil }
            state.records[name]?.isDirty = true
            self.noticed(name, tail: notice.tail, isClosed: notice.isClosed || notice.end != nil, in: &state)
        }
        self.wakeup.set()
    }

    /// Something may have come: a stream that rests is due when its batch has had time to fill.
    func noticed(_ name: String, tail: UInt64, isClosed: Bool, in state: inout State) {
        guard var record = state.records[name] else { return }
        record.tail = max(record.tail, tail)
        let done = record.checkpoint.map { $0.position >= record.tail && (!isClosed || $0.isFinished) } ?? false
        if !done || record.isDirty {
            if record.behindSince == nil, record.checkpoint.map({ $0.position < record.tail }) ?? true {
                record.behindSince = .now
            }
            switch record.phase {
            case .idle:
                let isFull =
                    record.checkpoint.map { record.tail - $0.position >= UInt64(self.options.readBytes) } ?? true
                record.phase = .due(isFull || isClosed ? .now : .now + self.flow.batchDelay)
                state.due.insert(name)
            case .running: record.isDirty = true
            default: break
            }
        }
        state.records[name] = record
    }

    func lease() async throws {
        let waiting = self.state.withLock { state in
            state.records.filter { if case .standby = $0.value.phase { true } else { false } }.map(\.key)
        }
        // Also without any that wait: the session is tried, and what it held is asked for again when it was lost.
        let mine = try await self.leases.acquire(flow: self.flow.name, waiting)
        let lost = self.state.withLock { state -> [String] in
            for name in waiting where mine.contains(name) {
                guard case .standby? = state.records[name]?.phase else { continue }
                state.records[name]?.phase = .due(.now)
                state.records[name]?.status.state = .starting
                state.due.insert(name)
            }
            return state.records.filter { name, record in
                if mine.contains(name) { return false }
                switch record.phase {
                case .standby, .gone: return false
                default: return true
                }
            }.map(\.key)
        }
        guard !lost.isEmpty else { return }
        let back = try await self.leases.acquire(flow: self.flow.name, lost)
        self.state.withLock { state in
            for name in lost where !back.contains(name) {
                // A worker at it now is stopped by the checkpoint, if another has moved it.
                if case .running? = state.records[name]?.phase { continue }
                state.records[name]?.phase = .standby
                state.records[name]?.checkpoint = nil
                state.records[name]?.status.state = .standby
                state.due.remove(name)
            }
        }
    }

    /// Gives what is due to the workers; returns when the next will be.
    func handOutDue() -> ContinuousClock.Instant? {
        let now = ContinuousClock.now
        let (ready, next) = self.state.withLock { state -> ([String], ContinuousClock.Instant?) in
            var ready: [String] = []
            var next: ContinuousClock.Instant?
            for name in state.due {
                guard case .due(let time)? = state.records[name]?.phase else {
                    ready.append(name)
                    continue
                }
                if time <= now { ready.append(name) } else { next = min(next ?? time, time) }
            }
            for name in ready { state.due.remove(name) }
            let due = ready.filter { if case .due? = state.records[$0]?.phase { true } else { false } }
            for name in due { state.records[name]?.phase = .queued }
            return (due, next)
        }
        for name in ready { self.queue.add(name) }
        return next
    }
}
