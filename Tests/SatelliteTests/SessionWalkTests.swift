import NIOCore
import PostgresWire
import Testing

@testable import Satellite

/// Arbitrary events in arbitrary order; whatever happens, the rules of the protocol hold.
@Suite("Session: random walks")
struct SessionWalkTests {
    private struct Checker {
        var isClosed = false
        var unacknowledged: [UInt64] = []
        var lastPosition: UInt64 = 0
        var isInDelivery = false
        var isInRemoval = false
        var hasOpenTransaction = false
        var limit: Int

        mutating func check(_ actions: [SessionAction], seed: Int, step: Int) {
            let place = "seed \(seed), step \(step)"
            if self.isClosed { #expect(actions.isEmpty, "action after the end: \(place)") }
            for action in actions {
                #expect(!self.isClosed, "action after close: \(place)")
                switch action {
                case .send(let frames): self.check(frames.messages, place)
                case .close: self.isClosed = true
                case .needTransactions:
                    #expect(self.unacknowledged.count < self.limit, "asks with a full window: \(place)")
                    #expect(!self.isInDelivery && !self.isInRemoval, "asks within a delivery: \(place)")
                default: break
                }
            }
            #expect(self.unacknowledged.count <= self.limit, "window exceeded: \(place)")
        }

        private mutating func check(_ messages: [SatelliteMessage], _ place: String) {
            for message in messages {
                switch message {
                case .opLog(let log):
                    #expect(log.ops.count <= 100)
                    for operation in log.ops.compactMap(\.op) { self.check(operation, place) }
                case .relation, .rpcRequest, .rpcResponse, .error, .subscriptionDataError: break
                case .subscriptionDataBegin:
                    #expect(!self.isInDelivery && !self.isInRemoval && !self.hasOpenTransaction, "\(place)")
                    self.isInDelivery = true
                case .subscriptionDataEnd:
                    #expect(self.isInDelivery, "\(place)")
                    self.isInDelivery = false
                case .shapeDataBegin, .shapeDataEnd: #expect(self.isInDelivery, "\(place)")
                case .unsubscriptionDataBegin:
                    #expect(!self.isInDelivery && !self.isInRemoval && !self.hasOpenTransaction, "\(place)")
                    self.isInRemoval = true
                case .unsubscriptionDataEnd:
                    #expect(self.isInRemoval, "\(place)")
                    self.isInRemoval = false
                case .opLogAck: Issue.record("an ack from the server: \(place)")
                }
            }
        }

        private mutating func check(_ operation: Electric_Satellite_SatTransOp.OneOf_Op, _ place: String) {
            switch operation {
            case .begin(let begin):
                #expect(!self.hasOpenTransaction && !self.isInDelivery && !self.isInRemoval, "\(place)")
                self.hasOpenTransaction = true
                self.unacknowledged.append(begin.transactionID)
                let position = UInt64(String(decoding: begin.lsn, as: UTF8.self)) ?? 0
                #expect(position == 0 || position > self.lastPosition, "order: \(place)")
                self.lastPosition = max(self.lastPosition, position)
            case .commit:
                #expect(self.hasOpenTransaction, "\(place)")
                self.hasOpenTransaction = false
            case .insert: #expect(self.hasOpenTransaction || self.isInDelivery, "\(place)")
            case .gone: #expect(self.hasOpenTransaction || self.isInRemoval, "\(place)")
            default: #expect(self.hasOpenTransaction, "\(place)")
            }
        }
    }

    private static let tables = [Fixtures.items, Fixtures.owned, Fixtures.parent]

    @Test(arguments: 1...60)
    func rulesHold(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        var limits = SatelliteLimits()
        limits.unacknowledgedTransactions = Int.random(in: 1...5, using: &generator)
        var harness = SessionHarness(limits: limits)
        var checker = Checker(limit: limits.unacknowledgedTransactions)
        let migrations = (0..<Int.random(in: 0...8, using: &generator)).map {
            SessionHarness.migration("\($0)", xid: UInt64($0) + 1)
        }
        checker.check(harness.openAndStart(migrations: migrations), seed: seed, step: -1)
        // The stream of the server: fixed in advance, so that order can be checked whatever is asked for.
        var xid: UInt64 = 100
        let stream = (1...200).map { index -> SatelliteTransaction in
            xid += 1
            let table = Self.tables.randomElement(using: &generator) ?? Fixtures.items
            let isMigration = Int.random(in: 0..<20, using: &generator) == 0
            return SessionHarness.transaction(
                xid: xid, at: 1_000 + UInt64(index) * 10, table: table,
                origin: Int.random(in: 0..<10, using: &generator) == 0 ? SessionHarness.clientID : nil,
                migration: isMigration ? SessionHarness.migration("m\(index)", xid: xid) : nil,
                rows: index % 50 == 0 ? 120 : Int.random(in: 0...2, using: &generator))
        }
        var fetch: (number: Int, isStarted: Bool, isKeys: Bool)?
        var ids: [String] = []
        for step in 0..<300 {
            var actions: [SessionAction] = []
            switch Int.random(in: 0..<100, using: &generator) {
            case 0..<35:
                let count = Int.random(in: 1...6, using: &generator)
                let position = harness.session.position
                actions = harness.deliver(Array(stream.filter { $0.position > position }.prefix(count)))
            case 35..<60:
                if let id = checker.unacknowledged.randomElement(using: &generator) {
                    let index = checker.unacknowledged.lastIndex(of: id) ?? 0
                    checker.unacknowledged.removeSubrange(...index)
                    actions = harness.acknowledge(id, lsn: 0)
                }
            case 60..<66:
                let id = "00000000-0000-4000-8000-\(String(repeating: "0", count: 8))\(1_000 + step)"
                ids.append(id)
                actions = harness.subscribe(
                    ["items", "owned_entries", "parents"].shuffled(using: &generator).prefix(2).map { $0 }, id: id)
            case 66..<70:
                actions = harness.unsubscribe([ids.randomElement(using: &generator) ?? "nobody"])
            case 70..<95:
                guard let current = fetch else { continue }
                if !current.isStarted && !current.isKeys {
                    fetch?.isStarted = true
                    actions = harness.session.receive(
                        .snapshotStarted(
                            current.number, TransactionSnapshot(xmin: 150, xmax: 150, running: []),
                            end: LSN(rawValue: 2_000)))
                } else if Bool.random(using: &generator) {
                    var rows = RowFrameEncoder()
                    let row = BufferRow([ByteBuffer(string: "1")])
                    if current.isKeys {
                        rows.appendGone(table: Fixtures.items, key: row)
                    } else {
                        _ = rows.appendInsert(table: Fixtures.items, row: row, tagsText: nil)
                    }
                    actions = harness.session.receive(.rowsAvailable(current.number, rows.finish()))
                } else {
                    fetch = nil
                    actions = harness.session.receive(.fetchFinished(current.number))
                }
            case 95..<98: actions = harness.session.receive(.controlFrameReceived)
            case 98: actions = harness.session.receive(.checkpointSaved)
            default:
                if Int.random(in: 0..<20, using: &generator) == 0 {
                    actions = harness.session.receive(
                        [.superseded, .textReceived, .serverStopping, .positionLost].randomElement(using: &generator)
                            ?? .serverStopping)
                }
            }
            checker.check(actions, seed: seed, step: step)
            for action in actions {
                switch action {
                case .fetchSnapshot(let request): fetch = (request.number, false, false)
                case .fetchKeys(let request): fetch = (request.number, true, true)
                case .cancelFetch(let number): if fetch?.number == number { fetch = nil }
                default: break
                }
            }
            #expect(harness.session.isClosed == checker.isClosed)
        }
    }

    /// Bytes of any kind never do worse than end the connection.
    @Test(arguments: 1...100)
    func anyBytesAreSurvived(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        var harness = SessionHarness()
        _ = harness.openAndStart()
        for _ in 0..<50 where !harness.session.isClosed {
            let codes = SatelliteMessage.Code.allCases.map(\.rawValue)
            var bytes = [codes.randomElement(using: &generator) ?? 0]
            let count = Int.random(in: 0...12, using: &generator)
            bytes += (0..<count).map { _ in
                [0x0A, 0x12, 0x00, 0x01, 0x08, UInt8.random(in: 0...255, using: &generator)].randomElement(
                    using: &generator) ?? 0
            }
            _ = harness.session.receive(.messageReceived(ByteBuffer(bytes: bytes)))
        }
        if harness.session.isClosed { #expect(harness.session.receive(.tick).isEmpty) }
    }
}
