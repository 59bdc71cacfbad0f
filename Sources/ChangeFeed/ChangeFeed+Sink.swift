import Logging
import NIOCore
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

        func received(_ messages: [ByteBuffer]) throws -> Bool {
            guard !self.state.withLock({ $0.isClosed }) else { return true }
            return try self.feed.take(messages, from: self)
        }

        func reached(decoded: LSN, flush: LSN) {
            guard !self.state.withLock({ $0.isClosed }) else { return }
            self.feed.reached(decoded: decoded, flush: flush)
        }
    }

    private func take(_ messages: [ByteBuffer], from sink: Sink) throws -> Bool {
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
        if let log = wait { self.waitForRoom(in: log, sink) }
        return !mustPause
    }

    /// The log is full: what came is kept aside, the transport pauses, and goes on when there is room.
    private func waitForRoom(in log: ChangeLog, _ sink: Sink) {
        log.log.whenRoom { result in
            guard case .success = result else { return }
            do {
                let (isNew, again) = try self.core.withLock { core -> (Bool, Bool) in
                    guard core != nil else { return (false, false) }
                    let isNew = try core!.drainDeferred()
                    core!.waitsForRoom = core!.hasDeferred
                    return (isNew, core!.hasDeferred)
                }
                if isNew { self.notifyObservers() }
                if again { self.waitForRoom(in: log, sink) } else { sink.transport?.resume() }
            } catch {
                self.logger.error("the change log refuses records", metadata: ["error": "\(error)"])
            }
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
