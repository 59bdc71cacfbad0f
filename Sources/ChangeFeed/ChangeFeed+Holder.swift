import Logging
import Synchronization

extension ChangeFeed {
    /// Waits while another process holds the slot.
    ///
    /// Why before anything is decided: a slot that somebody else reads from moves on, and would look like one that was
    /// moved by hand.
    /// - Returns: false if the task was cancelled.
    func waitUntilSlotIsFree() async -> Bool {
        var looks = 0
        while !Task.isCancelled {
            // A database that is away is found again where the slot is prepared, and told there.
            guard case .present(_, let holder?) = try? await self.database.facts(slot: self.options.slotName).presence
            else { return !Task.isCancelled }
            looks += 1
            // What a process has just let go of, or a stream of our own that is being ended, is free in a moment.
            if looks == Self.quickLooks {
                self.logger.warning(
                    "another process holds the replication slot; waiting for it",
                    metadata: ["slot": "\(self.options.slotName)", "pid": "\(holder)"])
            }
            if looks >= Self.quickLooks {
                self.slot.withLock {
                    $0.databaseLost("another process (pid \(holder)) holds the replication slot \(self.options.slotName)")
                }
            }
            try? await Task.sleep(for: looks < Self.quickLooks ? .milliseconds(100) : .seconds(1))
        }
        return false
    }

    private static let quickLooks = 20
}
