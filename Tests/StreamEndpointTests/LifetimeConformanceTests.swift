import DurableStreams
import Foundation
import StreamEndpoint
import Testing

extension Conformance {
    @Suite struct LifetimeValidation {
        @Test(arguments: TestMode.allCases) func bothHeadersAre400(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            let answer = try await stream.create([
                "stream-ttl": "60", "stream-expires-at": "2099-01-01T00:00:00Z",
            ])
            #expect(answer.status == 400)
            #expect(try await stream.head().status == 404)
        }

        @Test(
            arguments: TestMode.allCases,
            ["abc", "-1", "00060", "+60", "60.5", "1e3", "", " ", "18446744073709551615", "99999999999999999999999"])
        func malformedTTLsAre400(_ mode: TestMode, _ value: String) async throws {
            let stream = try mode.stream()
            #expect(try await stream.create(["stream-ttl": value]).status == 400)
            #expect(try await stream.head().status == 404)
        }

        @Test(
            arguments: TestMode.allCases, ["tomorrow", "2099-13-01T00:00:00Z", "2099-01-01", "2099-01-01T00:00:00", ""])
        func malformedTimesAre400(_ mode: TestMode, _ value: String) async throws {
            #expect(try await mode.stream().create(["stream-expires-at": value]).status == 400)
        }

        @Test(
            arguments: TestMode.allCases,
            ["2099-01-01T00:00:00Z", "2099-01-01T00:00:00+01:00", "2099-01-01T00:00:00.123-05:30"])
        func timesWithZonesAreFine(_ mode: TestMode, _ value: String) async throws {
            #expect(try await mode.stream().create(["stream-expires-at": value]).status == 201)
        }

        @Test(arguments: TestMode.allCases) func aTTLIsFineAndPartOfTheConfiguration(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            #expect(try await stream.create(["stream-ttl": "3600"]).status == 201)
            #expect(try await stream.create(["stream-ttl": "3600"]).status == 200)
            #expect(try await stream.create(["stream-ttl": "7200"]).status == 409)
            #expect(try await stream.create().status == 409)
        }
    }

    @Suite struct Expiry {
        private func text(_ clock: TestClock, in seconds: UInt64) -> String {
            Timestamp.text(milliseconds: clock.now() + seconds * 1000)
        }

        /// A fixed time is not held up by readers: a long-poll hears that the stream is gone, an event stream ends.
        @Test(arguments: TestMode.allCases)
        func aDeadlineEndsLiveReaders(_ mode: TestMode) async throws {
            let patient: @Sendable (inout StreamServices) -> Void = {
                $0.live.longPollTimeout = 60_000
                $0.live.idleClose = 0
            }
            try await EndpointServer.with(mode, { $0.services = patient }) { server in
                let stream = server.client.stream()
                let headers = ["stream-expires-at": self.text(server.clock, in: 60)]
                #expect(try await stream.create(headers, body: "text").status == 201)
                let events = try await stream.events("-1")
                try await events.waitForData("text")
                async let waiting = stream.longPoll("now")
                let deadline = ContinuousClock.now + .seconds(20)
                while server.services.liveReaders < 2 {
                    try #require(ContinuousClock.now < deadline)
                    try await Task.sleep(for: .milliseconds(5))
                }
                server.clock.advance(seconds: 61)
                #expect(try await waiting.status == 404)
                let all = try await events.untilEnd()
                // Gone, not closed by a writer.
                #expect(!all.contains { $0.data.contains("streamClosed") })
                #expect(try await stream.events("-1").status == 404)
                #expect(server.services.liveReaders == 0)
            }
        }

        @Test(arguments: TestMode.allCases, [true, false])
        func whatHasExpiredIsNotThere(_ mode: TestMode, _ isTTL: Bool) async throws {
            try await EndpointServer.with(mode) { server in
                let headers =
                    isTTL ? ["stream-ttl": "60"] : ["stream-expires-at": self.text(server.clock, in: 60)]
                let streams = (0..<4).map { _ in server.client.stream() }
                for stream in streams { #expect(try await stream.create(headers, body: "old").status == 201) }
                #expect(try await streams[0].head().status == 200)
                server.clock.advance(seconds: 120)
                #expect(try await streams[0].head().status == 404)
                #expect(try await streams[1].read().status == 404)
                #expect(try await streams[2].append("x").status == 404)
                #expect(try await streams[3].longPoll("-1").status == 404)
                // A new stream takes the name, of another type, with nothing of the old.
                let again = try await streams[0].create(["content-type": "application/json"])
                #expect(again.status == 201)
                #expect(try await streams[0].read().text == "[]")
            }
        }

        @Test(arguments: TestMode.allCases) func writesAndReadsRenewATTL(_ mode: TestMode) async throws {
            try await EndpointServer.with(mode) { server in
                let (written, read, polled, headed) = (
                    server.client.stream(), server.client.stream(), server.client.stream(), server.client.stream()
                )
                for stream in [written, read, polled, headed] {
                    try await stream.create(["stream-ttl": "300"], body: "x")
                }
                for _ in 0..<3 {
                    server.clock.advance(seconds: 180)
                    #expect(try await written.append("y").status == 204)
                    #expect(try await read.read().status == 200)
                    #expect(try await polled.longPoll("-1").status == 200)
                    _ = try await headed.head()
                }
                #expect(try await headed.head().status == 404)
                #expect(try await written.head().status == 200)
                #expect(try await read.head().status == 200)
                #expect(try await polled.head().status == 200)
            }
        }

        @Test(arguments: TestMode.allCases) func aDeadlineNeverMoves(_ mode: TestMode) async throws {
            try await EndpointServer.with(mode) { server in
                let stream = server.client.stream()
                try await stream.create(["stream-expires-at": self.text(server.clock, in: 300)], body: "x")
                server.clock.advance(seconds: 180)
                #expect(try await stream.append("y").status == 204)
                #expect(try await stream.read().status == 200)
                server.clock.advance(seconds: 180)
                #expect(try await stream.read().status == 404)
            }
        }

        @Test(arguments: TestMode.allCases) func aLiveReaderKeepsAStream(_ mode: TestMode) async throws {
            try await EndpointServer.with(mode, { $0.services = { $0.live.idleClose = 0 } }) { server in
                let stream = server.client.stream()
                try await stream.create(["stream-ttl": "150"], body: "x")
                let reader = try await stream.events()
                try await reader.waitForData("x")
                server.clock.advance(seconds: 600)
                #expect(try await stream.append("y").status == 204)
                try await reader.waitForData("y")
                await reader.close()
            }
        }
    }
}
