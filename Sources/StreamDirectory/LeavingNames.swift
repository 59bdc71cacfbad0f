import DurableStreams
import ExactText

/// Names in `acid` whose streams are deleted, before that is durable.
///
/// Why: two environments commit each by itself. A stream that takes the name in another environment than the one before
/// it could be durable before the deletion is, and a crash in between would leave two streams of one name. So it begins
/// when the deletion has settled. Within one environment the order of changes is enough.
///
/// Guarded by the lock of the shard that the name belongs to.
struct LeavingNames {
    private struct Leaving {
        var environment: UInt8
        /// Deletions of the name that are on their way.
        var count = 0
        var waiting: [@Sendable () -> Void] = []
    }

    private var names: ExactDictionary<Leaving> = [:]

    /// A stream is deleted.
    mutating func began(_ name: String, environment: UInt8) {
        // All of them lie in one environment: another one waits until the last has settled.
        self.names[name, default: Leaving(environment: environment)].count += 1
    }

    /// Keeps `body` for when the name is free in all other environments; false when it is.
    mutating func wait(for name: String, environment: UInt8, _ body: @escaping @Sendable () -> Void) -> Bool {
        guard let leaving = self.names[name], leaving.environment != environment else { return false }
        self.names[name]?.waiting.append(body)
        return true
    }

    /// The deletion waits for room on the disk. Returns what waited for it; the name is not free yet.
    mutating func stalled(_ name: String) -> [@Sendable () -> Void] {
        defer { self.names[name]?.waiting = [] }
        return self.names[name]?.waiting ?? []
    }

    /// One deletion is durable, or will never be. Returns what waited.
    mutating func settled(_ name: String) -> [@Sendable () -> Void] {
        guard let leaving = self.names[name] else { return [] }
        guard leaving.count == 1 else {
            self.names[name]?.count -= 1
            return []
        }
        self.names[name] = nil
        return leaving.waiting
    }
}
