/// When to look at which stream again, soonest first. A stream is in it at most once; what its true deadline is by then
/// is seen when its time has come.
struct ExpiryHeap {
    private struct Item {
        var deadline: UInt64
        var entry: StreamEntry
    }

    private var items: [Item] = []

    var count: Int { self.items.count }
    var soonest: UInt64? { self.items.first?.deadline }

    mutating func insert(_ entry: StreamEntry, deadline: UInt64) {
        self.items.append(Item(deadline: deadline, entry: entry))
        var index = self.items.count - 1
        while index > 0 {
            let parent = (index - 1) / 2
            guard self.items[index].deadline < self.items[parent].deadline else { break }
            self.items.swapAt(index, parent)
            index = parent
        }
    }

    /// Takes out a stream whose time has come.
    mutating func popDue(now: UInt64) -> StreamEntry? {
        guard let first = self.items.first, first.deadline <= now else { return nil }
        let last = self.items.removeLast()
        if !self.items.isEmpty {
            self.items[0] = last
            self.sink(0)
        }
        return first.entry
    }

    /// Drops what is no longer wanted, when that may be much.
    mutating func removeAll(where isUnwanted: (StreamEntry) -> Bool) {
        self.items.removeAll { isUnwanted($0.entry) }
        guard self.items.count > 1 else { return }
        for index in stride(from: self.items.count / 2 - 1, through: 0, by: -1) { self.sink(index) }
    }

    private mutating func sink(_ start: Int) {
        var index = start
        while true {
            let left = 2 * index + 1
            guard left < self.items.count else { return }
            let right = left + 1
            let child =
                right < self.items.count && self.items[right].deadline < self.items[left].deadline ? right : left
            guard self.items[child].deadline < self.items[index].deadline else { return }
            self.items.swapAt(index, child)
            index = child
        }
    }
}
