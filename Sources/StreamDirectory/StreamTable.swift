import DurableStreams
import ExactText

/// The streams of one shard by name: open addressing over references, so that a stream costs little beside its own
/// object.
struct StreamTable {
    private var slots: [StreamEntry?] = []
    private(set) var count = 0

    private static let leastCapacity = 8

    subscript(name: String, hash: UInt32) -> StreamEntry? {
        guard !self.slots.isEmpty else { return nil }
        let mask = self.slots.count - 1
        var index = Int(hash) & mask
        while let entry = self.slots[index] {
            if entry.hash == hash, entry.state.name.isExactly(name) { return entry }
            index = (index + 1) & mask
        }
        return nil
    }

    /// Takes in an entry whose name is not there yet.
    mutating func insert(_ entry: StreamEntry) {
        if (self.count + 1) * 4 > self.slots.count * 3 {
            self.resize(to: max(Self.leastCapacity, self.slots.count * 2))
        }
        self.place(entry)
        self.count += 1
    }

    /// Takes out this very entry; returns whether it was there.
    @discardableResult
    mutating func remove(_ entry: StreamEntry) -> Bool {
        guard !self.slots.isEmpty else { return false }
        let mask = self.slots.count - 1
        var hole = Int(entry.hash) & mask
        while let other = self.slots[hole], other !== entry { hole = (hole + 1) & mask }
        guard self.slots[hole] != nil else { return false }
        // Entries behind the hole move up where their own place allows it, so that no search ends early.
        var index = hole
        while true {
            index = (index + 1) & mask
            guard let other = self.slots[index] else { break }
            let home = Int(other.hash) & mask
            if (index &- home) & mask >= (index &- hole) & mask {
                self.slots[hole] = other
                hole = index
            }
        }
        self.slots[hole] = nil
        self.count -= 1
        if self.slots.count > 64, self.count * 8 < self.slots.count { self.resize(to: self.slots.count / 4) }
        return true
    }

    /// All entries whose hash lies in a part of the table; for walks that let go of the lock in between.
    func forEach(_ body: (StreamEntry) -> Void) {
        for case let entry? in self.slots { body(entry) }
    }

    private mutating func place(_ entry: StreamEntry) {
        let mask = self.slots.count - 1
        var index = Int(entry.hash) & mask
        while self.slots[index] != nil { index = (index + 1) & mask }
        self.slots[index] = entry
    }

    private mutating func resize(to capacity: Int) {
        let old = self.slots
        self.slots = [StreamEntry?](repeating: nil, count: capacity)
        for case let entry? in old { self.place(entry) }
    }
}
