import Identity
import Synchronization

/// Keeps one published key set up to date: runs the fetches that ``KeySetState`` asks for, and lets requests wait for
/// them.
///
/// Requests that wait are bounded in number; beyond that they are told that the keys are not available. A request waits no
/// longer than a fetch takes, and fetches are bounded in time.
package final class KeySetSource: Sendable {
    /// What is worth a line in the log.
    package enum Event: Sendable {
        case fetched(source: String, keys: Int, rejected: [KeySet.RejectedEntry])
        case failed(source: String, error: KeySetFetchError, consecutiveFailures: Int, hasKeys: Bool)
    }

    /// How many requests may wait for a fetch.
    package static let maximumWaiters = 1024

    private struct State {
        var machine: KeySetState
        var isFetchWanted = false
        var isReloadWanted = false
        var isClosed = false
        var isWoken = false
        var sleeper: CheckedContinuation<Void, Never>?
        var nextWaiter: UInt64 = 0
        var waiters: [UInt64: CheckedContinuation<KeySetState.Answer?, Never>] = [:]
    }

    private let state: Mutex<State>
    private let fetcher: any KeySetFetcher
    private let start = ContinuousClock.now
    private let report: @Sendable (Event) -> Void

    package init(
        fetcher: any KeySetFetcher, policy: KeySetState.Policy = KeySetState.Policy(),
        report: @escaping @Sendable (Event) -> Void = { _ in }
    ) {
        self.fetcher = fetcher
        self.state = Mutex(State(machine: KeySetState(policy: policy)))
        self.report = report
    }

    private var now: Duration { self.start.duration(to: .now) }

    /// Fetches whenever it is due, until cancelled. Then nobody waits any more, and no keys are handed out.
    package func run() async {
        while !Task.isCancelled {
            let now = self.now
            let pause: Duration? = self.state.withLock { state in
                if state.isReloadWanted {
                    // Why here: a fetch that was under way may have begun before the change.
                    state.isReloadWanted = false
                    if state.machine.reloadAsked() == .fetch { state.isFetchWanted = true }
                }
                if state.isFetchWanted || state.machine.timeArrived(now: now) == .fetch {
                    state.isFetchWanted = false
                    return nil
                }
                return state.machine.nextWake.map { $0 - now } ?? .zero
            }
            if let pause {
                await self.sleep(pause)
            } else {
                await self.fetch()
            }
        }
        self.close()
    }

    /// Fetches the set once more, at once. Keys that are gone from it are no longer taken when that has ended.
    package func reload() {
        let sleeper = self.state.withLock { state in
            state.isReloadWanted = true
            return Self.wake(&state)
        }
        sleeper?.resume()
    }

    /// The keys in which to look for a key id, fetched first where that may help.
    package func keys(for keyID: String?) async throws(TokenError) -> KeySet {
        // Why twice: a fetch that was under way may have begun before the key was published; the one after it counts.
        for _ in 0..<3 {
            switch await self.ask(keyID) {
            case .use(let keys)?, .serveStale(let keys)?: return keys
            case .refuseUnknownKey?: throw .unknownKey
            case .refuseUnavailable?: throw .keysUnavailable
            case .wait?, nil: if Task.isCancelled { throw .keysUnavailable }
            }
        }
        throw self.keysAtHand() == nil ? .keysUnavailable : .unknownKey
    }

    /// The keys as they are now, for whoever cannot wait; nil if there are none.
    package func keysAtHand() -> KeySet? {
        let now = self.now
        return self.state.withLock { $0.isClosed ? nil : $0.machine.keys(now: now) }
    }

    // MARK: Waiting

    /// The answer of the machine; nil after a fetch has ended that it said to wait for.
    private func ask(_ keyID: String?) async -> KeySetState.Answer? {
        let number = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let (answer, sleeper) = self.register(continuation, number: number, keyID: keyID)
                sleeper?.resume()
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            self.state.withLock { $0.waiters.removeValue(forKey: number) }?.resume(returning: nil)
        }
    }

    private func register(
        _ continuation: CheckedContinuation<KeySetState.Answer?, Never>, number: UInt64, keyID: String?
    ) -> (answer: KeySetState.Answer?, sleeper: CheckedContinuation<Void, Never>?) {
        let now = self.now
        return self.state.withLock { state in
            guard !state.isClosed, !Task.isCancelled else { return (.refuseUnavailable, nil) }
            let answer = state.machine.keyAsked(keyID, now: now)
            guard case .wait(let action) = answer else { return (answer, nil) }
            if action == .fetch { state.isFetchWanted = true }
            let sleeper = action == .fetch ? Self.wake(&state) : nil
            guard state.waiters.count < Self.maximumWaiters else { return (.refuseUnavailable, sleeper) }
            state.waiters[number] = continuation
            return (nil, sleeper)
        }
    }

    private static func wake(_ state: inout State) -> CheckedContinuation<Void, Never>? {
        let sleeper = state.sleeper
        state.sleeper = nil
        if sleeper == nil { state.isWoken = true }
        return sleeper
    }

    private func wake() {
        self.state.withLock { Self.wake(&$0) }?.resume()
    }

    /// Sleeps until the time is over, a fetch is wanted or the task is cancelled.
    private func sleep(_ duration: Duration) async {
        await withTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                do {
                    try await Task.sleep(for: max(duration, .milliseconds(1)))
                    self.wake()
                } catch {
                    // Cancelled: somebody else has woken the sleeper.
                }
            }
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let isWoken = self.state.withLock { state in
                        if state.isWoken {
                            state.isWoken = false
                            return true
                        }
                        state.sleeper = continuation
                        return false
                    }
                    if isWoken { continuation.resume() }
                }
            } onCancel: {
                self.wake()
            }
            tasks.cancelAll()
        }
    }

    // MARK: Fetching

    private func fetch() async {
        let event: Event
        do throws(KeySetFetchError) {
            let document = try await self.fetcher.fetch()
            let keys: KeySet
            do throws(KeySet.Malformed) {
                keys = try KeySet(parsing: document.bytes)
            } catch {
                throw KeySetFetchError(.malformed, "the key set \(error.rawValue)")
            }
            let now = self.now
            self.state.withLock { $0.machine.fetched(keys, lifetime: document.lifetime, now: now) }
            event = .fetched(source: self.fetcher.name, keys: keys.keys.count, rejected: keys.rejected)
        } catch {
            let now = self.now
            let jitter = Double.random(in: 0...1)
            let (failures, hasKeys) = self.state.withLock { state in
                state.machine.fetchFailed(jitter: jitter, now: now)
                return (state.machine.consecutiveFailures, state.machine.keys(now: now) != nil)
            }
            event = .failed(
                source: self.fetcher.name, error: error, consecutiveFailures: failures, hasKeys: hasKeys)
        }
        let waiters = self.state.withLock { state in
            let waiters = state.waiters
            state.waiters = [:]
            return waiters
        }
        for waiter in waiters.values { waiter.resume(returning: nil) }
        self.report(event)
    }

    private func close() {
        let waiters = self.state.withLock { state in
            state.isClosed = true
            let waiters = state.waiters
            state.waiters = [:]
            return waiters
        }
        for waiter in waiters.values { waiter.resume(returning: .refuseUnavailable) }
    }
}
