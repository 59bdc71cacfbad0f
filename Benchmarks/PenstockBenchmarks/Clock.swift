import Foundation

/// Monotonic time, and waiting with a limit.
enum Clock {
    static var now: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// Polls until `condition` holds.
    static func wait(
        _ what: String, seconds: Double = 60, every pause: Double = 0.005, until condition: () throws -> Bool
    ) throws {
        let deadline = self.now + seconds
        while try !condition() {
            guard self.now < deadline else { throw BenchmarkError("waited \(Int(seconds)) s for \(what)") }
            usleep(UInt32(pause * 1e6))
        }
    }
}

/// Why a benchmark could not be finished.
struct BenchmarkError: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) {
        self.description = description
    }
}

/// A thread whose outcome somebody waits for.
final class Worker<Outcome: Sendable>: @unchecked Sendable {
    // Why unchecked: `outcome` is written before the semaphore is signalled and read after it.
    private var outcome: Result<Outcome, any Error>?
    private let done = DispatchSemaphore(value: 0)

    init(_ body: @escaping @Sendable () throws -> Outcome) {
        Thread.detachNewThread {
            self.outcome = Result { try body() }
            self.done.signal()
        }
    }

    /// Waits for the end; to be called once.
    func join() throws -> Outcome {
        self.done.wait()
        guard let outcome = self.outcome else { throw BenchmarkError("a thread ended without an outcome") }
        return try outcome.get()
    }
}
