import Dispatch
import NIOCore

/// How many environments commit at the same time.
///
/// Why a bound: commits of more environments than the machine has cores only take the processor from each other. What comes
/// while an environment waits for its turn goes along in the same transaction, so there are fewer of them.
final class CommitTurns: Sendable {
    private let turns: DispatchSemaphore

    /// A commit waits for the disk most of its time, so some more than there are cores.
    init(count: Int = max(4, 2 * System.coreCount)) {
        self.turns = DispatchSemaphore(value: count)
    }

    /// Runs `body` in a turn; first come, first served. Blocks.
    func take<Result>(_ body: () -> Result) -> Result {
        self.turns.wait()
        defer { self.turns.signal() }
        return body()
    }
}
