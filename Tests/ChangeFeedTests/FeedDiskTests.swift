import Logging
import NIOPosix
import PostgresWire
import StreamStore
import StreamStoreTestSupport
import Synchronization
import Testing

@testable import ChangeFeed

/// The whole feed over a disk that fails, with a database that the test plays.
@Suite(.timeLimit(.minutes(1))) struct FeedDiskTests {
    /// A server whose stream is in the test's hands.
    private final class PlayedDatabase: FeedDatabase {
        struct Run: Sendable {
            var sink: any FeedSink
            var stream: PlayedStream
        }

        let runs: AsyncStream<Run>
        let holder = Mutex<Int32?>(nil)
        let confirmed = Mutex(LSN(rawValue: 100))
        private let started: AsyncStream<Run>.Continuation

        init() {
            (self.runs, self.started) = AsyncStream.makeStream()
        }

        func facts(slot: String) async throws -> SlotFacts {
            SlotFacts(
                systemIdentifier: 7, timeline: 1, walFlush: LSN(rawValue: 1_000), nextXID: 5,
                presence: .present(
                    confirmed: self.confirmed.withLock { $0 }, activePID: self.holder.withLock { $0 }))
        }

        func createSlot(_ name: String, waiting: @escaping @Sendable ([Int32]) -> Void) async throws -> LSN { .zero }
        func dropSlot(_ name: String) async throws {}
        func walFlush() async throws -> LSN { LSN(rawValue: 1_000) }
        func expectsWorker() async throws -> Bool { false }

        func replicate(
            slot: String, publication: String, from position: LSN, confirmed: LSN, sink: any FeedSink,
            started: @escaping @Sendable (any ReplicationStream) -> Void
        ) async throws {
            let stream = PlayedStream()
            started(stream)
            self.started.yield(Run(sink: sink, stream: stream))
            // Until the feed cancels it.
            for await _ in AsyncStream<Void>.makeStream().stream {}
        }
    }

    private final class PlayedStream: ReplicationStream {
        let acknowledged = Mutex(LSN.zero)
        let resumed: AsyncStream<Void>
        private let resumes: AsyncStream<Void>.Continuation

        init() {
            (self.resumed, self.resumes) = AsyncStream.makeStream()
        }

        func acknowledge(_ position: LSN) { self.acknowledged.withLock { $0 = position } }
        func resume() { self.resumes.yield() }
        func stop() {}
    }

    private func feed(_ disk: FaultyFileSystem, _ flusher: StoreFlusher, _ database: PlayedDatabase) -> ChangeFeed {
        var logger = Logger(label: "feed")
        logger.logLevel = .critical
        return ChangeFeed(
            options: FeedSimulation.options(pieceBytes: 1 << 20, cacheBytes: 1 << 20), database: database,
            store: FeedSimulation.store(disk, flusher), group: MultiThreadedEventLoopGroup.singleton, logger: logger,
            onStartOver: { _ in })
    }

    @Test func failedSyncEndsTheFeedAndNothingIsAcknowledged() async throws {
        let disk = FaultyFileSystem(seed: 1)
        let flusher = StoreFlusher()
        let database = PlayedDatabase()
        let feed = self.feed(disk, flusher, database)
        let task = Task { try await feed.run() }
        var runs = database.runs.makeAsyncIterator()
        let run = try #require(await runs.next())
        disk.faults.syncFailureChance = 1
        // The feed's own record may have met the failing disk already; then the transport hears of it right here.
        _ = try? run.sink.received(MessageRun(StreamScript.transaction(200, xid: 7, ["a"], describing: true)))
        await #expect(throws: StoreError.self) { try await task.value }
        #expect(run.stream.acknowledged.withLock { $0 } == .zero)
        flusher.stop()
    }

    @Test func fullDiskPausesTheTransportUntilThereIsRoom() async throws {
        let disk = FaultyFileSystem(seed: 1)
        let flusher = StoreFlusher(retryMilliseconds: 5)
        let database = PlayedDatabase()
        let feed = self.feed(disk, flusher, database)
        let task = Task { try await feed.run() }
        var runs = database.runs.makeAsyncIterator()
        let run = try #require(await runs.next())
        disk.faults.quota = disk.files.values.reduce(0, +)
        // The first ones wait in memory; when that is full, too, the transport is told to pause.
        var number: UInt64 = 0
        var takesMore = true
        while takesMore {
            try #require(number < 1_000)
            let values = (0..<10).map { "\(number).\($0)" }
            takesMore = try run.sink.received(
                MessageRun(StreamScript.transaction(200 + number * 20, xid: 7, values, describing: number == 0)))
            number += 1
        }
        #expect(run.stream.acknowledged.withLock { $0 } == .zero)
        disk.faults.quota = nil
        var resumes = run.stream.resumed.makeAsyncIterator()
        await resumes.next()
        let last = LSN(rawValue: 200 + (number - 1) * 20 + 10)
        let log = try #require(feed.core.withLock { $0?.log })
        try await log.log.waitUntilDurable(log.log.nextOffset)
        task.cancel()
        try await task.value
        flusher.stop()
        #expect(run.stream.acknowledged.withLock { $0 } == last)
        let store = FeedSimulation.store(disk.restart(), StoreFlusher(startsThread: false))
        let reopened = try #require(try ChangeLog.open(directory: FeedSimulation.directory, store: store))
        #expect(try FeedSimulation.contents(of: reopened).count == Int(number))
        #expect(reopened.recovered.stored == last)
        try reopened.log.close()
    }

    @Test func aSlotThatAnotherProcessHoldsIsWaitedForAndNothingStartsOver() async throws {
        let flusher = StoreFlusher()
        let database = PlayedDatabase()
        database.holder.withLock { $0 = 4_242 }
        let feed = self.feed(FaultyFileSystem(seed: 1), flusher, database)
        let task = Task { try await feed.run() }
        let deadline = ContinuousClock.now + .seconds(120)
        while !feed.health.summary.contains("pid 4242") {
            try #require(ContinuousClock.now < deadline, "the holder is not named")
            try await Task.sleep(for: .milliseconds(10))
        }
        // What the other one reads moves the slot.
        database.confirmed.withLock { $0 = LSN(rawValue: 500) }
        #expect(feed.health.epoch == nil && !feed.health.isReady)
        database.holder.withLock { $0 = nil }
        var runs = database.runs.makeAsyncIterator()
        _ = try #require(await runs.next())
        #expect(feed.health.epoch == 1)
        #expect(feed.oldestPosition == LSN(rawValue: 500))
        task.cancel()
        try await task.value
        flusher.stop()
    }
}
