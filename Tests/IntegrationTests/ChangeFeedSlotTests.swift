import ChangeFeed
import PostgresClient
import PostgresWire
import Synchronization
import TestSupport
import Testing

/// The slot is not what it was: no case may leave a hole that nobody is told of.
@Suite(.timeLimit(.minutes(3))) struct ChangeFeedSlotTests {
    @Test(arguments: [FeedTransportChoice.replication, .extension])
    func whateverHappensToTheSlotClientsAreToldToStartOver(_ transport: FeedTransportChoice) async throws {
        let harness = try await FeedHarness.make(transport)
        try await harness.query(
            """
            CREATE TABLE items (id text PRIMARY KEY, content text);
            CREATE PUBLICATION electric_publication FOR TABLE items;
            """)
        try await Self.startWhileATransactionIsOpen(harness, transport)
        #expect(harness.startedOver.withLock { $0 }.isEmpty)

        try await Self.expectNewEpoch(harness, transport, 2, reason: "gone") {
            try await harness.query("SELECT pg_drop_replication_slot('\(harness.slot)')")
            try await harness.query("INSERT INTO items VALUES ('unseen 2')")
        }
        try await Self.expectNewEpoch(harness, transport, 3, reason: "recreated") {
            try await harness.query("SELECT pg_drop_replication_slot('\(harness.slot)')")
            try await harness.query("INSERT INTO items VALUES ('unseen 3')")
            try await harness.query("SELECT 1 FROM pg_create_logical_replication_slot('\(harness.slot)', 'pgoutput')")
        }
        try await Self.expectNewEpoch(harness, transport, 4, reason: "moved") {
            try await harness.query("INSERT INTO items VALUES ('unseen 4')")
            try await harness.query("SELECT pg_replication_slot_advance('\(harness.slot)', pg_current_wal_lsn())")
        }
        try await Self.expectNewEpoch(harness, transport, 5, reason: "max_slot_wal_keep_size") {
            try await harness.cluster.configure(["max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB"])
            try await harness.cluster.reload()
            try await harness.query("INSERT INTO items VALUES ('unseen 5')")
            try await eventually("the server gives the slot's WAL up") {
                try await harness.query("SELECT pg_switch_wal()")
                try await harness.query("SELECT pg_logical_emit_message(false, 'test', 'x')")
                try await harness.query("CHECKPOINT")
                return try await harness.query(
                    "SELECT wal_status FROM pg_replication_slots WHERE slot_name = '\(harness.slot)'") == "lost"
            }
        }
        await harness.destroy()
    }

    private static func startWhileATransactionIsOpen(
        _ harness: FeedHarness, _ transport: FeedTransportChoice
    ) async throws {
        let holder = try await harness.cluster.connect(database: harness.database)
        try await holder.execute("BEGIN")
        try await holder.execute("INSERT INTO public.items VALUES ('before the slot')")
        try harness.start(transport: transport)
        let pid = holder.backendProcessID
        try await eventually("health names the process that the slot waits for") {
            try harness.feed.health.summary.hasSuffix("of pid \(pid)")
        }
        #expect(try !harness.feed.health.isReady)
        try await holder.execute("COMMIT")
        await holder.close()
        try await harness.waitUntilReady()
        let base = try #require(try harness.feed.oldestPosition)
        try await harness.query("INSERT INTO items VALUES ('first')")
        try await harness.waitUntilCurrent()
        #expect(try await harness.transactions(after: base).flatMap(\.inserts) == ["first"])
    }

    /// Stops the feed, lets `happening` do something to the slot, and starts it again.
    private static func expectNewEpoch(
        _ harness: FeedHarness, _ transport: FeedTransportChoice, _ epoch: UInt64, reason: String,
        _ happening: () async throws -> Void
    ) async throws {
        let old = try #require(try harness.feed.position)
        try await harness.stop()
        try await eventually("the slot is let go") {
            try await harness.query(
                "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '\(harness.slot)' AND active") == "0"
        }
        try await happening()
        try harness.start(transport: transport)
        try await harness.waitUntilReady()
        let reasons = harness.startedOver.withLock { $0 }
        #expect(reasons.count == Int(epoch) - 1)
        #expect(reasons.last?.contains(reason) == true, "\(reasons)")
        let health = try harness.feed.health
        #expect(health.epoch == epoch)
        #expect(health.startedOverBecause == reasons.last)
        guard case .behindWindow = try await harness.feed.read(after: old) else {
            Issue.record("a position of the old epoch is served")
            return
        }
        let base = try #require(try harness.feed.oldestPosition)
        try await harness.query("INSERT INTO items VALUES ('seen \(epoch)')")
        try await harness.waitUntilCurrent()
        let seen = try await harness.transactions(after: base).flatMap(\.inserts)
        // A slot that was recreated may hold what was written after that; it is whole from its position on.
        #expect(seen == ["seen \(epoch)"])
    }
}
