import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import StreamStoreTestSupport

/// Requests, and what they must lead to.
extension DirectorySimulation {
    /// Whether a request was turned away for want of a disk, which changes nothing.
    static func isRefusedByDisk(_ error: StreamError) -> Bool {
        [.unavailable, .insufficientStorage, .internalError].contains(error.code)
    }

    /// Makes a request and, unless it is turned away, takes over what it leads to.
    ///
    /// - Parameters:
    ///   - expected: The state it leads to; nil when it must be refused, equal to the present one when it is a repeat.
    mutating func request<Outcome: Sendable>(
        _ what: String, in place: Int, leadingTo expected: DirectoryModel?,
        _ call: (@escaping @Sendable (Result<Outcome, StreamError>) -> Void) -> Void
    ) {
        let answers = self.answers
        let number = self.history.count
        let isChange = expected != nil && expected != self.model
        let first = Box<Result<Outcome, StreamError>?>(nil)
        let isAccepted = Box<Bool?>(nil)
        self.lastAnswer = isAccepted
        let isTaken = Box(false)
        call { result in
            first.value = result
            switch result {
            case .success:
                isAccepted.value = true
                if expected == nil { answers.wrong.value = "\(what) should have been refused" }
                if isChange { answers.settled.change { $0[place] = max($0[place], number) } }
            case .failure(let error):
                isAccepted.value = false
                // Taken, and then no room: it waits on, and becomes durable without another answer.
                if isTaken.value, error.code == .insufficientStorage { answers.hasStalled.value = true }
                if expected != nil, !Self.isRefusedByDisk(error) { answers.wrong.value = "\(what) got \(error)" }
            }
        }
        if case .failure? = first.value { return }
        isTaken.value = true
        if let expected, isChange { self.took(expected) }
    }

    /// Goes on to the next state.
    mutating func took(_ next: DirectoryModel) {
        for (name, stream) in self.model.streams where next[name]?.incarnation != stream.incarnation {
            self.removals[name] = (self.places[stream.incarnation] ?? 0, self.history.count)
        }
        self.history.append(next)
    }

    /// Where a stream is kept; for one that is not there, any.
    func place(ofStreamAt name: String) -> Int {
        self.model[name].flatMap { self.places[$0.incarnation] } ?? 0
    }

    /// A stream whose name another environment is still to let go of is created when that is done: nothing else is
    /// asked for meanwhile, since the model has it already.
    mutating func settleRemoval(of name: String, before place: Int, _ directory: StreamDirectory) {
        guard let removal = self.removals[name], removal.environment != place,
            self.answers.settled.value[removal.environment] < removal.number
        else { return }
        for _ in 0..<2 { self.flush(directory) }
        guard self.lastAnswer.value != true else { return }
        // A full disk: it was refused after all, or waits, with or without an answer, and will not be made since nothing
        // more is asked for.
        self.history.removeLast()
        let last = self.history.count - 1
        self.answers.settled.change { $0 = $0.map { min($0, last) } }
        self.endsEarly = true
    }

    mutating func payload() -> String {
        let largest = Int.random(in: 0..<6, using: &self.random) == 0 ? 2500 : 60
        let count = Int.random(in: 1...largest, using: &self.random)
        let letter = UInt8.random(in: UInt8(ascii: "a")...UInt8(ascii: "z"), using: &self.random)
        return String(decoding: (0..<count).map { letter &+ UInt8($0 % 7) }, as: UTF8.self)
    }

    mutating func retention() -> UInt64? {
        guard Bool.random(using: &self.random) else { return nil }
        return UInt64.random(in: 1...(Bool.random(using: &self.random) ? 40 : 1500), using: &self.random)
    }

    mutating func create(_ name: String, _ directory: StreamDirectory) {
        let body = Bool.random(using: &self.random) ? self.payload() : ""
        let closes = Int.random(in: 0..<6, using: &self.random) == 0
        var deadline: UInt64?
        if Int.random(in: 0..<5, using: &self.random) == 0 {
            deadline =
                self.now + UInt64.random(in: 1...5000, using: &self.random) * 64 + UInt64(self.nextIncarnation % 64)
        }
        let retention = self.retention()
        var expected: DirectoryModel?
        if self.model[name] == nil {
            var stream = DirectoryModel.Stream(incarnation: self.nextIncarnation)
            self.nextIncarnation += 1
            stream.content = Array(body.utf8)
            if !body.isEmpty { stream.ends = [UInt64(body.utf8.count)] }
            stream.isClosed = closes
            stream.deadline = deadline
            stream.retention = retention
            expected = self.model
            expected?.streams[name] = stream
        } else if let stream = self.model[name], !stream.isSoftDeleted, stream.source == nil, stream.deadline == nil,
            deadline == nil, stream.isClosed == closes, stream.retention == retention
        {
            expected = self.model
        }
        let lifetime = deadline.map { Lifetime.deadline(milliseconds: $0, text: "t") } ?? .none
        let request = CreateRequest(
            contentType: nil, lifetime: lifetime, retention: StreamRetention(maximumBytes: retention), closes: closes,
            body: ByteBuffer(string: body))
        let place = self.place(of: name)
        if expected != nil, self.model[name] == nil { self.places[self.nextIncarnation - 1] = place }
        let isNew = self.model[name] == nil
        self.request(
            "creation of \(name)", in: isNew ? place : self.place(ofStreamAt: name), leadingTo: expected
        ) { reply in
            directory.create(name, request, now: 0, reply: reply)
        }
        if isNew, self.lastAnswer.value != false { self.settleRemoval(of: name, before: place, directory) }
    }

    mutating func fork(_ name: String, _ directory: StreamDirectory) {
        let sourceName = Self.names.randomElement(using: &self.random) ?? "a"
        let body = Bool.random(using: &self.random) ? self.payload() : ""
        let source = self.model[sourceName]
        let length = UInt64(source?.content.count ?? 0)
        var offset: UInt64?
        if Bool.random(using: &self.random) { offset = UInt64.random(in: 0...length, using: &self.random) }
        let retention = self.retention()
        var expected: DirectoryModel?
        let isGone = offset.map { $0 < source?.earliest ?? 0 } ?? false
        if self.model[name] == nil, let source, !source.isSoftDeleted, !isGone {
            let position = Int(offset ?? length)
            var stream = DirectoryModel.Stream(incarnation: self.nextIncarnation)
            self.nextIncarnation += 1
            stream.content = Array(source.content[..<position]) + Array(body.utf8)
            stream.ends = source.ends.filter { $0 < position }
            if position > 0 { stream.ends.insert(UInt64(position)) }
            if !body.isEmpty { stream.ends.insert(UInt64(stream.content.count)) }
            stream.source = source.incarnation
            stream.deadline = source.deadline
            stream.retention = retention ?? source.retention
            // Where the source begins, which has one too then.
            stream.earliest = source.earliest
            expected = self.model
            expected?.streams[name] = stream
            expected?.streams[sourceName]?.forkCount += 1
        } else if self.model[name] != nil, self.model[name]?.source != nil {
            // Whether it counts as a repeat is not for this test.
            return
        }
        let request = CreateRequest(
            contentType: nil, retention: StreamRetention(maximumBytes: retention),
            fork: ForkRequest(sourceName: sourceName, offset: offset.map { StreamOffset(position: $0) }),
            body: ByteBuffer(string: body))
        let place = self.place(ofStreamAt: sourceName)
        if expected != nil { self.places[self.nextIncarnation - 1] = place }
        let isNew = expected != nil
        self.request("fork \(name) of \(sourceName)", in: place, leadingTo: expected) { reply in
            directory.create(name, request, now: 0, reply: reply)
        }
        if isNew, self.lastAnswer.value != false { self.settleRemoval(of: name, before: place, directory) }
    }

    mutating func append(_ name: String, _ directory: StreamDirectory) {
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
        self.request("append to \(name)", in: self.place(ofStreamAt: name), leadingTo: expected) { reply in
            directory.append(name, request, now: 0, reply: reply)
        }
    }

    mutating func close(_ name: String, _ directory: StreamDirectory) {
        var expected: DirectoryModel?
        if let stream = self.model[name], !stream.isSoftDeleted {
            expected = self.model
            expected?.streams[name]?.isClosed = true
        }
        self.request("closing \(name)", in: self.place(ofStreamAt: name), leadingTo: expected) { reply in
            directory.append(name, DirectoryHarness.request("", closes: true), now: 0, reply: reply)
        }
    }

    mutating func delete(_ name: String, _ directory: StreamDirectory) {
        var expected: DirectoryModel?
        if let stream = self.model[name], !stream.isSoftDeleted {
            expected = self.model
            expected?.delete(name)
        }
        self.request("deletion of \(name)", in: self.place(ofStreamAt: name), leadingTo: expected) { reply in
            directory.delete(name, now: 0, reply: reply)
        }
    }

    /// Trims a stream by its bound.
    mutating func trim(_ name: String, _ directory: StreamDirectory) {
        var expected: DirectoryModel?
        if let stream = self.model[name], !stream.isSoftDeleted {
            // What is not durable yet is not looked at. One that is not there yet for readers is not found.
            guard case .success(let view) = directory.lookup(name, now: 0) else { return }
            expected = self.model
            expected?.streams[name]?.earliest = stream.trimmed(durable: view.tail)
            self.trimmings += expected == self.model ? 0 : 1
        }
        self.request("trimming \(name)", in: self.place(ofStreamAt: name), leadingTo: expected) { reply in
            directory.trim(name, now: 0, reply: reply)
        }
    }

    mutating func expire(_ directory: StreamDirectory) {
        self.now += UInt64.random(in: 0...100_000, using: &self.random)
        // What a full disk did not let go is looked at again after a while.
        guard self.now >= self.nextSweep else { return }
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
        if count < states.count { self.nextSweep = self.now + 5000 }
        if count > 0 {
            for state in states { self.took(state) }
        }
    }
}
