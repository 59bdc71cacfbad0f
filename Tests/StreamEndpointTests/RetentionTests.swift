import DurableStreams
import Foundation
import NIOHTTP1
import StreamDirectory
import StreamEndpoint
import Testing

extension Conformance {
    /// The extension that drops the front of a stream, as clients see it.
    @Suite struct Retention {
        /// Ten appends of ten bytes, and a bound of 30.
        private func trimmed(_ mode: TestMode, _ type: String = "text/plain") async throws -> RemoteStream {
            let stream = try mode.stream(type)
            #expect(try await stream.create(["stream-retention-bytes": "30"]).status == 201)
            for number in 0..<10 { try await stream.append("\(number)---------") }
            try await stream.trim(mode.server())
            return stream
        }

        private func offset(_ position: UInt64) -> String { StreamOffset(position: position).token }

        @Test(arguments: TestMode.allCases) func headersAreKeptAndPartOfTheConfiguration(_ mode: TestMode) async throws
        {
            let stream = try mode.stream()
            let headers = ["stream-retention-bytes": "1000", "stream-retention-seconds": "60"]
            #expect(try await stream.create(headers).status == 201)
            #expect(try await stream.create(headers).status == 200)
            #expect(try await stream.create(["stream-retention-bytes": "1000"]).status == 409)
            #expect(try await stream.create().status == 409)
            let head = try await stream.head()
            #expect(head["stream-retention-bytes"] == "1000" && head["stream-retention-seconds"] == "60")
            #expect(head["stream-earliest-offset"] == nil, "all is there")
            let wrong = try await mode.stream().create(["stream-retention-bytes": "0"])
            #expect(wrong.status == 400 && wrong.code == "BAD_REQUEST")
            let plain = try mode.stream()
            try await plain.create()
            #expect(try await plain.create(headers).status == 409)
            #expect(try await plain.head()["stream-retention-bytes"] == nil)
        }

        @Test(arguments: TestMode.allCases) func belowTheKeptRangeIs410(_ mode: TestMode) async throws {
            let stream = try await self.trimmed(mode)
            let head = try await stream.head()
            #expect(head["stream-earliest-offset"] == self.offset(70) && head.offset == self.offset(100))
            for offset in [RemoteStream.start, self.offset(1), self.offset(69)] {
                for query in ["", "&live=long-poll", "&live=sse"] {
                    let answer = try await stream.request(.GET, query: "offset=\(offset)\(query)")
                    #expect(answer.status == 410 && answer.code == "OFFSET_GONE", "\(query)")
                    #expect(answer["stream-earliest-offset"] == self.offset(70))
                    #expect(answer["cache-control"] == "no-store")
                }
            }
            let again = try await stream.read(self.offset(70))
            #expect(again.status == 200 && again.text == "7---------8---------9---------")
            #expect(try await stream.read(self.offset(75)).text == "-----8---------9---------")
        }

        @Test(arguments: TestMode.allCases) func theBeginningIsWhatIsKept(_ mode: TestMode) async throws {
            let stream = try await self.trimmed(mode)
            for query in ["", "offset=-1", "offset=-1&live=long-poll"] {
                let answer = try await stream.request(.GET, query: query)
                #expect(answer.status == 200 && answer.text == "7---------8---------9---------")
                #expect(answer["stream-earliest-offset"] == self.offset(70) && answer.offset == self.offset(100))
                #expect(answer["cache-control"] == "no-cache")
            }
            let events = try await stream.events("-1")
            try await events.waitForData("7---------8---------9---------")
            #expect(events["stream-earliest-offset"] == self.offset(70))
            await events.close()
        }

        @Test(arguments: TestMode.allCases) func entityTagsDoNotOutliveWhatTheyStandFor(_ mode: TestMode) async throws {
            var stream: RemoteStream
            var whole: Answer
            var tag: String
            var status: Int
            // The server trims by itself, too; this is about a tag from before that.
            repeat {
                stream = try mode.stream()
                try await stream.create(["stream-retention-bytes": "30"])
                for number in 0..<10 { try await stream.append("\(number)---------") }
                whole = try await stream.read("-1")
                tag = try #require(whole["etag"])
                status = try await stream.read("-1", ["if-none-match": tag]).status
            } while whole.body.count < 100 || status != 304
            try await stream.trim(mode.server())
            let changed = try await stream.read("-1", ["if-none-match": tag])
            #expect(changed.status == 200 && changed["etag"] != tag)
            let now = try #require(changed["etag"])
            #expect(try await stream.read("-1", ["if-none-match": now]).status == 304)
            #expect(try await stream.read(RemoteStream.start, ["if-none-match": tag]).status == 410)
        }

        @Test(arguments: TestMode.allCases) func messagesOfOneAppendGoTogether(_ mode: TestMode) async throws {
            let stream = try mode.stream("application/json")
            try await stream.create(["stream-retention-bytes": "9"])
            for number in 0..<5 { try await stream.append("[\(number),\"a\"]") }
            try await stream.trim(mode.server())
            #expect(try await stream.read("-1").text == #"[3,"a",4,"a"]"#)
        }

        @Test(arguments: TestMode.allCases) func aForkBeginsWithItsSource(_ mode: TestMode) async throws {
            let stream = try await self.trimmed(mode)
            let early = try await stream.fork(["stream-fork-offset": self.offset(60)])
            #expect(early.answer.status == 410 && early.answer.code == "OFFSET_GONE")
            #expect(early.answer["stream-earliest-offset"] == self.offset(70))
            let fork = try await stream.fork(["stream-fork-offset": self.offset(80)])
            #expect(fork.answer.status == 201)
            #expect(try await fork.stream.head()["stream-retention-bytes"] == "30")
            for number in 0..<9 { try await stream.append("\(number)+++++++++") }
            try await stream.trim(mode.server())
            #expect(try await stream.read("-1").text == "6+++++++++7+++++++++8+++++++++")
            #expect(try await fork.stream.read("-1").text == "7---------")
            #expect(try await fork.stream.read(RemoteStream.start).status == 410)
        }

        /// A reader that waits at the tail is not disturbed; it goes on with what comes.
        @Test(arguments: TestMode.allCases) func aReaderAtTheTailReadsOn(_ mode: TestMode) async throws {
            let stream = try await self.trimmed(mode)
            let events = try await stream.events("now")
            _ = try await events.wait { !$0.isEmpty }
            for round in 0..<3 {
                for number in 0..<5 { try await stream.append("\(round)\(number)++++++++") }
                try await stream.trim(mode.server())
            }
            try await events.waitForData("24++++++++")
            let all = events.data.map(\.data).joined()
            let expected = (0..<3).flatMap { round in (0..<5).map { "\(round)\($0)++++++++" } }.joined()
            #expect(all == expected)
            await events.close()
        }

        @Test(arguments: TestMode.allCases) func theDefaultIsForStreamsThatAskForNone(_ mode: TestMode) async throws {
            let settings: @Sendable (inout StreamServices) -> Void = {
                $0.retention = StreamRetention(maximumBytes: 50).map { DefaultRetention($0, prefixes: ["logs/"]) }
            }
            try await EndpointServer.with(mode, { $0.services = settings }) { server in
                let log = server.client.stream(named: "logs/a")
                #expect(try await log.create().status == 201)
                #expect(try await log.create().status == 200)
                #expect(try await log.head()["stream-retention-bytes"] == "50")
                #expect(try await log.create(["stream-retention-bytes": "50"]).status == 409)
                let own = server.client.stream(named: "logs/b")
                try await own.create(["stream-retention-seconds": "9"])
                #expect(try await own.head()["stream-retention-bytes"] == nil)
                let other = server.client.stream(named: "else/logs/a")
                try await other.create()
                #expect(try await other.head()["stream-retention-bytes"] == nil)
            }
        }

        /// The directory's own thread does it, by bytes and by age.
        @Test(arguments: TestMode.allCases) func itHappensByItself(_ mode: TestMode) async throws {
            try await EndpointServer.with(mode) { server in
                let young = server.client.stream(named: "young")
                let small = server.client.stream(named: "small")
                try await young.create(["stream-retention-seconds": "100"])
                try await small.create(["stream-retention-bytes": "10"])
                for _ in 0..<3 {
                    try await young.append("0123456789")
                    try await small.append("0123456789")
                    server.clock.advance(seconds: 60)
                }
                for (stream, earliest) in [(young, 20), (small, 20)] as [(RemoteStream, UInt64)] {
                    try await eventually("it is trimmed") {
                        try await stream.head()["stream-earliest-offset"] == self.offset(earliest)
                    }
                    #expect(try await stream.read("-1").text == "0123456789")
                }
                #expect(server.directory.statistics.trimmedBytes == 40)
            }
        }
    }
}

extension RemoteStream {
    /// Trims the stream by its bounds, durably.
    fileprivate func trim(_ server: EndpointServer) async throws {
        try await withCheckedContinuation { continuation in
            server.directory.trim(self.name, now: server.clock.now()) { continuation.resume(returning: $0) }
        }.get()
    }
}
