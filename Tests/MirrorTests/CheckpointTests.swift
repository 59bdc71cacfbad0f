import PostgresClient
import TestSupport
import Testing

@testable import Mirror

/// Where flows are in streams that come, go and come back.
@Suite(.serialized, .timeLimit(.minutes(2))) struct CheckpointTests {
    @Test func streamThatComesBackIsContinuedAndNoIncarnationIsGivenTwice() async throws {
        let harness = try await MirrorHarness(script: MirrorSchema.script)
        let checkpoints = CheckpointStore(pool: harness.pool, flow: "flow")
        @Sendable func open(_ identity: UInt64) async throws -> StreamCheckpoint {
            try await checkpoints.open("s", view: StreamViewFacts(identity: identity, tail: 100), start: .beginning)
        }
        func move(_ checkpoint: StreamCheckpoint, to position: UInt64) async throws {
            let outcome = try await harness.pool.withConnection {
                try await $0.pipeline([checkpoints.moving("s", from: checkpoint, to: position, finishes: false)])
            }
            #expect(outcome.error == nil)
        }
        func shape(_ checkpoint: StreamCheckpoint) -> [UInt64] {
            [checkpoint.identity, UInt64(checkpoint.incarnation), checkpoint.position]
        }
        let first = try await open(5)
        try await move(first, to: 50)
        let second = try await open(6)
        #expect(shape(second) == [6, 2, 0])
        try await move(second, to: 20)
        #expect(shape(try await open(5)) == [5, 1, 50])
        #expect(shape(try await open(7)) == [7, 3, 0])
        // One that was deleted does not come back; the number of its rows stays its own.
        try await checkpoints.end("s", identity: 7, state: "deleted")
        #expect(shape(try await open(6)) == [6, 2, 20])
        #expect(shape(try await open(8)) == [8, 4, 0])
        // Two that go over at the same time agree.
        async let one = open(5)
        async let other = open(5)
        #expect(shape(try await one) == [5, 1, 50])
        #expect(shape(try await other) == [5, 1, 50])
        // What is remembered has an end.
        for identity in 100..<UInt64(310) { _ = try await open(identity) }
        #expect(try await harness.sql("SELECT count(*) <= 102 FROM penstock.mirror_former_checkpoints") == "t")
        #expect(shape(try await open(400)) == [400, 215, 0])
        try await harness.finish()
    }
}
