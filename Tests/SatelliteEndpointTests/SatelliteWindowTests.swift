import ExactText
import PostgresWire
import Testing

@testable import Satellite
@testable import SatelliteEndpoint

extension SatelliteTransaction {
    /// A transaction without operations; it costs 256 bytes.
    static func empty(at position: UInt64) -> SatelliteTransaction {
        SatelliteTransaction(
            position: LSN(rawValue: position), commitPosition: LSN(rawValue: position - 1), xid: position,
            commitTimestamp: 1, origin: "client", schema: SatelliteSchema(tables: [], versions: []))
    }
}

@Suite struct SatelliteWindowTests {
    private func positions(_ window: SatelliteWindow, after: UInt64, limit: Int = 1_000) -> [UInt64]? {
        window.delivery(after: LSN(rawValue: after), limit: limit)?.transactions.map(\.position.rawValue)
    }

    private func window(budget: Int = 1 << 20, _ positions: [UInt64] = [], upTo: UInt64 = 0) -> SatelliteWindow {
        var window = SatelliteWindow(budget: budget, position: LSN(rawValue: 100))
        _ = window.append(positions.map { .empty(at: $0) }, upTo: LSN(rawValue: upTo))
        return window
    }

    @Test func emptyWindowKnowsItsPositionOnly() {
        let window = self.window()
        #expect(self.positions(window, after: 99) == nil)
        #expect(self.positions(window, after: 100) == [])
        #expect(window.delivery(after: LSN(rawValue: 100))?.upTo == LSN(rawValue: 100))
        #expect(window.delivery(after: LSN(rawValue: 150))?.upTo == LSN(rawValue: 150))
    }

    @Test(
        arguments: [
            (100, [110, 120, 130]), (105, [110, 120, 130]), (110, [120, 130]), (129, [130]), (130, []), (140, []),
        ] as [(UInt64, [UInt64])])
    func deliveryBeginsBehindThePosition(after: UInt64, expected: [UInt64]) {
        let window = self.window([110, 120, 130], upTo: 135)
        #expect(self.positions(window, after: after) == expected)
        #expect(window.delivery(after: LSN(rawValue: after))?.upTo == LSN(rawValue: max(after, 135)))
    }

    @Test func partOfTheWindowEndsAtItsLastTransaction() {
        let window = self.window([110, 120, 130], upTo: 135)
        #expect(self.positions(window, after: 100, limit: 2) == [110, 120])
        #expect(window.delivery(after: LSN(rawValue: 100), limit: 2)?.upTo == LSN(rawValue: 120))
        #expect(window.delivery(after: LSN(rawValue: 120), limit: 2)?.upTo == LSN(rawValue: 135))
    }

    @Test func progressWithoutTransactionsIsKept() {
        var window = self.window([110])
        _ = window.append([], upTo: LSN(rawValue: 500))
        #expect(window.position == LSN(rawValue: 500))
        #expect(window.delivery(after: LSN(rawValue: 110))?.upTo == LSN(rawValue: 500))
        _ = window.append([], upTo: LSN(rawValue: 400))
        #expect(window.position == LSN(rawValue: 500))
    }

    @Test func repeatedTransactionsAreNotTakenTwice() {
        var window = self.window([110, 120])
        _ = window.append([.empty(at: 110), .empty(at: 120), .empty(at: 130)], upTo: LSN(rawValue: 130))
        #expect(self.positions(window, after: 100) == [110, 120, 130])
    }

    @Test func oldestLeaveWhenTheBudgetIsSpent() {
        var window = self.window(budget: 3 * 256, [110, 120, 130])
        #expect(window.startsAfter == LSN(rawValue: 100))
        let evicted = window.append([.empty(at: 140)], upTo: LSN(rawValue: 140))
        #expect(evicted.map(\.position.rawValue) == [110])
        #expect(window.startsAfter == LSN(rawValue: 110))
        #expect(self.positions(window, after: 109) == nil)
        #expect(self.positions(window, after: 110) == [120, 130, 140])
        #expect(window.byteCount == 3 * 256)
    }

    @Test func evictedTransactionsAreNotKeptAlive() {
        var window = SatelliteWindow(budget: 0, position: .zero)
        weak var transaction: SatelliteTransaction?
        do {
            let made = SatelliteTransaction.empty(at: 10)
            transaction = made
            _ = window.append([made], upTo: LSN(rawValue: 10))
        }
        #expect(window.startsAfter == LSN(rawValue: 10))
        #expect(transaction == nil)
    }

    /// Against a plain array, with the same answers.
    @Test(arguments: [1, 2, 3] as [UInt64]) func windowAgreesWithItsModel(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var window = SatelliteWindow(budget: 40 * 256, position: LSN(rawValue: 1))
        var all: [UInt64] = []
        var position: UInt64 = 1
        for _ in 0..<2_000 {
            var new: [UInt64] = []
            for _ in 0..<Int.random(in: 0..<5, using: &generator) {
                position += UInt64.random(in: 1..<9, using: &generator)
                new.append(position)
            }
            position += UInt64.random(in: 0..<3, using: &generator)
            _ = window.append(new.map { .empty(at: $0) }, upTo: LSN(rawValue: position))
            all += new
            #expect(window.count == min(all.count, 40))
            let start = all.count > 40 ? all[all.count - 41] : 1
            #expect(window.startsAfter.rawValue == start, "seed \(seed)")
            let asked = UInt64.random(in: max(start, 5) - 5...position + 3, using: &generator)
            #expect(
                self.positions(window, after: asked) == (asked < start ? nil : all.suffix(40).filter { $0 > asked }))
        }
    }
}
