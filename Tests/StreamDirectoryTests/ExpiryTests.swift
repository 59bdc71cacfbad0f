import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import Testing

@Suite(.timeLimit(.minutes(2))) struct ExpiryTests {
    @Test(arguments: TestMode.allCases)
    func readsAndWritesRenewASlidingLifetime(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("a", lifetime: .ttl(seconds: 10))
        for _ in 0..<3 {
            harness.now.value += 9000
            _ = try harness.read("a")
            harness.now.value += 9000
            try harness.append("a", "x")
        }
        harness.now.value += 9000
        _ = try harness.lookup("a")
        harness.now.value += 1000
        #expect(harness.code { try harness.lookup("a") } == .notFound, "a lookup renews nothing")
        #expect(harness.code { try harness.append("a", "x") } == .notFound)
        let fresh = try harness.create("a", type: "text/plain", lifetime: .ttl(seconds: 10))
        #expect(fresh.isNew && fresh.tail.position == 0)
    }

    @Test(arguments: TestMode.allCases)
    func aDeadlineIsNotMoved(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        let deadline = harness.now.value + 10_000
        _ = try harness.create("a", lifetime: .deadline(milliseconds: deadline, text: "x"))
        harness.now.value += 9999
        try harness.append("a", "x")
        harness.now.value += 1
        #expect(harness.code { try harness.read("a") } == .notFound)
    }

    @Test(arguments: TestMode.allCases)
    func aStreamDoesNotExpireUnderALiveReader(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("a", lifetime: .ttl(seconds: 1))
        let observer = try harness.directory.observe("a", now: harness.now.value) { _ in }.get().observer
        harness.now.value += 5000
        #expect(harness.directory.sweep(now: harness.now.value) == 0)
        _ = try harness.lookup("a")
        harness.directory.cancel(observer, now: harness.now.value)
        harness.now.value += 999
        _ = try harness.lookup("a")
        harness.now.value += 1
        #expect(harness.code { try harness.lookup("a") } == .notFound)
    }

    @Test(arguments: TestMode.allCases)
    func theSweeperRemovesWhatIsDueAndNothingElse(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        for number in 1...100 {
            _ = try harness.create("s\(number)", lifetime: .ttl(seconds: UInt64(number)))
        }
        _ = try harness.create("forever")
        harness.now.value += 30_000
        #expect(harness.directory.sweep(now: harness.now.value) == 30)
        harness.directory.flush()
        #expect(harness.directory.list(now: harness.now.value).count == 71)
        if mode != .memory {
            try harness.restart()
            #expect(harness.directory.list(now: harness.now.value).count == 71)
        }
        harness.now.value += 70_000
        #expect(harness.directory.sweep(now: harness.now.value) == 70)
    }

    /// Reads alone, near to each other: each renews the life, and a start takes none back that the disk had time for.
    @Test(arguments: TestMode.onDisk)
    func aStartKeepsWhatReadsHaveRenewed(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("a", lifetime: .ttl(seconds: 100), body: "x")
        for _ in 0..<60 {
            harness.now.value += 5000
            _ = try harness.read("a")
            try harness.directory.checkpoint()
        }
        try harness.losePower()
        harness.now.value += 99_999
        _ = try harness.lookup("a")
        // Nor is it made much longer, however often it starts.
        for _ in 0..<5 { try harness.losePower() }
        harness.now.value += 30_001
        #expect(harness.code { try harness.lookup("a") } == .notFound)
    }

    @Test(arguments: TestMode.onDisk)
    func aStartKeepsWhatALiveReaderHasKept(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("a", lifetime: .ttl(seconds: 60))
        _ = try harness.directory.observe("a", now: harness.now.value) { _ in }.get()
        for _ in 0..<400 {
            harness.now.value += 1000
            #expect(harness.directory.sweep(now: harness.now.value) == 0)
            if harness.now.value % 5000 == 0 { try harness.directory.checkpoint() }
        }
        try harness.losePower()
        harness.now.value += 54_000
        _ = try harness.lookup("a")
    }
}
