import Synchronization
import Testing

@testable import SatelliteEndpoint

@Suite(.timeLimit(.minutes(1))) struct WorkLimitTests {
    private final class Running: Sendable {
        let count = Mutex((now: 0, most: 0))
        func begin() {
            self.count.withLock {
                $0.now += 1
                $0.most = max($0.most, $0.now)
            }
        }
        func end() { self.count.withLock { $0.now -= 1 } }
    }

    @Test func noMoreThanTheLimitRunAtOnce() async throws {
        let limit = WorkLimit(3)
        let running = Running()
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for _ in 0..<200 {
                tasks.addTask {
                    try await limit.run {
                        running.begin()
                        await Task.yield()
                        running.end()
                    }
                }
            }
            try await tasks.waitForAll()
        }
        #expect(running.count.withLock { $0.most } <= 3)
        #expect(limit.waiting == 0)
    }

    @Test func cancelledWaiterLeavesTheQueue() async throws {
        let limit = WorkLimit(1)
        try await limit.run {
            let waiter = Task { try await limit.run { true } }
            while limit.waiting == 0 { await Task.yield() }
            waiter.cancel()
            await #expect(throws: CancellationError.self) { try await waiter.value }
            #expect(limit.waiting == 0)
        }
        #expect(try await limit.run { true })
    }

    @Test func placeIsGivenBackAfterAnError() async throws {
        struct Failure: Error {}
        let limit = WorkLimit(1)
        await #expect(throws: Failure.self) { try await limit.run { throw Failure() } }
        #expect(try await limit.run { true })
    }
}
