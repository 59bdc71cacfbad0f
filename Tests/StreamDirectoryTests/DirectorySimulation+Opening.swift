import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import StreamStoreTestSupport

/// What a start finds, against what it may find.
extension DirectorySimulation {
    /// Opens and finds out how many of the changes are there. Nil if the disk's faults kept it from opening.
    mutating func open() throws -> StreamDirectory? {
        let directory: StreamDirectory
        do {
            directory = try StreamDirectory.open(self.configuration, fileSystem: self.disk) { 0 }
        } catch {
            let code = (error as? StoreError)?.code
            // What LMDB finds wrong with a file has no number of the system's: no fault of the disk excuses it.
            let isDamage = self.isAcid && code == .io && (error as? StoreError)?.systemError == nil
            guard code == .io || code == .diskFull, !isDamage else {
                throw Violation(description: "did not open: \(error)")
            }
            self.failedOpens += 1
            return nil
        }
        let found = directory.list(now: 0)
        var reasons: [String] = []
        var candidates: [[Int]] = []
        for environment in 0..<self.environments {
            var fitting: [Int] = []
            for count in (self.floors[environment]..<self.history.count).reversed() {
                do {
                    try self.compare(environment, directory, found, with: self.history[count])
                    fitting.append(count)
                } catch let violation as Violation {
                    reasons.append("\(count): \(violation)")
                } catch let error as StreamError {
                    guard Self.isFault(error), !self.isSound else { throw error }
                    self.failedOpens += 1
                    return nil
                }
                // One log: the latest that fits is the one.
                if self.environments == 1, !fitting.isEmpty { break }
            }
            candidates.append(fitting)
        }
        guard let (counts, model) = self.combination(candidates, found) else {
            throw Violation(
                description: "no prefix of at least \(self.floors) changes fits what is there: "
                    + reasons.prefix(3).joined(separator: "; "))
        }
        do {
            try self.compare(directory, with: model, settled: true)
        } catch let error as StreamError {
            guard Self.isFault(error), !self.isSound else { throw error }
            self.failedOpens += 1
            return nil
        }
        for count in counts { self.lostChanges += self.history.count - 1 - count }
        self.history = [model]
        // Opening makes what it found durable.
        self.floors = self.all(0)
        self.synced = 0
        self.answers = Answers(environments: self.environments)
        self.removals = [:]
        return directory
    }

    /// For each environment the latest number of changes that together make up what is there.
    func combination(_ candidates: [[Int]], _ found: [StreamListing]) -> ([Int], DirectoryModel)? {
        let names = found.map(\.view.name)
        func search(_ counts: [Int], _ model: DirectoryModel) -> ([Int], DirectoryModel)? {
            guard counts.count < candidates.count else {
                return model.streams.keys.sorted() == names ? (counts, model) : nil
            }
            for count in candidates[counts.count] {
                let part = self.part(of: self.history[count], in: counts.count)
                guard model.streams.keys.allSatisfy({ part.streams[$0] == nil }) else { continue }
                var next = model
                next.streams.merge(part.streams) { $1 }
                if let result = search(counts + [count], next) { return result }
            }
            return nil
        }
        return search([], DirectoryModel())
    }

    /// What of a model one environment holds.
    func part(of model: DirectoryModel, in environment: Int) -> DirectoryModel {
        guard self.environments > 1 else { return model }
        return DirectoryModel(streams: model.streams.filter { self.places[$0.value.incarnation] == environment })
    }

    func compare(
        _ environment: Int, _ directory: StreamDirectory, _ found: [StreamListing], with model: DirectoryModel
    ) throws {
        let part = self.part(of: model, in: environment)
        let names = found.filter { $0.environment == environment }.map(\.view.name)
        guard part.streams.keys.sorted() == names else {
            throw Violation(description: "there are \(names), expected \(part.streams.keys.sorted())")
        }
        for name in names { try self.compare(name, directory, with: part) }
    }

    /// What a reading answers when the disk fails it.
    static func isFault(_ error: StreamError) -> Bool {
        error.code == .internalError || error.code == .insufficientStorage
    }

    /// Whether the disk has no faults that could make a reading fail.
    var isSound: Bool { self.disk.faults.failures.isEmpty && self.disk.faults.powerLoss == nil }

    func compare(_ directory: StreamDirectory, with model: DirectoryModel, settled: Bool) throws {
        for name in Self.names {
            try self.compare(name, directory, with: model)
        }
        let visible = directory.list(now: 0).map(\.view.name)
        guard visible == model.streams.keys.sorted() else {
            throw Violation(description: "there are \(visible), expected \(model.streams.keys.sorted())")
        }
    }

    func compare(_ name: String, _ directory: StreamDirectory, with model: DirectoryModel) throws {
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
        // Streams of one name after each other may differ in nothing else.
        var deadline: UInt64?
        if case .deadline(let milliseconds, _) = found.configuration.lifetime { deadline = milliseconds }
        let source = stream.source.flatMap { model.name(of: $0) }
        guard deadline == stream.deadline, found.configuration.retention?.maximumBytes == stream.retention,
            found.earliest == stream.earliest, found.configuration.fork?.sourceName == source
        else {
            throw Violation(
                description:
                    "\(name) is another stream of the name, or begins at \(found.earliest), not \(stream.earliest)")
        }
        try self.checkReading(name, directory, stream, limit: 1 << 20, from: stream.earliest)
        if stream.earliest > 0 {
            let below = directory.read(name, from: stream.earliest - 1, limit: 1, now: 0)
            guard case .failure(let error) = below, error.code == .offsetGone,
                error.earliest?.position == stream.earliest
            else { throw Violation(description: "\(name) can be read below its beginning: \(below)") }
        }
        try self.probe(name, directory, stream)
    }

    func checkReading(
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
    func probe(_ name: String, _ directory: StreamDirectory, _ stream: DirectoryModel.Stream) throws {
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
}
