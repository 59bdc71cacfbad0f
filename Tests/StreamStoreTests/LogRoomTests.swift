import NIOCore
import StreamStore
import StreamStoreTestSupport
import Testing

/// Zeros written ahead of a log's records.
@Suite struct LogRoomTests {
    private static let directory = "/data/log"
    private static let first = directory + "/00000000000000000000.seg"

    private func open(_ disk: FaultyFileSystem, _ flusher: StoreFlusher, segment: UInt64 = 1 << 20) throws
        -> SegmentedLog
    {
        try SegmentedLog.open(
            directory: Self.directory, fileSystem: disk, flusher: flusher,
            configuration: LogConfiguration(segmentByteCount: segment, roomByteLimit: 4000))
    }

    private func append(_ keys: Range<UInt64>, to log: SegmentedLog, _ flusher: StoreFlusher) throws {
        for key in keys {
            try log.append(kind: 1, key: key, payload: ByteBuffer(repeating: 7, count: 100))
            flusher.flushPending()
        }
    }

    @Test func aWriteThatFindsRoomLeavesTheSizeOfItsFile() throws {
        let disk = FaultyFileSystem(seed: 1)
        let flusher = StoreFlusher(startsThread: false)
        let log = try self.open(disk, flusher)
        try self.append(0..<1, to: log, flusher)
        let size = disk.files[Self.first]
        #expect(size == 64 + 132 + 4000)
        // Thirty more fit into the room, the next one makes it anew.
        try self.append(1..<31, to: log, flusher)
        #expect(disk.files[Self.first] == size)
        try self.append(31..<32, to: log, flusher)
        #expect(disk.files[Self.first] == 64 + 32 * 132 + 4000)
    }

    @Test func recoveryTakesZerosForTheEndAndGoesOnInThem() throws {
        let disk = FaultyFileSystem(seed: 2)
        let flusher = StoreFlusher(startsThread: false)
        try self.append(0..<3, to: try self.open(disk, flusher), flusher)
        let next = disk.restart()
        let log = try self.open(next, flusher)
        #expect(log.durableEnd == 3 * 132)
        #expect(log.recovery.tornByteCount == 0)
        let size = next.files[Self.first]
        try self.append(3..<5, to: log, flusher)
        #expect(next.files[Self.first] == size)
        let keys = try log.read(from: 0, maxBytes: 1 << 20).records.map(\.key)
        #expect(keys == [0, 1, 2, 3, 4])
    }

    @Test func partOfAWriteInsideTheRoomIsCutOffWithIt() throws {
        let disk = FaultyFileSystem(seed: 3)
        let flusher = StoreFlusher(startsThread: false)
        try self.append(0..<3, to: try self.open(disk, flusher), flusher)
        // The last record's payload did not come to the disk whole; what follows it are zeros.
        let next = disk.restart()
        next.flipBit((64 + 2 * 132 + 60) * 8, of: Self.first)
        let log = try self.open(next, flusher)
        #expect(log.durableEnd == 2 * 132)
        #expect(log.recovery.tornByteCount == 132)
        #expect(next.files[Self.first] == 64 + 2 * 132)
    }

    @Test func damageThatLaterRecordsProveIsNoEnd() throws {
        let disk = FaultyFileSystem(seed: 4)
        let flusher = StoreFlusher(startsThread: false)
        try self.append(0..<3, to: try self.open(disk, flusher), flusher)
        let next = disk.restart()
        next.flipBit((64 + 132 + 60) * 8, of: Self.first)
        let error = #expect(throws: StoreError.self) { try self.open(next, flusher) }
        #expect(error?.code == .corrupt)
        #expect(error?.offset == 132)
    }

    @Test func closedLogsAndFinishedSegmentsHaveNoRoom() throws {
        let disk = FaultyFileSystem(seed: 5)
        let flusher = StoreFlusher(startsThread: false)
        let log = try self.open(disk, flusher, segment: 500)
        try self.append(0..<6, to: log, flusher)
        #expect(disk.files[Self.first] == 64 + 4 * 132)
        // The room of a segment ends where it takes no more records.
        let second = Self.directory + "/00000000000000000528.seg"
        #expect(disk.files[second] == 64 + 500)
        try log.close()
        #expect(disk.files[second] == 64 + 2 * 132)
        #expect(try self.open(disk.restart(), flusher, segment: 500).durableEnd == 6 * 132)
    }

    @Test func cuttingALogCutsItsRoom() throws {
        let disk = FaultyFileSystem(seed: 6)
        let flusher = StoreFlusher(startsThread: false)
        let log = try self.open(disk, flusher)
        try self.append(0..<4, to: log, flusher)
        try log.truncate(to: 132)
        #expect(disk.files[Self.first] == 64 + 132)
        try self.append(4..<5, to: log, flusher)
        #expect(disk.files[Self.first] == 64 + 2 * 132 + 4000)
        #expect(try log.read(from: 0, maxBytes: 1 << 20).records.map(\.key) == [0, 4])
    }

    @Test func theLastBytesOfADiskAreForRecords() throws {
        let disk = FaultyFileSystem(seed: 8)
        let flusher = StoreFlusher(startsThread: false)
        disk.faults.tellsRoom = true
        disk.faults.quota = 200_000
        let log = try self.open(disk, flusher)
        try self.append(0..<2, to: log, flusher)
        #expect(disk.files[Self.first] == 64 + 2 * 132)
        disk.faults.quota = 1 << 20
        try self.append(2..<3, to: log, flusher)
        #expect(disk.files[Self.first] == 64 + 3 * 132 + 4000)
    }

    @Test func aDiskWithoutRoomForZerosTakesTheRecord() throws {
        let disk = FaultyFileSystem(seed: 7)
        let flusher = StoreFlusher(startsThread: false)
        let log = try self.open(disk, flusher)
        var faults = FaultyFileSystem.Faults()
        faults.quota = disk.files.values.reduce(0, +) + 300
        disk.faults = faults
        try self.append(0..<2, to: log, flusher)
        #expect(log.condition == .healthy)
        #expect(log.durableEnd == 2 * 132)
        disk.faults = FaultyFileSystem.Faults()
        try self.append(2..<3, to: log, flusher)
        try log.close()
        let again = try self.open(disk.restart(), flusher)
        #expect(try again.read(from: 0, maxBytes: 1 << 20).records.map(\.key) == [0, 1, 2])
    }
}
