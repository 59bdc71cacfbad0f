import NIOCore
import PostgresWire
import Testing

@testable import ChangeFeed

@Suite struct TransactionWindowTests {
    private func header(_ end: UInt64, xid: UInt64 = 1) -> TransactionHeader {
        TransactionHeader(xid: xid, commitLSN: LSN(rawValue: end - 5), endLSN: LSN(rawValue: end), commitTime: 0)
    }

    private func whole(_ end: UInt64, xid: UInt64 = 1) -> FeedEntry {
        .whole(CommittedTransaction(header: self.header(end, xid: xid), relations: [:], piece: TransactionPiece()))
    }

    private func large(_ end: UInt64) -> FeedEntry {
        .large(LargeTransaction(header: self.header(end), relations: [:], offsets: [0, 1]))
    }

    private func ends(_ entries: [FeedEntry]?) -> [UInt64]? { entries?.map(\.header.endLSN.rawValue) }

    @Test func whatFollowsAPositionIsFound() {
        var window = TransactionWindow(budget: 1_000, position: LSN(rawValue: 100))
        for (index, end) in [UInt64(110), 120, 130].enumerated() {
            window.append(self.whole(end), cost: 10, logEnd: UInt64(index + 1) * 10, durableEnd: 0)
        }
        #expect(self.ends(window.entries(after: LSN(rawValue: 100), maximumBytes: 1_000)) == [110, 120, 130])
        #expect(self.ends(window.entries(after: LSN(rawValue: 115), maximumBytes: 1_000)) == [120, 130])
        #expect(self.ends(window.entries(after: LSN(rawValue: 130), maximumBytes: 1_000)) == [])
        #expect(self.ends(window.entries(after: LSN(rawValue: 100), maximumBytes: 15)) == [110])
        #expect(window.entries(after: LSN(rawValue: 99), maximumBytes: 1_000) == nil)
    }

    @Test func onlyDurableEntriesAreDropped() {
        var window = TransactionWindow(budget: 20, position: LSN(rawValue: 100))
        for index in 1...10 {
            window.append(self.whole(100 + UInt64(index) * 10), cost: 10, logEnd: UInt64(index) * 10, durableEnd: 0)
        }
        #expect(window.count == 10)
        window.durable(50)
        #expect(window.count == 5)
        #expect(window.startsAfter == LSN(rawValue: 150))
        window.durable(100)
        #expect(window.count == 2)
        #expect(window.cost == 20)
    }

    @Test func largeTransactionHidesWhatFollowsUntilItIsDurable() {
        var window = TransactionWindow(budget: 1_000, position: LSN(rawValue: 100))
        window.append(self.whole(110), cost: 1, logEnd: 10, durableEnd: 0)
        window.append(self.large(120), cost: 1, logEnd: 20, durableEnd: 0)
        window.append(self.whole(130), cost: 1, logEnd: 30, durableEnd: 0)
        #expect(window.visiblePosition == LSN(rawValue: 110))
        #expect(self.ends(window.entries(after: LSN(rawValue: 100), maximumBytes: 100)) == [110])
        let early = window.durable(19)
        #expect(!early)
        let revealed = window.durable(20)
        #expect(revealed)
        #expect(window.visiblePosition == LSN(rawValue: 130))
        #expect(self.ends(window.entries(after: LSN(rawValue: 100), maximumBytes: 100)) == [110, 120, 130])
    }

    @Test func commitThatASnapshotDoesNotSeeIsFound() {
        var window = TransactionWindow(budget: 1_000, position: LSN(rawValue: 100))
        window.append(self.whole(110, xid: 50), cost: 1, logEnd: 10, durableEnd: 0)
        window.append(self.whole(120, xid: 51), cost: 1, logEnd: 20, durableEnd: 0)
        let snapshot = TransactionSnapshot(xmin: 51, xmax: 53, running: [51])
        #expect(window.hasTransactionUnseen(by: snapshot, upTo: LSN(rawValue: 120)))
        #expect(!window.hasTransactionUnseen(by: snapshot, upTo: LSN(rawValue: 110)))
    }
}
