import Synchronization

/// How many bytes of request bodies the process holds. One budget serves all listeners, so that many clients with large bodies
/// cannot take all memory; a request over it is answered with 503.
package final class HTTPBodyBudget: Sendable {
    package let limit: Int
    private let taken = Atomic<Int>(0)
    private let refusals = Atomic<UInt64>(0)

    package init(limit: Int = 512 * 1024 * 1024) {
        self.limit = limit
    }

    /// Bytes held now.
    package var bytesInUse: Int { self.taken.load(ordering: .relaxed) }
    /// Requests that were turned away.
    package var refusedCount: UInt64 { self.refusals.load(ordering: .relaxed) }

    /// Returns false, and takes nothing, when the budget is used up.
    func take(_ bytes: Int) -> Bool {
        let after = self.taken.add(bytes, ordering: .relaxed).newValue
        guard after > self.limit else { return true }
        self.taken.subtract(bytes, ordering: .relaxed)
        self.refusals.add(1, ordering: .relaxed)
        return false
    }

    func giveBack(_ bytes: Int) {
        self.taken.subtract(bytes, ordering: .relaxed)
    }
}
