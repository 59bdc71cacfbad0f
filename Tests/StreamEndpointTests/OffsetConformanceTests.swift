import DurableStreams
import NIOHTTP1
import StreamEndpoint
import Testing

extension Conformance {
    @Suite struct Offsets {
        @Test(arguments: TestMode.allCases) func minusOneAndNoOffsetAreEqual(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "hello")
            let (one, other) = (try await stream.read(), try await stream.read("-1"))
            #expect(one.text == "hello")
            #expect(other.text == "hello")
            #expect(one.offset == other.offset)
            #expect(try await stream.read(RemoteStream.start).text == "hello")
        }

        @Test(arguments: TestMode.allCases, ["text/plain", "application/json", "application/octet-stream"])
        func nowReadsNothingAndTellsTheTail(_ mode: TestMode, _ type: String) async throws {
            let stream = try mode.stream(type)
            try await stream.create(body: type == "application/json" ? "[1,2]" : "12")
            let answer = try await stream.read("now")
            #expect(answer.status == 200)
            #expect(answer.text == (type == "application/json" ? "[]" : ""))
            #expect(answer.isUpToDate)
            #expect(answer["cache-control"] == "no-store")
            #expect(answer["etag"] == nil)
            #expect(answer.offset == (try await stream.read().offset))
            try await stream.append(type == "application/json" ? "3" : "34")
            #expect(try await stream.read(answer.offset).text == (type == "application/json" ? "[3]" : "34"))
        }

        @Test(arguments: TestMode.allCases) func nowOnAnEmptyStream(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let answer = try await stream.read("now")
            #expect(answer.status == 200)
            #expect(answer.body.isEmpty)
            #expect(answer.offset == RemoteStream.start)
        }

        @Test(arguments: TestMode.allCases) func aLongPollFromNowTimesOutWithTheTail(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "old")
            let answer = try await stream.longPoll("now")
            #expect(answer.status == 204)
            #expect(answer.isUpToDate)
            #expect(answer.offset == (try await stream.head().offset))
        }

        @Test(arguments: TestMode.allCases) func aLongPollFromNowGetsNewDataOnly(_ mode: TestMode) async throws {
            let server = try await EndpointServer.start(mode) { $0.services = { $0.live.longPollTimeout = 8000 } }
            let stream = server.client.stream()
            try await stream.create(body: "old")
            async let poll = stream.longPoll("now")
            try await waitForReaders(of: stream, on: server)
            try await stream.append("new")
            let answer = try await poll
            #expect(answer.status == 200)
            #expect(answer.text == "new")
            #expect(answer.isUpToDate)
            #expect(answer["etag"] == nil)
            await server.stop()
        }

        @Test(arguments: TestMode.allCases) func nowOnEmptyStreamsLive(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let poll = try await stream.longPoll("now")
            #expect(poll.status == 204)
            #expect(poll.offset == RemoteStream.start)
            let events = try await stream.events("now").untilUpToDate()
            #expect(events.map(\.name) == ["control"])
            #expect(events[0].offset == RemoteStream.start)
        }

        @Test(arguments: TestMode.allCases) func eventsFromNowBeginWithAControlEvent(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "old")
            let reader = try await stream.events("now")
            let events = try await reader.wait { !$0.isEmpty }
            #expect(events[0].name == "control")
            #expect(events[0].isUpToDate)
            #expect(events[0].offset == (try await stream.head().offset))
            try await stream.append("new")
            try await reader.waitForData("new")
            #expect(reader.data.map(\.data) == ["new"])
            await reader.close()
        }

        @Test(arguments: TestMode.allCases) func nowOnAnUnknownStreamIs404(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            #expect(try await stream.read("now").status == 404)
            #expect(try await stream.longPoll("now").status == 404)
            let events = try await stream.events("now")
            #expect(events.status == 404)
            await events.close()
        }

        @Test(
            arguments: TestMode.allCases,
            [
                "0,1", "0%201", "", "abc", "0&offset=1", "%00", "-2", "NOW", "0000000000000000_000000000000000",
                "0000000000000000-0000000000000000", "0000000000000000_0000000000000000/", "%2d1%20",
            ])
        func malformedOffsetsAre400(_ mode: TestMode, _ offset: String) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "x")
            for live in ["", "&live=long-poll", "&live=sse"] {
                let answer = try await stream.request(.GET, query: "offset=\(offset)\(live)")
                #expect(answer.status == 400)
                #expect(answer.code == "INVALID_OFFSET")
            }
        }

        @Test(arguments: TestMode.allCases) func anOffsetBeyondTheTailIs400(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "x")
            for live in ["", "&live=long-poll", "&live=sse"] {
                let answer = try await stream.request(.GET, query: "offset=\(RemoteStream.beyond)\(live)")
                #expect(answer.status == 400)
            }
        }

        @Test(arguments: TestMode.allCases) func resumingRepeatsNothing(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            var seen = ""
            var offset = "-1"
            for index in 0..<5 {
                try await stream.append("<\(index)>")
                let answer = try await stream.read(offset)
                seen += answer.text
                offset = answer.offset
            }
            #expect(seen == "<0><1><2><3><4>")
        }

        @Test(arguments: TestMode.allCases) func aReadAtTheTailIsEmpty(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            let tail = try await stream.create(body: "x").offset
            let answer = try await stream.read(tail)
            #expect(answer.status == 200)
            #expect(answer.body.isEmpty)
            #expect(answer.isUpToDate)
            #expect(answer.offset == tail)
        }
    }

    @Suite struct LongPolls {
        @Test(arguments: TestMode.allCases) func aLongPollWaitsForAnAppend(_ mode: TestMode) async throws {
            let server = try await EndpointServer.start(mode) { $0.services = { $0.live.longPollTimeout = 8000 } }
            let stream = server.client.stream()
            let tail = try await stream.create(body: "old").offset
            async let poll = stream.longPoll(tail)
            try await waitForReaders(of: stream, on: server)
            try await stream.append("new")
            let answer = try await poll
            #expect(answer.status == 200)
            #expect(answer.text == "new")
            #expect(answer["etag"] != nil)
            await server.stop()
        }

        @Test(arguments: TestMode.allCases) func dataThatIsThereComesAtOnce(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "hello")
            let answer = try await stream.longPoll("-1")
            #expect(answer.status == 200)
            #expect(answer.text == "hello")
            #expect(answer.isUpToDate)
            #expect(answer.offset == (try await stream.head().offset))
            #expect(answer["cache-control"] == "public, max-age=60, stale-while-revalidate=300")
            #expect(UInt64(answer["stream-cursor"] ?? "") != nil)
        }

        @Test(arguments: TestMode.allCases, ["live=long-poll", "live=sse", "live=other&offset=-1", "live=&offset=-1"])
        func aLiveReadNeedsAModeAndAnOffset(_ mode: TestMode, _ query: String) async throws {
            let stream = try mode.stream()
            try await stream.create()
            #expect(try await stream.request(.GET, query: query).status == 400)
        }

        @Test(arguments: TestMode.allCases) func anEchoedCursorGivesALargerOne(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "x")
            func cursor(after known: String?) async throws -> UInt64 {
                let answer = try await stream.longPoll("-1", cursor: known)
                return try #require(UInt64(answer["stream-cursor"] ?? ""))
            }
            let first = try await cursor(after: nil)
            #expect(try await cursor(after: "\(first)") > first)
            // Any number of rounds later it still rises, and what is no cursor is passed over.
            #expect(try await cursor(after: "9007199254740000") > 9_007_199_254_740_000)
            #expect(try await stream.longPoll("-1", cursor: "abc").status == 200)
            #expect(try await stream.longPoll("-1", cursor: String(repeating: "9", count: 300)).status == 200)
        }

        @Test(arguments: TestMode.allCases) func aTimeoutTellsWhereTheReaderStands(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            let tail = try await stream.create(body: "x").offset
            let answer = try await stream.longPoll(tail)
            #expect(answer.status == 204)
            #expect(answer.offset == tail)
            #expect(answer.isUpToDate)
            #expect(answer.body.isEmpty)
            #expect(answer["cache-control"] == "no-store")
            #expect(UInt64(answer["stream-cursor"] ?? "") != nil)
        }
    }

    @Suite struct ReadYourWrites {
        @Test(arguments: TestMode.allCases) func whatWasAcknowledgedIsRead(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "initial;")
            #expect(try await stream.read().text == "initial;")
            var whole = "initial;"
            for index in 0..<10 {
                let before = try await stream.head().offset
                try await stream.append("m\(index);")
                whole += "m\(index);"
                #expect(try await stream.read().text == whole)
                #expect(try await stream.read(before).text == "m\(index);")
            }
        }
    }

    @Suite struct LargePayloads {
        @Test(arguments: TestMode.allCases) func chunksJoinToTheWhole(_ mode: TestMode) async throws {
            let stream = try mode.stream("application/octet-stream")
            try await stream.create()
            var whole: [UInt8] = []
            for index in 0..<20 {
                let piece = (0..<70_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ index &* 7) }
                try await stream.append(bytes: piece)
                whole += piece
            }
            let first = try await stream.read()
            #expect(!first.isUpToDate)
            #expect(first["etag"] != nil)
            let (bytes, offsets) = try await stream.readAll()
            #expect(bytes == whole)
            #expect(offsets.count > 3)
            #expect(offsets == offsets.sorted())
        }

        @Test(arguments: TestMode.allCases) func aLargeAppendIsTakenWhole(_ mode: TestMode) async throws {
            let stream = try mode.stream("application/octet-stream")
            try await stream.create()
            let piece = [UInt8](repeating: 7, count: 9 << 20)
            #expect(try await stream.append(bytes: piece).status == 204)
            #expect(try await stream.read().body == piece)
            #expect(try await stream.append(bytes: [UInt8](repeating: 7, count: 11 << 20)).status == 413)
            #expect(try await stream.head().offset == "0000000000000000_0000000009437184")
        }
    }
}

/// Waits until someone reads live on the server.
func waitForReaders(of stream: RemoteStream, on server: EndpointServer, count: Int = 1) async throws {
    let deadline = ContinuousClock.now + .seconds(10)
    while server.services.liveReaders < count {
        guard ContinuousClock.now < deadline else { throw TestFailure("nobody reads") }
        try await Task.sleep(for: .milliseconds(5))
    }
}
