import Synchronization

/// The worker that is connected now, if any. A newer connection replaces an older one.
final class WorkerRegistry: Sendable {
    private struct State {
        var link: WorkerLink?
        var waiters: [UInt64: CheckedContinuation<Bool, Never>] = [:]
        var nextWaiter: UInt64 = 0
        var isShutDown = false
    }

    private let state = Mutex(State())

    /// The open link; links that have ended do not count.
    var current: WorkerLink? {
        self.state.withLock { state in
            if let link = state.link, !link.isOpen { state.link = nil }
            return state.link
        }
    }

    func connected(_ link: WorkerLink) {
        let (old, waiters) = self.state.withLock { state -> (WorkerLink?, [CheckedContinuation<Bool, Never>]) in
            // Its hello was still under way when the feed ended.
            if state.isShutDown { return (link, []) }
            defer {
                state.link = link
                state.waiters = [:]
            }
            return (state.link, Array(state.waiters.values))
        }
        old?.close()
        for waiter in waiters { waiter.resume(returning: true) }
    }

    /// The feed ends: closes the link there is, and each that comes after all. A worker that is not told would stay with a
    /// feed that is gone.
    func shutDown() {
        let link = self.state.withLock { state in
            state.isShutDown = true
            defer { state.link = nil }
            return state.link
        }
        link?.close()
    }

    /// Waits until a worker is connected; false if none came in time or the task was cancelled.
    func wait(for limit: Duration?) async -> Bool {
        if self.current != nil { return true }
        let id = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        let timer = limit.map { limit in
            Task {
                try? await Task.sleep(for: limit)
                self.giveUp(id)
            }
        }
        defer { timer?.cancel() }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let now: Bool? = self.state.withLock { state in
                    if let link = state.link, link.isOpen { return true }
                    if Task.isCancelled { return false }
                    state.waiters[id] = continuation
                    return nil
                }
                if let now { continuation.resume(returning: now) }
            }
        } onCancel: {
            self.giveUp(id)
        }
    }

    private func giveUp(_ id: UInt64) {
        self.state.withLock { $0.waiters.removeValue(forKey: id) }?.resume(returning: false)
    }
}
