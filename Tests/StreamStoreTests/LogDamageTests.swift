import NIOCore
import StreamStore
import StreamStoreTestSupport
import Testing

@Suite struct LogDamageTests {
    private static let directory = "/data/log"

    /// A closed log of three segments.
    private func closedLog(seed: UInt64 = 1) throws -> (FaultyFileSystem, [LogRecord]) {
        let disk = FaultyFileSystem(seed: seed)
        let flusher = StoreFlusher(startsThread: false)
        let log = try self.open(disk, flusher)
        for key in 0..<20 as Range<UInt64> {
            try log.append(kind: 1, key: key, payload: ByteBuffer(repeating: UInt8(key), count: 70))
            if key % 3 == 0 { flusher.flushPending() }
        }
        flusher.flushPending()
        var records: [LogRecord] = []
        var reader = log.reader(from: 0)
        while case let batch = try reader.nextBatch(maxBytes: 1 << 20), !batch.isEmpty { records += batch }
        #expect(records.count == 20)
        try log.close()
        return (disk, records)
    }

    private func open(_ disk: FaultyFileSystem, _ flusher: StoreFlusher) throws -> SegmentedLog {
        try SegmentedLog.open(
            directory: Self.directory, fileSystem: disk, flusher: flusher,
            configuration: LogConfiguration(segmentByteCount: 800))
    }

    @Test func anyFlippedBitOfAClosedLogIsReportedWithItsFile() throws {
        let (disk, _) = try self.closedLog()
        let files = disk.files.filter { !$0.key.hasSuffix("LOCK") }
        #expect(files.count == 4)
        for (path, size) in files {
            for bit in stride(from: 0, to: size * 8, by: 5) {
                disk.flipBit(bit, of: path)
                let error = #expect(throws: StoreError.self, "\(path) bit \(bit)") {
                    try self.open(disk, StoreFlusher(startsThread: false))
                }
                #expect(error?.code == .corrupt, "\(path) bit \(bit)")
                #expect(error?.file == path, "\(path) bit \(bit)")
                disk.flipBit(bit, of: path)
            }
        }
        // None of the failed starts changed anything.
        _ = try self.open(disk, StoreFlusher(startsThread: false))
    }

    @Test func cuttingAnyFileOfAClosedLogIsReported() throws {
        let (sizes, _) = try self.closedLog()
        for (path, size) in sizes.files where !path.hasSuffix("LOCK") {
            for cut in stride(from: 0, to: size, by: 13) {
                let (disk, _) = try self.closedLog()
                disk.cut(path, to: cut)
                let error = #expect(throws: StoreError.self, "\(path) cut to \(cut)") {
                    try self.open(disk, StoreFlusher(startsThread: false))
                }
                #expect(error?.code == .corrupt, "\(path) cut to \(cut)")
            }
        }
    }

    @Test func aMissingSegmentIsReported() throws {
        for number in 0..<3 {
            let (disk, _) = try self.closedLog()
            let path = try #require(disk.files.keys.filter { $0.hasSuffix(".seg") }.sorted().dropFirst(number).first)
            try disk.unlink(path)
            if number == 0 {
                // What is left is a log that begins later, as after trimming.
                let log = try self.open(disk, StoreFlusher(startsThread: false))
                #expect(log.firstOffset > 0)
            } else {
                let error = #expect(throws: StoreError.self) { try self.open(disk, StoreFlusher(startsThread: false)) }
                #expect(error?.code == .corrupt)
            }
        }
    }

    @Test func damageFoundWhileReadingIsAnErrorAndTheRestStaysReadable() throws {
        let (disk, records) = try self.closedLog()
        let log = try self.open(disk, StoreFlusher(startsThread: false))
        let damaged = records[2]
        let path = Self.directory + "/00000000000000000000.seg"
        disk.flipBit((64 + Int(damaged.offset) + 40) * 8, of: path)
        #expect(try log.read(from: 0, maxBytes: Int(damaged.offset)).records.count == 2)
        let error = #expect(throws: StoreError.self) { try log.read(from: damaged.offset, maxBytes: 1000) }
        #expect(error?.code == .corrupt)
        #expect(error?.file == path)
        #expect(error?.offset == damaged.offset)
        #expect(try log.read(from: damaged.end, maxBytes: 1).records.first == records[3])
    }

    @Test func damageBeforeTheLastWriteOfAnUncleanLogIsNotCutOff() throws {
        let disk = FaultyFileSystem(seed: 3)
        let flusher = StoreFlusher(startsThread: false)
        let log = try SegmentedLog.open(directory: Self.directory, fileSystem: disk, flusher: flusher)
        for key in 0..<10 as Range<UInt64> {
            try log.append(kind: 1, key: key, payload: ByteBuffer(repeating: 7, count: 100))
            flusher.flushPending()
        }
        // No close: what proves that the first nine had been durable is the last one.
        let path = Self.directory + "/00000000000000000000.seg"
        for record in 0..<9 {
            let next = disk.restart()
            next.flipBit((64 + record * 132 + 50) * 8, of: path)
            let error = #expect(throws: StoreError.self) { try self.open(next, StoreFlusher(startsThread: false)) }
            #expect(error?.code == .corrupt)
            #expect(error?.offset == UInt64(record * 132))
            #expect(next.contents(of: path)?.count == 64 + 1320)
        }
        let next = disk.restart()
        next.cut(path, to: 64 + 1320 - 1)
        let again = try self.open(next, StoreFlusher(startsThread: false))
        #expect(again.durableEnd == 9 * 132)
        #expect(again.recovery.tornByteCount == 131)
    }

    @Test func laterAndUnknownFormatVersionsAreRefused() throws {
        for (version, code) in [(UInt32(2), StoreError.Code.newerFormat), (0, .unsupportedFormat)] {
            let (disk, _) = try self.closedLog()
            let path = Self.directory + "/00000000000000000000.seg"
            var bytes = ByteBuffer(bytes: try #require(disk.contents(of: path)))
            bytes.setInteger(version, at: 8, endianness: .little)
            bytes.setInteger(checksum(of: bytes), at: 12, endianness: .little)
            disk.put(Array(bytes.readableBytesView), at: path)
            let error = #expect(throws: StoreError.self) { try self.open(disk, StoreFlusher(startsThread: false)) }
            #expect(error?.code == code)
            #expect(error?.file == path)
        }
    }
}
