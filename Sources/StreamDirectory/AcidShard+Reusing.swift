import Synchronization

/// Pages that nothing needs.
extension AcidShard {
    /// Counts the pages that the next commits can use instead of new ones.
    func lookForReusable() {
        self.reusable.store(self.environment.reusableBytes, ordering: .relaxed)
    }

    /// Whether a change fits into what the file has already.
    func takeReusable(_ byteCount: Int) -> Bool {
        // Why less than half: pages are whole, and a commit writes others anew before it lets go of the old ones.
        let cost = 2 * byteCount + (256 << 10)
        guard self.hasReusable(cost) else { return false }
        return self.reusable.wrappingSubtract(byteCount, ordering: .relaxed).newValue >= 0
    }

    func hasReusable(_ byteCount: Int) -> Bool {
        if self.reusable.load(ordering: .relaxed) < byteCount { self.lookForReusable() }
        return self.reusable.load(ordering: .relaxed) >= byteCount
    }
}
