import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import Testing

@Suite(.timeLimit(.minutes(2))) struct ForkTests {
    @Test(arguments: TestMode.allCases)
    func aForkSharesWhatWasThereAndGoesItsOwnWay(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode) { $0.inlineByteLimit = 4 }
        _ = try harness.create("s", type: "text/plain", body: "one.")
        try harness.append("s", "two.", type: "text/plain")
        #expect(try harness.create("f", fork: ForkRequest(sourceName: "s"), body: "own.").tail.position == 12)
        try harness.append("s", "later.", type: "text/plain")
        try harness.append("f", "more.", type: "text/plain")
        _ = try harness.create("g", fork: ForkRequest(sourceName: "f", offset: StreamOffset(position: 12)))
        try harness.append("g", "g.", type: "text/plain")
        for _ in 0..<2 {
            #expect(try harness.text("s") == "one.two.later.")
            #expect(try harness.text("f") == "one.two.own.more.")
            #expect(try harness.text("g") == "one.two.own.g.")
            #expect(try harness.text("g", limit: 1) == "one.two.own.g.")
            #expect(try harness.text("f", from: 4) == "two.own.more.")
            #expect(try harness.read("f", limit: 9).end == 8)
            #expect(try harness.lookup("f").contentType.text == "text/plain")
            #expect(try !harness.create("f", fork: ForkRequest(sourceName: "s")).isNew)
            try harness.directory.checkpoint()
        }
        guard mode != .memory else { return }
        try harness.restart()
        #expect(try harness.text("g") == "one.two.own.g.")
    }

    @Test(arguments: TestMode.allCases)
    func subOffsetsCountBytesOrMessages(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("s", body: "abcdef")
        try harness.append("s", "gh")
        func fork(_ name: String, _ source: String, _ offset: UInt64, _ sub: UInt64) throws -> CreateOutcome {
            try harness.create(
                name, fork: ForkRequest(sourceName: source, offset: StreamOffset(position: offset), subOffset: sub))
        }
        _ = try fork("f", "s", 0, 2)
        #expect(try harness.text("f") == "ab")
        #expect(harness.code { try fork("x", "s", 6, 3) } == .badRequest)
        #expect(harness.code { try fork("x", "s", 0, 7) } == .badRequest)
        try harness.append("f", "XY")
        _ = try fork("g", "f", 2, 1)
        #expect(try harness.text("g") == "abX")
        _ = try harness.create("j", type: "application/json", body: "[1,[2,3],4]")
        try harness.append("j", "5", type: "application/json")
        for _ in 0..<2 {
            _ = try fork("k", "j", 0, 2)
            #expect(try harness.text("k") == "1,[2,3],")
            #expect(harness.code { try fork("l", "j", 0, 4) } == .badRequest)
            try harness.append("k", "\"x\"", type: "application/json")
            #expect(try harness.text("k") == "1,[2,3],\"x\",")
            try harness.delete("k")
            try harness.directory.checkpoint()
        }
    }

    @Test(arguments: TestMode.allCases)
    func aSourceWithForksStaysHiddenUntilTheLastOneGoes(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("a", body: "1")
        _ = try harness.create("b", fork: ForkRequest(sourceName: "a"), body: "2")
        _ = try harness.create("c", fork: ForkRequest(sourceName: "b"), body: "3")
        try harness.delete("a")
        try harness.delete("b")
        for start in 0..<3 {
            for name in ["a", "b"] {
                #expect(harness.code { try harness.lookup(name) } == .gone, "start \(start)")
                #expect(harness.code { try harness.read(name) } == .gone)
                #expect(harness.code { try harness.append(name, "x") } == .gone)
                #expect(harness.code { try harness.delete(name) } == .gone)
                #expect(harness.code { try harness.create(name) } == .pathBlocked)
                #expect(
                    harness.code { try harness.create("z", fork: ForkRequest(sourceName: name)) } == .forkFromTombstone)
            }
            #expect(try harness.text("c") == "123")
            if mode != .memory { try start == 0 ? harness.kill() : harness.restart() }
        }
        try harness.delete("c")
        for name in ["a", "b", "c"] { #expect(harness.code { try harness.lookup(name) } == .notFound) }
        #expect(harness.directory.list(now: harness.now.value).isEmpty)
        _ = try harness.create("a", body: "new")
        #expect(try harness.text("a") == "new")
    }

    @Test(arguments: TestMode.allCases)
    func aRefusedForkLeavesNothing(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("s", type: "text/plain", body: "abc")
        _ = try harness.create("taken", type: "text/plain")
        #expect(harness.code { try harness.create("taken", fork: ForkRequest(sourceName: "s")) } == .alreadyExists)
        #expect(harness.code { try harness.create("f", fork: ForkRequest(sourceName: "none")) } == .notFound)
        #expect(
            harness.code {
                try harness.create("f", fork: ForkRequest(sourceName: "s", offset: StreamOffset(position: 4)))
            } == .invalidOffset)
        #expect(
            harness.code { try harness.create("f", type: "text/html", fork: ForkRequest(sourceName: "s")) }
                == .contentTypeMismatch)
        #expect(harness.code { try harness.create("s", fork: ForkRequest(sourceName: "s")) } == .alreadyExists)
        #expect(harness.code { try harness.lookup("f") } == .notFound)
        try harness.delete("s")
        #expect(harness.code { try harness.lookup("s") } == .notFound, "no reference was left")
    }

    @Test(arguments: TestMode.allCases)
    func forksOutliveAnExpiredSourceAndFreeItWhenTheyExpire(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("s", lifetime: .ttl(seconds: 10), body: "data")
        _ = try harness.create("f", lifetime: .ttl(seconds: 100), fork: ForkRequest(sourceName: "s"))
        harness.now.value += 11_000
        #expect([.notFound, .gone].contains(harness.code { try harness.lookup("s") }))
        harness.directory.sweep(now: harness.now.value)
        harness.directory.flush()
        #expect([.notFound, .gone].contains(harness.code { try harness.lookup("s") }))
        #expect(try harness.text("f") == "data")
        harness.now.value += 101_000
        #expect(harness.directory.sweep(now: harness.now.value) == 1)
        harness.directory.flush()
        #expect(harness.directory.list(now: harness.now.value).isEmpty)
        #expect(harness.code { try harness.lookup("s") } == .notFound)
    }

    /// The source's part ends where what a checkpoint has put away ends; what it appended since is not the fork's.
    @Test(arguments: TestMode.allCases)
    func noPieceOfAReadingIsEmpty(_ mode: TestMode) throws {
        for verifiedReadLimit in [0, 1 << 20] {
            let harness = try DirectoryHarness(mode) {
                $0.inlineByteLimit = 4
                $0.verifiedReadLimit = verifiedReadLimit
            }
            _ = try harness.create("s", body: "inherited")
            if mode != .memory { try harness.directory.checkpoint() }
            _ = try harness.create("f", fork: ForkRequest(sourceName: "s"))
            try harness.append("s", "later")
            try harness.append("f", "own")
            let reading = try harness.read("f")
            #expect(reading.end == 12 && reading.pieces.allSatisfy { $0.count > 0 })
            #expect(String(buffer: try reading.bytes()) == "inheritedown")
        }
    }
}
