import NIOCore
import StreamStore
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The machine's own files, and the flusher's own thread.
@Suite(.timeLimit(.minutes(1))) struct LogOnDiskTests {
    /// A new directory under the system's temporary one, removed afterwards.
    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        let root = parent + "/penstock-store-\(UInt64.random(in: 0 ... .max))"
        defer { Self.remove(root) }
        try await body(root + "/above/log")
    }

    private static func remove(_ root: String) {
        let system = PosixFileSystem()
        for directory in [root + "/above/log", root + "/above", root] {
            for name in (try? system.list(directory)) ?? [] { try? system.unlink(directory + "/" + name) }
            rmdir(directory)
        }
    }

    private func end(_ outcome: AppendOutcome) throws -> UInt64 {
        guard case .appended(let span) = outcome else { throw StoreError(.invalidState, "full") }
        return span.end
    }

    @Test func concurrentWritersAreServedByFewerSyncsAndNothingIsLost() async throws {
        try await self.withDirectory { directory in
            let flusher = StoreFlusher()
            let configuration = LogConfiguration(segmentByteCount: 32 << 10)
            let log = try SegmentedLog.open(
                directory: directory, fileSystem: PosixFileSystem(), flusher: flusher, configuration: configuration)
            try await withThrowingTaskGroup { group in
                for writer in 0..<16 as Range<UInt64> {
                    group.addTask {
                        for number in 0..<100 as Range<UInt64> {
                            let payload = ByteBuffer(integer: number)
                            try await log.waitUntilDurable(
                                try self.end(log.append(kind: 1, key: writer, payload: payload)))
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(log.durableEnd == 1600 * 40)
            #expect(log.metrics.syncs.count < 1600)
            let locked = #expect(throws: StoreError.self) {
                try SegmentedLog.open(directory: directory, fileSystem: PosixFileSystem(), flusher: flusher)
            }
            #expect(locked?.code == .locked)
            try log.close()
            let again = try self.reopen(directory, flusher, configuration)
            #expect(again.metrics.segmentCount >= 2)
            #expect(try again.trim(before: again.durableEnd) > 0)
            try again.close()
            flusher.stop()
        }
    }

    /// Opens the log and checks that it holds each of the 16 writers' 100 numbers once and in order.
    private func reopen(
        _ directory: String, _ flusher: StoreFlusher, _ configuration: LogConfiguration
    ) throws -> SegmentedLog {
        var numbers = [[UInt64?]](repeating: [], count: 16)
        let log = try SegmentedLog.open(
            directory: directory, fileSystem: PosixFileSystem(), flusher: flusher, configuration: configuration
        ) { record in
            numbers[Int(record.key)].append(record.payload.getInteger(at: record.payload.readerIndex))
        }
        #expect(numbers == [[UInt64?]](repeating: Array(0..<100), count: 16))
        return log
    }

    /// Nothing here waits for the hour to pass.
    @Test func flusherThatLingersGathersUntilSomebodyWaitsOrMuchIsPending() async throws {
        try await self.withDirectory { directory in
            let flusher = StoreFlusher(lingerMilliseconds: 3_600_000)
            let log = try SegmentedLog.open(
                directory: directory, fileSystem: PosixFileSystem(), flusher: flusher,
                configuration: LogConfiguration(pendingByteLimit: 80_000))
            for _ in 0..<50 { _ = try self.end(log.append(kind: 1, key: 1, payload: ByteBuffer(integer: 1))) }
            let last = try self.end(log.append(kind: 1, key: 1, payload: ByteBuffer(integer: 2)))
            #expect(log.metrics.syncs.count == 0)
            try await log.waitUntilDurable(last)
            #expect(log.metrics.syncs.count == 1)

            let (durable, continuation) = AsyncStream.makeStream(of: UInt64.self)
            log.onDurable { continuation.yield($0) }
            let large = try self.end(log.append(kind: 1, key: 1, payload: ByteBuffer(repeating: 0, count: 20_000)))
            for await end in durable where end >= large { break }

            _ = try self.end(log.append(kind: 1, key: 1, payload: ByteBuffer(integer: 3)))
            try log.close()
            flusher.stop()
            let again = try SegmentedLog.open(
                directory: directory, fileSystem: PosixFileSystem(), flusher: StoreFlusher(startsThread: false))
            #expect(again.metrics.segmentCount == 1)
            #expect(again.durableEnd == large + 40)
            try again.close()
        }
    }

    @Test func aPausedWriterGoesOnWhenThereIsRoom() async throws {
        try await self.withDirectory { directory in
            let flusher = StoreFlusher()
            let log = try SegmentedLog.open(
                directory: directory, fileSystem: PosixFileSystem(), flusher: flusher,
                configuration: LogConfiguration(pendingByteLimit: 2000))
            var written = 0
            var last: UInt64 = 0
            while written < 500 {
                switch try log.append(kind: 1, key: 1, payload: ByteBuffer(repeating: 0, count: 900)) {
                case .appended(let span):
                    written += 1
                    last = span.end
                case .full: try await log.waitForRoom()
                }
            }
            try await log.waitUntilDurable(last)
            #expect(log.metrics.fullCount > 0)
            try log.close()
            flusher.stop()
        }
    }

    @Test func aCancelledWaiterAndAClosedLogDoNotLeaveAnyoneWaiting() async throws {
        try await self.withDirectory { directory in
            let flusher = StoreFlusher()
            let log = try SegmentedLog.open(directory: directory, fileSystem: PosixFileSystem(), flusher: flusher)
            let cancelled = Task { try await log.waitUntilDurable(1000) }
            cancelled.cancel()
            await #expect(throws: CancellationError.self) { try await cancelled.value }
            let closed = Task { try await log.waitUntilDurable(1000) }
            try log.close()
            let error = await #expect(throws: StoreError.self) { try await closed.value }
            #expect(error?.code == .closed)
            flusher.stop()
        }
    }

    @Test func linksAreNotFollowed() async throws {
        try await self.withDirectory { directory in
            let system = PosixFileSystem()
            try system.makeDirectoryPath(directory)
            symlink("/etc/hostname", directory + "/link")
            let error = #expect(throws: FileError.self) { try system.open(directory + "/link", .readOnly) }
            #expect(error?.number == ELOOP)
            #expect(throws: FileError.self) {
                try system.rename(directory + "/none", to: directory + "/x", replacing: false)
            }
        }
    }

    @Test func aRenameThatMayNotReplaceDoesNot() async throws {
        try await self.withDirectory { directory in
            let system = PosixFileSystem()
            try system.makeDirectoryPath(directory)
            for name in ["a", "b"] { _ = try system.open(directory + "/" + name, .createNew) }
            let error = #expect(throws: FileError.self) {
                try system.rename(directory + "/a", to: directory + "/b", replacing: false)
            }
            #expect(error?.number == EEXIST)
            #expect(throws: FileError.self) { try system.open(directory + "/a", .createNew) }
            try system.rename(directory + "/a", to: directory + "/b", replacing: true)
            #expect(try system.list(directory) == ["b"])
        }
    }
}
