import DurableStreams
import ExactText
import NIOCore
import Testing

@Suite("Decisions on appends")
struct AppendDecisionTests {
    private static let now: UInt64 = 1_800_000_000_000

    private func stream(_ contentType: ContentType = .json, closes: Bool = false) -> StreamState {
        StreamState(
            identity: StreamIdentity(rawValue: 1), name: "s",
            configuration: StreamConfiguration(contentType: contentType), closes: closes, at: Self.now)
    }

    private func request(
        _ body: String? = "1", type: String? = "application/json", producer: (String, UInt64, UInt64)? = nil,
        sequence: String? = nil, closes: Bool = false, ifMatch: StreamOffset? = nil
    ) -> AppendRequest {
        AppendRequest(
            contentType: type,
            payload: body.map { body in
                do throws(StreamError) {
                    return .success(try StreamPayload.encode(body: ByteBuffer(string: body), contentType: .json))
                } catch {
                    return .failure(error)
                }
            },
            producer: .success(producer.map { ProducerClaim(id: $0.0, epoch: $0.1, seq: $0.2) }), sequence: sequence,
            closes: closes, ifMatch: ifMatch)
    }

    /// Decides, applies and returns what the writer is told.
    private func send(
        _ request: AppendRequest, to stream: inout StreamState, limits: AppendLimits = AppendLimits()
    ) throws(StreamError) -> AppendOutcome {
        switch stream.decideAppend(request, at: Self.now, limits: limits) {
        case .accept(let effect):
            stream.apply(effect)
            return stream.outcome(of: effect)
        case .answer(let outcome):
            return outcome
        case .refuse(let error):
            throw error
        }
    }

    @Test func anAppendMovesTheTail() throws {
        var stream = self.stream()
        let outcome = try self.send(self.request("[1,2]"), to: &stream)
        #expect(outcome == AppendOutcome(kind: .appended, tail: StreamOffset(position: 4), isClosed: false))
        #expect(stream.tail == 4)
        #expect(stream.messageCount == 2)
    }

    // MARK: Order of checks

    @Test func ofManyFaultsTheFirstInTheProtocolsOrderIsReported() throws {
        // Everything is wrong with it; the faults are taken away one by one.
        var stream = self.stream()
        _ = try self.send(self.request(producer: ("p", 3, 0), sequence: "b"), to: &stream)
        var request = AppendRequest(
            contentType: "text/plain", payload: nil, producer: .failure(StreamError(.badRequest)), sequence: "a")
        func code(_ stream: StreamState) -> StreamErrorCode? {
            if case .refuse(let error) = stream.decideAppend(
                request, at: Self.now, limits: AppendLimits(maximumStreamBytes: 2))
            {
                return error.code
            }
            return nil
        }
        var deleted = stream
        deleted.isSoftDeleted = true
        #expect(code(deleted) == .gone)
        #expect(code(stream) == .emptyBody)
        request.payload = .failure(StreamError(.invalidJSON))
        #expect(code(stream) == .badRequest)
        request.producer = .success(ProducerClaim(id: "p", epoch: 2, seq: 9))
        #expect(code(stream) == .producerEpochFenced)
        request.producer = .success(ProducerClaim(id: "p", epoch: 3, seq: 9))
        var closed = stream
        _ = try self.send(self.request(nil, closes: true), to: &closed)
        #expect(code(closed) == .streamClosed)
        #expect(code(stream) == .sequenceConflict)
        request.producer = .success(ProducerClaim(id: "p", epoch: 3, seq: 1))
        #expect(code(stream) == .contentTypeMismatch)
        request.contentType = nil
        #expect(code(stream) == .badRequest)
        request.contentType = "application/json"
        #expect(code(stream) == .invalidJSON)
        request.payload = .success(StreamPayload(bytes: ByteBuffer(string: "1,"), messageCount: 1))
        #expect(code(stream) == .sequenceConflict)
        request.sequence = "c"
        request.ifMatch = .start
        #expect(code(stream) == .preconditionFailed)
        request.ifMatch = stream.tailOffset
        #expect(code(stream) == .payloadTooLarge)
    }

    // MARK: Sequences

    @Test(arguments: [
        ("2", "10", false), ("09", "10", true), ("a", "B", false), ("a", "a", false), ("a", "aa", true),
        ("", "a", true),
        ("z", "é", true), ("e\u{301}", "é", true),
    ])
    func sequencesRiseByBytes(first: String, second: String, isAccepted: Bool) throws {
        var stream = self.stream()
        _ = try self.send(self.request(sequence: first), to: &stream)
        if isAccepted {
            _ = try self.send(self.request(sequence: second), to: &stream)
            #expect(stream.lastSequence == second)
        } else {
            #expect(throws: StreamError(.sequenceConflict)) {
                try self.send(self.request(sequence: second), to: &stream)
            }
            #expect(stream.lastSequence == first)
        }
    }

    // MARK: Producers

    @Test func theTableOfProducers() throws {
        var stream = self.stream()
        let gap = #expect(throws: StreamError(.sequenceConflict)) {
            try self.send(self.request(producer: ("p", 0, 1)), to: &stream)
        }
        #expect(gap?.expectedSeq == 0)
        #expect(gap?.receivedSeq == 1)

        let first = try self.send(self.request(producer: ("p", 5, 0)), to: &stream)
        #expect(first.kind == .appended && first.producerEpoch == 5 && first.producerSeq == 0)
        #expect(try self.send(self.request(producer: ("p", 5, 1)), to: &stream).producerSeq == 1)

        let stale = #expect(throws: StreamError(.producerEpochFenced)) {
            try self.send(self.request(producer: ("p", 4, 2)), to: &stream)
        }
        #expect(stale?.producerEpoch == 5)

        let tail = stream.tail
        let repeated = try self.send(self.request("[7,7]", producer: ("p", 5, 0)), to: &stream)
        #expect(repeated.kind == .duplicate && repeated.producerSeq == 1 && stream.tail == tail)

        let ahead = #expect(throws: StreamError(.sequenceConflict)) {
            try self.send(self.request(producer: ("p", 5, 3)), to: &stream)
        }
        #expect(ahead?.expectedSeq == 2)
        #expect(ahead?.receivedSeq == 3)

        #expect(throws: StreamError(.badRequest)) { try self.send(self.request(producer: ("p", 6, 1)), to: &stream) }
        #expect(try self.send(self.request(producer: ("p", 6, 0)), to: &stream).kind == .appended)
        #expect(stream.producers["p"]?.epoch == 6)
        #expect(try self.send(self.request(producer: ("q", 0, 0)), to: &stream).kind == .appended)
    }

    @Test func aRefusedBodyConsumesNoNumber() throws {
        var stream = self.stream()
        #expect(throws: StreamError(.invalidJSON)) {
            try self.send(self.request("{", producer: ("p", 0, 0)), to: &stream)
        }
        #expect(throws: StreamError(.emptyArray)) {
            try self.send(self.request("[]", producer: ("p", 0, 0)), to: &stream)
        }
        #expect(try self.send(self.request(producer: ("p", 0, 0)), to: &stream).kind == .appended)
    }

    @Test func aRepeatIsNoConflictOfSequence() throws {
        var stream = self.stream()
        _ = try self.send(self.request(producer: ("p", 0, 0), sequence: "a"), to: &stream)
        #expect(try self.send(self.request(producer: ("p", 0, 0), sequence: "a"), to: &stream).kind == .duplicate)
    }

    // MARK: Closing

    @Test func closingIsIdempotentWithoutABody() throws {
        var stream = self.stream()
        _ = try self.send(self.request(), to: &stream)
        let closed = try self.send(self.request(nil, type: "any/thing", closes: true), to: &stream)
        #expect(closed == AppendOutcome(kind: .closed, tail: StreamOffset(position: 2), isClosed: true))
        #expect(try self.send(self.request(nil, type: nil, closes: true), to: &stream).kind == .alreadyClosed)
        let late = #expect(throws: StreamError(.streamClosed)) { try self.send(self.request(), to: &stream) }
        #expect(late?.tail == StreamOffset(position: 2))
        #expect(late?.isClosed == true)
        #expect(throws: StreamError(.streamClosed)) { try self.send(self.request(closes: true), to: &stream) }
    }

    @Test func dataAndClosureComeTogether() throws {
        var stream = self.stream()
        let outcome = try self.send(self.request("[1]", producer: ("p", 0, 0), closes: true), to: &stream)
        #expect(outcome.kind == .appended && outcome.isClosed && outcome.producerSeq == 0)
        #expect(stream.isClosed && stream.tail == 2)
        // The very request again, even with another body; nothing else.
        let again = try self.send(self.request("[9]", producer: ("p", 0, 0), closes: true), to: &stream)
        #expect(again.kind == .duplicate && again.isClosed && stream.tail == 2)
        for other in [("p", 0, 1), ("q", 0, 0), ("p", 1, 0)] as [(String, UInt64, UInt64)] {
            let error = #expect(throws: StreamError(.streamClosed)) {
                try self.send(self.request(producer: other, closes: true), to: &stream)
            }
            #expect(error?.isClosed == true)
        }
    }

    @Test func closingByAProducerConsumesItsNumber() throws {
        var stream = self.stream()
        _ = try self.send(self.request(producer: ("p", 0, 0)), to: &stream)
        let closed = try self.send(self.request(nil, type: nil, producer: ("p", 0, 1), closes: true), to: &stream)
        #expect(closed.kind == .closed && closed.producerSeq == 1)
        #expect(try self.send(self.request(nil, producer: ("p", 0, 1), closes: true), to: &stream).kind == .duplicate)
        #expect(throws: StreamError(.streamClosed)) {
            try self.send(self.request(nil, producer: ("p", 0, 0), closes: true), to: &stream)
        }
    }

    // MARK: Extensions and limits

    @Test func anExpectedTailGuardsAgainstOthers() throws {
        var stream = self.stream()
        _ = try self.send(self.request(ifMatch: .start), to: &stream)
        let error = #expect(throws: StreamError(.preconditionFailed)) {
            try self.send(self.request(ifMatch: .start), to: &stream)
        }
        #expect(error?.tail == StreamOffset(position: 2))
    }

    @Test func theSizeLimitIsExact() throws {
        var stream = self.stream()
        let limits = AppendLimits(maximumStreamBytes: 4)
        _ = try self.send(self.request("[1,2]"), to: &stream, limits: limits)
        #expect(throws: StreamError(.payloadTooLarge)) { try self.send(self.request("1"), to: &stream, limits: limits) }
        #expect(try self.send(self.request(nil, closes: true), to: &stream, limits: limits).kind == .closed)
    }

    // MARK: Records

    @Test func effectsReadBackGiveTheSameState() throws {
        var random = SeededGenerator(seed: 7)
        var stream = self.stream()
        var replayed = self.stream()
        for step in 0..<500 {
            let producer = UInt64.random(in: 0..<5, using: &random)
            let state = stream.producers["p\(producer)"]
            let claim: (String, UInt64, UInt64)? =
                producer == 4 ? nil : ("p\(producer)", state?.epoch ?? 2, state.map { $0.lastSeq + 1 } ?? 0)
            let request = self.request(
                "[\(step)]", producer: claim, sequence: step % 3 == 0 ? "s\(100_000 + step)" : nil, closes: step == 499)
            guard case .accept(let effect) = stream.decideAppend(request, at: Self.now + UInt64(step)) else {
                Issue.record("step \(step) was refused")
                return
            }
            var record = ByteBuffer()
            effect.encode(into: &record)
            for length in 0..<record.readableBytes {
                var cut = record.getSlice(at: 0, length: length) ?? ByteBuffer()
                #expect(AppendEffect(decoding: &cut) == nil)
            }
            let decoded = try #require(AppendEffect(decoding: &record))
            #expect(decoded == effect)
            #expect(record.readableBytes == 0)
            stream.apply(effect)
            replayed.apply(decoded)
        }
        #expect(stream == replayed)
        #expect(stream.isClosed && stream.updatedAt == Self.now + 499)
    }

    @Test func statesReadBackAreTheSame() throws {
        var stream = StreamState(
            identity: StreamIdentity(rawValue: 99), name: "a/€",
            configuration: StreamConfiguration(
                contentType: try #require(ContentType("Text/Plain; charset=utf-8")),
                lifetime: .deadline(milliseconds: 12, text: "1970-01-01T00:00:00.012Z"),
                fork: ForkOrigin(
                    sourceName: "src", source: StreamIdentity(rawValue: 3), offset: StreamOffset(position: 4),
                    subOffset: 2, position: 6, inheritsLifetime: true)),
            payloadCount: 5, messageCount: 1, at: Self.now)
        #expect(stream.tail == 11)
        stream.apply(
            AppendEffect(
                payloadCount: 3, messageCount: 1, claim: ProducerClaim(id: "p", epoch: 1, seq: 2), sequence: "x",
                closes: true, at: Self.now + 5))
        stream.isSoftDeleted = true
        stream.forkCount = 3
        var buffer = ByteBuffer()
        stream.encode(into: &buffer)
        for length in 0..<buffer.readableBytes {
            var cut = buffer.getSlice(at: 0, length: length) ?? ByteBuffer()
            #expect(StreamState(decoding: &cut) == nil)
        }
        var newer = buffer
        newer.setInteger(UInt8(200), at: 0)
        #expect(StreamState(decoding: &newer) == nil)
        #expect(StreamState(decoding: &buffer) == stream)
        #expect(buffer.readableBytes == 0)
    }

    // MARK: Expiry

    @Test func slidingLifetimesCountFromTheLastTouch() throws {
        var stream = StreamState(
            identity: StreamIdentity(rawValue: 1), name: "s",
            configuration: StreamConfiguration(contentType: .json, lifetime: .ttl(seconds: 10)), at: 1000)
        #expect(!stream.isExpired(at: 10_999))
        #expect(stream.isExpired(at: 11_000))
        #expect(!stream.isExpired(at: 11_000, isBeingRead: true))
        stream.touch(at: 5000)
        stream.touch(at: 4000)
        #expect(!stream.isExpired(at: 14_999))
        #expect(stream.isExpired(at: 15_000))
        stream.apply(AppendEffect(payloadCount: 1, messageCount: 1, at: 9000))
        #expect(stream.expiry == 19_000)
    }

    @Test func deadlinesDoNotMove() {
        var stream = StreamState(
            identity: StreamIdentity(rawValue: 1), name: "s",
            configuration: StreamConfiguration(
                contentType: .json, lifetime: .deadline(milliseconds: 5000, text: "x")), at: 1000)
        stream.touch(at: 4999)
        #expect(!stream.isExpired(at: 4999))
        #expect(stream.isExpired(at: 5000))
        #expect(stream.isExpired(at: 5000, isBeingRead: true))
    }
}
