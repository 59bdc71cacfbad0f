import Logging
import NIOCore
import PostgresClient
import PostgresWire
import Satellite
import Synchronization
import Testing

@testable import SatelliteEndpoint

@Suite(.timeLimit(.minutes(2))) struct ClientStateStoreTests {
    /// A database that remembers what it was asked, and fails when it is told to.
    private final class Scripted: Sendable {
        struct State {
            var batches: [[PostgresStatement]] = []
            var unavailable = 0
            var poison: Set<String> = []
        }
        let state = Mutex(State())

        func write(_ script: [PostgresStatement]) -> ClientStateWriteError? {
            self.state.withLock { state in
                if state.unavailable > 0 {
                    state.unavailable -= 1
                    return .unavailable(PostgresError.client("gone", connectionLost: true))
                }
                for statement in script {
                    if let client = statement.parameters.first, state.poison.contains(where: { client == .text($0) }) {
                        return .refused(PostgresError(sqlState: "22001", message: "too long"))
                    }
                }
                state.batches.append(script)
                return nil
            }
        }

        var written: [PostgresStatement] { self.state.withLock { $0.batches.flatMap { $0 } } }
    }

    private func store(
        _ database: Scripted, pendingLimit: Int = 1_000, stopLimit: Duration = .seconds(5)
    ) -> ClientStateStore {
        let pool = PostgresPool(
            ConnectionParameters(host: "/nowhere", user: "nobody", database: "none", tls: .disable), logger: silent)
        return ClientStateStore(
            pool: pool, logger: silent, pendingLimit: pendingLimit, stopLimit: stopLimit, checkpointInterval: .zero
        ) {
            database.write($0)
        }
    }

    private func run(_ store: ClientStateStore) async {
        let task = Task { await store.run() }
        task.cancel()
        await task.value
    }

    private static func lsn(_ value: UInt64) -> LSN { LSN(rawValue: value) }

    @Test func onlyTheLastCheckpointOfAClientIsKept() {
        let batch: [ClientStateStore.Pending] = [
            .init(clientID: "a", change: .checkpoint(Self.lsn(1))),
            .init(clientID: "b", change: .checkpoint(Self.lsn(5))),
            .init(clientID: "a", change: .deleteState), .init(clientID: "a", change: nil),
            .init(clientID: "a", change: .checkpoint(Self.lsn(2))),
            .init(clientID: "a", change: .removeSubscriptions(["x"])),
            .init(clientID: "a", change: .checkpoint(Self.lsn(3))), .init(clientID: "b", change: .deleteState),
        ]
        let kept = ClientStateStore.coalesced(batch).map { item in
            switch item.change {
            case .checkpoint(let position): "\(item.clientID) \(position.rawValue)"
            case .deleteState: "\(item.clientID) delete"
            case .removeSubscriptions: "\(item.clientID) remove"
            default: "?"
            }
        }
        #expect(kept == ["b 5", "a delete", "a remove", "a 3", "b delete"])
    }

    @Test func everythingIsWrittenBeforeTheServiceStops() async {
        let database = Scripted()
        let store = self.store(database, pendingLimit: 10_000)
        let done = Mutex(0)
        for index in 0..<1_200 {
            store.submit(.checkpoint(Self.lsn(1)), for: "client \(index)") { done.withLock { $0 += 1 } }
        }
        await self.run(store)
        #expect(done.withLock { $0 } == 1_200)
        #expect(database.state.withLock { $0.batches.map(\.count) } == [503, 503, 203])
        // Nobody waits for what comes later.
        store.submit(.checkpoint(Self.lsn(1)), for: "late") { done.withLock { $0 += 1 } }
        #expect(done.withLock { $0 } == 1_201)
        await #expect(throws: PostgresError.self) { try await store.load("late") }
    }

    @Test func changesOfOneRefusedClientAreDroppedAlone() async {
        let database = Scripted()
        database.state.withLock { $0.poison = ["client 123", "client 400"] }
        let store = self.store(database)
        let done = Mutex(0)
        for index in 0..<500 {
            store.submit(.checkpoint(Self.lsn(UInt64(index))), for: "client \(index)") { done.withLock { $0 += 1 } }
        }
        await self.run(store)
        #expect(done.withLock { $0 } == 500)
        #expect(store.droppedCount == 2)
        #expect(database.written.filter { !$0.parameters.isEmpty }.count == 498)
    }

    @Test func absentDatabaseIsWaitedFor() async {
        let database = Scripted()
        database.state.withLock { $0.unavailable = 4 }
        let store = self.store(database)
        let task = Task { await store.run() }
        await withCheckedContinuation { continuation in
            store.submit(.checkpoint(Self.lsn(1)), for: "a") { continuation.resume() }
        }
        #expect(store.droppedCount == 0)
        #expect(database.written.map(\.sql).filter { $0.contains("client_checkpoints") }.count == 1)
        task.cancel()
        await task.value
    }

    @Test func absentDatabaseIsNotWaitedForWhenTheServiceStops() async {
        let database = Scripted()
        database.state.withLock { $0.unavailable = .max }
        let store = self.store(database, stopLimit: .milliseconds(100))
        let done = Mutex(false)
        store.submit(.checkpoint(Self.lsn(1)), for: "a") { done.withLock { $0 = true } }
        await self.run(store)
        #expect(done.withLock { $0 })
        #expect(store.droppedCount == 1)
    }

    @Test func queueIsBounded() {
        let store = self.store(Scripted(), pendingLimit: 3)
        let done = Mutex(0)
        for _ in 0..<5 { store.submit(.deleteState, for: "a") { done.withLock { $0 += 1 } } }
        #expect(store.pendingCount == 3)
        #expect(store.droppedCount == 2)
        #expect(done.withLock { $0 } == 2)
    }

    // MARK: Against Postgres

    @Test func stateComesBackFromPostgres() async throws {
        let endpoint = try await EndpointHarness.withDatabase()
        let store = endpoint.store
        let subscription = StoredSubscription(
            id: "8a7ec83d-7651-4bb4-afa1-d04fbb93585f", request: ByteBuffer(bytes: Array(0...255)),
            snapshot: TransactionSnapshot(xmin: 5, xmax: 1 << 40, running: [7, 9]), snapshotEnd: Self.lsn(1 << 50),
            snapshotTables: [1, 2])
        store.submit(.checkpoint(Self.lsn(7)), for: "a")
        store.submit(.saveSubscription(subscription), for: "a")
        store.submit(.saveUnsubscriptions([.init(id: subscription.id, position: .init(rawValue: 9))]), for: "a")
        // Too long for its column; in the same batch.
        store.submit(.checkpoint(Self.lsn(7)), for: String(repeating: "x", count: 100))
        store.submit(.checkpoint(Self.lsn(8)), for: "a")
        var stored = try await store.load("a")
        #expect(stored.checkpoint == Self.lsn(8))
        #expect(stored.subscriptions == [subscription])
        #expect(stored.unsubscriptions == [.init(id: subscription.id, position: Self.lsn(9))])
        #expect(store.droppedCount == 1)
        store.submit(.forgetUnsubscriptions([subscription.id]), for: "a")
        stored = try await store.load("a")
        #expect(stored.unsubscriptions.isEmpty)
        store.submit(.removeSubscriptions([subscription.id]), for: "a")
        stored = try await store.load("a")
        #expect(stored.subscriptions.isEmpty)
        try await store.forgetEveryone()
        stored = try await store.load("a")
        #expect(stored.checkpoint == nil)
        await endpoint.stop()
    }
}
