import ChangeFeed
import PostgresWire
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(3))) struct ChangeFeedTransportTests {
    private static func harness(preload: Bool) async throws -> FeedHarness {
        let cluster: TestCluster
        let database: String
        if preload {
            // The worker's databases are fixed when the server starts, so this cluster has one that is made before.
            cluster = try await TestCluster.start(
                settings: ["penstock.databases": "app", "penstock.reconnect_interval": "200ms"], preloadExtension: true)
            _ = try await cluster.psql("CREATE DATABASE app")
            database = "app"
        } else {
            cluster = try await TestCluster.shared()
            database = try await cluster.createDatabase()
        }
        let harness = try FeedHarness(cluster: cluster, database: database)
        try await harness.query(
            """
            CREATE TABLE items (id text PRIMARY KEY, content text);
            CREATE PUBLICATION electric_publication FOR TABLE items;
            """)
        if preload {
            try await harness.cluster.configure(["penstock.socket": harness.socketPath])
            try await harness.cluster.restart()
        }
        return harness
    }

    @Test(arguments: [FeedTransportChoice.replication, .extension])
    func committedTransactionsComeOnceInOrderAcrossRestarts(_ transport: FeedTransportChoice) async throws {
        let harness = try await Self.harness(preload: transport == .extension)
        try harness.start(transport: transport)
        try await harness.waitUntilReady()
        let start = try #require(try harness.feed.position)
        for index in 0..<50 { try await harness.query("INSERT INTO items VALUES ('\(index)', 'x')") }
        try await harness.query("BEGIN; INSERT INTO items VALUES ('gone', 'x'); ROLLBACK")
        try await harness.waitUntilCurrent()
        try await harness.stop()
        for index in 50..<100 { try await harness.query("INSERT INTO items VALUES ('\(index)', 'x')") }
        try harness.start(transport: transport)
        try await harness.waitUntilReady()
        try await harness.waitUntilCurrent()
        let seen = try await harness.transactions(after: start)
        #expect(seen.flatMap(\.inserts) == (0..<100).map(String.init))
        #expect(zip(seen, seen.dropFirst()).allSatisfy { $0.header.endLSN < $1.header.endLSN })
        try await harness.stop()
        if transport == .extension { await harness.destroy() } else { harness.removeFiles() }
    }
}
