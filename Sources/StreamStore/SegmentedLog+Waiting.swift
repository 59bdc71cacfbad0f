import NIOCore
import Synchronization

extension SegmentedLog {
    /// Waits until everything before `end` is durable, an end as told by `append`.
    ///
    /// - Throws: `StoreError` if the log fails or is closed first, `CancellationError` if the task is cancelled; the
    ///   record may become durable all the same in that case.
    package func waitUntilDurable(_ end: UInt64) async throws {
        if self.durableEnd >= end { return }
        try await self.wait(for: end)
    }

    /// Waits until appends are likely to be taken: at most half of the limit is pending and the disk has room.
    ///
    /// - Throws: as `waitUntilDurable`.
    package func waitForRoom() async throws {
        try await self.wait(for: nil)
    }

    /// Calls `body` once when everything before `end` is durable or will never be; at once if that is known already.
    ///
    /// Otherwise on the flusher's thread: `body` must not block, nor call what says that it blocks.
    package func whenDurable(_ end: UInt64, _ body: @escaping @Sendable (Result<Void, any Error>) -> Void) {
        self.register(id: nil, end: end, body)
    }

    /// Calls `body` once when there is room; see `waitForRoom()` and `whenDurable(_:_:)`.
    package func whenRoom(_ body: @escaping @Sendable (Result<Void, any Error>) -> Void) {
        self.register(id: nil, end: nil, body)
    }

    /// Calls `body` with the new durable end after every sync, for the life of the log; on the flusher's thread, see
    /// `whenDurable(_:_:)`.
    package func onDurable(_ body: @escaping @Sendable (_ durableEnd: UInt64) -> Void) {
        self.state.withLock { $0.durableObservers.append(body) }
    }

    /// Calls `body` whenever the condition changes, as `onDurable(_:)` does.
    package func onCondition(_ body: @escaping @Sendable (LogCondition) -> Void) {
        self.state.withLock { $0.conditionObservers.append(body) }
    }

    private func wait(for end: UInt64?) async throws {
        let id = self.state.withLock { state in
            state.nextWaiterID += 1
            return state.nextWaiterID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                self.register(id: id, end: end) { continuation.resume(with: $0) }
                // Why: a cancellation from before the registration found nothing to take out.
                if Task.isCancelled { self.cancelWaiter(id) }
            }
        } onCancel: {
            self.cancelWaiter(id)
        }
    }

    private func cancelWaiter(_ id: UInt64) {
        let waiters = self.state.withLock { $0.takeWaiters { $0.id == id } }
        for waiter in waiters { waiter.body(.failure(CancellationError())) }
    }

    private func register(
        id: UInt64?, end: UInt64?, _ body: @escaping @Sendable (Result<Void, any Error>) -> Void
    ) {
        let result = self.state.withLock { state -> Result<Void, any Error>? in
            if end.map({ $0 <= state.durableEnd }) ?? self.hasRoom(state) { return .success(()) }
            switch state.condition {
            case .healthy, .diskFull: break
            case .failed(let error): return .failure(error)
            case .closed: return .failure(StoreError(.closed, "the log is closed"))
            }
            state.waiters.append(Waiter(id: id ?? 0, end: end, body: body))
            return nil
        }
        if let result { body(result) } else { self.hurry() }
    }

    /// Has what is pending written now, where the flusher would wait for more.
    package func hurry() {
        self.flusher.hurry()
    }

    func hasRoom(_ state: borrowing State) -> Bool {
        guard case .healthy = state.condition else { return false }
        return state.pendingByteCount <= self.configuration.pendingByteLimit / 2
    }
}
