import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import StreamStoreTestSupport
import Testing

/// A disk that fills up: what is refused, what is not, and what is answered.
@Suite struct FullDiskTests {
    private static func harness(_ mode: TestMode) throws -> DirectoryHarness {
        let harness = try DirectoryHarness(mode) { $0.reservedBytes = 20_000 }
        harness.disk.faults.tellsRoom = true
        harness.disk.faults.quota = harness.disk.files.values.reduce(0, +) + 200_000
        return harness
    }

    /// Appends until it is refused; returns how many were taken.
    private static func fill(_ harness: DirectoryHarness, _ name: String) throws -> Int {
        for count in 0..<10_000 {
            if let code = harness.code({ try harness.append(name, String(repeating: "x", count: 1000)) }) {
                #expect(code == .insufficientStorage)
                return count
            }
        }
        return 10_000
    }

    @Test(arguments: TestMode.files) func whatIsRefusedIsNotThereLaterAndDeletionsMakeRoom(_ mode: TestMode) throws {
        let harness = try Self.harness(mode)
        for name in ["a", "b"] { _ = try harness.create(name) }
        let conditions = Box<[StreamDirectoryCondition]>([])
        harness.directory.onCondition { condition in conditions.change { $0.append(condition) } }
        // In the files of the stream, so that its deletion gives room back.
        for _ in 0..<40 { try harness.append("a", String(repeating: "x", count: 1000)) }
        try harness.directory.checkpoint()
        let count = try Self.fill(harness, "b")
        #expect(count > 5 && count < 100)
        #expect(!harness.directory.isReady && harness.directory.condition == .diskFull)
        // Nothing of it waits: the log never came to the end of the disk.
        #expect(harness.directory.statistics.waitingChanges == 0)
        #expect(
            harness.code { try harness.create("c", body: String(repeating: "x", count: 2000)) } == .insufficientStorage)
        #expect(try harness.text("b").utf8.count == count * 1000)
        // A checkpoint still finds room for all it has to put away.
        try harness.directory.checkpoint()
        try harness.delete("a")
        try harness.directory.checkpoint()
        harness.directory.lookForRoom()
        #expect(harness.directory.isReady && conditions.value == [.diskFull, .healthy])
        try harness.append("b", "!")
        try harness.restart()
        #expect(try harness.text("b").utf8.count == count * 1000 + 1)
        #expect(harness.code { try harness.lookup("a") } == .notFound)
    }

    /// Another process took what was left: nobody is kept waiting for an answer, and repeats do not hang either.
    @Test(arguments: TestMode.files) func whatFindsNoRoomIsAnsweredAtOnceAndKept(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode) { $0.logRoomBytes = 0 }
        _ = try harness.create("a")
        harness.disk.faults.quota = harness.disk.files.values.reduce(0, +)
        let claim = ProducerClaim(id: "p", epoch: 0, seq: 0)
        for _ in 0..<2 {
            #expect(harness.code { try harness.append("a", "once", producer: claim) } == .insufficientStorage)
        }
        harness.disk.faults.quota = nil
        harness.directory.flush()
        try harness.append("a", "once", producer: claim)
        #expect(try harness.text("a") == "once")
    }

    /// Streams are read from a disk on which not a byte can be written.
    @Test(.enabled(if: RecordedDisk.isAvailable)) func acidOpensOnAFullDisk() throws {
        let disk = try RecordedDisk(seed: 1)
        defer { disk.dispose() }
        var configuration = StreamDirectoryConfiguration(mode: .acid(shards: 2), directory: disk.root)
        configuration.runsThreads = false
        let directory = try StreamDirectory.open(configuration, fileSystem: disk) { 0 }
        directory.create("a", CreateRequest(contentType: nil, body: ByteBuffer(string: "kept")), now: 0) { _ in }
        directory.flush()
        try directory.close()
        disk.faults.quota = disk.usedBytes
        let again = try StreamDirectory.open(configuration, fileSystem: disk) { 0 }
        let reading = try again.read("a", from: 0, limit: 100, now: 0).get()
        #expect(String(buffer: try reading.bytes()) == "kept")
        let answer = Box<StreamErrorCode?>(nil)
        again.append("a", DirectoryHarness.request(String(repeating: "x", count: 500_000)), now: 0) { result in
            if case .failure(let error) = result { answer.value = error.code }
        }
        again.flush()
        #expect(answer.value == .insufficientStorage)
        disk.faults.quota = nil
        again.flush()
        #expect(try again.lookup("a", now: 0).get().tail == 500_004)
        try again.close()
    }
}
