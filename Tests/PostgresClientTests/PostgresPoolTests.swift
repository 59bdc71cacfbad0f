import PostgresClient
import Testing
import TestSupport

@Suite("The connection pool", .timeLimit(.minutes(2)))
struct PostgresPoolTests {
    private func pool(connections: Int, timeout: Duration = .seconds(30), waiters: Int = 1000) async throws
        -> PostgresPool
    {
        var configuration = PostgresPool.Configuration(maximumConnections: connections)
        configuration.acquireTimeout = timeout
        configuration.maximumWaiters = waiters
        return PostgresPool(try await TestCluster.shared().parameters(), configuration: configuration)
    }

    @Test func neverOpensMoreThanItsBound() async throws {
        let pool = try await self.pool(connections: 3)
        let sessions = try await withThrowingTaskGroup(of: String?.self) { group in
            for _ in 0..<60 { group.addTask { try await pool.query("SELECT pg_backend_pid()").scalar } }
            return try await group.reduce(into: Set<String?>()) { $0.insert($1) }
        }
        #expect(sessions.count <= 3)
        #expect(pool.status.openConnections <= 3)
        #expect(pool.status.waiters == 0)
        await pool.close()
        await #expect(throws: PostgresError.self) { try await pool.query("SELECT 1") }
    }

    @Test func aCallerThatWaitsTooLongGetsAClearError() async throws {
        let pool = try await self.pool(connections: 1, timeout: .milliseconds(50))
        try await pool.withConnection { _ -> Void in
            await #expect { try await pool.query("SELECT 1") } throws: { ($0 as? PostgresError)?.sqlState == "53300" }
        }
        #expect(try await pool.query("SELECT 1").scalar == "1")
        await pool.close()
    }

    @Test func waitersAreBounded() async throws {
        let pool = try await self.pool(connections: 1, waiters: 0)
        try await pool.withConnection { _ -> Void in
            await #expect { try await pool.query("SELECT 1") } throws: { ($0 as? PostgresError)?.sqlState == "53300" }
        }
        await pool.close()
    }

    @Test func aCancelledWaiterLeavesTheQueue() async throws {
        let pool = try await self.pool(connections: 1)
        try await pool.withConnection { _ -> Void in
            let waiting = Task { try await pool.query("SELECT 1") }
            while pool.status.waiters == 0 { await Task.yield() }
            waiting.cancel()
            await #expect(throws: CancellationError.self) { try await waiting.value }
            #expect(pool.status.waiters == 0)
        }
        #expect(try await pool.query("SELECT 1").scalar == "1")
        await pool.close()
    }

    @Test func anOpenTransactionIsRolledBackWhenTheConnectionComesBack() async throws {
        let pool = try await self.pool(connections: 1)
        try await pool.withConnection { connection -> Void in
            try await connection.execute("BEGIN; CREATE TEMP TABLE left_behind (a int)")
        }
        #expect(try await pool.query("SELECT to_regclass('pg_temp.left_behind') IS NULL").scalar == "t")
        await pool.close()
    }

    @Test func aLostConnectionIsReplaced() async throws {
        let pool = try await self.pool(connections: 1)
        let observer = try await TestCluster.shared().connect()
        let first = try await pool.query("SELECT pg_backend_pid()").scalar
        await #expect(throws: PostgresError.self) {
            try await pool.withConnection { connection in
                try await observer.query("SELECT pg_terminate_backend($1, 5000)", [.text(first)])
                try await connection.query("SELECT 1")
            }
        }
        let second = try await pool.query("SELECT pg_backend_pid()").scalar
        #expect(first != second)
        #expect(pool.status.openConnections == 1)
        await pool.close()
    }

    @Test func waitsOutARestartOfTheServer() async throws {
        let cluster = try await TestCluster.start()
        let pool = PostgresPool(cluster.parameters(), configuration: .init(maximumConnections: 2))
        #expect(try await pool.query("SELECT 1").scalar == "1")
        try await cluster.kill()
        await #expect(throws: PostgresError.self) { try await pool.query("SELECT 1") }
        let waiting = Task { try await pool.query("SELECT 2").scalar }
        while pool.status.consecutiveFailures == 0 { await Task.yield() }
        try await cluster.start()
        #expect(try await waiting.value == "2")
        await pool.close()
        await cluster.destroy()
    }

    @Test func whatDoesNotPassByItselfComesOutAtOnceAndWhyCanBeRead() async throws {
        let parameters = try await TestCluster.shared().parameters(database: "there_is_none")
        let pool = PostgresPool(parameters)
        let error = await #expect(throws: PostgresError.self) { try await pool.query("SELECT 1") }
        #expect(error?.refusesConnection == true)
        #expect(pool.status.problem?.contains("there_is_none") == true)
        #expect(pool.status.consecutiveFailures == 1)
        await pool.close()
    }

    @Test func theReasonStandsWhileItIsTriedAgain() async throws {
        var parameters = try await TestCluster.shared().parameters()
        parameters.host = "127.0.0.1"
        parameters.port = 1
        let pool = PostgresPool(parameters)
        let waiting = Task { try await pool.query("SELECT 1") }
        while pool.status.problem == nil { await Task.yield() }
        #expect(pool.status.problem?.contains("refused") == true)
        waiting.cancel()
        await #expect(throws: (any Error).self) { try await waiting.value }
        await pool.close()
    }
}
