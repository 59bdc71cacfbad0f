import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The one thread that writes and syncs for all logs of a store.
///
/// Whatever was appended while the previous write and sync were under way goes out together in the next one (group
/// commit); nobody waits when nobody else does. Must be stopped after the logs are closed, or the thread lives on.
package final class StoreFlusher: Sendable {
    private struct State {
        /// Logs with something to write.
        var dirty: [SegmentedLog] = []
        /// Logs whose last write found the disk full.
        var stalled: [SegmentedLog] = []
        var isStopping = false
        /// Waiters served by the last pass, and how long its syncs took.
        var served = 0
        var syncDuration = Duration.zero
        var pacing: (@Sendable () -> Void)?
        /// Somebody waits for the next pass, or much is pending.
        var isUrgent = false
    }

    private let state = Mutex(State())
    /// Held during a pass: one at a time, from whatever thread.
    private let pass = Mutex<Void>(())
    private let signal = ThreadSignal()
    private let thread = Mutex<StoreThread?>(nil)
    private let retryMilliseconds: Int
    private let lingerMilliseconds: Int

    /// - Parameters:
    ///   - startsThread: False for tests that call `flushPending()` themselves.
    ///   - retryMilliseconds: How long after a write that found the disk full it is tried again.
    ///   - lingerMilliseconds: How long appends for which nobody waits may lie in memory, for more to come. A waiter of a
    ///     log, or an eighth of what may be pending in one, ends that at once.
    package init(startsThread: Bool = true, retryMilliseconds: Int = 250, lingerMilliseconds: Int = 0) {
        self.retryMilliseconds = retryMilliseconds
        self.lingerMilliseconds = lingerMilliseconds
        if startsThread { self.thread.withLock { $0 = StoreThread { self.run() } } }
    }

    /// Writes and syncs what all logs have pending, on the calling thread. Returns whether there was anything.
    ///
    /// The flusher's thread calls this. Others may, where they are allowed to block; never from a log's callbacks.
    @discardableResult
    package func flushPending() -> Bool {
        self.pass.withLock { _ in
            let logs = self.state.withLock { state in
                var logs = state.dirty
                // Why: a stalled log that took appends before it knew is among the dirty ones too.
                for log in state.stalled where !logs.contains(where: { $0 === log }) { logs.append(log) }
                state.dirty.removeAll(keepingCapacity: true)
                state.stalled.removeAll(keepingCapacity: true)
                state.served = 0
                state.syncDuration = .zero
                state.isUrgent = false
                return logs
            }
            let outcomes = logs.map { $0.writePending() }
            for (log, outcome) in zip(logs, outcomes) {
                switch outcome {
                case .nothing: break
                case .written(let chunk): log.finish(chunk)
                case .diskFull: self.state.withLock { $0.stalled.append(log) }
                }
            }
            return !logs.isEmpty
        }
    }

    /// Runs file work of a log apart from any pass.
    package func exclusively<Result, Failure>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        try self.pass.withLock { _ throws(Failure) in try body() }
    }

    /// Calls `body` on the flusher's thread before each of its passes. It may block for a while, to hold writers back;
    /// passes that others ask for go on meanwhile.
    package func onPass(_ body: (@Sendable () -> Void)?) {
        self.state.withLock { $0.pacing = body }
    }

    /// Writes what is pending and ends the thread. Returns when it has ended.
    package func stop() {
        self.state.withLock { $0.isStopping = true }
        self.signal.raise()
        let thread = self.thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        thread?.join()
        self.flushPending()
    }

    func enqueue(_ log: SegmentedLog) {
        self.state.withLock { $0.dirty.append(log) }
        self.signal.raise()
    }

    /// Whether appends are kept back until somebody waits for them.
    var lingers: Bool { self.lingerMilliseconds > 0 }

    /// Ends the lingering: the next pass begins now.
    func hurry() {
        guard self.lingers else { return }
        self.state.withLock { $0.isUrgent = true }
        self.signal.raise()
    }

    /// Tries again at once what the disk had no room for.
    func retryNow() {
        let isStalled = self.state.withLock { state in
            defer { state.stalled.removeAll() }
            for log in state.stalled where !state.dirty.contains(where: { $0 === log }) { state.dirty.append(log) }
            return !state.stalled.isEmpty
        }
        if isStalled { self.signal.raise() }
    }

    /// What a log's sync took and how many it served.
    func served(_ count: Int, in duration: Duration) {
        self.state.withLock { state in
            state.served += count
            state.syncDuration += duration
        }
    }

    /// Lets writers that were served a moment ago append again before the next pass.
    ///
    /// Why: without it writers that wait for each of their records fall into two halves that take turns, and each sync
    /// serves half of them. A sixteenth of a sync's time is spent to serve up to twice as many; none is spent where
    /// fewer than two waited.
    private func gather() {
        let (served, duration) = self.state.withLock { ($0.served, $0.syncDuration) }
        guard served > 1 else { return }
        let nanoseconds = duration.components.attoseconds / 1_000_000_000
        usleep(UInt32(min(nanoseconds / 1000 / 16, 250)))
    }

    private func linger() {
        let clock = ContinuousClock()
        let end = clock.now.advanced(by: .milliseconds(self.lingerMilliseconds))
        while !self.state.withLock({ $0.isUrgent || $0.isStopping }) {
            let left = clock.now.duration(to: end) / .milliseconds(1)
            guard left > 0 else { return }
            // Why rounded up: less than a millisecond would be no wait at all.
            self.signal.wait(milliseconds: Int(left.rounded(.up)))
        }
    }

    private func run() {
        while true {
            let (hasWork, isStalled, isStopping) = self.state.withLock {
                (!$0.dirty.isEmpty, !$0.stalled.isEmpty, $0.isStopping)
            }
            if hasWork {
                if self.lingers { self.linger() } else { self.gather() }
                self.state.withLock { $0.pacing }?()
                self.flushPending()
            } else if isStopping {
                return
            } else if isStalled {
                if !self.signal.wait(milliseconds: self.retryMilliseconds) { self.flushPending() }
            } else {
                self.signal.wait()
            }
        }
    }
}
