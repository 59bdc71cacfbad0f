import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import Testing

/// Streams of JSON are read, and forked, from where messages end.
@Suite(.timeLimit(.minutes(2))) struct MessageOffsetTests {
    private static let type = "application/json"
    private static let bodies = ["[{\"a\":1},[2,\",\"]]", "\"x,y\"", "[3]"]
    private static let stored = "{\"a\":1},[2,\",\"],\"x,y\",3,"
    private static let boundaries: Set<UInt64> = [0, 8, 16, 22, 24]

    private func stream(_ mode: TestMode, inlineLimit: Int, verifies: Bool = true) throws -> DirectoryHarness {
        let harness = try DirectoryHarness(mode) {
            $0.inlineByteLimit = inlineLimit
            if !verifies { $0.verifiedReadLimit = 0 }
        }
        _ = try harness.create("j", type: Self.type)
        for body in Self.bodies { try harness.append("j", body, type: Self.type) }
        return harness
    }

    private func check(_ harness: DirectoryHarness) throws {
        for position in 0...UInt64(Self.stored.utf8.count) {
            let isBoundary = Self.boundaries.contains(position)
            let code = harness.code { try harness.text("j", from: position) }
            #expect(code == (isBoundary ? nil : .invalidOffset), "read from \(position)")
            #expect(harness.code { try harness.read("j", from: position, limit: 1) } == code)
            let view = try harness.lookup("j")
            #expect(
                harness.code { try harness.directory.checkPosition(position, in: view, now: harness.now.value) } == code)
            let fork = ForkRequest(sourceName: "j", offset: StreamOffset(position: position))
            #expect(
                harness.code { try harness.create("f\(position)", fork: fork, body: "[7]") } == code,
                "fork at \(position)")
            guard isBoundary else { continue }
            let expected = String(Self.stored.utf8.prefix(Int(position))) ?? ""
            #expect(try harness.text("f\(position)") == expected + "7,")
            #expect(try harness.text("j", from: position) == String(Self.stored.utf8.dropFirst(Int(position))))
            try harness.delete("f\(position)")
        }
    }

    @Test(arguments: TestMode.allCases, [4096, 4])
    func offsetsInsideMessagesAreRefused(_ mode: TestMode, inlineLimit: Int) throws {
        let harness = try self.stream(mode, inlineLimit: inlineLimit)
        try self.check(harness)
        try harness.directory.checkpoint()
        try self.check(harness)
        guard mode != .memory else { return }
        try harness.restart()
        try self.check(harness)
    }

    @Test(arguments: TestMode.files)
    func alsoWhereFilesAreSentAsTheyAre(_ mode: TestMode) throws {
        let harness = try self.stream(mode, inlineLimit: 0, verifies: false)
        try harness.directory.checkpoint()
        try self.check(harness)
    }

    @Test(arguments: TestMode.allCases)
    func forksAreReadFromWhereTheyBegin(_ mode: TestMode) throws {
        let harness = try self.stream(mode, inlineLimit: 4)
        let fork = ForkRequest(sourceName: "j", offset: StreamOffset(position: 0), subOffset: 1)
        _ = try harness.create("f", fork: fork, body: "[[4,5]]")
        for _ in 0..<2 {
            #expect(try harness.text("f", from: 8) == "[4,5],")
            #expect(harness.code { try harness.text("f", from: 11) } == .invalidOffset)
            #expect(harness.code { try harness.text("f", from: 3) } == .invalidOffset)
            try harness.directory.checkpoint()
        }
    }

    @Test(arguments: TestMode.allCases)
    func otherTypesAreReadFromAnywhere(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("t", type: "text/plain", body: "{\"a\":1}")
        #expect(try harness.text("t", from: 3) == "\":1}")
    }
}
