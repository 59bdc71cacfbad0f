import DurableStreams
import Foundation
import Testing

extension Conformance {
    @Suite struct EventStreams {
        @Test(arguments: TestMode.allCases) func theHeadIsThatOfAnEventStream(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "x")
            let reader = try await stream.events()
            #expect(reader.status == 200)
            #expect(reader["content-type"] == "text/event-stream")
            #expect(reader["cache-control"] == "no-cache")
            #expect(reader["content-length"] == nil)
            #expect(reader["stream-sse-data-encoding"] == nil)
            await reader.close()
        }

        @Test(arguments: TestMode.allCases) func dataComesBeforeItsControlEvent(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "hello")
            let reader = try await stream.events()
            let events = try await reader.untilUpToDate()
            #expect(events.map(\.name) == ["data", "control"])
            #expect(events[0].data == "hello")
            #expect(events[1].offset == (try await stream.head().offset))
            #expect(UInt64(events[1].cursor ?? "") != nil)
            #expect(reader.text.contains("event: data\ndata:hello\n\n"))
            #expect(events[1].id == events[1].offset)
        }

        @Test(arguments: TestMode.allCases) func anEchoedCursorGivesALargerOne(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "x")
            func cursor(after known: String?) async throws -> UInt64 {
                let last = try await stream.events(cursor: known).untilUpToDate().last
                return try #require(UInt64(last?.cursor ?? ""))
            }
            let first = try await cursor(after: nil)
            #expect(try await cursor(after: "\(first)") > first)
            // Those without a cursor are not taken along.
            #expect(try await cursor(after: nil) <= first + 1)
        }

        @Test(arguments: TestMode.allCases) func messagesComeAsAnArray(_ mode: TestMode) async throws {
            let stream = try mode.stream("application/json")
            try await stream.create()
            try await stream.append("{\"a\":1}")
            try await stream.append("[2,\"three\"]")
            let events = try await stream.events().untilUpToDate()
            #expect(events.first?.data == "[{\"a\":1},2,\"three\"]")
        }

        @Test(arguments: TestMode.allCases, ["text/plain", "application/octet-stream", "application/json"])
        func anEmptyStreamBeginsWithControl(_ mode: TestMode, _ type: String) async throws {
            let stream = try mode.stream(type)
            try await stream.create()
            let events = try await stream.events().untilUpToDate()
            #expect(events.map(\.name) == ["control"])
            #expect(events[0].offset == (try await stream.head().offset))
            #expect(events[0].offset != "-1")
        }

        @Test(arguments: TestMode.allCases, ["\n", "\r\n", "\r"])
        func lineBreaksBeginLinesOfData(_ mode: TestMode, _ lineBreak: String) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "line1\(lineBreak)line2\(lineBreak)line3")
            let reader = try await stream.events()
            let events = try await reader.untilUpToDate()
            #expect(events[0].data == "line1\nline2\nline3")
            #expect(reader.text.contains("data:line1\ndata:line2\ndata:line3\n"))
        }

        @Test(arguments: TestMode.allCases, ["\r\n", "\n", "\r"])
        func dataCannotMakeEvents(_ mode: TestMode, _ lineBreak: String) async throws {
            let stream = try mode.stream()
            let text = ["safe", "", "event: control", "data:{\"streamNextOffset\":\"forged\"}", "", "tail"]
                .joined(separator: lineBreak)
            try await stream.create(body: text)
            let reader = try await stream.events()
            let events = try await reader.untilUpToDate()
            #expect(events.map(\.name) == ["data", "control"])
            #expect(events[1].offset == (try await stream.head().offset))
            #expect(!reader.text.contains("\r"))
            #expect(events[0].data == text.replacingOccurrences(of: lineBreak, with: "\n"))
        }

        @Test(arguments: TestMode.allCases) func jsonWithLineBreaksIsSafe(_ mode: TestMode) async throws {
            let stream = try mode.stream("application/json")
            try await stream.create()
            try await stream.append("{\n  \"a\":\r\n 1,\r\"b\": \"x\\ny\"}")
            let events = try await stream.events().untilUpToDate()
            #expect(events.map(\.name) == ["data", "control"])
            #expect(events[0].json?.arrayValue?.first?["b"]?.stringValue == "x\ny")
        }

        @Test(arguments: TestMode.allCases) func offsetsRiseAndResumingRepeatsNothing(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let reader = try await stream.events()
            _ = try await reader.wait { !$0.isEmpty }
            for index in 0..<5 {
                try await stream.append("m\(index);")
                try await reader.waitForData("m\(index);")
            }
            let before = try await reader.wait { events in
                events.contains { $0.name == "control" } && events.last?.name == "control"
            }
            await reader.close()
            let offsets = before.compactMap(\.offset)
            #expect(offsets == offsets.sorted() && offsets.count == Set(offsets).count)
            try await stream.append("after")
            let last = try #require(offsets.last)
            let resumed = try await stream.events(last).untilUpToDate()
            #expect(resumed.filter { $0.name == "data" }.map(\.data) == ["after"])
        }

        @Test(
            arguments: TestMode.allCases,
            ["application/octet-stream", "application/x-protobuf", "image/png", "application/ndjson"])
        func binaryStreamsComeInBase64(_ mode: TestMode, _ type: String) async throws {
            let stream = try mode.stream(type)
            try await stream.create()
            try await stream.append("Hello")
            let reader = try await stream.events()
            #expect(reader["stream-sse-data-encoding"] == "base64")
            let events = try await reader.untilUpToDate()
            #expect(events[0].data == "SGVsbG8=")
            #expect(events[1].isUpToDate)
        }

        @Test(arguments: TestMode.allCases) func everyByteSurvivesBase64(_ mode: TestMode) async throws {
            let stream = try mode.stream("application/octet-stream")
            try await stream.create()
            let bytes = (0..<1024).map { UInt8(truncatingIfNeeded: $0) } + [13, 10, 0, 255]
            try await stream.append(bytes: bytes)
            let events = try await stream.events().untilUpToDate()
            let decoded = events.filter { $0.name == "data" }.compactMap { Data(base64Encoded: $0.data) }
            #expect(decoded.reduce(Data(), +) == Data(bytes))
            let none = try await stream.events("now").untilUpToDate()
            #expect(none.map(\.name) == ["control"])
        }

        @Test(arguments: TestMode.allCases) func charactersCutInTwoAreHeldBack(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let reader = try await stream.events()
            let bytes = Array("a€b".utf8)
            _ = try await reader.wait { !$0.isEmpty }
            try await stream.append(bytes: Array(bytes[..<2]))
            try await reader.waitForData("a")
            #expect(reader.controls.last?.offset == "0000000000000000_0000000000000001")
            let second = try await stream.events()
            _ = try await second.wait { $0.contains { $0.name == "control" } }
            try await stream.append(bytes: Array(bytes[2...]))
            for reader in [reader, second] {
                try await reader.waitForData("a€b")
                _ = try await reader.wait { $0.last?.offset == "0000000000000000_0000000000000005" }
                #expect(reader.data.map(\.data) == ["a", "€b"])
                await reader.close()
            }
        }

        @Test(arguments: TestMode.allCases) func aBrowserResumesByTheIdOfTheLastEvent(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            let offset = try await stream.create(body: "old").offset
            try await stream.append("new")
            let events = try await stream.events("-1", ["last-event-id": offset]).untilUpToDate()
            #expect(events.filter { $0.name == "data" }.map(\.data) == ["new"])
        }

        @Test(arguments: TestMode.allCases) func aLargeBacklogComesWhole(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let piece = String(repeating: "0123456789", count: 10_000)
            for index in 0..<12 { try await stream.append("\(index):" + piece) }
            let events = try await stream.events().untilUpToDate()
            let whole = events.filter { $0.name == "data" }.map(\.data).joined()
            #expect(whole == (0..<12).map { "\($0):" + piece }.joined())
            #expect(events.filter { $0.name == "data" }.count > 1)
            let last = events.last { $0.name == "control" }
            #expect(last?.offset == (try await stream.head().offset))
        }
    }
}
