import DurableStreams
import Testing

extension Conformance {
    @Suite struct JSONMode {
        private func stream(_ mode: TestMode, body: String = "") async throws -> RemoteStream {
            let stream = try mode.stream("application/json")
            #expect(try await stream.create(body: body).status == 201)
            return stream
        }

        @Test(arguments: TestMode.allCases) func anEmptyArrayMakesAnEmptyStream(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode, body: "[]")
            let answer = try await stream.read()
            #expect(answer.text == "[]")
            #expect(answer.offset == RemoteStream.start)
        }

        @Test(arguments: TestMode.allCases) func anEmptyArrayIsNoAppend(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode)
            let answer = try await stream.append("[]")
            #expect(answer.status == 400)
            #expect(answer.code == "EMPTY_ARRAY")
        }

        @Test(arguments: TestMode.allCases) func aCharsetChangesNothing(_ mode: TestMode) async throws {
            let stream = try mode.stream("application/json; charset=utf-8")
            try await stream.create()
            #expect(try await stream.append("[1,2]").status == 204)
            #expect(try await stream.read().text == "[1,2]")
        }

        @Test(
            arguments: TestMode.allCases,
            [
                ["{\"a\":1}", "[{\"a\":1}]"], ["[1,2,3]", "[1,2,3]"], ["[[1,2],[3,4]]", "[[1,2],[3,4]]"],
                ["[[[1,2,3]]]", "[[[1,2,3]]]"], ["[[1,2,3]]", "[[1,2,3]]"], ["\"s\"", "[\"s\"]"], ["null", "[null]"],
                ["-1.50e+10", "[-1.50e+10]"], ["true", "[true]"], [" [ 1 , {\"b\": [ ] } ] ", "[1,{\"b\": [ ] }]"],
                ["{\"deep\":{\"er\":[{\"x\":[[]]}]}}", "[{\"deep\":{\"er\":[{\"x\":[[]]}]}}]"],
                ["12345678901234567890123", "[12345678901234567890123]"],
            ])
        func bodiesAreFlattenedOneLevel(_ mode: TestMode, _ pair: [String]) async throws {
            let stream = try await self.stream(mode)
            #expect(try await stream.append(pair[0]).status == 204)
            #expect(try await stream.read().text == pair[1])
            let created = try await self.stream(mode, body: pair[0])
            #expect(try await created.read().text == pair[1])
        }

        @Test(arguments: TestMode.allCases) func severalAppendsAreOneArray(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode)
            var offsets: [String] = []
            for body in ["{\"n\":1}", "[2,[3]]", "\"x\"", "[null,false]"] {
                offsets.append(try await stream.append(body).offset)
            }
            #expect(try await stream.read().text == "[{\"n\":1},2,[3],\"x\",null,false]")
            #expect(try await stream.read(offsets[0]).text == "[2,[3],\"x\",null,false]")
            #expect(try await stream.read(offsets[3]).text == "[]")
        }

        @Test(
            arguments: TestMode.allCases,
            ["{", "{\"a\":}", "[1,]", "nope", "[1] x", "\"\u{1}\"", "01", "{'a':1}", "[1"])
        func whatIsNoJSONIsRefused(_ mode: TestMode, _ body: String) async throws {
            let stream = try await self.stream(mode)
            let answer = try await stream.append(body)
            #expect(answer.status == 400)
            #expect(answer.code == "INVALID_JSON")
            #expect(try await stream.read().text == "[]")
            let other = try mode.stream("application/json")
            #expect(try await other.create(body: body).status == 400)
            #expect(try await other.head().status == 404)
        }

        @Test(arguments: TestMode.allCases) func chunksEndBetweenMessages(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode)
            let message = "{\"text\":\"" + String(repeating: "abc,\\\"", count: 15_000) + "\"}"
            for _ in 0..<6 { try await stream.append("[\(message),\(message)]") }
            var offset: String? = nil
            var count = 0
            var reads = 0
            while reads < 50 {
                let answer = try await stream.read(offset)
                reads += 1
                let values = try #require(answer.json?.arrayValue)
                count += values.count
                offset = answer.offset
                if answer.isUpToDate { break }
            }
            #expect(count == 12)
            #expect(reads > 2)
        }
    }
}
