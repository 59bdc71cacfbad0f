import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import Testing

/// What every mode has in common.
@Suite(.timeLimit(.minutes(2))) struct StreamRulesTests {
    @Test(arguments: TestMode.allCases)
    func whatIsAppendedIsReadInOrder(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        #expect(try harness.create("a", type: "text/plain", body: "one ").isNew)
        #expect(try harness.append("a", "two ", type: "text/plain").tail.position == 8)
        #expect(try harness.append("a", "three", type: "text/plain").kind == .appended)
        #expect(try harness.text("a") == "one two three")
        #expect(try harness.text("a", from: 4) == "two three")
        let view = try harness.lookup("a")
        #expect(view.tail == 13 && !view.isClosed && view.contentType.text == "text/plain")
        #expect(harness.code { try harness.read("a", from: 14) } == .invalidOffset)
        #expect(harness.code { try harness.append("b", "x") } == .notFound)
    }

    @Test(arguments: TestMode.allCases)
    func readingsEndWhereAppendsEnd(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode) { $0.inlineByteLimit = 8 }
        _ = try harness.create("a")
        for part in ["aaa", "bbbb", "c", "dddddddd", "ee"] { try harness.append("a", part) }
        for _ in 0..<2 {
            #expect(try harness.read("a", limit: 8).end == 8)
            #expect(try harness.read("a", limit: 9).end == 8)
            #expect(try harness.read("a", limit: 6).end == 3)
            #expect(try harness.read("a", limit: 1).end == 3)
            #expect(try harness.read("a", from: 8, limit: 3).end == 16, "one that is larger comes whole")
            #expect(try harness.read("a", from: 16, limit: 3).isAtTail)
            #expect(try harness.text("a", limit: 4) == "aaabbbbcddddddddee")
            // Then from files.
            try harness.directory.checkpoint()
        }
        try harness.append("a", "ff")
        #expect(try harness.read("a", from: 8, limit: 12).end == 20, "across files and memory")
        #expect(try harness.text("a") == "aaabbbbcddddddddeeff")
    }

    @Test(arguments: TestMode.allCases)
    func aStreamIsConfirmedOrRefusedByItsConfiguration(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        #expect(try harness.create("a", type: "text/plain", lifetime: .ttl(seconds: 60)).isNew)
        #expect(try !harness.create("a", type: "TEXT/plain", lifetime: .ttl(seconds: 60), body: "ignored").isNew)
        #expect(try harness.lookup("a").tail == 0)
        #expect(
            harness.code { try harness.create("a", type: "text/html", lifetime: .ttl(seconds: 60)) } == .alreadyExists)
        #expect(harness.code { try harness.create("a", type: "text/plain") } == .alreadyExists)
        #expect(
            harness.code { try harness.create("b", type: "application/json", body: "{") } == .invalidJSON)
        #expect(harness.code { try harness.lookup("b") } == .notFound, "nothing appears")
    }

    @Test(arguments: TestMode.allCases)
    func closureIsOneWay(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("a")
        let outcome = try harness.append("a", "last", closes: true)
        #expect(outcome.isClosed && outcome.tail.position == 4)
        #expect(try harness.lookup("a").isClosed)
        #expect(try harness.read("a").isFinal)
        #expect(harness.code { try harness.append("a", "more") } == .streamClosed)
        #expect(try harness.append("a", "", closes: true).kind == .alreadyClosed)
        #expect(try harness.create("c", closes: true, body: "whole").isClosed)
        #expect(try harness.lookup("c").isClosed)
    }

    @Test(arguments: TestMode.allCases)
    func producersAreDeduplicatedAlsoAfterARestart(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("a")
        let claim = ProducerClaim(id: "p", epoch: 1, seq: 0)
        #expect(try harness.append("a", "x", producer: claim).kind == .appended)
        #expect(try harness.append("a", "x", producer: claim).kind == .duplicate)
        #expect(
            harness.code { try harness.append("a", "x", producer: ProducerClaim(id: "p", epoch: 1, seq: 2)) }
                == .sequenceConflict)
        #expect(
            harness.code { try harness.append("a", "x", producer: ProducerClaim(id: "p", epoch: 0, seq: 0)) }
                == .producerEpochFenced)
        try harness.append("a", "y", sequence: "09")
        guard mode != .memory else { return }
        for step in 0..<2 {
            try harness.restart()
            #expect(try harness.append("a", "x", producer: claim).kind == .duplicate)
            #expect(harness.code { try harness.append("a", "z", sequence: "08") } == .sequenceConflict)
            #expect(try harness.text("a") == "xy", "start \(step)")
        }
    }

    @Test(arguments: TestMode.allCases)
    func aDeletedStreamIsGoneAndItsNameFree(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("a", body: "old")
        let identity = try harness.lookup("a").identity
        try harness.delete("a")
        #expect(harness.code { try harness.lookup("a") } == .notFound)
        #expect(harness.code { try harness.delete("a") } == .notFound)
        #expect(try harness.create("a", type: "text/plain").tail.position == 0)
        #expect(try harness.lookup("a").identity != identity)
        #expect(try harness.text("a").isEmpty)
    }

    @Test(arguments: TestMode.allCases)
    func jsonIsKeptAsMessages(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("a", type: "application/json", body: "[]")
        try harness.append("a", "[1, {\"x\": [2]}]", type: "application/json")
        try harness.append("a", " 3 ", type: "application/json")
        #expect(try harness.text("a") == "1,{\"x\": [2]},3,")
        #expect(harness.directory.list(now: harness.now.value).map(\.messageCount) == [3])
        #expect(harness.code { try harness.append("a", "x", type: "text/plain") } == .contentTypeMismatch)
    }

    @Test(arguments: TestMode.allCases)
    func limitsRefuseTheRequestAtHandOnly(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode) {
            $0.limits.streamBytes = 10
            $0.limits.totalBytes = 15
        }
        _ = try harness.create("a", body: "12345678")
        #expect(harness.code { try harness.append("a", "123") } == .payloadTooLarge)
        try harness.append("a", "12")
        #expect(harness.code { try harness.create("b", body: "123456") } == .payloadTooLarge)
        #expect(harness.code { try harness.lookup("b") } == .notFound)
        _ = try harness.create("b", body: "12345")
        try harness.delete("a")
        try harness.append("b", "12345")
    }

    @Test(arguments: TestMode.allCases)
    func listingsAreSortedByName(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        for name in ["b/2", "a", "ä", "b/10", "B"] { _ = try harness.create(name, body: name) }
        #expect(harness.directory.list(now: harness.now.value).map(\.view.name) == ["B", "a", "b/10", "b/2", "ä"])
    }
}
