import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The machine's own files and the directory's own threads.
@Suite(.serialized, .timeLimit(.minutes(3))) struct ConcurrencyTests {
    private static func clock() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
    }

    private func withDirectory(
        _ mode: TestMode, _ body: (StreamDirectoryConfiguration) async throws -> Void
    ) async throws {
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        let folder = parent + "/penstock-directory-\(UInt64.random(in: 0 ... .max))"
        defer { DirectoryHarness.remove(folder) }
        var configuration = StreamDirectoryConfiguration(mode: mode.mode, directory: folder)
        configuration.checkpointInterval = .milliseconds(20)
        configuration.syncInterval = .milliseconds(5)
        configuration.inlineByteLimit = 256
        configuration.logSegmentBytes = 64 << 10
        configuration.metadataSegmentBytes = 16 << 10
        configuration.metadataSlack = 50
        configuration.limits.openStreams = 8
        configuration.limits.tailBytes = 64 << 10
        configuration.acidMapBytes = 1 << 20
        try await body(configuration)
    }

    private func append(_ directory: StreamDirectory, _ name: String, _ request: AppendRequest) async throws
        -> DurableStreams.AppendOutcome
    {
        try await withCheckedThrowingContinuation {
            (continuation: CheckedContinuation<DurableStreams.AppendOutcome, any Error>) in
            directory.append(name, request, now: Self.clock()) {
                continuation.resume(with: $0.mapError { $0 as any Error })
            }
        }
    }

    private func create(_ directory: StreamDirectory, _ name: String, fork: String? = nil) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            directory.create(
                name, CreateRequest(contentType: nil, fork: fork.map { ForkRequest(sourceName: $0) }), now: Self.clock()
            ) { continuation.resume(with: $0.map { _ in }.mapError { $0 as any Error }) }
        }
    }

    private func delete(_ directory: StreamDirectory, _ name: String) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            directory.delete(name, now: Self.clock()) { continuation.resume(with: $0.mapError { $0 as any Error }) }
        }
    }

    private func text(_ directory: StreamDirectory, _ name: String, limit: Int = 5000) throws -> String {
        var position: UInt64 = 0
        var text = ""
        while true {
            let reading = try directory.read(name, from: position, limit: limit, now: Self.clock()).get()
            guard reading.end > position else { return text }
            text += String(buffer: try reading.bytes())
            position = reading.end
        }
    }

    /// Waits until a stream is longer; ends early when the others have failed.
    private func growth(of name: String, beyond position: UInt64, _ directory: StreamDirectory) async throws {
        let (grown, told) = AsyncStream<Void>.makeStream()
        let observer = try directory.wait(name, beyond: position, now: Self.clock()) { _ in told.finish() }.get()
        for await _ in grown {}
        directory.cancel(observer, now: Self.clock())
        try Task.checkCancellation()
    }

    /// Numbers that each writer appended, in order of the stream.
    private func numbers(_ text: String) -> [String: [Int]] {
        var numbers: [String: [Int]] = [:]
        for part in text.split(separator: ";") {
            let fields = part.split(separator: ":")
            numbers[String(fields[0]), default: []].append(Int(fields[1]) ?? -1)
        }
        return numbers
    }

    @Test(arguments: TestMode.allCases)
    func manyWritersReadersAndForksAtOnceLoseNothing(_ mode: TestMode) async throws {
        try await self.withDirectory(mode) { configuration in
            let directory = try StreamDirectory.open(configuration, clock: Self.clock)
            let names = (0..<6).map { "stream/\($0)" }
            for name in names { try await self.create(directory, name) }
            let count = 120
            try await withThrowingTaskGroup { group in
                for writer in 0..<4 {
                    for name in names {
                        group.addTask {
                            for number in 0..<count {
                                let claim = ProducerClaim(id: "w\(writer)", epoch: 0, seq: UInt64(number))
                                let request = DirectoryHarness.request(
                                    "w\(writer):\(number);", producer: claim)
                                let outcome = try await self.append(directory, name, request)
                                // What was answered can be read.
                                let view = try directory.lookup(name, now: Self.clock()).get()
                                #expect(view.tail >= outcome.tail.position)
                                if number % 50 == 7 {
                                    #expect(try await self.append(directory, name, request).kind == .duplicate)
                                }
                            }
                        }
                    }
                }
                for name in names {
                    group.addTask {
                        // A reader that follows sees a prefix grow.
                        var seen = ""
                        while seen.utf8.count < 2900 {
                            let position = UInt64(seen.utf8.count)
                            let reading = try directory.read(name, from: position, limit: 700, now: Self.clock()).get()
                            seen += String(buffer: try reading.bytes())
                            if reading.isAtTail, seen.utf8.count < 2900 {
                                try await self.growth(of: name, beyond: reading.end, directory)
                            }
                        }
                        #expect(try self.text(directory, name).hasPrefix(seen))
                    }
                }
                for name in names {
                    group.addTask {
                        for number in 0..<20 {
                            let fork = "fork/\(name)/\(number % 3)"
                            try await self.create(directory, fork, fork: name)
                            let inherited = try self.text(directory, fork)
                            _ = try await self.append(directory, fork, DirectoryHarness.request("own"))
                            #expect(try self.text(directory, fork) == inherited + "own")
                            try await self.delete(directory, fork)
                        }
                    }
                }
                try await group.waitForAll()
            }
            let expected = Dictionary(uniqueKeysWithValues: (0..<4).map { ("w\($0)", Array(0..<count)) })
            for name in names { #expect(try self.numbers(self.text(directory, name)) == expected) }
            try directory.close()
            guard mode != .memory else { return }
            for _ in 0..<2 {
                let again = try StreamDirectory.open(configuration, clock: Self.clock)
                #expect(again.list(now: Self.clock()).map(\.view.name) == names)
                for name in names { #expect(try self.numbers(self.text(again, name)) == expected) }
                var damaged = 0
                again.verify { _, error in damaged += error == nil ? 0 : 1 }
                #expect(damaged == 0)
                try again.close()
            }
        }
    }

    @Test(arguments: TestMode.files)
    func aSecondStartOnADirectoryInUseIsRefused(_ mode: TestMode) async throws {
        try await self.withDirectory(mode) { configuration in
            let directory = try StreamDirectory.open(configuration, clock: Self.clock)
            try await self.create(directory, "a")
            let error = #expect(throws: StoreError.self) {
                _ = try StreamDirectory.open(configuration, clock: Self.clock)
            }
            #expect(error?.code == .locked)
            _ = try await self.append(directory, "a", DirectoryHarness.request("still here"))
            try directory.close()
        }
    }
}
