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

/// Runs over many seeds; `PENSTOCK_SIM_SEEDS` says how many, `PENSTOCK_SIM_FIRST_SEED` from which on.
@Suite(.serialized) struct DirectoryCrashTests {
    private static func setting(_ name: String, default value: UInt64) -> UInt64 {
        getenv(name).flatMap { UInt64(String(cString: $0)) } ?? value
    }

    /// What keeps streams beyond the end of a process. One environment, and two that have to agree.
    private static let modes: [StorageMode] =
        [.fileDurable, .fileFast] + (RecordedDisk.isAvailable ? [.acid(shards: 1), .acid(shards: 2)] : [])

    @Test(arguments: Self.modes)
    func whatAStartFindsIsAPrefixThatHoldsEverythingAnswered(_ mode: StorageMode) throws {
        let first = Self.setting("PENSTOCK_SIM_FIRST_SEED", default: 1)
        let count = Self.setting("PENSTOCK_SIM_SEEDS", default: 50)
        var (lost, failed, failedOpens, checkpoints, full, trimmings, stalled) = (0, 0, 0, 0, 0, 0, 0)
        for seed in first..<first + count {
            var simulation = try DirectorySimulation(seed: seed, mode: mode)
            do {
                try simulation.run(generations: 12)
            } catch {
                Issue.record("seed \(seed), \(mode): \(error)")
            }
            lost += simulation.lostChanges
            failed += simulation.failedGenerations
            failedOpens += simulation.failedOpens
            checkpoints += simulation.checkpoints
            full += simulation.fullDisks
            trimmings += simulation.trimmings
            stalled += simulation.stalledSteps
        }
        // The faults have to have bitten, or the run proves nothing.
        if count >= 50 {
            #expect(lost > 0 && failed > 0 && failedOpens > 0 && checkpoints > 0 && full > 0)
            #expect(trimmings > 0 && stalled > 0)
        }
        print(
            "directory simulation, \(mode): \(count) seeds, \(lost) unanswered changes lost, \(failed) failed generations,",
            "\(failedOpens) failed opens, \(checkpoints) checkpoints, \(full) steps on a full disk, \(stalled) of them with",
            "changes that wait, \(trimmings) trimmings")
    }

    @Test(arguments: Self.modes)
    func failingEachOperationInTurnLosesNothing(_ mode: StorageMode) throws {
        try self.inTurn(mode) { $0.failures[$1] = EIO }
    }

    @Test(arguments: Self.modes)
    func losingPowerAtEachOperationInTurnLosesNothing(_ mode: StorageMode) throws {
        try self.inTurn(mode) { $0.powerLoss = $1 }
    }

    @Test(arguments: Self.modes)
    func aFullDiskAtEachOperationInTurnLosesNothing(_ mode: StorageMode) throws {
        try self.inTurn(mode) { $0.failures[$1] = ENOSPC }
    }

    /// What is documented of it: nothing outlives the process.
    @Test(arguments: [StorageMode.memory, .acidInMemory])
    func aDirectoryInMemoryStartsEmpty(_ mode: StorageMode) throws {
        let answered = Box(false)
        for _ in 0..<2 {
            let directory = try StreamDirectory.open(StreamDirectoryConfiguration(mode: mode)) { 0 }
            #expect(directory.list(now: 0).isEmpty)
            answered.value = false
            directory.create("a", CreateRequest(contentType: nil, body: ByteBuffer(string: "x")), now: 0) { result in
                if case .success(let outcome) = result { answered.value = outcome.isNew }
            }
            #expect(answered.value)
            try directory.close()
        }
    }

    /// The same work, with something going wrong at its first, second, third ... operation, until it comes through
    /// untouched.
    private func inTurn(_ mode: StorageMode, _ set: (inout FaultyFileSystem.Faults, Int) -> Void) throws {
        let isThorough = getenv("PENSTOCK_CRASH_TESTS") != nil
        // Each takes some hundred lives.
        for seed in (isThorough ? [7, 8, 9] : [7]) as [UInt64] {
            var number = 0
            var cameThrough = false
            while !cameThrough, number < 3000 {
                number += 1
                var faults = FaultyFileSystem.Faults()
                set(&faults, number)
                var simulation = try DirectorySimulation(
                    seed: seed, mode: mode, faults: faults, steps: isThorough ? 120 : 60)
                do {
                    try simulation.run(generations: 1)
                } catch {
                    Issue.record("seed \(seed), operation \(number), \(mode): \(error)")
                }
                cameThrough = simulation.operationCount < number
            }
            #expect(cameThrough && number > 50, "\(number) operations")
        }
    }
}
