internal import Synchronization

/// Frames that are made at most once per key and shared by the event loops.
final class FrameCache<Key: Hashable & Sendable>: Sendable {
    private struct State {
        var entries: [Key: TransactionFrames] = [:]
        var byteCount = 0
    }

    private let state = Mutex(State())

    /// The cached value, or a new one. The lock is held while a value is made, so that a thousand sessions that want
    /// the same frames at once wait for one of them instead of each making its own.
    func value(for key: Key, budget: FrameBudget, make: () -> TransactionFrames) -> TransactionFrames {
        self.state.withLock { state in
            if let cached = state.entries[key] { return cached }
            let made = make()
            if state.entries.count < FrameBudget.entries, state.byteCount + made.batch.byteCount <= budget.byteCount {
                state.entries[key] = made
                state.byteCount += made.batch.byteCount
            }
            return made
        }
    }

    var byteCount: Int { self.state.withLock { $0.byteCount } }
}
