import DurableStreams
import Foundation
import NIOCore
import Testing

@Suite("Responses")
struct ResponseTests {
    private let identity = StreamIdentity(rawValue: 5)

    private func facts(
        start: UInt64 = 0, end: UInt64 = 4, isAtTail: Bool = true, isClosed: Bool = false, isNow: Bool = false,
        cursor: UInt64? = nil, type: ContentType = .json
    ) -> ReadFacts {
        ReadFacts(
            identity: self.identity, contentType: type, start: start, end: end, isAtTail: isAtTail, isClosed: isClosed,
            isNow: isNow, cursor: cursor)
    }

    @Test func everyResponseCarriesTheSecurityHeaders() {
        let responses = [
            StreamResponse.deleted, .methodNotAllowed, .error(StreamError(.notFound), instance: "/x"),
            .read(self.facts(), policy: CachePolicy()), .nothingNew(self.facts()), .events(.json),
            .created(
                CreateOutcome(isNew: true, contentType: .json, tail: .start, isClosed: false), location: "http://h/x"),
        ]
        for response in responses {
            #expect(response.header("x-content-type-options") == "nosniff")
            #expect(response.header("cross-origin-resource-policy") == "cross-origin")
        }
    }

    @Test func creationNamesThePlace() {
        let outcome = CreateOutcome(isNew: true, contentType: .json, tail: StreamOffset(position: 2), isClosed: true)
        let created = StreamResponse.created(outcome, location: "http://h/v1/stream/a")
        #expect(created.status == 201)
        #expect(created.header("location") == "http://h/v1/stream/a")
        #expect(created.header("stream-next-offset") == "0000000000000000_0000000000000002")
        #expect(created.header("stream-closed") == "true")
        var again = outcome
        again.isNew = false
        let confirmed = StreamResponse.created(again, location: "http://h/v1/stream/a")
        #expect(confirmed.status == 200)
        #expect(confirmed.header("location") == nil)
        #expect(confirmed.header("content-type") == "application/json")
    }

    @Test func newDataOfAProducerIs200AndTheRest204() {
        let tail = StreamOffset(position: 1)
        func status(_ kind: AppendOutcome.Kind, producer: Bool) -> Int {
            StreamResponse.appended(
                AppendOutcome(
                    kind: kind, tail: tail, isClosed: false, producerEpoch: producer ? 1 : nil,
                    producerSeq: producer ? 2 : nil)
            ).status
        }
        #expect(status(.appended, producer: false) == 204)
        #expect(status(.appended, producer: true) == 200)
        #expect(status(.closed, producer: true) == 204)
        #expect(status(.duplicate, producer: true) == 204)
        #expect(status(.alreadyClosed, producer: false) == 204)
    }

    @Test func aReadToTheTailSaysSo() {
        let response = StreamResponse.read(self.facts(), policy: CachePolicy())
        #expect(response.status == 200)
        #expect(response.header("stream-up-to-date") == "true")
        #expect(response.header("stream-closed") == nil)
        #expect(response.header("cache-control") == "public, max-age=60, stale-while-revalidate=300")
        #expect(response.header("etag") == "\"5:0:4\"")
        #expect(response.body == .content(.jsonArray))
    }

    @Test func aPartialReadOfAClosedStreamDoesNotSayClosed() {
        let partial = StreamResponse.read(self.facts(isAtTail: false, isClosed: true), policy: CachePolicy())
        #expect(partial.header("stream-up-to-date") == nil)
        #expect(partial.header("stream-closed") == nil)
        let final = StreamResponse.read(self.facts(isClosed: true), policy: CachePolicy())
        #expect(final.header("stream-closed") == "true")
        #expect(final.header("etag") == "\"5:0:4:c\"")
    }

    @Test func aReadOfNowIsNeverKept() {
        let response = StreamResponse.read(
            self.facts(start: 4, isNow: true), policy: CachePolicy(), ifNoneMatch: "*")
        #expect(response.status == 200)
        #expect(response.header("etag") == nil)
        #expect(response.header("cache-control") == "no-store")
    }

    @Test func cachePoliciesDiffer() {
        #expect(CachePolicy(scope: .user).value(isSealed: true) == "private, max-age=60, stale-while-revalidate=300")
        #expect(CachePolicy(scope: .none, sealedMaximumAgeSeconds: 9).value(isSealed: true) == "no-store")
        let sealing = CachePolicy(sealedMaximumAgeSeconds: 86_400)
        #expect(sealing.value(isSealed: true) == "public, max-age=86400, immutable")
        #expect(sealing.value(isSealed: false) == "public, max-age=60, stale-while-revalidate=300")
        #expect(self.facts(isAtTail: false).isSealed)
        #expect(!self.facts().isSealed)
    }

    @Test(arguments: [
        ("\"5:0:4\"", true), ("W/\"5:0:4\"", true), ("*", true), ("\"x\", W/\"5:0:4\" , \"y\"", true),
        ("\"5:0:4:c\"", false),
        ("\"6:0:4\"", false), ("5:0:4", false), ("\"5:0:4", false), ("", false), ("\"a,b\",\"5:0:4\"", true),
    ])
    func entityTagsAreComparedAsLists(value: String, isMatch: Bool) {
        let response = StreamResponse.read(self.facts(), policy: CachePolicy(), ifNoneMatch: value)
        #expect(response.status == (isMatch ? 304 : 200))
        #expect(response.header("etag") == "\"5:0:4\"")
        if isMatch { #expect(response.body == .none) }
    }

    @Test func waitingThatEndsInNothingKeepsTheOffset() {
        let response = StreamResponse.nothingNew(self.facts(start: 4, isClosed: true, cursor: 77))
        #expect(response.status == 204)
        #expect(response.header("stream-next-offset") == "0000000000000000_0000000000000004")
        #expect(response.header("stream-up-to-date") == "true")
        #expect(response.header("stream-closed") == "true")
        #expect(response.header("stream-cursor") == "77")
    }

    @Test func headTellsWhatThereIs() {
        let state = StreamState(
            identity: self.identity, name: "s",
            configuration: StreamConfiguration(
                contentType: .json, lifetime: .deadline(milliseconds: 5, text: "1970-01-01T01:00:00.005+01:00")),
            payloadCount: 3, closes: true, at: 1)
        let response = StreamResponse.head(state)
        #expect(response.header("stream-expires-at") == "1970-01-01T01:00:00.005+01:00")
        #expect(response.header("stream-ttl") == nil)
        #expect(response.header("stream-closed") == "true")
        #expect(response.header("cache-control") == "no-store")
        #expect(response.header("stream-next-offset") == "0000000000000000_0000000000000003")
    }

    @Test func eventStreamsNameTheirEncoding() {
        #expect(StreamResponse.events(.octetStream).header("stream-sse-data-encoding") == "base64")
        #expect(StreamResponse.events(.json).header("stream-sse-data-encoding") == nil)
        #expect(StreamResponse.events(.json).header("content-type") == "text/event-stream")
        #expect(StreamResponse.events(.json).header("cache-control") == "no-cache")
    }

    @Test(arguments: StreamErrorCode.allCases)
    func errorsAreProblemDocuments(code: StreamErrorCode) throws {
        let response = StreamResponse.error(StreamError(code, "a \"b\"\n\u{1}"), instance: "/v1/stream/a?offset=1")
        #expect(response.status == code.status)
        #expect(response.header("content-type") == "application/problem+json")
        guard case .bytes(let body) = response.body else {
            Issue.record("no body")
            return
        }
        let document = try #require(
            try JSONSerialization.jsonObject(with: Data(body.readableBytesView)) as? [String: Any])
        #expect(document["code"] as? String == code.code)
        #expect(document["type"] as? String == code.type)
        #expect(document["status"] as? Int == code.status)
        #expect(document["detail"] as? String == "a \"b\"\n\u{1}")
        #expect(document["instance"] as? String == "/v1/stream/a?offset=1")
        #expect(StreamResponse.error(StreamError(code), instance: "/x", isHead: true).body == .none)
    }

    @Test func theTableOfCodes() {
        let expected: [StreamErrorCode: (Int, String, String)] = [
            .notFound: (404, "NOT_FOUND", "/errors/not-found"), .gone: (410, "GONE", "/errors/gone"),
            .alreadyExists: (409, "ALREADY_EXISTS", "/errors/already-exists"),
            .pathBlocked: (409, "PATH_BLOCKED", "/errors/path-blocked"),
            .forkFromTombstone: (409, "FORK_FROM_TOMBSTONE", "/errors/fork-from-tombstone"),
            .contentTypeMismatch: (409, "CONTENT_TYPE_MISMATCH", "/errors/content-type-mismatch"),
            .streamClosed: (409, "STREAM_CLOSED", "/errors/stream-closed"),
            .sequenceConflict: (409, "SEQUENCE_CONFLICT", "/errors/sequence-conflict"),
            .producerEpochFenced: (403, "PRODUCER_EPOCH_FENCED", "/errors/producer-epoch-fenced"),
            .invalidOffset: (400, "INVALID_OFFSET", "/errors/invalid-offset"),
            .invalidStreamName: (400, "INVALID_STREAM_NAME", "/errors/invalid-stream-name"),
            .invalidJSON: (400, "INVALID_JSON", "/errors/invalid-json"),
            .emptyBody: (400, "EMPTY_BODY", "/errors/empty-body"),
            .emptyArray: (400, "EMPTY_ARRAY", "/errors/empty-array"),
            .badRequest: (400, "BAD_REQUEST", "/errors/bad-request"),
            .payloadTooLarge: (413, "PAYLOAD_TOO_LARGE", "/errors/payload-too-large"),
            .unavailable: (503, "UNAVAILABLE", "/errors/unavailable"),
            .insufficientStorage: (507, "INSUFFICIENT_STORAGE", "/errors/insufficient-storage"),
            .internalError: (500, "INTERNAL_ERROR", "/errors/internal"),
            .offsetGone: (410, "OFFSET_GONE", "/errors/offset-gone"),
        ]
        for (code, row) in expected {
            #expect(code.status == row.0)
            #expect(code.code == row.1)
            #expect(code.type == row.2)
        }
    }

    @Test func factsOfARefusalTravelInHeaders() {
        let closed = StreamResponse.error(
            StreamError(.streamClosed, tail: StreamOffset(position: 9), isClosed: true), instance: nil)
        #expect(closed.header("stream-closed") == "true")
        #expect(closed.header("stream-next-offset") == "0000000000000000_0000000000000009")
        let gap = StreamResponse.error(StreamError(.sequenceConflict, expectedSeq: 4, receivedSeq: 6), instance: nil)
        #expect(gap.header("producer-expected-seq") == "4")
        #expect(gap.header("producer-received-seq") == "6")
        #expect(StreamResponse.error(StreamError(.unavailable), instance: nil).header("retry-after") == "1")
        #expect(StreamResponse.methodNotAllowed.header("allow") == "GET, POST, PUT, DELETE, HEAD, OPTIONS")
    }

    @Test func framingOfJSONTakesTheLastCommaAway() {
        #expect(ContentFraming.jsonArray.length(of: 0) == 2)
        #expect(ContentFraming.jsonArray.keptBytes(of: 4) == 3)
        #expect(ContentFraming.jsonArray.length(of: 4) == 5)
        #expect(ContentFraming.plain.length(of: 4) == 4)
    }

    @Test func cursorsCountRounds() {
        let cursor = StreamCursor()
        var random = SeededGenerator(seed: 1)
        let now: UInt64 = (1_728_432_000 + 20 * 1000 + 7) * 1000
        #expect(Timestamp.milliseconds("2024-10-09T00:00:00Z") == cursor.epochSeconds * 1000)
        #expect(cursor.next(at: now, after: nil, using: &random) == 1000)
        #expect(cursor.next(at: now, after: 999, using: &random) == 1000)
        for known: UInt64 in [1000, 1001, 5000, StreamCursor.maximum] {
            for _ in 0..<200 {
                let next = cursor.next(at: now, after: known, using: &random)
                #expect(next > known && next <= known + 180)
            }
        }
        #expect(cursor.next(at: 0, after: nil, using: &random) == 0)
    }
}
