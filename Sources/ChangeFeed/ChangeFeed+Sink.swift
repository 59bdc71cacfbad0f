import Logging
import PostgresWire
import StreamStore
import Synchronization

extension ChangeFeed {
    /// Takes what one transport run delivers. A new one is made for each run, so that a late message of an old run goes nowhere.
    final class Sink: FeedSink {
        private struct State {
            var transport: (any FeedTransport)?
            var isClosed = false
        }

        let feed: ChangeFeed
        private let state = Mutex(State())

        init(feed: ChangeFeed) {
            self.feed = feed
        }

        func attach(_ transport: any FeedTransport) {
            self.state.withLock { $0.transport = transport }
        }

        func close() {
            self.state.withLock { state in
                state.isClosed = true
                state.transport = nil
            }
        }

        var transport: (any FeedTransport)? { self.state.withLock { $0.transport } }

        func received(_ messages: MessageRun) throws -> Bool {
            guard !self.state.withLock({ $0.isClosed }) else { return true }
            return try self.feed.take(messages)
        }

        func reached(decoded: LSN, flush: LSN) {
            guard !self.state.withLock({ $0.isClosed }) else { return }
            self.feed.reached(decoded: decoded, flush: flush)
        }
    }

    private func take(_ messages: MessageRun) throws -> Bool {
        let (isNew, mustPause, wait, reached) = try self.core.withLock { core in
            guard core != nil else { throw ChangeLogError(reason: "the change log is not open") }
            let isNew = try core!.receive(messages)
            let mustPause = core!.hasDeferred
            let wait: ChangeLog? = mustPause && !core!.waitsForRoom ? core!.log : nil
            if wait != nil { core!.waitsForRoom = true }
            return (isNew, mustPause, wait, core!.reached)
        }
        if isNew {
            self.slot.withLock { $0.advanced(to: reached, now: self.now) }
            self.notifyObservers()
        }
        if let log = wait { self.waitForRoom(in: log) }
        return !mustPause
    }

    /// The log is full: what came is kept aside, the transport pauses, and goes on when there is room.
    private func waitForRoom(in log: ChangeLog) {
        let byteCount = self.core.withLock { $0?.deferredByteCount ?? 0 }
        let body: @Sendable (Result<Void, any Error>) -> Void = { result in
            guard case .success = result else { return }
            do {
                let (isNew, again) = try self.core.withLock { core -> (Bool, Bool) in
                    guard core != nil, core!.log === log else { return (false, false) }
                    defer { core!.waitsForRoom = core!.hasDeferred }
                    let isNew = try core!.drainDeferred()
                    return (isNew, core!.hasDeferred)
                }
                if isNew { self.notifyObservers() }
                // The transport that is running now, which need not be the one that was paused.
                if again { self.waitForRoom(in: log) } else { self.currentSink.withLock { $0 }?.transport?.resume() }
            } catch {
                self.logger.error("the change log refuses records", metadata: ["error": "\(error)"])
            }
        }
        if byteCount <= log.log.configuration.pendingByteLimit / 2 {
            log.log.whenRoom(body)
        } else {
            // Why: a record this large is only taken when nothing else is pending; being told of room would lead to nothing, at once.
            log.log.whenDurable(log.log.nextOffset, body)
        }
    }

    private func reached(decoded: LSN, flush: LSN) {
        let reached = self.core.withLock { core -> LSN? in
            core?.reached(decoded, flush: flush)
            return core?.reached
        }
        guard let reached else { return }
        self.slot.withLock { $0.advanced(to: reached, now: self.now) }
    }

    /// Called by the store's flusher after each sync.
    func logBecameDurable(_ end: UInt64, of log: ChangeLog, acknowledge: (LSN) -> Void) {
        let (position, revealed) = self.core.withLock { core -> (LSN?, Bool) in
            guard core != nil, core!.log === log else { return (nil, false) }
            return core!.durable(end)
        }
        if let position { acknowledge(position) }
        if revealed { self.notifyObservers() }
    }
}
