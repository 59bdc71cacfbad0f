import NIOCore
import StreamStore
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A log without a disk is a log like any other, for as long as the process lives.
struct MemoryFileSystemTests {
    private let files = MemoryFileSystem()
    private let flusher = StoreFlusher(startsThread: false)

    private func open(_ visit: (LogRecord) -> Void = { _ in }) throws -> SegmentedLog {
        try SegmentedLog.open(
            directory: "/memory/log", fileSystem: self.files, flusher: self.flusher,
            configuration: LogConfiguration(segmentByteCount: 1000), visitRecovered: visit)
    }

    @Test func logIsWrittenReadTrimmedAndOpenedAgain() throws {
        try self.files.makeDirectoryPath("/memory/log")
        let log = try self.open()
        for number in 0..<50 as Range<UInt64> {
            _ = try log.append(kind: 1, key: number, payload: ByteBuffer(repeating: UInt8(number), count: 100))
            self.flusher.flushPending()
        }
        #expect(log.metrics.segmentCount > 4)
        var keys: [UInt64] = []
        var next: UInt64 = 0
        while next < log.durableEnd {
            let batch = try log.read(from: next, maxBytes: 1 << 20)
            keys += batch.records.map(\.key)
            next = batch.nextOffset
        }
        #expect(keys == Array(0..<50))
        #expect(#expect(throws: StoreError.self) { try self.open() }?.code == .locked)
        let kept = try #require(try log.firstOffset(withKeyAtLeast: 30))
        #expect(try log.trim(before: kept) > 0)
        try log.close()
        keys = []
        let again = try self.open { keys.append($0.key) }
        #expect(keys.last == 49 && keys.contains(30) && !keys.contains(0))
        #expect(keys == keys.sorted())
        try again.close()
    }

    @Test func namesAndErrorsAreThoseOfADisk() throws {
        #expect(throws: FileError(.list, "/a", number: ENOENT)) { try self.files.list("/a") }
        #expect(throws: FileError(.makeDirectory, "/a/b", number: ENOENT)) { try self.files.makeDirectory("/a/b") }
        #expect(try self.files.makeDirectory("/a"))
        #expect(try !self.files.makeDirectory("/a"))
        #expect(throws: FileError(.open, "/a/x", number: ENOENT)) { try self.files.open("/a/x", .readWrite) }
        let file = try self.files.open("/a/x", .createNew)
        #expect(throws: FileError(.open, "/a/x", number: EEXIST)) { try self.files.open("/a/x", .createNew) }
        try Array("hello".utf8).withUnsafeBytes { try file.writeAll($0, at: 2) }
        try Array("J".utf8).withUnsafeBytes { try file.writeAll($0, at: 2) }
        #expect(try file.size() == 7)
        _ = try self.files.open("/a/y", .createNew)
        #expect(throws: FileError(.rename, "/a/y", number: EEXIST)) {
            try self.files.rename("/a/x", to: "/a/y", replacing: false)
        }
        try self.files.rename("/a/x", to: "/a/y", replacing: true)
        #expect(try self.files.list("/a") == ["y"])
        #expect(try self.files.list("/") == ["a"])
        try self.files.unlink("/a/y")
        #expect(throws: FileError(.unlink, "/a/y", number: ENOENT)) { try self.files.unlink("/a/y") }
        // Open files live on.
        var bytes = [UInt8](repeating: 9, count: 10)
        let count = try bytes.withUnsafeMutableBytes { try file.readAll(into: $0, at: 0) }
        #expect(count == 7 && String(decoding: bytes[2..<count], as: UTF8.self) == "Jello")
        try file.truncate(to: 3)
        #expect(try file.size() == 3)
    }
}
