import Synchronization

/// Lets one task sleep until it is woken or a time is over. A call that comes while nobody sleeps is remembered.
final class Wakeup: Sendable {
    private struct State {
        var isSet = false
        var sleeper: Task<Void, Never>?
    }

    private let state = Mutex(State())

    func set() {
        let sleeper = self.state.withLock { state -> Task<Void, Never>? in
            state.isSet = true
            return state.sleeper
        }
        sleeper?.cancel()
    }

    func wait(for duration: Duration) async {
        let sleeper = self.state.withLock { state -> Task<Void, Never>? in
            if state.isSet { return nil }
            let sleeper = Task<Void, Never> { try? await Task.sleep(for: duration) }
            state.sleeper = sleeper
            return sleeper
        }
        if let sleeper {
            await withTaskCancellationHandler {
                await sleeper.value
            } onCancel: {
                sleeper.cancel()
            }
        }
        self.state.withLock {
            $0.isSet = false
            $0.sleeper = nil
        }
    }
}

/// Names of streams that wait for a worker, in order.
final class ReadyQueue: Sendable {
    private struct State {
        var names: [String] = []
        var head = 0
        var waiters: [CheckedContinuation<String?, Never>] = []
        var isClosed = false
    }

    private let state = Mutex(State())

    func add(_ name: String) {
        let waiter = self.state.withLock { state -> CheckedContinuation<String?, Never>? in
            if state.isClosed { return nil }
            if let waiter = state.waiters.popLast() { return waiter }
            state.names.append(name)
            return nil
        }
        waiter?.resume(returning: name)
    }

    /// The next name; nil once the queue is closed.
    func next() async -> String? {
        await withCheckedContinuation { continuation in
            let now = self.state.withLock { state -> String?? in
                if state.isClosed { return .some(nil) }
                guard state.head < state.names.count else {
                    state.waiters.append(continuation)
                    return nil
                }
                defer {
                    state.head += 1
                    if state.head == state.names.count {
                        state.names.removeAll(keepingCapacity: true)
                        state.head = 0
                    } else if state.head > 1024, state.head * 2 > state.names.count {
                        state.names.removeFirst(state.head)
                        state.head = 0
                    }
                }
                return state.names[state.head]
            }
            if let now { continuation.resume(returning: now) }
        }
    }

    func close() {
        let waiters = self.state.withLock { state -> [CheckedContinuation<String?, Never>] in
            state.isClosed = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(returning: nil) }
    }
}
