/// Transaction ids: 32 bits in the replication stream, 64 bits (`xid8`, with the epoch) everywhere else.
package enum TransactionID {
    /// Widens a 32-bit id of the stream to the 64-bit id that lies nearest to `reference`.
    ///
    /// Two transactions that are alive together are never more than 2^31 apart, so any 64-bit id known from about the same
    /// time serves as the reference: the one of the previous transaction, or `pg_snapshot_xmax` at the start of the stream.
    package static func widen(_ xid: UInt32, near reference: UInt64) -> UInt64 {
        let distance = Int32(bitPattern: xid &- UInt32(truncatingIfNeeded: reference))
        let widened = Int64(bitPattern: reference) &+ Int64(distance)
        // Why: before the first 2^31 ids have been used, an id "before" the reference must not become negative.
        return widened < 0 ? UInt64(xid) : UInt64(bitPattern: widened)
    }
}

/// What a `pg_snapshot` sees: the 64-bit ids of finished transactions.
package struct TransactionSnapshot: Hashable, Sendable {
    /// All ids below are finished.
    package var xmin: UInt64
    /// The first id that had not been given out.
    package var xmax: UInt64
    /// Ids in between that were still running.
    package var running: Set<UInt64>

    package init(xmin: UInt64, xmax: UInt64, running: Set<UInt64>) {
        self.xmin = xmin
        self.xmax = xmax
        self.running = running
    }

    /// Parses the text form of `pg_snapshot`: `xmin:xmax:xip,xip`.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, let xmin = UInt64(parts[0]), let xmax = UInt64(parts[1]) else { return nil }
        var running = Set<UInt64>()
        for part in parts[2].split(separator: ",") {
            guard let xid = UInt64(part) else { return nil }
            running.insert(xid)
        }
        self.init(xmin: xmin, xmax: xmax, running: running)
    }

    /// Whether the effects of a **committed** transaction are part of the snapshot.
    package func sees(_ xid: UInt64) -> Bool {
        if xid < self.xmin { return true }
        if xid >= self.xmax { return false }
        return !self.running.contains(xid)
    }
}
