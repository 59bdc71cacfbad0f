import DurableStreams
import Testing

/// A generator that gives the same numbers for the same seed.
struct SeededNumbers: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

extension Conformance {
    @Suite struct Properties {
        @Test(arguments: TestMode.allCases) func concurrentReadersSeePrefixes(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let whole = (0..<20).map { "<message \($0)>" }.joined()
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { for index in 0..<20 { try await stream.append("<message \(index)>") } }
                for _ in 0..<3 {
                    group.addTask {
                        for _ in 0..<10 {
                            let text = try await stream.read().text
                            #expect(whole.hasPrefix(text))
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await stream.read().text == whole)
        }

        @Test(arguments: TestMode.allCases, [1, 2, 3] as [UInt64])
        func randomSequencesKeepContentAndOffsets(_ mode: TestMode, _ seed: UInt64) async throws {
            var random = SeededNumbers(state: seed)
            let stream = try mode.stream("application/octet-stream")
            try await stream.create()
            var whole: [UInt8] = []
            var places: [(offset: String, count: Int)] = [(RemoteStream.start, 0)]
            for _ in 0..<25 {
                if Bool.random(using: &random) {
                    let piece = (0..<Int.random(in: 1...3000, using: &random)).map { _ in
                        UInt8.random(in: 0...255, using: &random)
                    }
                    let offset = try await stream.append(bytes: piece).offset
                    let last = try #require(places.last?.offset)
                    #expect(offset > last)
                    whole += piece
                    places.append((offset, whole.count))
                } else {
                    let place = places[Int.random(in: 0..<places.count, using: &random)]
                    let answer = try await stream.read(place.offset)
                    #expect(answer.body == Array(whole[place.count...]))
                    #expect(answer.offset == places.last?.offset)
                }
            }
            // What was appended first is still the same.
            #expect(try await stream.read().body == whole)
        }

        @Test(arguments: TestMode.allCases) func randomTextsAreNoOffsets(_ mode: TestMode) async throws {
            var random = SeededNumbers(state: 7)
            let stream = try mode.stream()
            try await stream.create(body: "x")
            let letters = Array("abcXYZ,.;:!*()[]{}~-_0189")
            for _ in 0..<20 {
                var text = ""
                for _ in 0..<Int.random(in: 3...40, using: &random) {
                    text.append(letters[Int.random(in: 0..<letters.count, using: &random)])
                }
                if text == "-1" || StreamOffset(token: text) != nil { continue }
                #expect(try await stream.read(text).status == 400)
            }
        }

        @Test(arguments: TestMode.allCases) func risingSequencesPassAndOthersDoNot(_ mode: TestMode) async throws {
            var random = SeededNumbers(state: 11)
            let stream = try mode.stream()
            try await stream.create()
            var last = ""
            for _ in 0..<25 {
                let next = String(UInt64.random(in: 0..<100, using: &random), radix: 36)
                let answer = try await stream.append("x", ["stream-seq": next])
                let rises = last.utf8.lexicographicallyPrecedes(next.utf8)
                #expect(answer.status == (rises ? 204 : 409))
                if rises { last = next }
            }
        }

        @Test(arguments: TestMode.allCases) func racingSequencesStayConsistent(_ mode: TestMode) async throws {
            let stream = try mode.stream()
            try await stream.create()
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for index in 0..<10 {
                    group.addTask { try await stream.append("<\(index)>", ["stream-seq": "\(index)"]).status }
                }
                return try await group.reduce(into: [Int]()) { $0.append($1) }
            }
            #expect(statuses.allSatisfy { $0 == 204 || $0 == 409 })
            let won = statuses.filter { $0 == 204 }.count
            #expect(won >= 1)
            let text = try await stream.read().text
            #expect(text.filter { $0 == "<" }.count == won)
            let order = text.split(separator: ">").map { String($0.dropFirst()) }
            #expect(order == order.sorted())
        }

        @Test(arguments: TestMode.allCases) func noAppendOfManyWritersIsLost(_ mode: TestMode) async throws {
            let stream = try mode.stream("application/json")
            try await stream.create()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<6 {
                    group.addTask {
                        for index in 0..<8 {
                            let answer = try await stream.append("\"\(writer)-\(index)\"")
                            #expect(answer.status == 204)
                        }
                    }
                }
                for _ in 0..<2 {
                    group.addTask {
                        for _ in 0..<8 {
                            let status = try await stream.read().status
                            #expect(status == 200)
                        }
                    }
                }
                try await group.waitForAll()
            }
            let array = try await stream.read().json?.arrayValue
            let values = try #require(array).compactMap(\.stringValue)
            #expect(values.count == 48)
            #expect(Set(values).count == 48)
            for writer in 0..<6 {
                let own = values.filter { $0.hasPrefix("\(writer)-") }
                #expect(own == (0..<8).map { "\(writer)-\($0)" })
            }
        }

        @Test(arguments: TestMode.allCases) func equalHistoriesAreEqual(_ mode: TestMode) async throws {
            var states: [[UInt8]] = []
            for _ in 0..<2 {
                let stream = try mode.stream()
                try await stream.create()
                #expect(try await stream.read().body.isEmpty)
                var before: [UInt8] = []
                for text in ["a", "bc", "def"] {
                    try await stream.append(text)
                    let now = try await stream.read().body
                    #expect(now != before)
                    before = now
                }
                states.append(before)
                let replay = try await stream.readAll().bytes
                #expect(replay == before)
            }
            #expect(states[0] == states[1])
        }
    }
}
