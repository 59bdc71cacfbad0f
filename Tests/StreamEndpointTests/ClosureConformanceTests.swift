import DurableStreams
import StreamEndpoint
import Testing

extension Conformance {
    @Suite struct Closure {
        @Test(arguments: TestMode.allCases) func streamsAreCreatedClosed(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            let created = try await stream.create(["stream-closed": "TRUE"], body: "whole")
            #expect(created.status == 201)
            #expect(created.isClosed)
            #expect(created.offset > RemoteStream.start)
            let read = try await stream.read()
            #expect(read.text == "whole")
            #expect(read.isClosed)
            #expect(read.isUpToDate)
            #expect(try await stream.create(["stream-closed": "true"]).status == 200)
            #expect(try await stream.create(["stream-closed": "true"]).isClosed)
            #expect(try await stream.create().status == 409)
            let empty = try mode.stream()
            #expect(try await empty.create(["stream-closed": "true"]).isClosed)
            #expect(try await empty.read().isClosed)
        }

        @Test(arguments: TestMode.allCases) func otherValuesOfTheHeaderCountAsAbsent(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            #expect(try await stream.create(["stream-closed": "yes"]).isClosed == false)
            #expect(try await stream.append("x", ["stream-closed": "1"]).isClosed == false)
            #expect(try await stream.append("", ["stream-closed": "false"]).status == 400)
            #expect(try await stream.head().isClosed == false)
        }

        @Test(arguments: TestMode.allCases) func closingAloneKeepsTheTail(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            let tail = try await stream.create(body: "x").offset
            let closed = try await stream.close(["content-type": "application/other"])
            #expect(closed.status == 204)
            #expect(closed.isClosed)
            #expect(closed.offset == tail)
            let again = try await stream.close()
            #expect(again.status == 204)
            #expect(again.isClosed)
            #expect(again.offset == tail)
            #expect(try await stream.head().isClosed)
        }

        @Test(arguments: TestMode.allCases) func aLastAppendCloses(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "x")
            let closed = try await stream.append("y", ["stream-closed": "true"])
            #expect(closed.status == 204)
            #expect(closed.isClosed)
            #expect(closed.offset == "0000000000000000_0000000000000002")
            #expect(try await stream.read().text == "xy")
        }

        @Test(arguments: TestMode.allCases) func nothingIsAddedAfterClosure(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            let tail = try await stream.create(["stream-closed": "true"], body: "x").offset
            for headers in [[:], ["stream-closed": "true"], ["content-type": "application/json"], ["stream-seq": "1"]] {
                let answer = try await stream.append("y", headers)
                #expect(answer.status == 409)
                #expect(answer.isClosed)
                #expect(answer.offset == tail)
                #expect(answer.code == "STREAM_CLOSED")
            }
            #expect(try await stream.append("").status == 400)
            #expect(try await stream.read().text == "x")
        }

        @Test(arguments: TestMode.allCases) func closingAnUnknownStreamIs404(_ mode: TestMode) async throws {
            #expect(try await mode.stream().close().status == 404)
        }

        @Test(arguments: TestMode.allCases) func readsTellTheEndAtTheEndOnly(_ mode: TestMode) async throws {
            let stream = try mode.stream("application/octet-stream")
            try await stream.create()
            for _ in 0..<4 { try await stream.append(bytes: [UInt8](repeating: 1, count: 100_000)) }
            try await stream.close()
            let first = try await stream.read()
            #expect(!first.isClosed)
            #expect(!first.isUpToDate)
            let tail = try await stream.head().offset
            let last = try await stream.read(tail)
            #expect(last.status == 200)
            #expect(last.body.isEmpty)
            #expect(last.isClosed)
            #expect(last.isUpToDate)
            let now = try await stream.read("now")
            #expect(now.isClosed)
            #expect(now.isUpToDate)
            #expect(now.offset == tail)
        }

        @Test(arguments: TestMode.allCases) func longPollsDoNotWaitForAClosedStream(_ mode: TestMode) async throws {
            try await EndpointServer.with(mode, { $0.services = { $0.live.longPollTimeout = 60_000 } }) { server in
                let stream = server.client.stream()
                let tail = try await stream.create(["stream-closed": "true"], body: "x").offset
                for offset in [tail, "now"] {
                    let answer = try await stream.longPoll(offset)
                    #expect(answer.status == 204)
                    #expect(answer.isClosed)
                    #expect(answer.isUpToDate)
                    #expect(answer.offset == tail)
                }
                let data = try await stream.longPoll("-1")
                #expect(data.status == 200)
                #expect(data.isClosed)
                let open = server.client.stream()
                try await open.create()
                async let poll = open.longPoll("now")
                try await waitForReaders(of: open, on: server)
                try await open.close()
                let answer = try await poll
                #expect(answer.status == 204)
                #expect(answer.isClosed)
            }
        }

        @Test(arguments: TestMode.allCases) func eventStreamsEndWithTheStream(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(["stream-closed": "true"], body: "x")
            let events = try await stream.events().untilEnd()
            #expect(events.map(\.name) == ["data", "control"])
            #expect(events[1].isClosed)
            #expect(events[1].cursor == nil)
            let tail = try await stream.events("now").untilEnd()
            #expect(tail.map(\.name) == ["control"])
            #expect(tail[0].isClosed)
            #expect(tail[0].isUpToDate)
        }

        @Test(arguments: TestMode.allCases) func theLastDataComesBeforeTheEnd(_ mode: TestMode) async throws {
            for _ in 0..<5 {
                let stream = try mode.stream()
                try await stream.create()
                let reader = try await stream.events()
                _ = try await reader.wait { !$0.isEmpty }
                try await stream.append("one")
                try await stream.append("final", ["stream-closed": "true"])
                let events = try await reader.untilEnd()
                #expect(events.filter { $0.name == "data" }.map(\.data).joined() == "onefinal")
                #expect(events.last?.isClosed == true)
                #expect(events.filter(\.isClosed).count == 1)
            }
        }

        @Test(arguments: TestMode.allCases) func producersClose(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            _ = try await stream.produce("a", seq: "0")
            let closed = try await stream.produce("b", seq: "1", ["stream-closed": "true"])
            #expect(closed.status == 200)
            #expect(closed.isClosed)
            #expect(closed["producer-epoch"] == "0")
            #expect(closed["producer-seq"] == "1")
            for body in ["b", "another body"] {
                let again = try await stream.produce(body, seq: "1", ["stream-closed": "true"])
                #expect(again.status == 204)
                #expect(again.isClosed)
            }
            for answer in [
                try await stream.produce("c", "other", seq: "0", ["stream-closed": "true"]),
                try await stream.produce("c", seq: "2", ["stream-closed": "true"]),
                try await stream.produce("a", seq: "0"),
            ] {
                #expect(answer.status == 409)
                #expect(answer.isClosed)
            }
            #expect([403, 409].contains(try await stream.produce("c", epoch: "0", seq: "9").status))
            #expect(try await stream.read().text == "ab")
        }

        @Test(arguments: TestMode.allCases) func producersCloseWithoutData(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            _ = try await stream.produce("a", epoch: "1", seq: "0")
            let closed = try await stream.produce("", epoch: "1", seq: "1", ["stream-closed": "true"])
            #expect(closed.status == 204)
            #expect(closed.isClosed)
            #expect(closed["producer-seq"] == "1")
            let again = try await stream.produce("", epoch: "1", seq: "1", ["stream-closed": "true"])
            #expect(again.status == 204)
            #expect(again.isClosed)
            #expect([403, 409].contains(try await stream.produce("x", epoch: "0", seq: "0").status))
        }

        @Test(arguments: TestMode.allCases) func aClosedStreamIsDeleted(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(["stream-closed": "true"])
            #expect(try await stream.delete().status == 204)
            #expect(try await stream.head().status == 404)
        }
    }
}
