import Synchronization

/// Lets a number of tasks do some work at once; the others wait in their order.
final class WorkLimit: Sendable {
    private struct State {
        var free: Int
        var next = 0
        /// Oldest first.
        var waiters: [(number: Int, continuation: CheckedContinuation<Bool, Never>)] = []
    }

    private let state: Mutex<State>

    init(_ count: Int) {
        self.state = Mutex(State(free: count))
    }

    var waiting: Int { self.state.withLock { $0.waiters.count } }

    /// Runs `body` when it is its turn; throws `CancellationError` if the task is cancelled while it waits.
    func run<R: Sendable>(_ body: () async throws -> R) async throws -> R {
        try await self.enter()
        defer { self.leave() }
        return try await body()
    }

    private func enter() async throws {
        let number = self.state.withLock { state in
            state.next += 1
            return state.next
        }
        let entered = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = self.state.withLock { state -> Bool? in
                    if Task.isCancelled { return false }
                    if state.free > 0 {
                        state.free -= 1
                        return true
                    }
                    state.waiters.append((number, continuation))
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiter = self.state.withLock { state in
                state.waiters.firstIndex { $0.number == number }.map { state.waiters.remove(at: $0).continuation }
            }
            waiter?.resume(returning: false)
        }
        if !entered { throw CancellationError() }
    }

    private func leave() {
        let next = self.state.withLock { state -> CheckedContinuation<Bool, Never>? in
            if state.waiters.isEmpty {
                state.free += 1
                return nil
            }
            return state.waiters.removeFirst().continuation
        }
        next?.resume(returning: true)
    }
}
