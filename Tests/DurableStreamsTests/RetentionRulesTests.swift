import DurableStreams
import NIOCore
import Testing

@Suite("Rules of retention")
struct RetentionRulesTests {
    private static let now: UInt64 = 1_800_000_000_000

    private func stream(bytes: UInt64? = nil, seconds: UInt64? = nil) -> StreamState {
        StreamState(
            identity: StreamIdentity(rawValue: 1), name: "s",
            configuration: StreamConfiguration(
                contentType: .octetStream,
                retention: StreamRetention(maximumBytes: bytes, maximumAgeSeconds: seconds)), at: Self.now)
    }

    private func append(_ count: Int, to stream: inout StreamState, after seconds: UInt64 = 0) {
        stream.apply(AppendEffect(payloadCount: count, messageCount: 1, at: Self.now + seconds * 1000))
    }

    @Test func withoutBoundsThereIsNone() {
        #expect(StreamRetention() == nil)
        var stream = self.stream()
        self.append(1000, to: &stream)
        #expect(stream.retained == nil && stream.byteBound(tail: 1000) == nil)
        #expect(stream.ageBound(tail: 1000, at: .max / 2) == nil && !stream.isOverBound(tail: 1000))
        stream.trim(to: 500)
        #expect(stream.earliest == 0)
    }

    @Test func bytesBeyondTheBoundMayGo() {
        var stream = self.stream(bytes: 160)
        for _ in 0..<17 { self.append(10, to: &stream) }
        #expect(stream.byteBound(tail: stream.tail) == 10)
        #expect(!stream.isOverBound(tail: stream.tail), "a little more than the bound is let gather")
        self.append(10, to: &stream)
        #expect(stream.isOverBound(tail: stream.tail))
        stream.trim(to: 20)
        #expect(stream.earliest == 20 && stream.byteBound(tail: stream.tail) == nil)
        stream.trim(to: 10)
        #expect(stream.earliest == 20, "it never goes back")
    }

    @Test func whatIsTooOldMayGoButNotTheLastAppend() {
        var stream = self.stream(seconds: 320)
        for number in 0..<10 { self.append(10, to: &stream, after: UInt64(number) * 20) }
        #expect(stream.ageBound(tail: 100, at: Self.now + 319_999) == nil)
        #expect(stream.ageBound(tail: 100, at: Self.now + 320_000) == 10)
        #expect(stream.ageBound(tail: 100, at: Self.now + 345_000) == 20)
        #expect(stream.ageBound(tail: 15, at: Self.now + 345_000) == 10, "only what is durable counts")
        #expect(stream.ageBound(tail: 100, at: Self.now + 9_000_000) == 90)
        #expect(stream.nextAgeBound == Self.now + 320_000)
        stream.trim(to: 90)
        #expect(stream.ageBound(tail: 100, at: Self.now + 9_000_000) == nil)
        #expect(stream.nextAgeBound == nil, "nothing to do until something comes")
        self.append(5, to: &stream, after: 10_000)
        #expect(stream.ageBound(tail: 105, at: Self.now + 9_000_000) == 100)
    }

    @Test func manyAppendsNeedFewAges() throws {
        var stream = self.stream(seconds: 320)
        for number in 0..<100_000 { self.append(1, to: &stream, after: UInt64(number) / 10) }
        // Nobody has trimmed it for half an eternity: the oldest counts as younger than it is, never as older.
        let ages = try #require(stream.retained?.ages)
        #expect(ages.count <= 48)
        let first = try #require(ages.first)
        #expect(first.time >= Self.now + (first.end - 1) / 10 * 1000)
        let end = try #require(stream.ageBound(tail: stream.tail, at: Self.now + 10_000_000))
        let cut = (10_000_000 - 320_000) / 100
        #expect(
            end <= UInt64(cut) + 10 && end >= UInt64(cut) - 110, "no more than a thirty-second of it is kept longer")
    }

    @Test func aClockThatIsPutBackMakesNothingOlder() {
        var stream = self.stream(seconds: 100)
        self.append(10, to: &stream, after: 1000)
        self.append(10, to: &stream, after: 5)
        self.append(10, to: &stream, after: 1001)
        #expect(stream.ageBound(tail: 30, at: Self.now + 200_000) == nil)
        #expect(stream.ageBound(tail: 30, at: Self.now + 1_200_000) == 20)
    }

    @Test func whatWasDroppedMakesRoomUnderTheLimitOfAStream() {
        var stream = self.stream(bytes: 50)
        self.append(100, to: &stream)
        let request = AppendRequest(
            contentType: "application/octet-stream",
            payload: .success(StreamPayload(bytes: ByteBuffer(string: "0123456789"), messageCount: 1)))
        let limits = AppendLimits(maximumStreamBytes: 100)
        guard case .refuse(let error) = stream.decideAppend(request, at: Self.now, limits: limits) else {
            Issue.record("there is no room")
            return
        }
        #expect(error.code == .payloadTooLarge)
        stream.trim(to: 10)
        guard case .accept = stream.decideAppend(request, at: Self.now, limits: limits) else {
            Issue.record("there is room")
            return
        }
    }

    @Test func itIsPartOfTheConfigurationWhereItWasAskedFor() {
        func isSame(_ wanted: StreamRetention?, _ existing: StreamRetention?) -> Bool {
            let state = StreamState(
                identity: StreamIdentity(rawValue: 1), name: "s",
                configuration: StreamConfiguration(contentType: .octetStream, retention: existing), at: 1)
            guard case .confirm = CreateRequest(contentType: nil, retention: wanted).decide(existing: state) else {
                return false
            }
            return true
        }
        let own = StreamRetention(maximumBytes: 5)
        let other = StreamRetention(maximumBytes: 5, maximumAgeSeconds: 5)
        #expect(isSame(own, own) && isSame(nil, nil))
        #expect(!isSame(own, other) && !isSame(own, nil) && !isSame(nil, own))
        // The server's default is nobody's wish: who asks for nothing gets what is there.
        #expect(
            isSame(nil, own?.inherited) && isSame(other?.inherited, own?.inherited) && isSame(other?.inherited, nil))
        #expect(!isSame(own, own?.inherited) && !isSame(own?.inherited, own))
    }

    @Test func statesReadBackAreTheSame() throws {
        var stream = self.stream(bytes: 7, seconds: 9)
        for number in 0..<30 { self.append(3, to: &stream, after: UInt64(number)) }
        stream.trim(to: 33)
        var buffer = ByteBuffer()
        stream.encode(into: &buffer)
        for length in 0..<buffer.readableBytes {
            var cut = buffer.getSlice(at: 0, length: length) ?? ByteBuffer()
            #expect(StreamState(decoding: &cut) == nil)
        }
        #expect(StreamState(decoding: &buffer) == stream)
        #expect(buffer.readableBytes == 0)
    }

    /// Bytes as they were written before there were retentions.
    @Test func statesWithoutARetentionAreWrittenAsBefore() throws {
        let stream = StreamState(
            identity: StreamIdentity(rawValue: 5), name: "ab",
            configuration: StreamConfiguration(contentType: try #require(ContentType("text/plain"))), payloadCount: 3,
            messageCount: 1, at: 7)
        var buffer = ByteBuffer()
        stream.encode(into: &buffer)
        let old: [UInt8] =
            [1, 0, 5, 2] + Array("ab".utf8) + [1, 10] + Array("text/plain".utf8) + [0, 0, 3, 1, 7, 7, 7, 0, 0]
        #expect(Array(buffer.readableBytesView) == old)
        #expect(StreamState(decoding: &buffer) == stream)
    }

    @Test func aForkBeginsWhereItsSourceDoes() throws {
        var source = self.stream(bytes: 10)
        for _ in 0..<10 { self.append(10, to: &source) }
        source.trim(to: 50)
        func plan(_ offset: UInt64, _ retention: StreamRetention? = nil) throws(StreamError) -> ForkPlan {
            try CreateRequest(
                contentType: nil, retention: retention,
                fork: ForkRequest(sourceName: "s", offset: StreamOffset(position: offset))
            ).planFork(from: source)
        }
        let error = #expect(throws: StreamError.self) { try plan(49) }
        #expect(error?.code == .offsetGone && error?.earliest?.position == 50)
        #expect(try plan(50).configuration(position: 50).retention == StreamRetention(maximumBytes: 10, isOwn: false))
        let own = StreamRetention(maximumAgeSeconds: 4)
        let configuration = try plan(70, own).configuration(position: 70)
        #expect(configuration.retention == own)
        #expect(try plan(70, own?.inherited).configuration(position: 70).retention?.maximumBytes == 10)
        let fork = StreamState(
            identity: StreamIdentity(rawValue: 2), name: "f", configuration: configuration, earliest: 50, at: Self.now)
        #expect(fork.earliest == 50)
        #expect(fork.ageBound(tail: 70, at: Self.now + 9000) == nil, "what its last append is, is not known")
        var written = fork
        self.append(5, to: &written, after: 1)
        #expect(written.ageBound(tail: 75, at: Self.now + 4999) == 70)
    }

    @Test(arguments: ["0", "-1", "1.5", "", "x", "01", "99999999999999999999", "9007199254741"])
    func wrongBoundsAreRefused(_ text: String) {
        for name in ["Stream-Retention-Bytes", "stream-retention-seconds"] {
            let error = #expect(throws: StreamError.self) {
                _ = try RequestFields([(name, text)]).createRequest(body: nil, root: "/v1", names: StreamNameRules())
            }
            #expect(error?.code == .badRequest)
        }
    }

    @Test func boundsAreReadAndTheDefaultStandsBack() throws {
        func retention(_ fields: [(name: String, value: String)]) throws -> StreamRetention? {
            try RequestFields(fields).createRequest(
                body: nil, root: "/v1", names: StreamNameRules(),
                defaultRetention: StreamRetention(maximumBytes: 77)
            ).retention
        }
        #expect(try retention([]) == StreamRetention(maximumBytes: 77, isOwn: false))
        #expect(
            try retention([("Stream-Retention-Seconds", " 5 ")])
                == StreamRetention(maximumAgeSeconds: 5))
        #expect(
            try retention([("stream-retention-seconds", "5"), ("STREAM-RETENTION-BYTES", "9007199254740")])
                == StreamRetention(maximumBytes: 9_007_199_254_740, maximumAgeSeconds: 5))
        let twice = #expect(throws: StreamError.self) {
            _ = try retention([("stream-retention-bytes", "5"), ("stream-retention-bytes", "5")])
        }
        #expect(twice?.code == .badRequest)
    }

    @Test func responsesOfAStreamWithARetentionPromiseNothingForEver() {
        let policy = CachePolicy(sealedMaximumAgeSeconds: 1000)
        func facts(_ hasRetention: Bool, isFromStart: Bool, start: UInt64 = 4) -> ReadFacts {
            ReadFacts(
                identity: StreamIdentity(rawValue: 5), contentType: .octetStream, start: start, end: 9, isAtTail: true,
                isClosed: true, isFromStart: isFromStart, hasRetention: hasRetention)
        }
        let plain = StreamResponse.read(facts(false, isFromStart: false), policy: policy)
        #expect(plain.header("cache-control")?.contains("immutable") == true)
        let kept = StreamResponse.read(facts(true, isFromStart: false), policy: policy)
        #expect(kept.header("cache-control") == "public, max-age=60, stale-while-revalidate=300")
        #expect(kept.header("stream-earliest-offset") == nil)
        let start = StreamResponse.read(facts(true, isFromStart: true), policy: policy)
        #expect(start.header("cache-control") == "no-cache" && start.header("etag") == "\"5:4:9:c\"")
        #expect(start.header("stream-earliest-offset") == "0000000000000000_0000000000000004")
        let whole = StreamResponse.read(facts(true, isFromStart: true, start: 0), policy: CachePolicy(scope: .none))
        #expect(whole.header("cache-control") == "no-store" && whole.header("stream-earliest-offset") == nil)
        let gone = StreamResponse.error(StreamState.offsetGone(earliest: 4), instance: nil)
        #expect(gone.status == 410 && gone.header("stream-earliest-offset") == "0000000000000000_0000000000000004")
        #expect(gone.header("cache-control") == "no-store")
    }
}
