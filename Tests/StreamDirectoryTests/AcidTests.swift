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

/// What the mode `acid` has of its own.
@Suite(.timeLimit(.minutes(2))) struct AcidTests {
    @Test func anotherShardCountStopsTheStart() throws {
        let harness = try DirectoryHarness(.acid)
        _ = try harness.create("a", body: "x")
        try harness.directory.close()
        var configuration = harness.configuration
        configuration.mode = .acid(shards: 8)
        let error = #expect(throws: StoreError.self) { _ = try StreamDirectory.open(configuration) { 0 } }
        #expect(error?.code == .unsupportedFormat)
        #expect(error?.message.contains("4 shards") == true)
        configuration.mode = .acid(shards: 3)
        #expect(throws: StoreError.self) { _ = try StreamDirectory.open(configuration) { 0 } }
        configuration.mode = .fileDurable
        let other = #expect(throws: StoreError.self) { _ = try StreamDirectory.open(configuration) { 0 } }
        #expect(other?.code == .unsupportedFormat)
    }

    @Test func theMapGrowsWithTheData() throws {
        let harness = try DirectoryHarness(.acid) {
            $0.mode = .acid(shards: 1)
            $0.acidMapBytes = 256 << 10
        }
        _ = try harness.create("a")
        let part = String(repeating: "0123456789", count: 5000)
        for _ in 0..<60 { try harness.append("a", part) }
        #expect(try harness.text("a", limit: 70_000).utf8.count == 3_000_000)
        try harness.restart()
        #expect(try harness.text("a").utf8.count == 3_000_000)
        var damaged = 0
        harness.directory.verify { _, error in damaged += error == nil ? 0 : 1 }
        #expect(damaged == 0)
    }

    @Test func aFullMapRefusesChangesAndReadsGoOn() throws {
        let harness = try DirectoryHarness(.acid) {
            $0.mode = .acid(shards: 1)
            $0.acidMapBytes = 256 << 10
            $0.acidMapLimit = 256 << 10
        }
        _ = try harness.create("a", body: "first")
        let answer = Box<Bool?>(nil)
        harness.directory.append(
            "a", DirectoryHarness.request(String(repeating: "x", count: 400_000)), now: harness.now.value
        ) { result in
            if case .failure(let error) = result { answer.value = error.code == .insufficientStorage }
        }
        harness.directory.flush()
        #expect(answer.value == true)
        #expect(harness.directory.condition == .diskFull)
        #expect(harness.code { try harness.append("a", "more") } == .insufficientStorage)
        #expect(try harness.text("a") == "first")
    }

    /// A process that is killed in the middle of its work leaves whole transactions.
    @Test func aKilledProcessLeavesEverythingAnswered() throws {
        let harness = try DirectoryHarness(.acid)
        for name in ["a", "b", "c"] { _ = try harness.create(name) }
        for number in 0..<50 { try harness.append(["a", "b", "c"][number % 3], "\(number),") }
        // Without an answer yet: gone with the process.
        harness.directory.append("a", DirectoryHarness.request("lost"), now: harness.now.value) { _ in }
        // A copy of the files is what a kill leaves, since LMDB writes nothing outside of a commit.
        let copy = harness.configuration.directory + "-copy"
        defer { DirectoryHarness.remove(copy) }
        #expect(system("cp -r \(harness.configuration.directory) \(copy)") == 0)
        var configuration = harness.configuration
        configuration.directory = copy
        let found = try StreamDirectory.open(configuration) { 0 }
        let expected = stride(from: 0, to: 50, by: 3).map { "\($0)," }.joined()
        let reading = try found.read("a", from: 0, limit: 1 << 20, now: 0).get()
        #expect(String(buffer: try reading.bytes()) == expected)
        try found.close()
    }
}
