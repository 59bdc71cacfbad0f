import ChangeFeed
import Foundation
import PostgresWire
import Synchronization
import TestSupport
import Testing

/// A feed whose log is in memory: what a new process lacks, the held-back slot brings again.
@Suite(.timeLimit(.minutes(3))) struct DisklessFeedTests {
    private static func harness() async throws -> FeedHarness {
        let harness = try await FeedHarness.make(.replication)
        try await harness.query(
            """
            CREATE TABLE items (id text PRIMARY KEY, content text);
            CREATE PUBLICATION electric_publication FOR TABLE items;
            """)
        return harness
    }

    @Test func clientsResumeAcrossAProcessThatKeptNothing() async throws {
        let harness = try await Self.harness()
        try harness.start(transport: .auto, retention: 64 << 20, isInMemory: true)
        try await harness.waitUntilReady()
        let base = try #require(try harness.feed.oldestPosition)
        #expect(try await harness.confirmed() == base)
        for number in 1...5 { try await harness.query("INSERT INTO items VALUES ('\(number)')") }
        try await harness.waitUntilCurrent()
        let seen = try await harness.transactions(after: base)
        #expect(seen.map(\.inserts) == [["1"], ["2"], ["3"], ["4"], ["5"]])
        let position = seen[1].header.endLSN
        for round in 1...2 {
            try await harness.stop()
            #expect(try await harness.confirmed() == base)
            #expect(!FileManager.default.fileExists(atPath: harness.directory + "/log"))
            try await harness.query("INSERT INTO items VALUES ('away \(round)')")
            try harness.start(transport: .auto, retention: 64 << 20, isInMemory: true)
            try await harness.waitUntilReady()
        }
        try await harness.waitUntilCurrent()
        #expect(
            try await harness.transactions(after: position).map(\.inserts)
                == [["3"], ["4"], ["5"], ["away 1"], ["away 2"]])
        // For the slot that was made at the very first start alone.
        #expect(harness.startedOver.withLock { $0 } == ["the replication slot is made anew"])
        try await harness.stop()
        await harness.destroy()
    }

    @Test func slotFollowsAtTheWindowsDistanceAndMemoryIsBounded() async throws {
        let harness = try await Self.harness()
        let window: UInt64 = 2 << 20
        func start() throws {
            try harness.start(transport: .auto, retention: window, cache: 1 << 20, pieceBytes: 64 << 10, isInMemory: true)
        }
        try start()
        try await harness.waitUntilReady()
        let base = try #require(try harness.feed.oldestPosition)
        for number in 1...60 {
            try await harness.query(
                "INSERT INTO items SELECT '\(number)-' || n, repeat(md5(n::text), 30) FROM generate_series(1, 200) AS n")
        }
        try await harness.waitUntilCurrent()
        try await eventually("the slot follows") { try await harness.confirmed() > base }
        let position = try #require(try harness.feed.position)
        #expect(try await harness.confirmed().rawValue <= position.rawValue - window)
        try await eventually("the log is trimmed") { try (harness.feed.health.logBytes ?? .max) < 2 << 20 }
        let isBehind: Bool = if case .behindWindow = try await harness.feed.read(after: base) { true } else { false }
        #expect(isBehind)

        // A client that has everything comes back to the next process, and misses nothing.
        try await harness.stop()
        try await harness.query("INSERT INTO items VALUES ('away')")
        try start()
        try await harness.waitUntilReady()
        try await harness.waitUntilCurrent()
        #expect(try await harness.transactions(after: position).map(\.inserts) == [["away"]])
        try await harness.stop()
        await harness.destroy()
    }

    @Test func slotThatWasReplacedLeavesNobodyWithAHole() async throws {
        let harness = try await Self.harness()
        func start() throws { try harness.start(transport: .auto, retention: 64 << 20, isInMemory: true) }
        try start()
        try await harness.waitUntilReady()
        try await harness.query("INSERT INTO items VALUES ('1')")
        try await harness.waitUntilCurrent()
        let position = try #require(try harness.feed.position)
        try await harness.stop()
        try await harness.query("SELECT pg_drop_replication_slot('\(harness.slot)')")
        try await harness.query("INSERT INTO items VALUES ('unseen')")
        try start()
        try await harness.waitUntilReady()
        #expect(harness.startedOver.withLock { $0 }.count == 2)
        // By somebody else, while nobody looks.
        try await harness.stop()
        try await harness.query("SELECT pg_drop_replication_slot('\(harness.slot)')")
        try await harness.query("INSERT INTO items VALUES ('unseen too')")
        try await harness.query("SELECT 1 FROM pg_create_logical_replication_slot('\(harness.slot)', 'pgoutput')")
        try start()
        try await harness.waitUntilReady()
        let isBehind: Bool =
            if case .behindWindow = try await harness.feed.read(after: position) { true } else { false }
        #expect(isBehind)
        try await harness.stop()
        await harness.destroy()
    }
}
