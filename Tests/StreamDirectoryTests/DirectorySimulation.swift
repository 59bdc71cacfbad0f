import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import StreamStoreTestSupport

/// One seed's life of a directory in files: generations of work on a bad disk, each ended by a crash, each checked.
///
/// All changes go through one log, so what a start finds must be exactly what the first so many changes lead to: at
/// least those that were answered or seen, at most all that were decided.
struct DirectorySimulation {
    struct Violation: Error, CustomStringConvertible {
        var description: String
    }

    private enum Ending {
        case powerLoss, processEnd, closed
    }

    /// What answers tell, shared with their closures.
    private final class Answers: Sendable {
        /// Number of the last change that was answered; all before it are durable too.
        let settled = Box(0)
        let wrong = Box<String?>(nil)
    }

    let seed: UInt64
    private var random: SplitMix
    private var disk: FaultyFileSystem
    private var configuration: StreamDirectoryConfiguration
    /// States after each change of this generation; the first is what it began with.
    private var history: [DirectoryModel] = [DirectoryModel()]
    /// At least so many changes survive a power loss in any mode.
    private var synced = 0
    /// At least so many changes the next start has to find.
    private var floor = 0
    private var answers = Answers()
    private var nextIncarnation = 1
    private var now: UInt64 = 1_000_000
    private let fixedFaults: FaultyFileSystem.Faults?
    // What happened, for a test that wants to know that its faults did bite.
    private(set) var lostChanges = 0
    private(set) var failedGenerations = 0
    private(set) var failedOpens = 0
    private(set) var checkpoints = 0
    private(set) var fullDisks = 0
    private(set) var operationCount = 0

    private static let names = ["a", "b/1", "b/2", "c", "d", "e"]

    init(seed: UInt64, mode: StorageMode, faults: FaultyFileSystem.Faults? = nil) {
        self.seed = seed
        self.random = SplitMix(seed: seed)
        self.disk = FaultyFileSystem(seed: seed ^ 0x5eed)
        self.fixedFaults = faults
        var configuration = StreamDirectoryConfiguration(mode: mode, directory: "/data/streams")
        configuration.runsThreads = false
        configuration.lockCount = 3
        configuration.inlineByteLimit = 64
        configuration.logSegmentBytes = 4096
        configuration.metadataSegmentBytes = 2048
        configuration.metadataSlack = 6
        configuration.limits.openStreams = 4
        configuration.verifiedReadLimit = seed % 2 == 0 ? 0 : 64 << 10
        configuration.fileSyncLimit = seed % 3 == 0 ? 2 : 32
        self.configuration = configuration
    }

    private var model: DirectoryModel { self.history[self.history.count - 1] }
    private var isDurable: Bool { self.configuration.mode == .fileDurable }

    mutating func run(generations: Int) throws {
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
            if isPowerLoss, !self.isDurable { self.answers.settled.value = self.synced }
            self.floor = self.answers.settled.value
            self.disk = isPowerLoss ? self.disk.crash() : self.disk.restart()
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
            self.disk = self.disk.restart()
        }
    }

    private mutating func faults() -> FaultyFileSystem.Faults {
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
            let used = self.disk.files.values.reduce(0, +)
            faults.quota = used + Int.random(in: 0...12_000, using: &self.random)
        }
        return faults
    }

    // MARK: - Opening

    /// Opens and finds out how many of the changes are there. Nil if the disk's faults kept it from opening.
    private mutating func open() throws -> StreamDirectory? {
        let directory: StreamDirectory
        do {
            directory = try StreamDirectory.open(self.configuration, fileSystem: self.disk) { 0 }
        } catch {
            let code = (error as? StoreError)?.code
            guard code == .io || code == .diskFull else { throw Violation(description: "did not open: \(error)") }
            self.failedOpens += 1
            return nil
        }
        var reasons: [String] = []
        for count in (self.floor..<self.history.count).reversed() {
            do {
                try self.compare(directory, with: self.history[count], settled: true)
            } catch let violation as Violation {
                reasons.append("\(count): \(violation)")
                continue
            } catch let error as StreamError {
                guard error.code == .internalError, !self.isSound else { throw error }
                self.failedOpens += 1
                return nil
            }
            self.lostChanges += self.history.count - 1 - count
            self.history = [self.history[count]]
            // Opening makes what it found durable.
            self.floor = 0
            self.synced = 0
            self.answers = Answers()
            return directory
        }
        throw Violation(
            description: "no prefix of at least \(self.floor) changes fits what is there: "
                + reasons.prefix(3).joined(separator: "; "))
    }

    /// Whether the disk has no faults that could make a reading fail.
    private var isSound: Bool { self.disk.faults.failures.isEmpty && self.disk.faults.powerLoss == nil }

    private func compare(_ directory: StreamDirectory, with model: DirectoryModel, settled: Bool) throws {
        for name in Self.names {
            try self.compare(name, directory, with: model)
        }
        let visible = directory.list(now: 0).map(\.view.name)
        guard visible == model.streams.keys.sorted() else {
            throw Violation(description: "there are \(visible), expected \(model.streams.keys.sorted())")
        }
    }

    private func compare(_ name: String, _ directory: StreamDirectory, with model: DirectoryModel) throws {
        let found: StreamView
        switch directory.lookup(name, now: 0) {
        case .failure(let error):
            switch error.code {
            case .notFound where model[name] == nil: return
            case .gone where model[name]?.isSoftDeleted == true: return
            default: throw Violation(description: "\(name) answers \(error)")
            }
        case .success(let view): found = view
        }
        guard let stream = model[name], !stream.isSoftDeleted else {
            throw Violation(description: "\(name) should not be there")
        }
        guard found.isClosed == stream.isClosed, found.tail == UInt64(stream.content.count) else {
            throw Violation(
                description:
                    "\(name) has \(found.tail) bytes, expected \(stream.content.count), closed \(found.isClosed)")
        }
        try self.checkReading(name, directory, stream, limit: 1 << 20)
        try self.probe(name, directory, stream)
    }

    private func checkReading(
        _ name: String, _ directory: StreamDirectory, _ stream: DirectoryModel.Stream, limit: Int,
        from start: UInt64 = 0
    ) throws {
        var position = start
        var bytes: [UInt8] = []
        while true {
            let reading = try directory.read(name, from: position, limit: limit, now: 0).get()
            guard reading.end > position else { break }
            guard stream.ends.contains(reading.end) else {
                throw Violation(description: "a reading of \(name) ends at \(reading.end), inside an append")
            }
            let part: ByteBuffer
            do throws(StoreError) {
                part = try reading.bytes()
            } catch {
                throw StreamError(error)
            }
            guard part.readableBytes == Int(reading.end - position) else {
                throw Violation(description: "a reading of \(name) has \(part.readableBytes) bytes")
            }
            bytes += Array(part.readableBytesView)
            position = reading.end
        }
        guard bytes == Array(stream.content[Int(start)...].prefix(bytes.count)),
            position == UInt64(stream.content.count)
        else { throw Violation(description: "\(name) holds other bytes than were appended") }
    }

    /// Finds out what is remembered of producers and sequences, by requests that change nothing.
    private func probe(_ name: String, _ directory: StreamDirectory, _ stream: DirectoryModel.Stream) throws {
        guard !stream.isClosed else { return }
        for (id, producer) in stream.producers {
            let gap = ProducerClaim(id: id, epoch: producer.epoch, seq: producer.seq + 2)
            let answer = Box<Result<DurableStreams.AppendOutcome, StreamError>?>(nil)
            directory.append(name, DirectoryHarness.request("x", producer: gap), now: 0) { answer.value = $0 }
            guard case .failure(let error)? = answer.value, error.expectedSeq == producer.seq + 1 else {
                throw Violation(
                    description: "\(name) does not know where \(id) is: \(String(describing: answer.value))")
            }
        }
        if let sequence = stream.sequence {
            let answer = Box<Result<DurableStreams.AppendOutcome, StreamError>?>(nil)
            directory.append(name, DirectoryHarness.request("x", sequence: sequence), now: 0) { answer.value = $0 }
            guard case .failure(let error)? = answer.value, error.code == .sequenceConflict else {
                throw Violation(description: "\(name) has forgotten its sequence")
            }
        }
    }

    // MARK: - A generation

    private mutating func generation() throws -> Ending {
        guard let directory = try self.open() else { return self.endingAfterFailure() }
        for _ in 0..<(self.fixedFaults == nil ? Int.random(in: 1...80, using: &self.random) : 120) {
            try self.step(directory)
            if let wrong = self.answers.wrong.value { throw Violation(description: wrong) }
            switch directory.condition {
            case .failed:
                self.failedGenerations += 1
                try self.checkVisible(directory, tolerant: true)
                return self.endingAfterFailure()
            case .diskFull:
                self.fullDisks += 1
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
            self.answers.settled.value = self.history.count - 1
            self.synced = self.history.count - 1
            return .closed
        case 1: return .processEnd
        default: return .powerLoss
        }
    }

    private mutating func endingAfterFailure() -> Ending {
        Bool.random(using: &self.random) ? .processEnd : .powerLoss
    }

    private mutating func step(_ directory: StreamDirectory) throws {
        let name = Self.names.randomElement(using: &self.random) ?? "a"
        switch Int.random(in: 0..<40, using: &self.random) {
        case 0..<6: self.create(name, directory)
        case 6..<9: self.fork(name, directory)
        case 9..<21: self.append(name, directory)
        case 21..<23: self.close(name, directory)
        case 23..<25: self.delete(name, directory)
        case 25: self.expire(directory)
        case 26..<33: directory.flush()
        case 33..<36:
            let count = self.history.count - 1
            if (try? directory.checkpoint()) != nil {
                self.checkpoints += 1
                self.synced = count
                // Expiries have no answer to tell it.
                self.answers.settled.value = count
            }
        default: try self.checkVisible(directory, tolerant: !self.isSound)
        }
    }

    /// What readers see now: what is durable, and of that all.
    private mutating func checkVisible(_ directory: StreamDirectory, tolerant: Bool) throws {
        let durable = self.history[self.answers.settled.value]
        for (name, stream) in durable.streams {
            // One that is about to go, or whose place another is about to take, is not found any more.
            guard let decided = self.model[name], decided.incarnation == stream.incarnation, !decided.isSoftDeleted,
                !stream.isSoftDeleted
            else { continue }
            do {
                let view = try directory.lookup(name, now: 0).get()
                // Expiries settle without an answer; nothing else does.
                guard view.tail == UInt64(stream.content.count), view.isClosed == stream.isClosed else {
                    throw Violation(
                        description: "\(name) shows \(view.tail) bytes, durable are \(stream.content.count)")
                }
                let start = stream.ends.randomElement(using: &self.random) ?? 0
                try self.checkReading(
                    name, directory, stream, limit: Int.random(in: 1...3000, using: &self.random), from: start)
            } catch let error as StreamError {
                guard tolerant, error.code == .internalError else { throw error }
            }
        }
    }

    // MARK: - Changes

    /// Whether a request was turned away for want of a disk, which changes nothing.
    private static func isRefusedByDisk(_ error: StreamError) -> Bool {
        [.unavailable, .insufficientStorage, .internalError].contains(error.code)
    }

    /// Makes a request and, unless it is turned away, takes over what it leads to.
    ///
    /// - Parameters:
    ///   - expected: The state it leads to; nil when it must be refused, equal to the present one when it is a repeat.
    private mutating func request<Outcome: Sendable>(
        _ what: String, leadingTo expected: DirectoryModel?,
        _ call: (@escaping @Sendable (Result<Outcome, StreamError>) -> Void) -> Void
    ) {
        let answers = self.answers
        let number = self.history.count
        let isChange = expected != nil && expected != self.model
        let first = Box<Result<Outcome, StreamError>?>(nil)
        call { result in
            first.value = result
            switch result {
            case .success:
                if expected == nil { answers.wrong.value = "\(what) should have been refused" }
                if isChange { answers.settled.change { $0 = max($0, number) } }
            case .failure(let error):
                if expected != nil, !Self.isRefusedByDisk(error) { answers.wrong.value = "\(what) got \(error)" }
            }
        }
        if case .failure? = first.value { return }
        if let expected, isChange { self.history.append(expected) }
    }

    private mutating func payload() -> String {
        let largest = Int.random(in: 0..<6, using: &self.random) == 0 ? 2500 : 60
        let count = Int.random(in: 1...largest, using: &self.random)
        let letter = UInt8.random(in: UInt8(ascii: "a")...UInt8(ascii: "z"), using: &self.random)
        return String(decoding: (0..<count).map { letter &+ UInt8($0 % 7) }, as: UTF8.self)
    }

    private mutating func create(_ name: String, _ directory: StreamDirectory) {
        let body = Bool.random(using: &self.random) ? self.payload() : ""
        let closes = Int.random(in: 0..<6, using: &self.random) == 0
        var deadline: UInt64?
        if Int.random(in: 0..<5, using: &self.random) == 0 {
            deadline =
                self.now + UInt64.random(in: 1...5000, using: &self.random) * 64 + UInt64(self.nextIncarnation % 64)
        }
        var expected: DirectoryModel?
        if self.model[name] == nil {
            var stream = DirectoryModel.Stream(incarnation: self.nextIncarnation)
            self.nextIncarnation += 1
            stream.content = Array(body.utf8)
            if !body.isEmpty { stream.ends = [UInt64(body.utf8.count)] }
            stream.isClosed = closes
            stream.deadline = deadline
            expected = self.model
            expected?.streams[name] = stream
        } else if let stream = self.model[name], !stream.isSoftDeleted, stream.source == nil, stream.deadline == nil,
            deadline == nil, stream.isClosed == closes
        {
            expected = self.model
        }
        let lifetime = deadline.map { Lifetime.deadline(milliseconds: $0, text: "t") } ?? .none
        let request = CreateRequest(
            contentType: nil, lifetime: lifetime, closes: closes, body: ByteBuffer(string: body))
        self.request("creation of \(name)", leadingTo: expected) { reply in
            directory.create(name, request, now: 0, reply: reply)
        }
    }

    private mutating func fork(_ name: String, _ directory: StreamDirectory) {
        let sourceName = Self.names.randomElement(using: &self.random) ?? "a"
        let body = Bool.random(using: &self.random) ? self.payload() : ""
        let source = self.model[sourceName]
        let length = UInt64(source?.content.count ?? 0)
        var offset: UInt64?
        if Bool.random(using: &self.random) { offset = UInt64.random(in: 0...length, using: &self.random) }
        var expected: DirectoryModel?
        if self.model[name] == nil, let source, !source.isSoftDeleted {
            let position = Int(offset ?? length)
            var stream = DirectoryModel.Stream(incarnation: self.nextIncarnation)
            self.nextIncarnation += 1
            stream.content = Array(source.content[..<position]) + Array(body.utf8)
            stream.ends = source.ends.filter { $0 < position }
            if position > 0 { stream.ends.insert(UInt64(position)) }
            if !body.isEmpty { stream.ends.insert(UInt64(stream.content.count)) }
            stream.source = source.incarnation
            stream.deadline = source.deadline
            expected = self.model
            expected?.streams[name] = stream
            expected?.streams[sourceName]?.forkCount += 1
        } else if self.model[name] != nil, self.model[name]?.source != nil {
            // Whether it counts as a repeat is not for this test.
            return
        }
        let request = CreateRequest(
            contentType: nil,
            fork: ForkRequest(sourceName: sourceName, offset: offset.map { StreamOffset(position: $0) }),
            body: ByteBuffer(string: body))
        self.request("fork \(name) of \(sourceName)", leadingTo: expected) { reply in
            directory.create(name, request, now: 0, reply: reply)
        }
    }

    private mutating func append(_ name: String, _ directory: StreamDirectory) {
        let text = self.payload()
        let closes = Int.random(in: 0..<15, using: &self.random) == 0
        var claim: ProducerClaim?
        var sequence: String?
        var expected: DirectoryModel?
        let stream = self.model[name]
        var isRepeat = false
        switch Int.random(in: 0..<4, using: &self.random) {
        case 0, 1:
            let id = Bool.random(using: &self.random) ? "p" : "q"
            if let known = stream?.producers[id] {
                switch Int.random(in: 0..<4, using: &self.random) {
                case 0:
                    claim = ProducerClaim(id: id, epoch: known.epoch, seq: known.seq)
                    isRepeat = true
                case 1: claim = ProducerClaim(id: id, epoch: known.epoch + 1, seq: 0)
                default: claim = ProducerClaim(id: id, epoch: known.epoch, seq: known.seq + 1)
                }
            } else {
                claim = ProducerClaim(id: id, epoch: 3, seq: 0)
            }
        case 2:
            let last = stream?.sequence.flatMap { UInt64($0) } ?? 10_000
            sequence = String(last + 1)
        default: break
        }
        if var stream, !stream.isSoftDeleted, !stream.isClosed {
            expected = self.model
            if !isRepeat {
                stream.content += Array(text.utf8)
                stream.ends.insert(UInt64(stream.content.count))
                stream.isClosed = closes
                if let claim {
                    stream.producers[claim.id] = DirectoryModel.Producer(epoch: claim.epoch, seq: claim.seq)
                }
                if let sequence { stream.sequence = sequence }
                expected?.streams[name] = stream
            }
        } else if let stream, stream.isClosed, !stream.isSoftDeleted, isRepeat {
            // Whether it was the request that closed the stream is not kept here.
            return
        }
        let request = DirectoryHarness.request(text, producer: claim, sequence: sequence, closes: closes)
        self.request("append to \(name)", leadingTo: expected) { reply in
            directory.append(name, request, now: 0, reply: reply)
        }
    }

    private mutating func close(_ name: String, _ directory: StreamDirectory) {
        var expected: DirectoryModel?
        if let stream = self.model[name], !stream.isSoftDeleted {
            expected = self.model
            expected?.streams[name]?.isClosed = true
        }
        self.request("closing \(name)", leadingTo: expected) { reply in
            directory.append(name, DirectoryHarness.request("", closes: true), now: 0, reply: reply)
        }
    }

    private mutating func delete(_ name: String, _ directory: StreamDirectory) {
        var expected: DirectoryModel?
        if let stream = self.model[name], !stream.isSoftDeleted {
            expected = self.model
            expected?.delete(name)
        }
        self.request("deletion of \(name)", leadingTo: expected) { reply in
            directory.delete(name, now: 0, reply: reply)
        }
    }

    private mutating func expire(_ directory: StreamDirectory) {
        self.now += UInt64.random(in: 0...100_000, using: &self.random)
        var next = self.model
        var states: [DirectoryModel] = []
        let due = next.streams.filter { !$0.value.isSoftDeleted && ($0.value.deadline ?? .max) <= self.now }
        // Equal deadlines, of a fork and its source, may go in either order, which states in between would tell.
        guard Set(due.values.map(\.deadline)).count == due.count else {
            return
        }
        for (name, _) in due.sorted(by: { ($0.value.deadline ?? 0) < ($1.value.deadline ?? 0) }) {
            guard next[name]?.isSoftDeleted == false else { continue }
            next.delete(name)
            states.append(next)
        }
        let count = directory.sweep(now: self.now)
        guard count == states.count || (count == 0 && directory.condition != .healthy) else {
            self.answers.wrong.value = "\(count) streams expired, \(states.count) were due"
            return
        }
        if count > 0 { self.history += states }
    }
}
