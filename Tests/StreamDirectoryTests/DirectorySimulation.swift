import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import StreamStoreTestSupport

/// One seed's life of a directory on a disk: generations of work on a bad disk, each ended by a crash, each checked.
///
/// All changes of the file modes go through one log, so what a start finds must be exactly what the first so many
/// changes lead to: at least those that were answered or seen, at most all that were decided. In `acid` the same holds
/// for each environment by itself.
struct DirectorySimulation {
    struct Violation: Error, CustomStringConvertible {
        var description: String
    }

    enum Ending {
        case powerLoss, processEnd, closed
    }

    /// What answers tell, shared with their closures.
    final class Answers: Sendable {
        /// For each environment the number of the last change that was answered; all before it are durable too.
        let settled: Box<[Int]>
        let wrong = Box<String?>(nil)
        /// Changes were told that they wait for room: that they are durable has no answer.
        let hasStalled = Box(false)

        init(environments: Int) {
            self.settled = Box([Int](repeating: 0, count: environments))
        }
    }

    let seed: UInt64
    var random: SplitMix
    var disk: any SimulatedStorage
    var configuration: StreamDirectoryConfiguration
    /// States after each change of this generation; the first is what it began with.
    var history: [DirectoryModel] = [DirectoryModel()]
    /// At least so many changes survive a power loss in any mode.
    var synced = 0
    /// At least so many changes the next start has to find, of each environment.
    var floors: [Int]
    var answers: Answers
    /// How many environments, each with its own order of changes.
    let environments: Int
    /// Where the streams lie, by their incarnation.
    var places: [Int: Int] = [:]
    /// Where the last stream of a name lay, and the number of the change that removed it.
    var removals: [String: (environment: Int, number: Int)] = [:]
    var nextIncarnation = 1
    /// What the last request was told so far: accepted, refused, or nothing.
    var lastAnswer = Box<Bool?>(nil)
    /// The model can say no more about this generation.
    var endsEarly = false
    /// Before this, expiries that failed are not tried again.
    var nextSweep: UInt64 = 0
    var now: UInt64 = 1_000_000
    let fixedFaults: FaultyFileSystem.Faults?
    /// How many steps a generation with fixed faults has.
    let fixedSteps: Int
    // What happened, for a test that wants to know that its faults did bite.
    var lostChanges = 0
    var failedGenerations = 0
    var failedOpens = 0
    var checkpoints = 0
    var fullDisks = 0
    var stalledSteps = 0
    var operationCount = 0
    var trimmings = 0

    static let names = ["a", "b/1", "b/2", "c", "d", "e"]

    init(seed: UInt64, mode: StorageMode, faults: FaultyFileSystem.Faults? = nil, steps: Int = 120) throws {
        self.seed = seed
        self.fixedSteps = steps
        self.random = SplitMix(seed: seed)
        if case .acid(let shards) = mode {
            self.environments = shards
            self.disk = try RecordedDisk(seed: seed ^ 0x5eed)
        } else {
            self.environments = 1
            self.disk = FaultyFileSystem(seed: seed ^ 0x5eed)
        }
        self.floors = [Int](repeating: 0, count: self.environments)
        self.answers = Answers(environments: self.environments)
        self.fixedFaults = faults
        var configuration = StreamDirectoryConfiguration(mode: mode, directory: self.disk.root)
        configuration.runsThreads = false
        configuration.lockCount = 3
        configuration.inlineByteLimit = 64
        configuration.logSegmentBytes = 4096
        configuration.metadataSegmentBytes = 2048
        configuration.metadataSlack = 6
        configuration.limits.openStreams = 4
        configuration.verifiedReadLimit = seed % 2 == 0 ? 0 : 64 << 10
        configuration.fileSyncLimit = seed % 3 == 0 ? 2 : 32
        configuration.acidMapBytes = 64 << 10
        self.configuration = configuration
    }

    var model: DirectoryModel { self.history[self.history.count - 1] }
    var isDurable: Bool { self.configuration.mode != .fileFast }
    var isAcid: Bool { self.disk is RecordedDisk }

    /// Where a stream that is no fork is kept.
    func place(of name: String) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return Int(hash % UInt64(self.environments))
    }

    /// All environments settled up to a change.
    func all(_ number: Int) -> [Int] { [Int](repeating: number, count: self.environments) }

    mutating func run(generations: Int) throws {
        defer { self.disk.dispose() }
        for _ in 0..<generations {
            self.disk.faults = self.fixedFaults ?? self.faults()
            let ending = try self.generation()
            self.operationCount = self.disk.operationCount
            let isPowerLoss: Bool
            switch ending {
            case .powerLoss: isPowerLoss = true
            case .processEnd: isPowerLoss = false
            case .closed: isPowerLoss = Bool.random(using: &self.random)
            }
            // What a start that failed has not made durable, the next power loss may still take.
            if isPowerLoss, !self.isDurable { self.answers.settled.value = self.all(self.synced) }
            self.floors = self.answers.settled.value
            try self.startAgain(isPowerLoss: isPowerLoss)
        }
        // At last, twice, a start without faults.
        for _ in 0..<2 {
            guard let directory = try self.open() else { throw Violation(description: "did not open on a sound disk") }
            try self.compare(directory, with: self.model, settled: true)
            let wrong = self.answers.wrong
            directory.verify { name, error in
                if let error { wrong.value = "\(name) is damaged: \(error)" }
            }
            if let wrong = self.answers.wrong.value { throw Violation(description: wrong) }
            try directory.close()
            try self.startAgain(isPowerLoss: false)
        }
    }

    mutating func startAgain(isPowerLoss: Bool) throws {
        let before = self.disk
        before.cutOff()
        self.disk = try isPowerLoss ? before.afterCrash() : before.afterRestart()
        before.dispose()
        self.configuration.directory = self.disk.root
    }

    mutating func faults() -> FaultyFileSystem.Faults {
        var faults = FaultyFileSystem.Faults()
        if Int.random(in: 0..<4, using: &self.random) > 0 {
            faults.powerLoss = Int.random(in: 1...(Bool.random(using: &self.random) ? 60 : 500), using: &self.random)
        }
        if Int.random(in: 0..<4, using: &self.random) == 0 { faults.syncFailureChance = 0.03 }
        if Int.random(in: 0..<3, using: &self.random) == 0 { faults.shortWriteChance = 0.3 }
        if Int.random(in: 0..<5, using: &self.random) == 0 {
            faults.failures[Int.random(in: 1...300, using: &self.random)] = 5
        }
        if Int.random(in: 0..<5, using: &self.random) == 0 {
            faults.quota = self.disk.usedBytes + Int.random(in: 0...12_000, using: &self.random) * (self.isAcid ? 8 : 1)
        }
        return faults
    }

    // MARK: - A generation

    mutating func generation() throws -> Ending {
        self.nextSweep = 0
        guard let directory = try self.open() else { return self.endingAfterFailure() }
        for _ in 0..<(self.fixedFaults == nil ? Int.random(in: 1...80, using: &self.random) : self.fixedSteps) {
            self.settleStalled(directory)
            try self.step(directory)
            self.settleStalled(directory)
            if let wrong = self.answers.wrong.value { throw Violation(description: wrong) }
            if self.endsEarly {
                self.endsEarly = false
                return self.endingAfterFailure()
            }
            switch directory.condition {
            case .failed:
                self.failedGenerations += 1
                try self.checkVisible(directory, tolerant: true)
                return self.endingAfterFailure()
            case .diskFull:
                self.fullDisks += 1
                if self.answers.hasStalled.value { self.stalledSteps += 1 }
                // Sometimes somebody makes room.
                if Int.random(in: 0..<8, using: &self.random) == 0 { self.disk.faults.quota = nil }
            case .healthy, .closed: break
            }
        }
        switch Int.random(in: 0..<4, using: &self.random) {
        case 0:
            do {
                try directory.close()
            } catch {
                self.failedGenerations += 1
                return self.endingAfterFailure()
            }
            self.answers.settled.value = self.all(self.history.count - 1)
            self.synced = self.history.count - 1
            return .closed
        case 1: return .processEnd
        default: return .powerLoss
        }
    }

    mutating func endingAfterFailure() -> Ending {
        Bool.random(using: &self.random) ? .processEnd : .powerLoss
    }

    mutating func step(_ directory: StreamDirectory) throws {
        let name = Self.names.randomElement(using: &self.random) ?? "a"
        switch Int.random(in: 0..<48, using: &self.random) {
        case 0..<6: self.create(name, directory)
        case 6..<9: self.fork(name, directory)
        case 9..<21: self.append(name, directory)
        case 21..<23: self.close(name, directory)
        case 23..<25: self.delete(name, directory)
        case 25: self.expire(directory)
        case 26..<33: self.flush(directory)
        case 40..<48: self.trim(name, directory)
        case 33..<36:
            let count = self.history.count - 1
            if (try? directory.checkpoint()) != nil {
                self.checkpoints += 1
                self.synced = count
                // Expiries have no answer to tell it.
                self.answers.settled.value = self.all(count)
            }
        default: try self.checkVisible(directory, tolerant: !self.isSound)
        }
    }

    /// Changes that waited for room are durable when nothing waits any more.
    mutating func settleStalled(_ directory: StreamDirectory) {
        guard self.answers.hasStalled.value, directory.statistics.waitingChanges == 0 else { return }
        if case .failed = directory.condition { return }
        self.answers.hasStalled.value = false
        self.answers.settled.value = self.all(self.history.count - 1)
    }

    mutating func flush(_ directory: StreamDirectory) {
        let count = self.history.count - 1
        directory.flush()
        // As with a checkpoint, which has the file modes' answer to expiries.
        if self.isAcid, directory.condition == .healthy { self.answers.settled.value = self.all(count) }
    }

    /// What readers see now: what is durable, and of that all.
    mutating func checkVisible(_ directory: StreamDirectory, tolerant: Bool) throws {
        // Some of what waits for room may be durable by now: which of it, no answer tells.
        if self.answers.hasStalled.value { return }
        let settled = self.answers.settled.value
        let durable = (0..<self.environments).flatMap { environment in
            self.part(of: self.history[settled[environment]], in: environment).streams.sorted { $0.key < $1.key }
        }
        for (name, stream) in durable {
            // One that is about to go, or whose place another is about to take, is not found any more.
            guard let decided = self.model[name], decided.incarnation == stream.incarnation, !decided.isSoftDeleted,
                !stream.isSoftDeleted
            else { continue }
            do {
                let view = try directory.lookup(name, now: 0).get()
                // Expiries settle without an answer; nothing else does.
                guard view.tail == UInt64(stream.content.count), view.isClosed == stream.isClosed,
                    view.earliest == stream.earliest
                else {
                    throw Violation(
                        description:
                            "\(name) shows \(view.earliest) to \(view.tail), durable are \(stream.earliest) to "
                            + "\(stream.content.count)")
                }
                let start = max(stream.ends.randomElement(using: &self.random) ?? 0, stream.earliest)
                try self.checkReading(
                    name, directory, stream, limit: Int.random(in: 1...3000, using: &self.random), from: start)
            } catch let error as StreamError {
                guard tolerant, Self.isFault(error) else { throw error }
            }
        }
    }
}
