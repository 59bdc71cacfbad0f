import NIOCore
import StreamStore
import Testing

@Suite struct SmokeTests {
    @Test func appendedRecordsAreReadBackAfterReopening() async throws {
        let directory = "/tmp/penstock-store-\(UInt64.random(in: 0...UInt64.max))"
        let flusher = StoreFlusher()
        let log = try SegmentedLog.open(
            directory: directory, fileSystem: PosixFileSystem(), flusher: flusher,
            configuration: LogConfiguration(segmentByteCount: 4096))
        var end: UInt64 = 0
        for i in 0..<1000 {
            guard case .appended(let span) = try log.append(kind: 1, key: UInt64(i), payload: ByteBuffer(string: "record \(i)")) else {
                Issue.record("full")
                return
            }
            end = span.end
            if i % 50 == 0 { try await log.waitUntilDurable(end) }
        }
        try await log.waitUntilDurable(end)
        #expect(log.metrics.segmentCount > 5)
        try log.close()
        var seen = 0
        let again = try SegmentedLog.open(directory: directory, fileSystem: PosixFileSystem(), flusher: flusher) { record in
            #expect(record.key == UInt64(seen))
            seen += 1
        }
        #expect(seen == 1000)
        #expect(again.recovery.tornByteCount == 0)
        var reader = again.reader(from: again.firstOffset)
        var read = 0
        while case let records = try reader.nextBatch(maxBytes: 1000), !records.isEmpty { read += records.count }
        #expect(read == 1000)
        #expect(try again.firstOffset(withKeyAtLeast: 500) != nil)
        try again.close()
        flusher.stop()
    }
}
