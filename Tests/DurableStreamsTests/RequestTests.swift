import DurableStreams
import NIOCore
import Testing

@Suite("Names, queries and headers")
struct RequestTests {
    private let rules = StreamNameRules(maximumBytes: 40, maximumSegments: 3)

    // MARK: Names

    @Test(arguments: [
        ("a", "a"), ("/a/b", "a/b"), ("a%20b", "a b"), ("v1.2/..foo", "v1.2/..foo"), ("a%2Fb", "a/b"),
        ("%E2%82%AC", "€"), ("a%2520b", "a%20b"), ("x/__ds", "x/__ds"), ("__dsx", "__dsx"),
    ])
    func namesAreDecodedOnce(path: String, name: String) throws {
        #expect(try self.rules.name(path: path[...]) == name)
    }

    @Test(arguments: [
        "", "/", "a/", "//a", "a//b", ".", "..", "a/../b", "a/./b", "a/%2E%2E/b", "__ds", "__ds/subscriptions",
        "%5F_ds/x",
        "a%", "a%2", "a%zz", "%FF", "a%00b", "a%0Ab", "a/b/c/d", "01234567890123456789012345678901234567890",
    ])
    func otherNamesAreRefused(path: String) {
        #expect(throws: StreamError(.invalidStreamName)) { try self.rules.name(path: path[...]) }
    }

    /// Paths that need no decoding take a way of their own.
    @Test func plainPathsAreTakenLikeTheirEscapedTwins() {
        let alphabet = Array("ad._/~\u{7F} ")
        var paths = [""]
        for _ in 0..<4 { paths += paths.flatMap { path in alphabet.map { path + String($0) } } }
        for path in Set(paths) where !path.isEmpty {
            // The escape of the last byte that is no slash leads through the general rules.
            guard let last = path.lastIndex(where: { $0 != "/" }), let byte = path[last].utf8.first else { continue }
            let escape = "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            let twin = path[..<last] + escape + path[path.index(after: last)...]
            let plain = Result { try self.rules.name(path: path[...]) }
            let escaped = Result { try self.rules.name(path: twin[...]) }
            #expect((try? plain.get()) == (try? escaped.get()), "\(path.debugDescription)")
        }
    }

    @Test func namesAreWrittenBackAsPaths() {
        #expect(StreamNameRules.encodedPath("a b/€%") == "a%20b/%E2%82%AC%25")
    }

    // MARK: Queries

    @Test func aReadWithoutParametersBeginsAtTheStart() throws {
        #expect(try ReadQuery(query: nil as String?) == ReadQuery(start: .start))
        #expect(try ReadQuery(query: "") == ReadQuery(start: .start))
        #expect(try ReadQuery(query: "foo=bar&baz&%zz=1&offset=-1") == ReadQuery(start: .start))
    }

    @Test func liveReadsNeedAnOffset() throws {
        #expect(
            try ReadQuery(query: "cursor=7&live=sse&offset=now")
                == ReadQuery(start: .now, live: .eventStream, cursor: 7))
        #expect(try ReadQuery(query: "offset=-1&live=long-poll").live == .longPoll)
        #expect(throws: StreamError(.badRequest)) { try ReadQuery(query: "live=sse") }
        #expect(throws: StreamError(.badRequest)) { try ReadQuery(query: "live=yes&offset=-1") }
        #expect(throws: StreamError(.badRequest)) { try ReadQuery(query: "live=sse&live=sse&offset=-1") }
    }

    @Test(arguments: [
        "offset=", "offset", "offset=-1&offset=-1", "offset=0,1", "offset=0%201", "offset=0+1", "offset=%zz",
        "offset=NOW",
        "offset=-2", "%6Fffset=abc", "offset=0000000000000000_0000000000000000%00",
    ])
    func malformedOffsetsAreRefused(query: String) {
        #expect(throws: StreamError(.invalidOffset)) { try ReadQuery(query: query) }
    }

    @Test func foreignCursorsCountAsNone() throws {
        #expect(try ReadQuery(query: "cursor=abc").cursor == nil)
        #expect(try ReadQuery(query: "cursor=99999999999999999999").cursor == nil)
        #expect(try ReadQuery(query: "cursor=12").cursor == 12)
    }

    @Test func anEventSourceGoesOnWhereItWas() throws {
        let offset = StreamOffset(position: 5)
        let query = "offset=-1&live=sse"
        #expect(try ReadQuery(query: query, lastEventID: offset.token).start == .at(offset))
        #expect(try ReadQuery(query: query, lastEventID: "17").start == .start)
        #expect(try ReadQuery(query: "offset=-1&live=long-poll", lastEventID: offset.token).start == .start)
    }

    // MARK: Creation

    private func create(_ fields: [(name: String, value: String)], body: String? = nil) throws -> CreateRequest {
        try RequestFields(fields).createRequest(
            body: body.map(ByteBuffer.init(string:)), root: "/v1/stream", names: StreamNameRules())
    }

    @Test(arguments: ["0", "1", "3600", "9007199254740"])
    func lifetimesAreWholeSeconds(text: String) throws {
        #expect(try self.create([("Stream-TTL", text)]).lifetime == .ttl(seconds: UInt64(text) ?? 1))
    }

    @Test(arguments: [
        "", "abc", "-1", "00060", "+60", "60.5", "1e3", "0x10", "6 0", "18446744073709551615", "18446744073709551616",
        "9007199254741", "٣",
    ])
    func otherLifetimesAreRefused(text: String) {
        #expect(throws: StreamError(.badRequest)) { try self.create([("stream-ttl", text)]) }
    }

    @Test func theLargestLifetimeDoesNotOverflow() {
        #expect(Lifetime.ttl(seconds: Lifetime.maximumSeconds).expiry(lastTouched: 1_800_000_000_000) != nil)
        #expect(Lifetime.ttl(seconds: .max).expiry(lastTouched: 1) == .max)
    }

    @Test(
        arguments: [
            ("1970-01-01T00:00:00Z", 0), ("2024-10-09T00:00:00Z", 1_728_432_000_000),
            ("2024-10-09T02:30:00+02:30", 1_728_432_000_000), ("2024-10-08T19:00:00.25-05:00", 1_728_432_000_250),
            ("2024-02-29T23:59:59.9999999z", 1_709_251_199_999), ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("1969-12-31T23:59:59Z", 0), ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
            ("2024-10-09T00:00:00-00:00", 1_728_432_000_000),
        ] as [(String, UInt64)])
    func deadlinesArePointsInTime(text: String, milliseconds: UInt64) throws {
        let lifetime = try self.create([("Stream-Expires-At", text)]).lifetime
        #expect(lifetime == .deadline(milliseconds: milliseconds, text: text))
        guard case .deadline(_, let echoed) = lifetime else { return }
        #expect(echoed == text)
    }

    @Test(arguments: [
        "", "tomorrow", "2024-10-09", "2024-10-09T00:00:00", "2024-10-09 00:00:00Z", "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z", "2023-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2024-04-31T00:00:00Z",
        "2024-10-09T24:00:00Z", "2024-10-09T00:60:00Z", "2016-12-31T23:59:60Z", "2024-10-09T00:00:00.Z",
        "2024-10-09T00:00:00+2:00", "2024-10-09T00:00:00+0200", "2024-10-09T00:00:00+24:00", "2024-10-09T00:00:00ZZ",
        "24-10-09T00:00:00Z", "1728432000",
    ])
    func otherDeadlinesAreRefused(text: String) {
        #expect(throws: StreamError(.badRequest)) { try self.create([("Stream-Expires-At", text)]) }
    }

    @Test func bothLifetimesAtOnceAreRefused() {
        #expect(throws: StreamError(.badRequest)) {
            try self.create([("Stream-TTL", "60"), ("Stream-Expires-At", "2099-01-01T00:00:00Z")])
        }
    }

    @Test func timesAreWrittenAsTheyAreRead() {
        for milliseconds: UInt64 in [0, 1, 951_782_400_000, 1_709_251_199_999, 1_728_432_000_250, 253_402_300_799_999] {
            #expect(Timestamp.milliseconds(Timestamp.text(milliseconds: milliseconds)) == milliseconds)
        }
        #expect(Timestamp.text(milliseconds: 1_728_432_000_250) == "2024-10-09T00:00:00.250Z")
    }

    @Test func onlyTrueCloses() throws {
        #expect(try self.create([("Stream-Closed", "TrUe")]).closes)
        for value in ["false", "yes", "1", "", "true,true"] {
            #expect(try !self.create([("Stream-Closed", value)]).closes, "\(value)")
        }
    }

    @Test func headersComeInAnyCaseButOnce() throws {
        #expect(try self.create([("sTREAM-ttl", "5")]).lifetime == .ttl(seconds: 5))
        #expect(throws: StreamError(.badRequest)) { try self.create([("Stream-TTL", "5"), ("stream-ttl", "5")]) }
        #expect(throws: StreamError(.badRequest)) {
            try self.create([("Content-Type", "a/b"), ("content-type", "a/b")])
        }
    }

    @Test func theContentTypeHasADefaultAndMustBeOne() throws {
        #expect(try self.create([]).plainConfiguration.contentType == .octetStream)
        #expect(try self.create([("Content-Type", "")]).plainConfiguration.contentType == .octetStream)
        #expect(throws: StreamError(.badRequest)) { try self.create([("Content-Type", "nonsense")]) }
        #expect(throws: StreamError(.badRequest)) { try self.create([("Content-Type", "a b/c")]) }
    }

    @Test func contentTypesAreComparedWithoutCase() throws {
        let json = try #require(ContentType("Application/JSON; charset=UTF-8"))
        #expect(json.isJSON)
        #expect(json.text == "Application/JSON; charset=UTF-8")
        #expect(json.matches(text: "application/json"))
        #expect(json.matches(text: "application/json;CHARSET=utf-8"))
        #expect(!json.matches(text: "application/json; charset=latin1"))
        #expect(!json.matches(text: "application/ndjson"))
        #expect(ContentType("application/ndjson")?.kind == .binary)
        #expect(ContentType("text/Plain")?.kind == .text)
        #expect(ContentType("application/json-seq")?.kind == .binary)
    }

    // MARK: Forks

    @Test func forkHeadersAreTakenTogether() throws {
        let offset = StreamOffset(position: 3)
        let fork = try self.create([
            ("Stream-Forked-From", "/v1/stream/a%20b/c"), ("Stream-Fork-Offset", offset.token),
            ("Stream-Fork-Sub-Offset", "2"),
        ]).fork
        #expect(fork == ForkRequest(sourceName: "a b/c", offset: offset, subOffset: 2))
        #expect(try self.create([("Stream-Forked-From", "/v1/stream/a")]).fork == ForkRequest(sourceName: "a"))
    }

    @Test(arguments: ["-1", "01", "", "abc", "1.5", "+1", "99999999999999999999"])
    func malformedSubOffsetsAreRefused(text: String) {
        #expect(throws: StreamError(.badRequest)) {
            try self.create([
                ("Stream-Forked-From", "/v1/stream/a"), ("Stream-Fork-Offset", StreamOffset.start.token),
                ("Stream-Fork-Sub-Offset", text),
            ])
        }
    }

    @Test func subOffsetsNeedAnOffsetAndASource() throws {
        #expect(throws: StreamError(.badRequest)) {
            try self.create([("Stream-Forked-From", "/v1/stream/a"), ("Stream-Fork-Sub-Offset", "1")])
        }
        #expect(throws: StreamError(.badRequest)) { try self.create([("Stream-Fork-Sub-Offset", "0")]) }
        #expect(
            try self.create([("Stream-Forked-From", "/v1/stream/a"), ("Stream-Fork-Sub-Offset", "0")]).fork?.subOffset
                == 0)
    }

    @Test(arguments: ["a", "/other/a", "http://host/v1/stream/a", "/v1/stream", "/v1/streama", "/v1/stream/a?x", ""])
    func sourcesMustBePathsOfThisServer(text: String) {
        #expect(throws: StreamError(.badRequest)) { try self.create([("Stream-Forked-From", text)]) }
    }

    @Test func malformedForkOffsetsAreRefused() {
        for text in ["-1", "now", "5", ""] {
            #expect(throws: StreamError(.invalidOffset)) {
                try self.create([("Stream-Forked-From", "/v1/stream/a"), ("Stream-Fork-Offset", text)])
            }
        }
    }

    // MARK: Appends

    private func append(_ fields: [(name: String, value: String)], body: String? = nil) throws -> AppendRequest {
        try RequestFields(fields).appendRequest(body: body.map(ByteBuffer.init(string:)))
    }

    @Test func producerHeadersComeAllOrNone() throws {
        let all = [("Producer-Id", "p"), ("Producer-Epoch", "1"), ("Producer-Seq", "9007199254740991")]
        #expect(try self.append(all).producer.get() == ProducerClaim(id: "p", epoch: 1, seq: 9_007_199_254_740_991))
        #expect(try self.append([]).producer.get() == nil)
        for missing in 0..<3 {
            var some = all
            some.remove(at: missing)
            #expect(throws: StreamError(.badRequest)) { try self.append(some).producer.get() }
        }
    }

    @Test(arguments: ["abc", "1.5", "-1", "", "1e3", "9007199254740992", "+1"])
    func malformedProducerNumbersAreRefused(text: String) throws {
        #expect(throws: StreamError(.badRequest)) {
            try self.append([("Producer-Id", "p"), ("Producer-Epoch", text), ("Producer-Seq", "0")]).producer.get()
        }
        #expect(throws: StreamError(.badRequest)) {
            try self.append([("Producer-Id", "p"), ("Producer-Epoch", "0"), ("Producer-Seq", text)]).producer.get()
        }
        #expect(throws: StreamError(.badRequest)) {
            try self.append([("Producer-Id", " "), ("Producer-Epoch", "0"), ("Producer-Seq", "0")]).producer.get()
        }
    }

    @Test func theBodyIsStoredByTheTypeOfTheRequest() throws {
        let request = try self.append([("Content-Type", "application/json; charset=utf-8")], body: "[1, 2]")
        #expect(try request.payload?.get().bytes == ByteBuffer(string: "1,2,"))
        #expect(try self.append([("Content-Type", "text/plain")], body: "[1, 2]").payload?.get().messageCount == 1)
        let empty = try self.append([("Content-Type", "text/plain")], body: "")
        #expect(empty.payload == nil)
        #expect(throws: StreamError(.invalidJSON)) {
            try self.append([("Content-Type", "application/json")], body: "{").payload?.get()
        }
    }

    @Test func expectedTailsComeBareOrQuoted() throws {
        let offset = StreamOffset(position: 12)
        #expect(try self.append([("If-Match", offset.token)]).ifMatch == offset)
        #expect(try self.append([("If-Match", "\"\(offset.token)\"")]).ifMatch == offset)
        #expect(try self.append([("If-Match", "*")]).ifMatch == nil)
        #expect(throws: StreamError(.badRequest)) { try self.append([("If-Match", "\"abc\"")]) }
    }
}
