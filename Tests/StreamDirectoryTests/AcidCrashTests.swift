import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import StreamStoreTestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Single scenes of the mode `acid` on a disk whose writes are recorded; `DirectoryCrashTests` has the random ones.
@Suite(.enabled(if: RecordedDisk.isAvailable), .timeLimit(.minutes(2))) struct AcidCrashTests {
    private static func configuration(_ disk: any SimulatedStorage, shards: Int) -> StreamDirectoryConfiguration {
        var configuration = StreamDirectoryConfiguration(mode: .acid(shards: shards), directory: disk.root)
        configuration.runsThreads = false
        configuration.acidMapBytes = 64 << 10
        return configuration
    }

    private static func open(_ disk: any SimulatedStorage, shards: Int) throws -> StreamDirectory {
        try StreamDirectory.open(Self.configuration(disk, shards: shards), fileSystem: disk) { 0 }
    }

    /// Runs work once to its end and then with the power going at its first, second, ... operation; gives each time
    /// what a start finds.
    private static func losingPower(
        shards: Int, before: (StreamDirectory) -> Void, work: (StreamDirectory) -> Void,
        check: (StreamDirectory, _ operation: Int, _ wasLost: Bool) throws -> Void
    ) throws {
        var number = 0
        var wasLost = true
        while wasLost {
            number += 1
            for seed in 0..<4 as Range<UInt64> {
                var disk: any SimulatedStorage = try RecordedDisk(seed: UInt64(number) * 16 + seed)
                do {
                    let directory = try Self.open(disk, shards: shards)
                    before(directory)
                    var faults = FaultyFileSystem.Faults()
                    faults.powerLoss = disk.operationCount + number
                    disk.faults = faults
                    work(directory)
                    wasLost = disk.operationCount >= faults.powerLoss ?? 0
                }
                disk.cutOff()
                let next = try disk.afterCrash()
                disk.dispose()
                disk = next
                try check(try Self.open(disk, shards: shards), number, wasLost)
                disk.dispose()
            }
        }
        #expect(number > 3)
    }

    private static func create(_ name: String, _ directory: StreamDirectory, fork: String? = nil) -> Box<Bool?> {
        let answer = Box<Bool?>(nil)
        let request = CreateRequest(
            contentType: nil, fork: fork.map { ForkRequest(sourceName: $0) },
            body: ByteBuffer(string: fork == nil ? "plain" : "-fork"))
        directory.create(name, request, now: 0) { result in
            if case .success = result { answer.value = true } else { answer.value = false }
        }
        return answer
    }

    /// A name may go from one environment to another: with the deletion of the one and the creation of the other on
    /// their way at once, no crash leaves two streams of the name.
    @Test(arguments: [("b", "a"), ("a", "b")])
    func aNameThatMovesBetweenEnvironmentsIsThereOnce(_ names: (source: String, moved: String)) throws {
        var outcomes: Set<String> = []
        try Self.losingPower(shards: 2) { directory in
            _ = Self.create(names.source, directory)
            _ = Self.create(names.moved, directory)
            directory.flush()
            let places = Set(directory.list(now: 0).map(\.environment))
            #expect(places.count == 2)
        } work: { directory in
            directory.delete(names.moved, now: 0) { _ in }
            let answer = Self.create(names.moved, directory, fork: names.source)
            for _ in 0..<2 { directory.flush() }
            if directory.condition == .healthy { #expect(answer.value == true) }
        } check: { directory, number, wasLost in
            let found = directory.list(now: 0).map(\.view.name)
            let isThere = found.contains(names.moved)
            #expect(found == (isThere ? ["a", "b"] : [names.source]), "operation \(number)")
            var text = "nothing"
            if isThere {
                let reading = try directory.read(names.moved, from: 0, limit: 100, now: 0).get()
                text = String(buffer: try reading.bytes())
            }
            #expect(["nothing", "plain", "plain-fork"].contains(text))
            if !wasLost { #expect(text == "plain-fork") }
            outcomes.insert(text)
        }
        #expect(outcomes == ["plain", "nothing", "plain-fork"])
    }

    /// A start that is cut off leaves nothing that keeps the next one from starting.
    @Test func theFirstStartMayBeCutOffAnywhere() throws {
        var number = 0
        var cameThrough = false
        while !cameThrough {
            number += 1
            for seed in 0..<6 as Range<UInt64> {
                let disk = try RecordedDisk(seed: UInt64(number) * 32 + seed)
                disk.faults.powerLoss = number
                _ = try? Self.open(disk, shards: 2)
                cameThrough = disk.operationCount < number
                disk.cutOff()
                for next in [try disk.afterCrash(), try disk.afterRestart()] {
                    let directory = try Self.open(next, shards: 2)
                    let answer = Self.create("a", directory)
                    directory.flush()
                    #expect(answer.value == true, "operation \(number)")
                    try directory.close()
                    next.dispose()
                }
                disk.dispose()
            }
        }
        #expect(number > 10)
    }

    /// The whole is full as long as one environment is: one that has room again does not speak for the others.
    @Test func theDiskIsFullUntilEveryEnvironmentHasRoom() throws {
        let disk = try RecordedDisk(seed: 1)
        defer { disk.dispose() }
        let directory = try Self.open(disk, shards: 2)
        for name in ["a", "b"] { _ = Self.create(name, directory) }
        directory.flush()
        disk.faults.quota = disk.usedBytes
        let conditions = Box<[StreamDirectoryCondition]>([])
        directory.onCondition { condition in conditions.change { $0.append(condition) } }
        let answers = Box<[String]>([])
        for (name, count) in [("a", 20_000), ("b", 900_000), ("a", 20_000), ("b", 20_000)] {
            let text = String(repeating: "x", count: count)
            directory.append(name, DirectoryHarness.request(text), now: 0) { result in
                if case .failure(let error) = result { answers.change { $0.append("\(name) \(error.code)") } }
            }
        }
        func tail(_ name: String) -> UInt64 { (try? directory.lookup(name, now: 0).get().tail) ?? 0 }
        let before = ["a": tail("a"), "b": tail("b")]
        func grown(_ name: String) -> UInt64 { tail(name) - (before[name] ?? 0) }
        directory.flush()
        #expect(directory.condition == .diskFull)
        #expect(answers.value.sorted() == ["a", "a", "b", "b"].map { "\($0) \(StreamErrorCode.insufficientStorage)" })
        disk.faults.quota = disk.usedBytes + 300_000
        directory.flush()
        #expect(grown("a") == 40_000 && grown("b") == 0)
        #expect(directory.condition == .diskFull)
        disk.faults.quota = nil
        directory.flush()
        #expect(directory.condition == .healthy)
        #expect(grown("a") == 40_000 && grown("b") == 920_000)
        #expect(answers.value.count == 4)
        #expect(conditions.value == [.diskFull, .healthy])
    }

    @Test func anEnvironmentThatIsMissingStopsTheStart() throws {
        let disk = try RecordedDisk(seed: 1)
        defer { disk.dispose() }
        try Self.open(disk, shards: 2).close()
        try disk.unlink(disk.root + "/acid/shard_01.mdb")
        let error = #expect(throws: StoreError.self) { _ = try Self.open(disk, shards: 2) }
        #expect(error?.code == .corrupt)
    }
}
