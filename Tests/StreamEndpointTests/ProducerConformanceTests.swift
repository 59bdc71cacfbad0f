import Testing

extension Conformance {
    @Suite struct Producers {
        private func stream(_ mode: TestMode, _ type: String = "text/plain") async throws -> RemoteStream {
            let stream = try mode.stream(type)
            try await stream.create()
            return stream
        }

        @Test(arguments: TestMode.allCases) func theFirstRequestIsAccepted(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode)
            let answer = try await stream.produce("a", seq: "0")
            #expect(answer.status == 200)
            #expect(answer["producer-epoch"] == "0")
            #expect(answer["producer-seq"] == "0")
            #expect(answer.offset > RemoteStream.start)
        }

        @Test(arguments: TestMode.allCases) func sequencesGoOnByOne(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode)
            for seq in 0..<3 {
                let answer = try await stream.produce("m\(seq)", seq: "\(seq)")
                #expect(answer.status == 200)
                #expect(answer["producer-seq"] == "\(seq)")
            }
            #expect(try await stream.read().text == "m0m1m2")
        }

        @Test(arguments: TestMode.allCases) func repeatsChangeNothing(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode)
            for seq in 0..<3 { _ = try await stream.produce("m\(seq)", seq: "\(seq)") }
            for seq in [0, 1, 2, 0] {
                let answer = try await stream.produce("other", seq: "\(seq)")
                #expect(answer.status == 204)
                #expect(answer["producer-seq"] == "2")
                #expect(answer["producer-epoch"] == "0")
            }
            #expect(try await stream.read().text == "m0m1m2")
        }

        @Test(arguments: TestMode.allCases) func aNewEpochFencesTheOld(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode)
            _ = try await stream.produce("a", epoch: "0", seq: "0")
            let newer = try await stream.produce("b", epoch: "3", seq: "0")
            #expect(newer.status == 200)
            #expect(newer["producer-epoch"] == "3")
            for seq in ["0", "1", "5"] {
                let answer = try await stream.produce("c", epoch: "0", seq: seq)
                #expect(answer.status == 403)
                #expect(answer["producer-epoch"] == "3")
                #expect(answer.code == "PRODUCER_EPOCH_FENCED")
            }
            #expect(try await stream.produce("x", epoch: "5", seq: "1").status == 400)
            #expect(try await stream.produce("d", epoch: "3", seq: "1").status == 200)
            #expect(try await stream.read().text == "abd")
        }

        @Test(arguments: TestMode.allCases) func gapsAreConflicts(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode)
            let first = try await stream.produce("a", seq: "2")
            #expect(first.status == 409)
            #expect(first["producer-expected-seq"] == "0")
            #expect(first["producer-received-seq"] == "2")
            _ = try await stream.produce("a", seq: "0")
            let second = try await stream.produce("c", seq: "2")
            #expect(second.status == 409)
            #expect(second["producer-expected-seq"] == "1")
            #expect(second["producer-received-seq"] == "2")
        }

        @Test(arguments: TestMode.allCases, ["producer-id", "producer-epoch", "producer-seq"])
        func allThreeHeadersOrNone(_ mode: TestMode, _ missing: String) async throws {
            let stream = try await self.stream(mode)
            var headers = ["producer-id": "p", "producer-epoch": "0", "producer-seq": "0"]
            headers[missing] = nil
            #expect(try await stream.append("x", headers).status == 400)
        }

        @Test(arguments: TestMode.allCases) func malformedNumbersAre400(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode)
            for bad in ["abc", "1.5", "-1", "1e3", "9007199254740992", ""] {
                #expect(try await stream.produce("x", epoch: bad, seq: "0").status == 400)
                #expect(try await stream.produce("x", epoch: "0", seq: bad).status == 400)
            }
            #expect(try await stream.produce("x", "", seq: "0").status == 400)
            #expect(try await stream.produce("x", seq: "0").status == 200)
            #expect(try await stream.produce("y", "big", epoch: "9007199254740991", seq: "0").status == 200)
        }

        @Test(arguments: TestMode.allCases) func producersAreIndependent(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode)
            for (id, seq) in [("A", 0), ("B", 0), ("A", 1), ("B", 1)] {
                #expect(try await stream.produce("\(id)\(seq)", id, seq: "\(seq)").status == 200)
            }
            #expect(try await stream.read().text == "A0B0A1B1")
        }

        @Test(arguments: TestMode.allCases) func streamSeqGoesAlong(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode)
            #expect(try await stream.produce("a", seq: "0", ["stream-seq": "01"]).status == 200)
            #expect(try await stream.produce("a", seq: "0", ["stream-seq": "01"]).status == 204)
            let refused = try await stream.produce("b", seq: "1", ["stream-seq": "01"])
            #expect(refused.status == 409)
            // What was refused has not used up its number.
            #expect(try await stream.produce("b", seq: "1", ["stream-seq": "02"]).status == 200)
            #expect(try await stream.read().text == "ab")
        }

        @Test(arguments: TestMode.allCases) func faultsDoNotUseUpNumbers(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode, "application/json")
            #expect(try await stream.produce("{bad", seq: "0").status == 400)
            #expect(try await stream.produce("[]", seq: "0").status == 400)
            #expect(try await stream.produce("", seq: "0").status == 400)
            #expect(try await stream.produce("x", seq: "0", ["content-type": "text/plain"]).status == 409)
            #expect(try await stream.produce("[1,2]", seq: "0").status == 200)
            #expect(try await stream.produce("[1,2]", seq: "0").status == 204)
            #expect(try await stream.produce("3", seq: "1").status == 200)
            #expect(try await stream.read().text == "[1,2,3]")
        }

        @Test(arguments: TestMode.allCases) func anUnknownStreamIs404(_ mode: TestMode) async throws {
            #expect(try await mode.stream().produce("x", seq: "0").status == 404)
        }

        @Test(arguments: TestMode.allCases) func racingRepeatsAreStoredOnce(_ mode: TestMode) async throws {
            let stream = try await self.stream(mode)
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<8 { group.addTask { try await stream.produce("once", seq: "0").status } }
                return try await group.reduce(into: [Int]()) { $0.append($1) }
            }
            #expect(statuses.sorted() == [200] + Array(repeating: 204, count: 7))
            #expect(try await stream.read().text == "once")
        }
    }
}
