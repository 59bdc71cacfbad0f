import NIOHTTP1
import Testing

extension Conformance {
    @Suite struct BasicOperations {
        @Test(arguments: TestMode.allCases) func aStreamIsCreated(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            #expect(try await stream.create().status == 201)
            #expect(try await stream.head().status == 200)
        }

        @Test(arguments: TestMode.allCases) func anEqualCreationIsConfirmed(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            try await stream.append("x")
            let again = try await stream.create(body: "ignored")
            #expect(again.status == 200)
            #expect(again["location"] == nil)
            #expect(try await stream.read().text == "x")
        }

        @Test(arguments: TestMode.allCases) func anotherConfigurationIsAConflict(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let other = try await stream.create(["content-type": "application/json"])
            #expect(other.status == 409)
            #expect(other.code == "ALREADY_EXISTS")
        }

        @Test(arguments: TestMode.allCases) func aStreamIsDeleted(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            #expect(try await stream.delete().status == 204)
            #expect(try await stream.read().status == 404)
        }

        @Test(arguments: TestMode.allCases) func aStreamMadeAnewSharesNothingWithTheOld(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            try await stream.append("old data")
            let old = try await stream.read()
            try await stream.delete()
            let created = try await stream.create()
            #expect(created.status == 201)
            #expect(created.offset == RemoteStream.start)
            #expect(try await stream.read().text == "")
            #expect(try await stream.append("new data").status == 204)
            let new = try await stream.read()
            #expect(new.text == "new data")
            #expect(new["etag"] != old["etag"])
        }
    }

    @Suite struct AppendOperations {
        @Test(arguments: TestMode.allCases) func aTextReadsBack(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            try await stream.append("hello world")
            #expect(try await stream.read().text == "hello world")
        }

        @Test(arguments: TestMode.allCases) func appendsAreJoined(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            for text in ["one", "two", "three"] { try await stream.append(text) }
            #expect(try await stream.read().text == "onetwothree")
        }

        @Test(arguments: TestMode.allCases) func sequencesMustRise(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            #expect(try await stream.append("a", ["stream-seq": "001"]).status == 204)
            #expect(try await stream.append("b", ["stream-seq": "002"]).status == 204)
            #expect(try await stream.append("c", ["stream-seq": "001"]).status == 409)
            #expect(try await stream.read().text == "ab")
        }
    }

    @Suite struct ReadOperations {
        @Test(arguments: TestMode.allCases) func anEmptyStreamReadsEmpty(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let answer = try await stream.read()
            #expect(answer.status == 200)
            #expect(answer.body.isEmpty)
            #expect(answer.isUpToDate)
        }

        @Test(arguments: TestMode.allCases) func dataReadsUpToDate(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            try await stream.append("hello")
            let answer = try await stream.read()
            #expect(answer.text == "hello")
            #expect(answer.isUpToDate)
        }

        @Test(arguments: TestMode.allCases) func anOffsetGivesLaterDataOnly(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            try await stream.append("first")
            let offset = try await stream.read().offset
            try await stream.append("second")
            #expect(try await stream.read(offset).text == "second")
        }
    }

    @Suite struct HTTPProtocol {
        @Test(arguments: TestMode.allCases) func putAnswersTypeAndOffset(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            let answer = try await stream.create(["content-type": "text/plain;charset=x"])
            #expect(answer.status == 201)
            #expect(answer["content-type"] == "text/plain;charset=x")
            #expect(answer.offset == RemoteStream.start)
        }

        @Test(arguments: TestMode.allCases) func postAnswersTheNewTail(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let answer = try await stream.append("12345")
            #expect(answer.status == 204)
            #expect(answer.offset > RemoteStream.start)
            #expect(try await stream.head().offset == answer.offset)
        }

        @Test(arguments: TestMode.allCases) func postToAnUnknownStreamIs404(_ mode: TestMode) async throws {
            let answer = try await mode.stream().append("x")
            #expect(answer.status == 404)
            #expect(answer["content-type"] == "application/problem+json")
            #expect(answer.code == "NOT_FOUND")
        }

        @Test(arguments: TestMode.allCases) func postOfAnotherTypeIs409(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            #expect(try await stream.append("{}", ["content-type": "application/json"]).status == 409)
        }

        @Test(arguments: TestMode.allCases) func getTellsTypeOffsetTagAndThatItIsUpToDate(_ mode: TestMode) async throws
        {
            let stream = try mode.stream()
            try await stream.create(body: "hello")
            let answer = try await stream.read()
            #expect(answer.status == 200)
            #expect(answer["content-type"] == "text/plain")
            #expect(answer.offset > RemoteStream.start)
            #expect(answer.isUpToDate)
            let tag = try #require(answer["etag"])
            #expect(tag.hasPrefix("\"") && tag.hasSuffix("\""))
            #expect(answer["cache-control"] == "public, max-age=60, stale-while-revalidate=300")
        }

        @Test(arguments: TestMode.allCases) func getOfAnEmptyStreamIs200(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let answer = try await stream.read("-1")
            #expect(answer.status == 200)
            #expect(answer.body.isEmpty)
            #expect(answer.isUpToDate)
            #expect(answer.offset == RemoteStream.start)
        }

        @Test(arguments: TestMode.allCases) func getFromAnOffset(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let offset = try await stream.append("first").offset
            try await stream.append("second")
            #expect(try await stream.read(offset).text == "second")
        }

        @Test(arguments: TestMode.allCases) func deleteOfAnUnknownStreamIs404(_ mode: TestMode) async throws {
            #expect(try await mode.stream().delete().status == 404)
        }

        @Test(arguments: TestMode.allCases, [["2", "1"], ["2", "10"], ["5", "5"], ["a", "B"]])
        func aSequenceThatDoesNotRiseIs409(_ mode: TestMode, _ pair: [String]) async throws {
            let stream = try mode.stream()
            try await stream.create()
            #expect(try await stream.append("x", ["stream-seq": pair[0]]).status == 204)
            let answer = try await stream.append("y", ["stream-seq": pair[1]])
            #expect(answer.status == 409)
            #expect(answer.code == "SEQUENCE_CONFLICT")
            #expect(try await stream.read().text == "x")
        }

        @Test(arguments: TestMode.allCases) func sequencesCompareBytewise(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            #expect(try await stream.append("x", ["stream-seq": "09"]).status == 204)
            #expect(try await stream.append("y", ["stream-seq": "10"]).status == 204)
        }

        @Test(arguments: TestMode.allCases) func otherMethodsAre405(_ mode: TestMode) async throws {
            let answer = try await mode.stream().request(.PATCH)
            #expect(answer.status == 405)
            #expect(answer["allow"]?.contains("POST") == true)
        }
    }

    @Suite struct BrowserSecurityHeaders {
        private func check(_ answer: Answer) {
            #expect(answer["x-content-type-options"] == "nosniff")
            #expect(answer.headers["x-content-type-options"].count == 1)
            #expect(
                ["cross-origin", "same-origin", "same-site"].contains(answer["cross-origin-resource-policy"] ?? ""))
        }

        @Test(arguments: TestMode.allCases) func everyAnswerHasThem(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            self.check(try await stream.create())
            self.check(try await stream.append("x"))
            self.check(try await stream.read())
            self.check(try await stream.longPoll("-1"))
            self.check(try await stream.longPoll("now"))
            let head = try await stream.head()
            self.check(head)
            #expect(head["cache-control"] == "no-store")
            let events = try await stream.events()
            #expect(events["x-content-type-options"] == "nosniff")
            #expect(events["cross-origin-resource-policy"] == "cross-origin")
            await events.close()
            self.check(try await stream.delete())
            self.check(try await stream.read())
            self.check(try await stream.request(.PATCH))
            self.check(try await stream.request(.GET, query: "offset=bad"))
        }
    }

    @Suite struct TypesAndCase {
        @Test(arguments: TestMode.allCases) func theCaseOfATypeDoesNotMatter(_ mode: TestMode) async throws {
            let stream = try mode.stream("Text/Plain")
            #expect(try await stream.create().status == 201)
            #expect(try await stream.append("x", ["content-type": "text/plain"]).status == 204)
            #expect(try await stream.append("y", ["content-type": "TEXT/PLAIN"]).status == 204)
            #expect(try await stream.create(["content-type": "tEXT/pLAIN"]).status == 200)
        }

        @Test(arguments: TestMode.allCases) func theCaseOfHeaderNamesDoesNotMatter(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            #expect(try await stream.put(["CONTENT-TYPE": "text/plain", "STREAM-ttl": "3600"]).status == 201)
            #expect(try await stream.head()["stream-ttl"] == "3600")
            #expect(try await stream.append("x", ["sTREAM-sEQ": "2"]).status == 204)
            #expect(try await stream.append("x", ["STREAM-SEQ": "1"]).status == 409)
        }

        @Test(arguments: TestMode.allCases) func theTypeIsCheckedAndReadBack(_ mode: TestMode) async throws {
            let stream = try mode.stream("application/x-thing")
            try await stream.create()
            let other = try await stream.append("x", ["content-type": "text/plain"])
            #expect(other.status == 409)
            #expect(other.code == "CONTENT_TYPE_MISMATCH")
            #expect(try await stream.append("x").status == 204)
            #expect(try await stream.read()["content-type"] == "application/x-thing")
        }
    }

    @Suite struct HeadMetadata {
        @Test(arguments: TestMode.allCases) func headTellsTypeAndOffset(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "hello")
            let head = try await stream.head()
            #expect(head.status == 200)
            #expect(head["content-type"] == "text/plain")
            #expect(head.body.isEmpty)
            #expect(head.offset == (try await stream.read().offset))
            #expect(head["stream-ttl"] == nil)
            #expect(head["stream-closed"] == nil)
            #expect(head["etag"] != nil)
            try await stream.append("more")
            #expect(try await stream.head().offset > head.offset)
        }

        @Test(arguments: TestMode.allCases) func headOfAnUnknownStreamIs404WithoutBody(_ mode: TestMode) async throws {
            let head = try await mode.stream().head()
            #expect(head.status == 404)
            #expect(head.body.isEmpty)
        }

        @Test(arguments: TestMode.allCases) func headEchoesTheLifetime(_ mode: TestMode) async throws {
            let one = try mode.stream()
            try await one.create(["stream-ttl": "3600"])
            #expect(try await one.head()["stream-ttl"] == "3600")
            let other = try mode.stream()
            try await other.create(["stream-expires-at": "2099-01-02T03:04:05+02:00"])
            #expect(try await other.head()["stream-expires-at"] == "2099-01-02T03:04:05+02:00")
        }
    }

    @Suite struct EdgeCases {
        @Test(arguments: TestMode.allCases) func anEmptyPostIs400(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let answer = try await stream.append("")
            #expect(answer.status == 400)
            #expect(answer.code == "EMPTY_BODY")
        }

        @Test(arguments: TestMode.allCases) func theBodyOfAPutIsContent(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            let answer = try await stream.create(body: "first content")
            #expect(answer.status == 201)
            #expect(try await stream.read().text == "first content")
            #expect(try await stream.head().offset == answer.offset)
        }

        @Test(arguments: TestMode.allCases) func bytesAtAnOffsetNeverChange(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let offset = try await stream.append("one").offset
            try await stream.append("two")
            #expect(try await stream.read(offset).text == "two")
            try await stream.append("three")
            #expect(try await stream.read(offset).text == "twothree")
        }

        @Test(arguments: TestMode.allCases) func offsetsRise(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            var last = try await stream.create().offset
            for index in 0..<8 {
                let next = try await stream.append("chunk \(index)").offset
                #expect(next > last)
                last = next
            }
        }

        @Test(arguments: TestMode.allCases) func binaryBytesComeBackIntact(_ mode: TestMode) async throws {
            let stream = try mode.stream("application/octet-stream")
            try await stream.create()
            let bytes = (0...255).map { UInt8($0) } + [0, 0, 255, 13, 10, 13]
            try await stream.append(bytes: bytes)
            #expect(try await stream.read().body == bytes)
        }

        @Test(arguments: TestMode.allCases) func locationIsAbsolute(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            let answer = try await stream.create()
            #expect(answer["location"] == "http://streams.example:4437" + stream.path)
        }

        @Test(arguments: TestMode.allCases) func aPostWithoutTypeIs400(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            #expect(try await stream.request(.POST, bytes: [65]).status == 400)
            #expect(try await stream.read().body.isEmpty)
        }

        @Test(arguments: TestMode.allCases) func aPutWithoutTypeGetsOne(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            #expect(try await stream.put([:]).status == 201)
            #expect(try await stream.head()["content-type"] == "application/octet-stream")
        }

        @Test(arguments: TestMode.allCases) func unknownParametersAreIgnored(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "x")
            let answer = try await stream.request(.GET, query: "foo=bar&offset=-1&baz=%zz")
            #expect(answer.status == 200)
            #expect(answer.text == "x")
        }

        @Test(arguments: TestMode.allCases) func chunkedBodiesAreTaken(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let answer = try await stream.request(
                .POST, ["content-type": "text/plain"], bytes: Array("chunked".utf8), isChunked: true)
            #expect(answer.status == 204)
            #expect(try await stream.read().text == "chunked")
        }
    }

    @Suite struct Caching {
        @Test(arguments: TestMode.allCases) func anEntityTagSavesTheBody(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "hello")
            let first = try await stream.read()
            let tag = try #require(first["etag"])
            let same = try await stream.read(nil, ["if-none-match": tag])
            #expect(same.status == 304)
            #expect(same.body.isEmpty)
            #expect(same["etag"] == tag)
            #expect(same.offset == first.offset)
            #expect(try await stream.read(nil, ["if-none-match": "\"other\""]).status == 200)
        }

        @Test(arguments: TestMode.allCases) func aTagChangesWithDataAndClosure(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "hello")
            let first = try await stream.read()["etag"]
            try await stream.append("more")
            let second = try await stream.read()["etag"]
            #expect(first != second)
            try await stream.close()
            let third = try await stream.read(nil, ["if-none-match": second ?? ""])
            #expect(third.status == 200)
            #expect(third["etag"] != second)
            #expect(third.isClosed)
        }

        @Test(arguments: TestMode.allCases) func listsWeakTagsAndStarsMatch(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create(body: "hello")
            let tag = try #require(try await stream.read()["etag"])
            for value in ["\"a\", \(tag)", "W/\(tag)", "*", "\"x:y\",W/\"z\" , W/\(tag)"] {
                #expect(try await stream.read(nil, ["if-none-match": value]).status == 304, "\(value)")
            }
            let poll = try await stream.longPoll("-1", ["if-none-match": tag])
            #expect(poll.status == 304)
            #expect(poll["stream-cursor"] != nil)
        }
    }
}
