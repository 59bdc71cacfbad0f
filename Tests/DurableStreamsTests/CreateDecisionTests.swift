import DurableStreams
import ExactText
import NIOCore
import Testing

@Suite("Decisions on creations and forks")
struct CreateDecisionTests {
    private func state(
        _ request: CreateRequest, name: String = "s", closes: Bool? = nil, tail: Int = 0
    ) -> StreamState {
        StreamState(
            identity: StreamIdentity(rawValue: 1), name: name, configuration: request.plainConfiguration,
            payloadCount: tail, closes: closes ?? request.closes, at: 1000)
    }

    private enum Outcome: Equatable {
        case create, confirm
        case refuse(StreamErrorCode)
    }

    private func decide(_ request: CreateRequest, _ existing: StreamState?) -> Outcome {
        switch request.decide(existing: existing) {
        case .create: .create
        case .confirm: .confirm
        case .refuse(let error): .refuse(error.code)
        }
    }

    private let upper = ContentType("Application/JSON")

    @Test func theSameAgainIsConfirmedAndAnythingElseRefused() {
        let request = CreateRequest(contentType: .json, lifetime: .ttl(seconds: 60))
        let existing = self.state(request)
        #expect(self.decide(request, nil) == .create)
        #expect(self.decide(request, existing) == .confirm)
        #expect(self.decide(CreateRequest(contentType: self.upper, lifetime: .ttl(seconds: 60)), existing) == .confirm)
        let others = [
            CreateRequest(contentType: .octetStream, lifetime: .ttl(seconds: 60)),
            CreateRequest(contentType: nil, lifetime: .ttl(seconds: 60)),
            CreateRequest(contentType: .json, lifetime: .ttl(seconds: 61)), CreateRequest(contentType: .json),
            CreateRequest(contentType: .json, lifetime: .deadline(milliseconds: 60_000, text: "x")),
            CreateRequest(contentType: .json, lifetime: .ttl(seconds: 60), closes: true),
            CreateRequest(contentType: .json, lifetime: .ttl(seconds: 60), fork: ForkRequest(sourceName: "a")),
        ]
        for other in others { #expect(self.decide(other, existing) == .refuse(.alreadyExists)) }
        #expect(self.decide(request, self.state(request, closes: true)) == .refuse(.alreadyExists))
    }

    @Test func twoSpellingsOfADeadlineAreTheSame() throws {
        let first = Lifetime.deadline(milliseconds: 5, text: "1970-01-01T00:00:00.005Z")
        let second = Lifetime.deadline(milliseconds: 5, text: "1970-01-01T01:00:00.005+01:00")
        let existing = self.state(CreateRequest(contentType: nil, lifetime: first))
        #expect(self.decide(CreateRequest(contentType: nil, lifetime: second), existing) == .confirm)
    }

    @Test func aDeletedStreamWithForksBlocksItsPath() {
        var existing = self.state(CreateRequest(contentType: .json))
        existing.isSoftDeleted = true
        #expect(self.decide(CreateRequest(contentType: .json), existing) == .refuse(.pathBlocked))
    }

    @Test func theBodyOfARepeatDoesNotCount() {
        let request = CreateRequest(contentType: .json, body: ByteBuffer(string: "{"))
        #expect(self.decide(request, self.state(request)) == .confirm)
        #expect(throws: StreamError(.invalidJSON)) { try request.payload(as: .json) }
    }

    @Test func anEmptyArrayMakesAnEmptyStream() throws {
        let request = CreateRequest(contentType: .json, body: ByteBuffer(string: "[]"))
        #expect(try request.payload(as: .json).bytes.readableBytes == 0)
    }

    // MARK: Forks

    private func source(lifetime: Lifetime = .none, type: ContentType = .json, tail: Int = 10) -> StreamState {
        self.state(CreateRequest(contentType: type, lifetime: lifetime), name: "src", tail: tail)
    }

    private func fork(
        at position: UInt64? = nil, sub: UInt64 = 0, type: ContentType? = nil, lifetime: Lifetime = .none
    ) -> CreateRequest {
        CreateRequest(
            contentType: type, lifetime: lifetime,
            fork: ForkRequest(
                sourceName: "src", offset: position.map(StreamOffset.init(position:)), subOffset: sub))
    }

    @Test func aForkBeginsAtTheTailUnlessToldOtherwise() throws {
        #expect(try self.fork().planFork(from: self.source()).anchor == 10)
        #expect(try self.fork(at: 0).planFork(from: self.source()).anchor == 0)
        #expect(try self.fork(at: 10).planFork(from: self.source()).anchor == 10)
        #expect(try self.fork().planFork(from: self.source()).contentType == .json)
    }

    @Test func forksAreRefusedForTheirSource() throws {
        #expect(throws: StreamError(.notFound)) { try self.fork().planFork(from: nil) }
        var deleted = self.source()
        deleted.isSoftDeleted = true
        #expect(throws: StreamError(.forkFromTombstone)) { try self.fork().planFork(from: deleted) }
        #expect(throws: StreamError(.invalidOffset)) { try self.fork(at: 11).planFork(from: self.source()) }
        #expect(throws: StreamError(.invalidOffset)) { try self.fork(at: .max).planFork(from: self.source()) }
        #expect(throws: StreamError(.contentTypeMismatch)) {
            try self.fork(type: .octetStream).planFork(from: self.source())
        }
        #expect(throws: StreamError(.badRequest)) { try self.fork(at: 0, sub: 1).planFork(from: self.source(tail: 0)) }
        #expect(throws: StreamError(.badRequest)) { try self.fork(at: 10, sub: 1).planFork(from: self.source()) }
    }

    @Test func aClosedSourceMayBeForked() throws {
        let closed = self.state(CreateRequest(contentType: .json), name: "src", closes: true, tail: 4)
        let plan = try self.fork().planFork(from: closed)
        let fork = StreamState(
            identity: StreamIdentity(rawValue: 2), name: "f", configuration: plan.configuration(position: 4), at: 1)
        #expect(!fork.isClosed)
        #expect(fork.tail == 4)
        #expect(fork.producers.isEmpty)
    }

    @Test func subOffsetsCountBytesOfTheNextAppend() throws {
        let source = self.source(type: .octetStream)
        #expect(try self.fork(at: 2, sub: 3).planFork(from: source).position(nextAppendEnd: 6, bytes: nil) == 5)
        #expect(try self.fork(at: 2, sub: 4).planFork(from: source).position(nextAppendEnd: 6, bytes: nil) == 6)
        #expect(throws: StreamError(.badRequest)) {
            try self.fork(at: 2, sub: 5).planFork(from: source).position(nextAppendEnd: 6, bytes: nil)
        }
        #expect(try self.fork(at: 2).planFork(from: source).position(nextAppendEnd: 6, bytes: nil) == 2)
    }

    @Test func subOffsetsCountMessagesOfJSON() throws {
        let bytes = ByteBuffer(string: "{\"a\":1},[2,3],4,")
        let source = self.source(tail: bytes.readableBytes)
        let end = UInt64(bytes.readableBytes)
        let expected: [UInt64] = [8, 14, 16]
        for (index, position) in expected.enumerated() {
            let plan = try self.fork(at: 0, sub: UInt64(index + 1)).planFork(from: source)
            #expect(plan.needsBytes)
            #expect(try plan.position(nextAppendEnd: end, bytes: bytes) == position)
        }
        #expect(throws: StreamError(.badRequest)) {
            try self.fork(at: 0, sub: 4).planFork(from: source).position(nextAppendEnd: end, bytes: bytes)
        }
    }

    @Test(arguments: [
        (Lifetime.none, Lifetime.none, Lifetime.none, true), (.none, .ttl(seconds: 5), .ttl(seconds: 5), false),
        (.ttl(seconds: 9), .none, .ttl(seconds: 9), true),
        (.ttl(seconds: 9), .ttl(seconds: 99), .ttl(seconds: 99), false),
        (
            .ttl(seconds: 9), .deadline(milliseconds: 7, text: "t"), .deadline(milliseconds: 7, text: "t"), false
        ),
        (.deadline(milliseconds: 7, text: "t"), .none, .deadline(milliseconds: 7, text: "t"), true),
        (.deadline(milliseconds: 7, text: "t"), .ttl(seconds: 5), .ttl(seconds: 5), false),
        (
            .deadline(milliseconds: 7, text: "t"), .deadline(milliseconds: 8, text: "u"),
            .deadline(milliseconds: 8, text: "u"), false
        ),
    ])
    func lifetimesOfForks(source: Lifetime, asked: Lifetime, expected: Lifetime, inherits: Bool) throws {
        let plan = try self.fork(lifetime: asked).planFork(from: self.source(lifetime: source))
        #expect(plan.lifetime == expected)
        #expect(plan.inheritsLifetime == inherits)
    }

    @Test func aRepeatedForkIsConfirmedEvenWhenTheSourceHasGrown() throws {
        let plan = try self.fork(at: 2, sub: 3).planFork(
            from: self.source(lifetime: .ttl(seconds: 9), type: .octetStream))
        let existing = StreamState(
            identity: StreamIdentity(rawValue: 2), name: "f", configuration: plan.configuration(position: 5), at: 1)
        #expect(self.decide(self.fork(at: 2, sub: 3), existing) == .confirm)
        #expect(self.decide(self.fork(at: 2, sub: 3, type: .octetStream), existing) == .confirm)
        #expect(self.decide(self.fork(at: 2, sub: 2), existing) == .refuse(.alreadyExists))
        #expect(self.decide(self.fork(at: 2), existing) == .refuse(.alreadyExists))
        #expect(self.decide(self.fork(at: 3, sub: 3), existing) == .refuse(.alreadyExists))
        #expect(self.decide(self.fork(at: 2, sub: 3, type: .json), existing) == .refuse(.alreadyExists))
        #expect(
            self.decide(self.fork(at: 2, sub: 3, lifetime: .ttl(seconds: 9)), existing) == .refuse(.alreadyExists))
        #expect(self.decide(CreateRequest(contentType: .octetStream), existing) == .refuse(.alreadyExists))

        let atTail = try self.fork().planFork(from: self.source())
        let fork = StreamState(
            identity: StreamIdentity(rawValue: 3), name: "g", configuration: atTail.configuration(position: 10), at: 1)
        #expect(self.decide(self.fork(), fork) == .confirm)
        #expect(self.decide(self.fork(at: 10), fork) == .confirm)
    }
}
