import DurableStreams
import ExactText
import NIOCore
import StreamStore
import Testing

@testable import StreamDirectory

/// How many producers a stream remembers, and for how long.
@Suite(.timeLimit(.minutes(2))) struct ProducerTests {
    private static let day: UInt64 = 24 * 60 * 60 * 1000

    private static func claim(_ id: String, _ seq: UInt64 = 0) -> ProducerClaim {
        ProducerClaim(id: id, epoch: 0, seq: seq)
    }

    @Test(arguments: TestMode.allCases)
    func newOnesAreTurnedAwayUntilOthersHaveBeenIdleForLong(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode) { $0.limits.producers = 3 }
        func produce(_ id: String, _ seq: UInt64 = 0) throws -> DurableStreams.AppendOutcome.Kind {
            try harness.append("s", "\(id)\(seq).", producer: Self.claim(id, seq)).kind
        }
        func restart() throws { if mode != .memory { try harness.restart() } }
        _ = try harness.create("s")
        for id in ["a", "b", "c"] { #expect(try produce(id) == .appended) }
        harness.now.value += 6 * Self.day
        #expect(harness.code { try produce("d") } == .tooManyProducers)
        #expect(try produce("a", 1) == .appended)
        try restart()
        #expect(harness.code { try produce("d") } == .tooManyProducers)
        #expect(try produce("b") == .duplicate)
        harness.now.value += 2 * Self.day
        // Those that were idle for eight days make room; a repeat of the other is still known for one.
        #expect(try produce("d") == .appended)
        for _ in 0..<2 {
            #expect(try produce("a", 1) == .duplicate)
            #expect(try produce("d") == .duplicate)
            #expect(harness.code { try produce("b", 1) } == .sequenceConflict)
            #expect(try harness.text("s") == "a0.b0.c0.a1.d0.")
            try restart()
        }
        #expect(try produce("e") == .appended)
        #expect(harness.code { try produce("f") } == .tooManyProducers)
    }

    @Test(arguments: TestMode.allCases)
    func manyAreKnownAfterAStart(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("s")
        _ = try harness.create("t")
        for number in 0..<200 { try harness.append("s", "x", producer: Self.claim("p\(number)")) }
        for number in 0..<100 { try harness.append("s", "y", producer: Self.claim("p\(number)", 1)) }
        try harness.append("t", "z", producer: Self.claim("p0"))
        try harness.directory.checkpoint()
        try harness.append("s", "end", closes: true)
        for _ in 0..<2 {
            for number in 0..<200 {
                let state = try #require(self.producers("s", harness)["p\(number)"])
                #expect(state.lastSeq == (number < 100 ? 1 : 0))
            }
            #expect(self.producers("s", harness).count == 200)
            #expect(self.producers("t", harness).count == 1)
            if mode != .memory { try harness.restart() }
        }
        // Another stream of the name knows none of them.
        try harness.delete("s")
        _ = try harness.create("s")
        try harness.directory.checkpoint()
        if mode != .memory { try harness.restart() }
        #expect(self.producers("s", harness).isEmpty)
        #expect(try harness.append("s", "x", producer: Self.claim("p0")).kind == .appended)
    }

    private func producers(_ name: String, _ harness: DirectoryHarness) -> ExactDictionary<ProducerState> {
        harness.directory.entry(named: name, now: harness.now.value)?.state.producers ?? [:]
    }

    @Test(arguments: TestMode.allCases)
    func theyCountAsBytes(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode) { $0.limits.totalBytes = 1900 }
        _ = try harness.create("s")
        func produce(_ number: Int) throws {
            let id = String(repeating: "p", count: 400) + String(number)
            try harness.append("s", "x", producer: Self.claim(id))
        }
        for number in 0..<3 { try produce(number) }
        #expect(harness.code { try produce(3) } == .payloadTooLarge)
        if mode != .memory { try harness.restart() }
        #expect(harness.code { try produce(3) } == .payloadTooLarge)
        try harness.append("s", String(repeating: "x", count: 400))
        try harness.delete("s")
        _ = try harness.create("s")
        for number in 3..<6 { try produce(number) }
    }

    @Test func whatAnOlderVersionKeptInTheStateIsMovedWhole() throws {
        var state = StreamState(
            identity: StreamIdentity(rawValue: 7), name: "s", configuration: StreamConfiguration(contentType: .json), at: 1)
        for id in ["a", "b"] { state.apply(AppendEffect(payloadCount: 0, messageCount: 0, claim: Self.claim(id), at: 2)) }
        var bytes = ByteBuffer()
        state.encode(into: &bytes)
        let decoded = try #require(StreamState(decoding: &bytes))
        #expect(decoded == state)
        let entry = StreamEntry(state: decoded, hash: 0, source: nil)
        let effect = AppendEffect(payloadCount: 0, messageCount: 0, claim: Self.claim("b", 1), at: 3)
        let written = entry.applyKeepingProducersApart(effect)
        #expect(written.map(\.id).sorted() == ["a", "b"])
        #expect(entry.stateToCommit.producers.isEmpty)
        bytes.clear()
        entry.stateToCommit.encode(into: &bytes)
        var restored = try #require(StreamState(decoding: &bytes))
        #expect(restored.keepsProducersApart)
        for producer in written { restored.setProducer(producer.id, producer.state) }
        #expect(restored == entry.state)
        // From then on only what moves.
        let next = AppendEffect(payloadCount: 0, messageCount: 0, claim: Self.claim("a", 1), at: 4)
        #expect(entry.applyKeepingProducersApart(next).map(\.id) == ["a"])
    }
}
