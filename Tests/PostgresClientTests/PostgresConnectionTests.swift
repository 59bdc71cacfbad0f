import NIOCore
import PostgresClient
import Testing
import TestSupport

@Suite("A connection to Postgres", .timeLimit(.minutes(2)))
struct PostgresConnectionTests {
    private func connect() async throws -> PostgresConnection {
        try await TestCluster.shared().connect()
    }

    @Test func returnsRowsAsText() async throws {
        let connection = try await self.connect()
        let result = try await connection.query(
            "SELECT $1::int4 + 1 AS sum, $2::text AS text, NULL::text AS none, $3::bool AS flag", [41, "ünï'", true])
        #expect(result.rowCount == 1)
        #expect(result.columnNames == ["sum", "text", "none", "flag"])
        #expect(result[0, "sum"] == "42")
        #expect(result.rows[0]["text"] == "ünï'")
        #expect(result[0, 2] == nil)
        #expect(result.boolean(0, 3) == true)
        #expect(result[5, 0] == nil)
        #expect(result[0, "absent"] == nil)
    }

    @Test func pinsTheFormOfValuesWhateverTheDatabaseSays() async throws {
        let cluster = try await TestCluster.shared()
        let database = try await cluster.createDatabase()
        try await cluster.psql(
            """
            ALTER DATABASE \(database) SET DateStyle = 'SQL, MDY';
            ALTER DATABASE \(database) SET TimeZone = 'America/New_York';
            ALTER DATABASE \(database) SET bytea_output = 'escape';
            ALTER DATABASE \(database) SET extra_float_digits = -5;
            ALTER DATABASE \(database) SET IntervalStyle = 'sql_standard';
            ALTER DATABASE \(database) SET search_path = 'elsewhere';
            """)
        let connection = try await cluster.connect(database: database)
        let result = try await connection.query(
            """
            SELECT '2023-06-15 11:18:05.372698+00'::timestamptz, '\\x00ff'::bytea, 0.1::float8 + 0.2::float8,
                   '1 day 2 hours'::interval, current_setting('search_path'), current_setting('DateStyle')
            """)
        #expect(
            result.rows[0].values == [
                "2023-06-15 11:18:05.372698+00", "\\x00ff", "0.30000000000000004", "P1DT2H", "", "ISO, DMY",
            ])
    }

    @Test func reportsErrorsWithTheirFieldsButDescribesThemWithoutValues() async throws {
        let connection = try await self.connect()
        try await connection.execute("CREATE TEMP TABLE people (id int PRIMARY KEY, name text NOT NULL)")
        try await connection.query("INSERT INTO pg_temp.people VALUES (7, 'secret name')")
        let error = await #expect(throws: PostgresError.self) {
            try await connection.query("INSERT INTO pg_temp.people VALUES ($1, $2)", [7, "other"])
        }
        #expect(error?.sqlState == "23505")
        #expect(error?.constraint == "people_pkey")
        #expect(error?.table == "people")
        #expect(error?.detail?.contains("(id)=(7)") == true)
        #expect(error?.connectionLost == false)
        let described = error.map { "\($0)" } ?? ""
        #expect(described.contains("23505") && described.contains("people_pkey"))
        #expect(!described.contains("(7)") && !described.contains("duplicate"))
        #expect(error.map { String(reflecting: $0).contains("(7)") } == true)
        // The connection goes on.
        #expect(try await connection.query("SELECT 1").scalar == "1")
    }

    @Test func refusesTextWithZeroBytes() async throws {
        let connection = try await self.connect()
        await #expect {
            try await connection.query("SELECT $1::text", ["a\0b"])
        } throws: { ($0 as? PostgresError)?.sqlState == "22021" }
        #expect(try await connection.query("SELECT $1::bytea", [.binary([0, 1, 0])]).scalar == "\\x000100")
    }

    @Test func scriptsHoldSeveralStatements() async throws {
        let connection = try await self.connect()
        let last = try await connection.execute(
            "CREATE TEMP TABLE s (a int); INSERT INTO s VALUES (1), (2); SELECT count(*) FROM s")
        #expect(last?.scalar == "2")
        await #expect(throws: PostgresError.self) {
            try await connection.execute("INSERT INTO s VALUES (3); SELECT 1/0")
        }
        #expect(try await connection.query("SELECT count(*) FROM pg_temp.s").scalar == "2")
    }

    @Test(arguments: PostgresVersion.installed)
    func aPipelineReportsTheFailedStatementAndKeepsWhatWasCommittedBefore(version: PostgresVersion) async throws {
        let connection = try await TestCluster.shared(version: version).connect()
        try await connection.execute("CREATE TEMP TABLE p (a int PRIMARY KEY)")
        let insert = { (value: Int) in
            PostgresStatement("INSERT INTO pg_temp.p VALUES ($1)", [.text(String(value))], isReusable: true)
        }
        let good = try await connection.pipeline([
            "BEGIN", insert(1), insert(2), "COMMIT", "BEGIN", insert(3), "COMMIT",
        ])
        #expect(good.results.count == 7 && good.failedIndex == nil)
        let bad = try await connection.pipeline([
            "BEGIN", insert(4), "COMMIT", "BEGIN", insert(5), insert(1), "COMMIT", "BEGIN", insert(6), "COMMIT",
        ])
        #expect(bad.failedIndex == 5)
        #expect(bad.error?.sqlState == "23505")
        #expect(await connection.isInTransaction)
        try await connection.query("ROLLBACK")
        let rows = try await connection.query("SELECT string_agg(a::text, ',' ORDER BY a) FROM pg_temp.p")
        #expect(rows.scalar == "1,2,3,4")
    }

    @Test func aReusableStatementThatFailedToParseIsParsedAgain() async throws {
        let connection = try await self.connect()
        let statement = PostgresStatement("SELECT count(*) FROM pg_temp.late", isReusable: true)
        await #expect { try await connection.query(statement) } throws: { ($0 as? PostgresError)?.sqlState == "42P01" }
        try await connection.execute("CREATE TEMP TABLE late (a int)")
        #expect(try await connection.query(statement).scalar == "0")
        #expect(try await connection.query(statement).scalar == "0")
    }

    @Test func manyDifferentReusableStatementsMakeRoomForEachOther() async throws {
        let connection = try await self.connect()
        for number in 0..<600 {
            let statement = PostgresStatement("SELECT \(number)", isReusable: true)
            #expect(try await connection.query(statement).scalar == String(number))
        }
        let kept = try await connection.query("SELECT count(*) FROM pg_catalog.pg_prepared_statements").scalar
        #expect(kept == "256")
    }

    @Test func aLargePipelineDoesNotDeadlock() async throws {
        let connection = try await self.connect()
        let filler = String(repeating: "x", count: 20_000)
        let statements = (0..<1000).map { _ in PostgresStatement("SELECT repeat($1, 2)", [.text(filler)]) }
        let outcome = try await connection.pipeline(statements)
        #expect(outcome.error == nil)
        #expect(outcome.results.count == 1000)
        #expect(outcome.results.allSatisfy { $0.withBytes(0, 0) { $0.count } == 40_000 })
    }

    @Test func copyOutIsPulledInChunksOfWholeRows() async throws {
        let connection = try await self.connect()
        let reader = try await connection.copyOut(
            "COPY (SELECT i, repeat('x', 50) FROM generate_series(1, 100000) i) TO STDOUT")
        var lines = 0
        var chunks = 0
        while let chunk = try await reader.nextChunk(maxBytes: 64 * 1024) {
            chunks += 1
            #expect(chunk.readableBytes < 64 * 1024 + 1024)
            #expect(chunk.readableBytesView.last == UInt8(ascii: "\n"))
            lines += chunk.withUnsafeReadableBytes { bytes in bytes.split(separator: UInt8(ascii: "\n")).count }
        }
        #expect(lines == 100_000)
        #expect(chunks > 10)
        #expect(try await connection.query("SELECT 1").scalar == "1")
    }

    @Test func anAbandonedCopyDoesNotDisturbTheNextStatement() async throws {
        let connection = try await self.connect()
        let reader = try await connection.copyOut(
            "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT")
        _ = try await reader.nextChunk()
        #expect(try await connection.query("SELECT 2").scalar == "2")
        #expect(try await reader.nextChunk() == nil)
    }

    @Test func anErrorInsideACopyIsThrown() async throws {
        let connection = try await self.connect()
        let reader = try await connection.copyOut(
            "COPY (SELECT 1 / (50000 - i) FROM generate_series(1, 100000) i) TO STDOUT")
        await #expect {
            while try await reader.nextChunk() != nil {}
        } throws: { ($0 as? PostgresError)?.sqlState == "22012" }
        #expect(try await connection.query("SELECT 1").scalar == "1")
        await #expect(throws: PostgresError.self) { try await connection.copyOut("SELECT 1") }
        await #expect(throws: PostgresError.self) { try await connection.copyOut("COPY nowhere TO STDOUT") }
        #expect(try await connection.query("SELECT 1").scalar == "1")
    }

    @Test func cancellingTheTaskCancelsTheStatement() async throws {
        let cluster = try await TestCluster.shared()
        let connection = try await cluster.connect()
        let observer = try await cluster.connect()
        let task = Task { try await connection.query("SELECT pg_sleep(600)") }
        try await observer.waitUntil(
            "SELECT state = 'active' AND wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = \(connection.backendProcessID)"
        )
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try await connection.query("SELECT 3").scalar == "3")
    }

    @Test func aTerminatedSessionIsReportedAsLost() async throws {
        let cluster = try await TestCluster.shared()
        let connection = try await cluster.connect()
        let observer = try await cluster.connect()
        let task = Task { try await connection.query("SELECT pg_sleep(600)") }
        try await observer.waitUntil(
            "SELECT state = 'active' AND wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = \(connection.backendProcessID)"
        )
        try await observer.query("SELECT pg_terminate_backend($1)", [.text(String(connection.backendProcessID))])
        await #expect {
            try await task.value
        } throws: { ($0 as? PostgresError)?.connectionLost == true && ($0 as? PostgresError)?.sqlState == "57P01" }
        await #expect { try await connection.query("SELECT 1") } throws: {
            ($0 as? PostgresError)?.connectionLost == true
        }
    }

    @Test func abortFreesACallerAtOnce() async throws {
        let cluster = try await TestCluster.shared()
        let connection = try await cluster.connect()
        let observer = try await cluster.connect()
        let task = Task { try await connection.query("SELECT pg_sleep(600)") }
        try await observer.waitUntil(
            "SELECT state = 'active' AND wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = \(connection.backendProcessID)"
        )
        connection.abort()
        await #expect { try await task.value } throws: { ($0 as? PostgresError)?.connectionLost == true }
        try await observer.query("SELECT pg_terminate_backend($1)", [.text(String(connection.backendProcessID))])
    }

    @Test func failureToConnectNamesTheReasonAndHidesThePassword() async throws {
        let cluster = try await TestCluster.shared()
        var parameters = cluster.parameters(database: "nowhere")
        parameters.password = "nowhere"
        let error = await #expect(throws: PostgresError.self) { try await PostgresConnection.connect(parameters) }
        #expect(error?.connectionLost == true)
        #expect(error.map { !"\($0)".contains("nowhere") } == true)
        #expect(!"\(parameters) \(String(reflecting: parameters))".contains("nowhere@"))
        parameters.port = 1
        await #expect(throws: PostgresError.self) { try await PostgresConnection.connect(parameters) }
    }

    @Test func unixSocketsAndBothAddressChoicesWork() async throws {
        let cluster = try await TestCluster.shared()
        let overSocket = try await PostgresConnection.connect(cluster.parameters(overSocket: true))
        #expect(try await overSocket.query("SELECT inet_server_addr() IS NULL").scalar == "t")
        var parameters = cluster.parameters()
        parameters.host = "localhost"
        parameters.addressChoice = .ipv4Only
        let overIPv4 = try await PostgresConnection.connect(parameters)
        #expect(try await overIPv4.query("SELECT 1").scalar == "1")
        parameters.host = "no-such-host.invalid"
        parameters.addressChoice = .ipv6First
        await #expect(throws: PostgresError.self) { try await PostgresConnection.connect(parameters) }
    }
}

extension PostgresConnection {
    /// Asks again until the query's answer is true; the suite's time limit ends what never becomes so.
    func waitUntil(_ sql: String) async throws {
        while try await self.query(sql).scalar != "t" { try await Task.sleep(for: .milliseconds(2)) }
    }
}
