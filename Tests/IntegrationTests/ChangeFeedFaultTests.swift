import ChangeFeed
import Foundation
import PostgresClient
import PostgresWire
import Synchronization
import TestSupport
import Testing

/// Processes die and transports change while the application writes: nothing is lost, nothing comes twice.
@Suite(.timeLimit(.minutes(3))) struct ChangeFeedFaultTests {
    private static let schema = """
        CREATE TABLE items (id text PRIMARY KEY, content text);
        CREATE PUBLICATION electric_publication FOR TABLE items;
        """

    /// Writes one row after the other until stopped, over whatever crashes; tells how many have been committed.
    private final class Writer: Sendable {
        private let committed = Mutex(0)
        private let task = Mutex<Task<Void, Never>?>(nil)

        var count: Int { self.committed.withLock { $0 } }

        init(_ cluster: TestCluster, name: String) {
            let task = Task {
                var number = 0
                while !Task.isCancelled {
                    guard let connection = try? await cluster.connect() else {
                        try? await Task.sleep(for: .milliseconds(20))
                        continue
                    }
                    while !Task.isCancelled {
                        number += 1
                        do {
                            try await connection.execute("INSERT INTO public.items VALUES ('\(name) \(number)', 'x')")
                            self.committed.withLock { $0 += 1 }
                        } catch {
                            break
                        }
                    }
                    await connection.close()
                }
            }
            self.task.withLock { $0 = task }
        }

        func waitForMore(_ count: Int = 200) async throws {
            let before = self.count
            try await eventually("\(count) more rows are written") { self.count >= before + count }
        }

        func stop() async {
            let task = self.task.withLock { $0 }
            task?.cancel()
            await task?.value
        }
    }

    /// Every row of the table came once, in the order of their commits as far as one writer's go.
    private static func expectEverythingOnce(_ harness: FeedHarness, after start: LSN) async throws {
        try await harness.waitUntilReady()
        try await harness.waitUntilCurrent()
        let seen = try await harness.transactions(after: start)
        let inserts = seen.flatMap(\.inserts)
        let rows = try await harness.query("SELECT id FROM items").split(separator: "\n").map(String.init)
        #expect(inserts.count == Set(inserts).count, "something came twice")
        #expect(Set(inserts) == Set(rows))
        #expect(zip(seen, seen.dropFirst()).allSatisfy { $0.header.endLSN < $1.header.endLSN })
    }

    @Test(arguments: [FeedTransportChoice.replication, .extension])
    func serverThatIsKilledUnderLoadLosesAndDoublesNothing(_ transport: FeedTransportChoice) async throws {
        let harness = try await FeedHarness.make(transport)
        try await harness.query(Self.schema)
        try harness.start(transport: transport)
        try await harness.waitUntilReady()
        let start = try #require(try harness.feed.position)
        let writers = (0..<3).map { Writer(harness.cluster, name: "w\($0)") }

        try await writers[0].waitForMore()
        try await harness.cluster.kill()
        try await harness.cluster.start()
        try await writers[0].waitForMore()

        // The process that sends, alone. The server takes a killed one for a crash and starts all of them anew.
        let sender = transport == .extension ? "backend_type LIKE 'penstock%'" : "backend_type = 'walsender'"
        try await eventually("a process sends") {
            let pid = try await harness.query("SELECT pid FROM pg_stat_activity WHERE \(sender) LIMIT 1")
            guard let pid = pid_t(pid) else { return false }
            return Foundation.kill(pid, SIGKILL) == 0
        }
        try await writers[0].waitForMore()

        // The feed goes away in the middle, and another takes up its log.
        try await harness.stop()
        try await writers[0].waitForMore()
        try harness.start(transport: transport)
        try await writers[0].waitForMore()
        for writer in writers { await writer.stop() }
        try await Self.expectEverythingOnce(harness, after: start)
        #expect(harness.startedOver.withLock { $0 }.isEmpty)
        try await harness.stop()
        await harness.destroy()
    }

    @Test func feedMovesBetweenTheTransportsWithoutAGap() async throws {
        // The worker looks for the sidecar under a name that leads there only for a while.
        let name = "/tmp/pkf-\(UUID().uuidString.prefix(8)).sock"
        defer { unlink(name) }
        let harness = try await FeedHarness.make(.auto, settings: ["penstock.socket": name])
        try await harness.query(Self.schema)
        try harness.start(transport: .auto)
        try await harness.waitUntilReady()
        let start = try #require(try harness.feed.position)
        #expect(try harness.feed.health.summary.contains("a replication connection"))
        let writer = Writer(harness.cluster, name: "w")
        try await writer.waitForMore()

        #expect(symlink(harness.socketPath, name) == 0)
        try await eventually("the worker takes over") {
            let health = try harness.feed.health
            return health.isReady && health.summary.contains("the extension")
        }
        try await writer.waitForMore()

        unlink(name)
        try await harness.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'penstock%'")
        try await eventually("the replication connection takes over") {
            let health = try harness.feed.health
            return health.isReady && health.summary.contains("a replication connection")
        }
        try await writer.waitForMore()
        await writer.stop()
        try await Self.expectEverythingOnce(harness, after: start)
        #expect(harness.startedOver.withLock { $0 }.isEmpty)
        try await harness.stop()
        await harness.destroy()
    }

    @Test(arguments: [FeedTransportChoice.replication, .extension])
    func transactionOfManyPiecesIsReadBackWhole(_ transport: FeedTransportChoice) async throws {
        let harness = try await FeedHarness.make(transport)
        try await harness.query(Self.schema)
        try harness.start(transport: transport, cache: 1 << 20, pieceBytes: 64 << 10, segmentBytes: 1 << 20)
        try await harness.waitUntilReady()
        let start = try #require(try harness.feed.position)
        try await harness.query("INSERT INTO public.items VALUES ('before', 'x')")
        try await harness.query("INSERT INTO items SELECT n, 'row' FROM generate_series(1, 300000) AS n")
        try await harness.query("INSERT INTO public.items VALUES ('after', 'x')")
        try await harness.waitUntilCurrent()
        let seen = try await harness.transactions(after: start)
        #expect(seen.map(\.inserts.count) == [1, 300_000, 1])
        #expect(seen[1].inserts == (1...300_000).map(String.init))
        try await harness.stop()
        await harness.destroy()
    }
}
