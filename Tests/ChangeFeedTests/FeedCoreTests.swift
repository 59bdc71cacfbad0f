import NIOCore
import PostgresWire
import StreamStore
import StreamStoreTestSupport
import Synchronization
import Testing

@testable import ChangeFeed

@Suite struct FeedCoreTests {
    let flusher = StoreFlusher(startsThread: false)

    private func box(
        pieceBytes: Int = 1 << 20, cacheBytes: Int = 1 << 20, disk: FaultyFileSystem = FaultyFileSystem(seed: 1)
    ) throws -> CoreBox {
        let log = try ChangeLog.create(
            directory: FeedSimulation.directory, store: FeedSimulation.store(disk, self.flusher),
            identity: FeedSimulation.identity())
        return CoreBox(log, options: FeedSimulation.options(pieceBytes: pieceBytes, cacheBytes: cacheBytes))
    }

    private func receive(_ box: CoreBox, _ messages: [ByteBuffer]) throws -> Bool {
        try box.core.withLock { try $0.receive(MessageRun(messages)) }
    }

    private func visible(_ box: CoreBox) throws -> [String] {
        let entries = box.core.withLock { $0.window.entries(after: box.log.base, maximumBytes: 1 << 20) } ?? []
        return try entries.flatMap { try FeedSimulation.read($0, box.log).values }
    }

    @Test func consumersSeeATransactionAtOnceAndTheServerIsToldOnlyWhenItIsDurable() throws {
        let box = try self.box()
        #expect(try self.receive(box, StreamScript.transaction(200, xid: 7, ["a"], describing: true)))
        #expect(try self.visible(box) == ["a"])
        #expect(box.acknowledged.withLock { $0 } == .zero)
        #expect(!box.core.withLock { $0.isSettled })
        self.flusher.flushPending()
        #expect(box.acknowledged.withLock { $0 } == LSN(rawValue: 210))
        #expect(box.core.withLock { $0.isSettled })
        try box.log.log.close()
    }

    @Test func nothingIsAcknowledgedWhenTheSyncFails() throws {
        let disk = FaultyFileSystem(seed: 1)
        let box = try self.box(disk: disk)
        _ = try self.receive(box, StreamScript.transaction(200, xid: 7, ["a"], describing: true))
        disk.faults.syncFailureChance = 1
        self.flusher.flushPending()
        disk.faults.syncFailureChance = 0
        self.flusher.flushPending()
        #expect(box.acknowledged.withLock { $0 } == .zero)
        guard case .failed = box.log.log.condition else {
            Issue.record("the log goes on after a failed sync")
            return
        }
        #expect(throws: StoreError.self) {
            try self.receive(box, StreamScript.transaction(300, xid: 8, ["b"]))
        }
        #expect(throws: StoreError.self) { try box.log.log.close() }
    }

    @Test func whatIsSentAgainAfterABrokenStreamIsDroppedAndCounted() throws {
        let box = try self.box()
        let first = StreamScript.transaction(200, xid: 7, ["a"], describing: true)
        let second = StreamScript.transaction(300, xid: 8, ["b", "c"])
        _ = try self.receive(box, first + second.dropLast(2))
        box.core.withLock { $0.assembler.transportRestarted(referenceXID: 0) }
        _ = try self.receive(box, first + second)
        #expect(try self.visible(box) == ["a", "b", "c"])
        #expect(box.core.withLock { $0.duplicates } == 1)
        self.flusher.flushPending()
        #expect(box.acknowledged.withLock { $0 } == LSN(rawValue: 310))
        try box.log.log.close()
    }

    @Test func definitionOfAHalfReceivedTransactionIsNewsWhenItComesAgain() throws {
        let box = try self.box()
        let wide = StreamScript.itemsWithContent
        _ = try self.receive(box, StreamScript.transaction(200, xid: 7, ["a"], describing: true))
        _ = try self.receive(box, [StreamScript.begin(300, xid: 8), StreamScript.relation(wide)])
        box.core.withLock { $0.assembler.transportRestarted(referenceXID: 0) }
        _ = try self.receive(
            box,
            [
                StreamScript.begin(300, xid: 8), StreamScript.relation(wide), StreamScript.insert("b", into: wide),
                StreamScript.commit(300, end: 310),
            ])
        self.flusher.flushPending()
        // Checks that each row fits the definition that comes with it.
        #expect(try FeedSimulation.contents(of: box.log).flatMap(\.values) == ["a", "b"])
        try box.log.log.close()
    }

    @Test func fullLogDefersInOrder() throws {
        let box = try self.box(pieceBytes: 400)
        var script = [StreamScript.transaction(200, xid: 7, ["a"], describing: true)]
        for number in 1..<40 {
            let values = (0..<(number % 7 == 0 ? 80 : 3)).map { "\(number).\($0)" }
            script.append(StreamScript.transaction(200 + UInt64(number) * 20, xid: 7, values))
        }
        _ = try self.receive(box, script.flatMap { $0 })
        #expect(box.core.withLock { $0.hasDeferred })
        // What comes while the log is full waits behind what came before.
        _ = try self.receive(box, StreamScript.transaction(5_000, xid: 9, ["last"]))
        box.core.withLock { $0.reached(LSN(rawValue: 9_000), flush: LSN(rawValue: 9_000)) }
        #expect(box.core.withLock { $0.reached } < LSN(rawValue: 5_000), "what is deferred has not been reached")
        var rounds = 0
        while box.core.withLock({ $0.hasDeferred }), rounds < 1_000 {
            self.flusher.flushPending()
            try box.core.withLock { _ = try $0.drainDeferred() }
            rounds += 1
        }
        self.flusher.flushPending()
        let ends = try FeedSimulation.contents(of: box.log).map(\.end)
        var expected: [UInt64] = (0..<40).map { 210 + UInt64($0) * 20 }
        expected.append(5_010)
        #expect(ends == expected)
        #expect(box.acknowledged.withLock { $0 } == LSN(rawValue: 5_010))
        try box.log.log.close()
    }

    @Test func refusedRecordLosesNothingOfWhatFollows() throws {
        let store = LogStore(
            fileSystem: FaultyFileSystem(seed: 1), flusher: self.flusher,
            configuration: LogConfiguration(segmentByteCount: 700, pendingByteLimit: 2_000, recordByteLimit: 300))
        let log = try ChangeLog.create(
            directory: FeedSimulation.directory, store: store, identity: FeedSimulation.identity())
        let box = CoreBox(log, options: FeedSimulation.options(pieceBytes: 10_000))
        let tooLarge = (0..<40).map { "\($0)" }
        #expect(throws: StoreError.self) {
            try self.receive(
                box,
                StreamScript.transaction(200, xid: 7, ["a"], describing: true)
                    + StreamScript.transaction(300, xid: 8, tooLarge) + StreamScript.transaction(400, xid: 9, ["c"]))
        }
        self.flusher.flushPending()
        #expect(box.acknowledged.withLock { $0 } == LSN(rawValue: 210))
        // The stream is stuck, and says so each time; it must not go on behind the one that is missing.
        box.core.withLock { $0.assembler.transportRestarted(referenceXID: 0) }
        #expect(throws: StoreError.self) { try self.receive(box, StreamScript.transaction(500, xid: 10, ["d"])) }
        self.flusher.flushPending()
        #expect(box.acknowledged.withLock { $0 } == LSN(rawValue: 210))
        try log.log.close()
    }

    @Test func foreignWALIsAcknowledgedOnceItIsRecorded() throws {
        let box = try self.box()
        box.core.withLock { $0.reached(LSN(rawValue: 700), flush: LSN(rawValue: 800)) }
        self.flusher.flushPending()
        #expect(box.acknowledged.withLock { $0 } == .zero)
        try box.core.withLock { try $0.recordProgress() }
        #expect(box.acknowledged.withLock { $0 } == .zero)
        self.flusher.flushPending()
        #expect(box.acknowledged.withLock { $0 } == LSN(rawValue: 700))
        // In the middle of a transaction nothing says how far the commits go.
        _ = try self.receive(box, [StreamScript.begin(900, xid: 8)])
        box.core.withLock { $0.reached(LSN(rawValue: 950), flush: LSN(rawValue: 950)) }
        #expect(box.core.withLock { $0.reached } == LSN(rawValue: 700))
        try box.log.log.close()
    }

    @Test func commitsAreKnownToSnapshotsEvenWhenNothingIsCached() throws {
        let box = try self.box(cacheBytes: 0)
        _ = try self.receive(box, StreamScript.transaction(200, xid: 7, ["a"], describing: true))
        self.flusher.flushPending()
        let snapshot = TransactionSnapshot(xmin: 7, xmax: 9, running: [7])
        #expect(box.core.withLock { $0.window.count } == 0)
        #expect(box.core.withLock { $0.window.hasTransactionUnseen(by: snapshot, upTo: LSN(rawValue: 210)) })
        try box.log.log.close()
    }
}
