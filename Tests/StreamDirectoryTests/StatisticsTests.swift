import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import Testing

@Suite(.timeLimit(.minutes(2))) struct StatisticsTests {
    /// Open, closed and deleted for forks.
    private func states(_ harness: DirectoryHarness) -> [Int] {
        let all = harness.directory.statistics
        return [all.open, all.closed, all.deletedForForks]
    }

    @Test(arguments: TestMode.allCases)
    func streamsAreCountedByStateThroughTheirLives(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        for name in ["a", "b", "source"] { _ = try harness.create(name, body: "12") }
        _ = try harness.create("closed", closes: true)
        _ = try harness.create("fork", fork: ForkRequest(sourceName: "source"))
        #expect(self.states(harness) == [4, 1, 0])
        try harness.append("a", "345", closes: true)
        try harness.append("b", "6")
        #expect(self.states(harness) == [3, 2, 0])
        try harness.delete("source")
        #expect(self.states(harness) == [2, 2, 1])
        try harness.delete("a")
        #expect(self.states(harness) == [2, 1, 1])
        var all = harness.directory.statistics
        #expect([all.created, all.deleted, all.expired] == [5, 2, 0])
        #expect([all.appends, all.appendedMessages, all.appendedBytes] == [2, 2, 4])
        if mode != .memory {
            #expect(all.commits.batches > 0 && all.commits.changes >= 9)
            try harness.restart()
            #expect(self.states(harness) == [2, 1, 1])
        }
        // The last fork takes its source along.
        try harness.delete("fork")
        #expect(self.states(harness) == [1, 1, 0])
        _ = try harness.create("brief", lifetime: .ttl(seconds: 1))
        harness.now.value += 2000
        harness.directory.sweep(now: harness.now.value)
        harness.directory.flush()
        all = harness.directory.statistics
        #expect(all.expired == 1)
        #expect(self.states(harness) == [1, 1, 0])
    }

    @Test(arguments: [TestMode.fileDurable, .acid])
    func oneSyncServesWhatWaitedTogether(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("s")
        let before = harness.directory.statistics.commits
        for _ in 0..<10 {
            harness.directory.append("s", DirectoryHarness.request("x"), now: harness.now.value) { _ in }
        }
        #expect(harness.directory.statistics.waitingChanges == 10)
        harness.directory.flush()
        let after = harness.directory.statistics
        #expect(after.waitingChanges == 0)
        #expect(after.commits.changes - before.changes == 10)
        #expect(after.commits.batches - before.batches == 1)
        #expect(after.commits.syncs.count - before.syncs.count == 1)
        #expect(after.commits.syncs.buckets.reduce(0, +) == after.commits.syncs.count)
    }
}
