import NIOCore
import StreamStore
import StreamStoreTestSupport
import Synchronization
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

@Suite(.timeLimit(.minutes(1))) struct SegmentedLogTests {
    private static let directory = "/data/log"
    private let disk = FaultyFileSystem(seed: 1)
    private let flusher = StoreFlusher(startsThread: false)

    private func open(
        _ configuration: LogConfiguration = LogConfiguration(), visit: (LogRecord) -> Void = { _ in }
    ) throws -> SegmentedLog {
        try SegmentedLog.open(
            directory: Self.directory, fileSystem: self.disk, flusher: self.flusher, configuration: configuration,
            visitRecovered: visit)
    }

    private func append(_ log: SegmentedLog, key: UInt64 = 1, count: Int = 100) throws -> LogSpan {
        let outcome = try log.append(kind: 1, key: key, payload: ByteBuffer(repeating: 1, count: count))
        guard case .appended(let span) = outcome else { throw StoreError(.invalidState, "the log is full") }
        return span
    }

    @Test func aRecordKeepsAllItsPartsAcrossReopening() throws {
        let log = try self.open()
        let payload = [ByteBuffer(string: "first "), ByteBuffer(), ByteBuffer(string: "second")]
        try log.append(kind: 200, flags: 3, stream: 70_000, key: .max, payload: payload)
        try log.append(kind: 1, key: 0, payload: ByteBuffer())
        try log.close()
        var records: [LogRecord] = []
        _ = try self.open { records.append($0) }
        let expected = [
            LogRecord(
                offset: 0, end: 44, kind: 200, flags: 3, stream: 70_000, key: .max,
                payload: ByteBuffer(string: "first second")),
            LogRecord(offset: 44, end: 76, kind: 1, flags: 0, stream: 0, key: 0, payload: ByteBuffer()),
        ]
        #expect(records == expected)
    }

    @Test func readersSeeNothingBeforeItIsSynced() throws {
        let log = try self.open()
        let span = try self.append(log)
        #expect(try log.read(from: 0, maxBytes: 1000).records.isEmpty)
        #expect(log.durableEnd == 0)
        let error = #expect(throws: StoreError.self) { try log.read(from: span.end, maxBytes: 1000) }
        #expect(error?.code == .outOfRange)
        self.flusher.flushPending()
        #expect(try log.read(from: 0, maxBytes: 1000).records.count == 1)
        #expect(try log.read(from: span.end, maxBytes: 1000).records.isEmpty)
    }

    @Test func aReadGivesAtLeastOneRecordHoweverLarge() throws {
        let log = try self.open()
        let large = try self.append(log, count: 10_000)
        _ = try self.append(log)
        self.flusher.flushPending()
        let batch = try log.read(from: 0, maxBytes: 1)
        #expect(batch.records.map(\.payload.readableBytes) == [10_000])
        #expect(batch.nextOffset == large.end)
    }

    @Test func oneSyncServesAllThatWasAppendedBeforeIt() throws {
        let log = try self.open()
        for _ in 0..<50 { _ = try self.append(log) }
        self.flusher.flushPending()
        #expect(log.metrics.syncs.count == 1)
        #expect(log.metrics.syncs.buckets.reduce(0, +) == 1)
        #expect(log.metrics.recordsAppended == 50)
        #expect(log.metrics.pendingBytes == 0)
    }

    @Test func tooMuchPendingIsTurnedAwayUntilThereIsRoom() throws {
        let log = try self.open(LogConfiguration(pendingByteLimit: 300))
        // A record larger than the limit goes alone.
        _ = try self.append(log, count: 1000)
        #expect(try log.append(kind: 1, key: 1, payload: ByteBuffer()) == .full)
        let hasRoom = Mutex(0)
        log.whenRoom { result in
            if case .success = result { hasRoom.withLock { $0 += 1 } }
        }
        #expect(hasRoom.withLock { $0 } == 0)
        self.flusher.flushPending()
        #expect(hasRoom.withLock { $0 } == 1)
        _ = try self.append(log)
        _ = try self.append(log)
        #expect(try log.append(kind: 1, key: 1, payload: ByteBuffer(repeating: 1, count: 100)) == .full)
        #expect(log.metrics.fullCount == 2)
        #expect(log.metrics.pendingBytes == 264)
    }

    @Test func aRecordOverTheLimitIsRefused() throws {
        let log = try self.open(LogConfiguration(recordByteLimit: 10))
        let error = #expect(throws: StoreError.self) { try self.append(log, count: 11) }
        #expect(error?.code == .recordTooLarge)
        #expect(log.nextOffset == 0)
        #expect(try self.append(log, count: 10).offset == 0)
    }

    @Test func observersAndWaitersHearOfDurabilityInOrder() throws {
        let log = try self.open()
        let ends = Mutex<[UInt64]>([])
        log.onDurable { end in ends.withLock { $0.append(end) } }
        let first = try self.append(log)
        log.whenDurable(first.end) { _ in ends.withLock { $0.append(1) } }
        self.flusher.flushPending()
        let second = try self.append(log)
        self.flusher.flushPending()
        #expect(ends.withLock { $0 } == [1, first.end, second.end])
        log.whenDurable(second.end) { _ in ends.withLock { $0.append(2) } }
        #expect(ends.withLock { $0 }.last == 2)
    }

    @Test(arguments: [FileError.Operation.write, .sync])
    func aFailedWriteOrSyncFailsTheLogForGood(operation: FileError.Operation) throws {
        let log = try self.open()
        let kept = try self.append(log)
        self.flusher.flushPending()
        let conditions = Mutex<[LogCondition]>([])
        log.onCondition { condition in conditions.withLock { $0.append(condition) } }
        let lost = try self.append(log)
        let results = Mutex<[Bool]>([])
        log.whenDurable(lost.end) { result in
            results.withLock { $0.append((try? result.get()) != nil) }
        }
        self.disk.faults.failures[self.disk.operationCount + (operation == .write ? 1 : 2)] = EIO
        self.flusher.flushPending()
        #expect(results.withLock { $0 } == [false])
        self.flusher.flushPending()
        let error = #expect(throws: StoreError.self) { try self.append(log) }
        #expect(error?.code == .failed)
        #expect(conditions.withLock { $0 } == [.failed(StoreError(.io, ""))])
        #expect(log.durableEnd == kept.end)
        #expect(try log.read(from: 0, maxBytes: 1000).records.count == 1)
        #expect(throws: StoreError.self) { try log.trim(before: kept.end) }
        #expect(throws: StoreError.self) { try log.close() }
        // The directory is free again.
        _ = try self.open()
    }

    @Test func aFullDiskRefusesAppendsAndRecoversByItself() throws {
        let log = try self.open()
        let first = try self.append(log)
        self.flusher.flushPending()
        let conditions = Mutex<[LogCondition]>([])
        log.onCondition { condition in conditions.withLock { $0.append(condition) } }
        let used = self.disk.files.values.reduce(0, +)
        self.disk.faults.quota = used + 50
        let second = try self.append(log)
        self.flusher.flushPending()
        #expect(log.condition == .diskFull)
        let error = #expect(throws: StoreError.self) { try self.append(log) }
        #expect(error?.code == .diskFull)
        #expect(try log.read(from: 0, maxBytes: 1000).records.count == 1)
        #expect(log.durableEnd == first.end)
        // Still full.
        self.flusher.flushPending()
        #expect(log.condition == .diskFull)
        self.disk.faults.quota = nil
        self.flusher.flushPending()
        #expect(log.condition == .healthy)
        #expect(log.durableEnd == second.end)
        #expect(conditions.withLock { $0 } == [.diskFull, .healthy])
        #expect(log.metrics.diskFullCount == 2)
        _ = try self.append(log)
        try log.close()
        #expect(self.disk.files[Self.directory + "/00000000000000000000.seg"] == 64 + 3 * 132)
    }

    @Test func trimmingFreesAFullDiskInTheMiddleOfARoll() throws {
        let log = try self.open(LogConfiguration(segmentByteCount: 500))
        for _ in 0..<8 { _ = try self.append(log) }
        self.flusher.flushPending()
        #expect(log.metrics.segmentCount == 2)
        // No room for the header of the third segment.
        self.disk.faults.quota = self.disk.files.values.reduce(0, +) + 10
        let span = try self.append(log)
        self.flusher.flushPending()
        #expect(log.condition == .diskFull)
        #expect(try log.trim(before: 528) == 528)
        self.flusher.flushPending()
        #expect(log.durableEnd == span.end)
        self.disk.faults.quota = nil
        try log.close()
        #expect(try self.open().durableEnd == span.end)
    }

    @Test func trimmingDropsWholeSegmentsOnly() throws {
        let log = try self.open(LogConfiguration(segmentByteCount: 500))
        for key in 0..<20 as Range<UInt64> { _ = try self.append(log, key: key) }
        self.flusher.flushPending()
        #expect(log.metrics.segmentCount == 5)
        #expect(try log.trim(before: 527) == 0)
        #expect(try log.trim(before: 528) == 528)
        #expect(try log.trim(before: .max) == 4 * 528)
        #expect(log.metrics.segmentCount == 1)
        let error = #expect(throws: StoreError.self) { try log.read(from: 528, maxBytes: 100) }
        #expect(error?.code == .trimmed)
        #expect(try log.firstOffset(withKeyAtLeast: 0) == 4 * 528)
        #expect(self.disk.files.keys.filter { $0.hasSuffix(".seg") }.count == 1)
    }

    @Test func searchingByKeyFindsTheFirstRecordWithAtLeastThatKey() throws {
        let log = try self.open(LogConfiguration(segmentByteCount: 2000, indexSpacing: 300))
        // Not in order: an owner's units may overlap.
        let keys: [UInt64] = [5, 3, 9, 9, 2, 14, 11, 20, 20, 8, 31, 30, 40, 1, 50, 60, 55, 70, 80, 75]
        var spans: [LogSpan] = []
        for key in keys { spans.append(try self.append(log, key: key)) }
        #expect(try log.firstOffset(withKeyAtLeast: 0) == nil)
        self.flusher.flushPending()
        for key in 0...90 as ClosedRange<UInt64> {
            let expected = keys.firstIndex { $0 >= key }.map { spans[$0].offset }
            #expect(try log.firstOffset(withKeyAtLeast: key) == expected, "key \(key)")
        }
    }

    @Test func truncatingCutsAnUnfinishedUnitAtTheEnd() throws {
        let configuration = LogConfiguration(segmentByteCount: 500)
        var log = try self.open(configuration)
        for key in 0..<10 as Range<UInt64> { _ = try self.append(log, key: key) }
        try log.close()
        log = try self.open(configuration)
        let between = #expect(throws: StoreError.self) { try log.truncate(to: 3 * 132 + 1) }
        #expect(between?.code == .outOfRange)
        try log.truncate(to: 3 * 132)
        #expect(log.durableEnd == 3 * 132)
        #expect(log.metrics.segmentCount == 1)
        #expect(try log.firstOffset(withKeyAtLeast: 3) == nil)
        let span = try self.append(log, key: 100)
        #expect(span.offset == 3 * 132)
        let pending = #expect(throws: StoreError.self) { try log.truncate(to: 0) }
        #expect(pending?.code == .invalidState)
        try log.close()
        var keys: [UInt64] = []
        _ = try self.open(configuration) { keys.append($0.key) }
        #expect(keys == [0, 1, 2, 100])
    }

    @Test func aDirectoryIsOpenOnceOnly() throws {
        let log = try self.open()
        let error = #expect(throws: StoreError.self) { try self.open() }
        #expect(error?.code == .locked)
        try log.close()
        try log.close()
        #expect(throws: StoreError.self) { try self.append(log) }
        _ = try self.open()
    }

    @Test func whatAVisitorThrowsEndsTheOpeningAndFreesTheDirectory() throws {
        struct Refusal: Error {}
        let log = try self.open()
        _ = try self.append(log)
        try log.close()
        #expect(throws: Refusal.self) {
            try SegmentedLog.open(directory: Self.directory, fileSystem: self.disk, flusher: self.flusher) { _ in
                throw Refusal()
            }
        }
        _ = try self.open()
    }

    @Test func severalLogsShareAFlusherAndFailAlone() throws {
        let log = try self.open()
        let other = try SegmentedLog.open(directory: "/data/other", fileSystem: self.disk, flusher: self.flusher)
        let span = try self.append(log)
        let otherSpan = try self.append(other)
        // Write, write, sync: the third operation is the first log's sync.
        self.disk.faults.failures[self.disk.operationCount + 3] = EIO
        self.flusher.flushPending()
        #expect(log.durableEnd < span.end)
        #expect(other.durableEnd == otherSpan.end)
        #expect(other.condition == .healthy)
    }
}
