import PostgresWire
import Satellite

/// The newest enriched transactions, held in memory up to a budget of bytes.
///
/// Pure. Everything after ``startsAfter`` that concerns anybody is in it; who stands before that reads the log.
struct SatelliteWindow: Sendable {
    private struct Item: Sendable {
        /// Nil once it has left the window.
        var transaction: SatelliteTransaction?
        var position: LSN
        var cost: Int
    }

    let budget: Int
    private var items: [Item] = []
    private var head = 0
    private(set) var byteCount = 0
    private(set) var startsAfter: LSN
    /// Nothing else has been committed up to here.
    private(set) var position: LSN

    init(budget: Int, position: LSN) {
        self.budget = budget
        self.startsAfter = position
        self.position = position
    }

    var count: Int { self.items.count - self.head }

    /// Takes transactions in commit order, all behind ``position``. What is known is known up to `upTo` then.
    ///
    /// - Returns: what had to leave, so that the caller can let go of it outside of its lock.
    mutating func append(_ transactions: [SatelliteTransaction], upTo: LSN) -> [SatelliteTransaction] {
        for transaction in transactions where transaction.position > self.position {
            // Frames that sessions ask for are kept with the transaction; counted once here, when it comes in.
            let cost = transaction.byteCount + transaction.block.byteCount
            self.items.append(Item(transaction: transaction, position: transaction.position, cost: cost))
            self.byteCount += cost
        }
        self.position = max(self.position, upTo, transactions.last?.position ?? .zero)
        var evicted: [SatelliteTransaction] = []
        while self.byteCount > self.budget, self.head < self.items.count {
            self.byteCount -= self.items[self.head].cost
            self.startsAfter = self.items[self.head].position
            if let transaction = self.items[self.head].transaction { evicted.append(transaction) }
            self.items[self.head].transaction = nil
            self.head += 1
        }
        if self.head > 64, self.head * 2 > self.items.count {
            self.items.removeFirst(self.head)
            self.head = 0
        }
        return evicted
    }

    /// What follows `position`, at most `limit` transactions; nil if the position lies before the window.
    func delivery(after position: LSN, limit: Int = 64) -> TransactionDelivery? {
        guard position >= self.startsAfter else { return nil }
        var low = self.head
        var high = self.items.count
        while low < high {
            let middle = (low + high) / 2
            if self.items[middle].position <= position { low = middle + 1 } else { high = middle }
        }
        let end = min(low + limit, self.items.count)
        return TransactionDelivery(
            after: position, transactions: self.items[low..<end].compactMap(\.transaction),
            // What lies between the last transaction of a part and the next one concerns nobody, but a part ends where it ends.
            upTo: end == self.items.count ? max(self.position, position) : nil)
    }
}
