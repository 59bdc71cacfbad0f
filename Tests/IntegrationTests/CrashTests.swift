import ChangeFeed
import Foundation
import PostgresClient
import SatelliteClient
import TestSupport
import Testing

/// Kills in the middle of everything; afterwards every client holds what Postgres holds, and nothing came twice.
@Suite(.serialized, .timeLimit(.minutes(5))) struct CrashTests {
    /// Transactions of one row each from several connections, each tried until it is in.
    private static func load(_ sidecar: SidecarProcess, transactions: Int, connections: Int) async throws {
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for worker in 0..<connections {
                tasks.addTask {
                    let share = transactions / connections
                    var next = 0
                    while next < share {
                        do {
                            let connection = try await sidecar.cluster.connect(database: sidecar.database)
                            while next < share {
                                let number = next
                                try await connection.query(
                                    """
                                    INSERT INTO public.items VALUES ('\(worker)-\(number)', '\(number)')
                                    ON CONFLICT (id) DO UPDATE SET content = excluded.content
                                    """)
                                next += 1
                            }
                            await connection.close()
                        } catch {
                            // The server is down; the same transaction is tried again.
                            try await Task.sleep(for: .milliseconds(100))
                        }
                    }
                }
            }
            try await tasks.waitForAll()
        }
    }

    @Test(arguments: [FeedTransportChoice.extension, .replication])
    func killOfTheServiceInTheMiddleOfTenThousandTransactions(_ transport: FeedTransportChoice) async throws {
        try await Self.killInTheMiddle(try await SatelliteRoundTripTests.start(transport), transactions: 10_000)
    }

    /// The next process gets from Postgres what the killed one had in memory.
    @Test func killOfAServiceWithoutADisk() async throws {
        let sidecar = try await SatelliteRoundTripTests.start(
            .replication, ["PENSTOCK_DATA_DIR": "", "PENSTOCK_TRANSPORT": "auto"])
        try await Self.killInTheMiddle(sidecar, transactions: 4_000)
    }

    private static func killInTheMiddle(_ sidecar: SidecarProcess, transactions: Int) async throws {
        let clients = (0..<3).map { PersistentClient(sidecar, id: "client-\($0)", tables: ["items"]) }
        for client in clients { try await client.open() }
        async let load: Void = Self.load(sidecar, transactions: transactions, connections: 4)
        for target in [transactions / 5, transactions / 2, transactions * 4 / 5] {
            try await eventually("\(target) transactions have reached a client", within: .seconds(90)) {
                await clients[0].inspect { $0.changeCount } >= target
            }
            sidecar.kill()
            try sidecar.launch()
        }
        try await load
        try await sidecar.waitUntilReady()
        try await SatelliteRoundTripTests.expectEqual(clients, sidecar)
        for client in clients {
            #expect(await client.startedOver == 0)
            #expect(await client.rows("items", column: 1).count == transactions)
            await client.close()
        }
        await sidecar.destroy()
    }

    /// The cluster runs without fsync, as all of the tests: a killed server leaves its pages to the system, so nothing of what it
    /// acknowledged may be missing afterwards.
    @Test(arguments: [FeedTransportChoice.extension, .replication])
    func killOfPostgresUnderLoad(_ transport: FeedTransportChoice) async throws {
        let sidecar = try await SatelliteRoundTripTests.start(transport)
        let clients = (0..<2).map { PersistentClient(sidecar, id: "client-\($0)", tables: ["items"]) }
        for client in clients { try await client.open() }
        async let load: Void = Self.load(sidecar, transactions: 4_000, connections: 4)
        for target in [400, 1_600] {
            try await eventually("\(target) transactions have reached a client", within: .seconds(90)) {
                await clients[0].inspect { $0.changeCount } >= target
            }
            try await sidecar.cluster.kill()
            try await sidecar.cluster.start()
        }
        try await load
        try await sidecar.waitUntilReady()
        try await SatelliteRoundTripTests.expectEqual(clients, sidecar)
        for client in clients {
            #expect(await client.rows("items", column: 1).count == 4_000)
            await client.close()
        }
        await sidecar.destroy()
    }
}
