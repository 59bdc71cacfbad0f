import PostgresWire

/// The newest transactions, held in memory up to a budget of bytes.
///
/// Pure. Entries that the log does not hold durably yet are never dropped; how many there can be is bounded by the log's own
/// limit on pending bytes. A large transaction, whose pieces can only be read once they are durable, hides itself and everything
/// after it until then.
struct TransactionWindow: Sendable {
    private struct Item: Sendable {
        var entry: FeedEntry
        var cost: Int
        /// End of the log record; the entry is durable once the log is.
        var logEnd: UInt64
    }

    let budget: Int
    /// Ids and positions of the newest transactions, dropped or not; a ring.
    private var newest: [(xid: UInt64, position: LSN)] = []
    private var newestCount = 0
    private static let newestLimit = 16_384

    private var items: [Item] = []
    private var head = 0
    private var visible = 0
    private(set) var cost = 0
    /// The window holds every transaction after this position (as far as the feed has got).
    private(set) var startsAfter: LSN
    /// The last position that consumers may know.
    private(set) var visiblePosition: LSN

    init(budget: Int, position: LSN) {
        self.budget = budget
        self.startsAfter = position
        self.visiblePosition = position
    }

    var count: Int { self.items.count - self.head }

    mutating func append(_ entry: FeedEntry, cost: Int, logEnd: UInt64, durableEnd: UInt64) {
        self.items.append(Item(entry: entry, cost: cost, logEnd: logEnd))
        self.cost += cost
        let header = entry.header
        if self.newest.count < Self.newestLimit {
            self.newest.append((header.xid, header.endLSN))
        } else {
            self.newest[self.newestCount % Self.newestLimit] = (header.xid, header.endLSN)
        }
        self.newestCount += 1
        self.reveal(durableEnd: durableEnd)
    }

    /// The log has become durable up to `durableEnd`. Returns whether more entries are visible now.
    @discardableResult
    mutating func durable(_ durableEnd: UInt64) -> Bool {
        let before = self.visible
        self.reveal(durableEnd: durableEnd)
        while self.cost > self.budget, self.head < self.visible, self.items[self.head].logEnd <= durableEnd {
            self.startsAfter = self.items[self.head].entry.header.endLSN
            self.cost -= self.items[self.head].cost
            self.head += 1
        }
        self.compact()
        return self.visible > before
    }

    private mutating func reveal(durableEnd: UInt64) {
        while self.visible < self.items.count {
            if case .large = self.items[self.visible].entry, self.items[self.visible].logEnd > durableEnd { break }
            self.visiblePosition = self.items[self.visible].entry.header.endLSN
            self.visible += 1
        }
    }

    /// Drops the consumed front of the array once it is more than half of it.
    private mutating func compact() {
        guard self.head > 64, self.head * 2 > self.items.count else { return }
        self.items.removeFirst(self.head)
        self.visible -= self.head
        self.head = 0
    }

    /// Entries after a position, up to a number of bytes (at least one); nil if the position lies before the window.
    func entries(after position: LSN, maximumBytes: Int) -> [FeedEntry]? {
        guard position >= self.startsAfter else { return nil }
        var low = self.head
        var high = self.visible
        while low < high {
            let middle = (low + high) / 2
            if self.items[middle].entry.header.endLSN <= position { low = middle + 1 } else { high = middle }
        }
        var entries: [FeedEntry] = []
        var bytes = 0
        for item in self.items[low..<self.visible] {
            if bytes > 0, bytes + item.cost > maximumBytes { break }
            entries.append(item.entry)
            bytes += item.cost
        }
        return entries
    }

    /// Whether a transaction at or before `position` is one that `snapshot` does not see.
    ///
    /// A commit is in the WAL, and so in the stream, a moment before other sessions see it. Only the newest transactions can be in
    /// that state. Why not from the entries: with a small budget they may be gone.
    func hasTransactionUnseen(by snapshot: TransactionSnapshot, upTo position: LSN) -> Bool {
        self.newest.contains { $0.position <= position && !snapshot.sees($0.xid) }
    }
}
