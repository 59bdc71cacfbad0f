import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import Testing

/// Names are what their bytes say, also where Unicode holds others for equivalent.
@Suite(.timeLimit(.minutes(2))) struct NameTests {
    private static let composed = "caf\u{e9}"
    private static let decomposed = "cafe\u{301}"

    @Test(arguments: TestMode.allCases)
    func equivalentNamesAreTwoStreams(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        #expect(try harness.create(Self.composed, body: "A").isNew)
        #expect(try harness.create(Self.decomposed, body: "B").isNew)
        for _ in 0..<2 {
            #expect(try harness.text(Self.composed) == "A")
            #expect(try harness.text(Self.decomposed) == "B")
            #expect(harness.directory.list(now: 0).map { Array($0.view.name.utf8) }
                == [Array(Self.decomposed.utf8), Array(Self.composed.utf8)])
            if mode != .memory { try harness.restart() }
        }
        try harness.delete(Self.composed)
        #expect(harness.code { try harness.lookup(Self.composed) } == .notFound)
        #expect(try harness.text(Self.decomposed) == "B")
        #expect(harness.code { try harness.create("f", fork: ForkRequest(sourceName: Self.composed)) } == .notFound)
        _ = try harness.create("f", fork: ForkRequest(sourceName: Self.decomposed))
        #expect(harness.code { try harness.create("f", fork: ForkRequest(sourceName: Self.composed)) } == .alreadyExists)
    }

    @Test(arguments: TestMode.allCases)
    func equivalentProducersAreTwo(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("s")
        let (one, other) = (
            ProducerClaim(id: Self.composed, epoch: 0, seq: 0), ProducerClaim(id: Self.decomposed, epoch: 0, seq: 0)
        )
        #expect(try harness.append("s", "a", producer: one).kind == .appended)
        #expect(try harness.append("s", "b", producer: other).kind == .appended)
        for _ in 0..<2 {
            #expect(try harness.append("s", "a", producer: one).kind == .duplicate)
            #expect(try harness.append("s", "b", producer: other).kind == .duplicate)
            #expect(try harness.text("s") == "ab")
            if mode != .memory { try harness.restart() }
        }
        // The one that closed it is told from the other.
        let closing = ProducerClaim(id: Self.composed, epoch: 0, seq: 1)
        try harness.append("s", "c", producer: closing, closes: true)
        #expect(try harness.append("s", "c", producer: closing, closes: true).kind == .duplicate)
        let stranger = ProducerClaim(id: Self.decomposed, epoch: 0, seq: 1)
        #expect(harness.code { try harness.append("s", "c", producer: stranger, closes: true) } == .streamClosed)
    }
}
