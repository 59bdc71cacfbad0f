import ChangeFeed
import ExactText
import Foundation
import PostgresWire
import Satellite
import SatelliteClient
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct SatelliteRoundTripTests {
    static let schema = """
        CREATE TABLE items (id text PRIMARY KEY, content text NOT NULL, note text);
        CREATE TABLE strict (id text PRIMARY KEY, amount int4 NOT NULL);
        """

    static func start(_ transport: FeedTransportChoice, _ environment: [String: String] = [:]) async throws
        -> SidecarProcess
    {
        let sidecar = try await SidecarProcess.start(
            transport: transport, environment: environment, schema: Self.schema)
        try await sidecar.query("CALL electric.electrify('items'); CALL electric.electrify('strict')")
        return sidecar
    }

    /// The same rows as Postgres itself shows them.
    static func expected(_ sidecar: SidecarProcess) async throws -> [String] {
        try await sidecar.query("COPY (SELECT id || '=' || content FROM items) TO STDOUT")
            .split(separator: "\n").map(String.init).sorted()
    }

    static func expectEqual(_ clients: [PersistentClient], _ sidecar: SidecarProcess) async throws {
        let expected = try await Self.expected(sidecar)
        for client in clients {
            do {
                try await eventually("client \(client.id) has what Postgres has", within: .seconds(60)) {
                    let count = await client.inspect { $0.tables["items"]?.rows.count ?? 0 }
                    guard count == expected.count else { return false }
                    return await client.rows("items", column: 1) == expected
                }
            } catch {
                let have = Set(await client.rows("items", column: 1))
                let want = Set(expected)
                Issue.record(
                    "\(client.id): missing \(want.subtracting(have).prefix(5)), surplus \(have.subtracting(want).prefix(5)); \(sidecar.log.suffix(1_500))"
                )
            }
            #expect(await client.replica.violations == [])
        }
    }

    @Test(arguments: [FeedTransportChoice.extension, .replication])
    func tenClientsAndPostgresSeeEachOthersWrites(_ transport: FeedTransportChoice) async throws {
        let sidecar = try await Self.start(transport)
        try await sidecar.query("INSERT INTO items SELECT 'before ' || i, 'x' FROM generate_series(1, 500) AS i")
        let clients = (0..<10).map { PersistentClient(sidecar, id: "client-\($0)", tables: ["items"]) }
        for client in clients { try await client.open() }
        async let fromPostgres: Void = {
            for index in 0..<50 {
                try await sidecar.query(
                    "INSERT INTO items VALUES ('postgres \(index)', 'a'); UPDATE items SET content = 'b' WHERE id = 'postgres \(index)'"
                )
            }
        }()
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for client in clients {
                tasks.addTask {
                    for index in 0..<20 {
                        try await client.write([
                            .insert(table: "items", ["id": "\(client.id) \(index)", "content": "c"])
                        ])
                        if index % 5 == 0 {
                            try await client.write([
                                .update(table: "items", key: "\(client.id) \(index)", ["content": "changed"])
                            ])
                        }
                        if index % 7 == 0 {
                            try await client.write([.delete(table: "items", key: "\(client.id) \(index)")])
                        }
                    }
                }
            }
            try await tasks.waitForAll()
        }
        try await fromPostgres
        try await sidecar.query("DELETE FROM items WHERE id LIKE 'before 1%'; TRUNCATE strict")
        try await Self.expectEqual(clients, sidecar)
        #expect(try await Self.expected(sidecar).count > 500)
        for client in clients { await client.close() }
        await sidecar.destroy()
    }

    @Test func restartOfTheServiceIsResumedWithoutFetchingAnew() async throws {
        let sidecar = try await Self.start(.extension)
        let client = PersistentClient(sidecar, id: "resumer", tables: ["items"])
        try await client.open()
        try await sidecar.query("INSERT INTO items VALUES ('1', 'before')")
        try await Self.expectEqual([client], sidecar)
        sidecar.terminate()
        try await sidecar.query(
            "INSERT INTO items VALUES ('2', 'while down'); UPDATE items SET content = 'after' WHERE id = '1'")
        try sidecar.launch()
        try await sidecar.waitUntilReady()
        try await Self.expectEqual([client], sidecar)
        #expect(await client.startedOver == 0)
        try await client.write([.insert(table: "items", ["id": "3", "content": "mine"])])
        try await Self.expectEqual([client], sidecar)
        await client.close()
        await sidecar.destroy()
    }

    @Test func refusedWriteHurtsNobodyElse() async throws {
        let sidecar = try await Self.start(.replication)
        try await sidecar.query(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN IF NEW.content = 'forbidden' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
            CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION refuse();
            """)
        let good = PersistentClient(sidecar, id: "good", tables: ["items"])
        try await good.open()
        let bad = try await SatelliteClient.start(port: sidecar.port, clientID: "bad", token: SidecarProcess.token())
        let id = UUID().uuidString.lowercased()
        try await bad.subscribe(id: id, tables: ["items"])
        try await bad.waitForDelivery(of: id)
        try await bad.waitUntilWritable()
        try bad.write([.insert(table: "items", ["id": "x", "content": "forbidden"])])
        _ = await bad.waitUntilClosed()
        let error = try #require(bad.errors.last)
        #expect(error.errorType == .invalidRequest)
        #expect(Array(error.lsn) == SatelliteClient.lsnBytes(1))
        #expect(error.message.contains("not this one"))
        try await good.write([.insert(table: "items", ["id": "y", "content": "fine"])])
        try await Self.expectEqual([good], sidecar)
        // The refused transaction is dealt with: the client goes on behind it.
        let again = try await SatelliteClient.start(
            port: sidecar.port, clientID: "bad", token: SidecarProcess.token(), replica: bad.replica,
            subscriptions: [id], firstLSN: 2)
        try await again.waitUntilWritable()
        try await again.writeAndWait([.insert(table: "items", ["id": "z", "content": "better"])])
        await again.close()
        await good.close()
        await sidecar.destroy()
    }

    @Test func slotDroppedWhileTheServiceIsDownMakesClientsStartOver() async throws {
        let sidecar = try await Self.start(.replication)
        let client = PersistentClient(sidecar, id: "c", tables: ["items"])
        try await client.open()
        try await sidecar.query("INSERT INTO items VALUES ('1', 'a')")
        try await Self.expectEqual([client], sidecar)
        sidecar.terminate()
        try await sidecar.query("SELECT pg_drop_replication_slot('electric_replication_out_app')")
        try await sidecar.query("INSERT INTO items VALUES ('2', 'never streamed'); DELETE FROM items WHERE id = '1'")
        try sidecar.launch()
        try await sidecar.waitUntilReady()
        try await Self.expectEqual([client], sidecar)
        #expect(await client.startedOver == 1)
        #expect(await sidecar.get("/readyz").body.contains("the replication slot is gone"))
        await client.close()
        await sidecar.destroy()
    }

    @Test func migrationsReachConnectedClientsWithTheirRows() async throws {
        let sidecar = try await Self.start(.extension)
        let client = PersistentClient(sidecar, id: "c", tables: ["items"])
        try await client.open()
        try await sidecar.query("ALTER TABLE items ADD COLUMN extra int4; INSERT INTO items VALUES ('1', 'a', NULL, 7)")
        try await Self.expectEqual([client], sidecar)
        let replica = await client.replica
        #expect(replica.tables["items"]?.columns == ["id", "content", "note", "extra"])
        #expect(replica.tables["items"]?.rows["1"]?.text(3) == "7")
        #expect(replica.migrations.count == 3)
        let bundle = await sidecar.get("/api/migrations?dialect=sqlite")
        #expect(bundle.status == 200)
        await client.close()
        await sidecar.destroy()
    }

    @Test func largeTransactionArrivesWholeInBoundedMemory() async throws {
        let sidecar = try await Self.start(.extension, ["ELECTRIC_TXN_CACHE_SIZE": "16M"])
        let client = PersistentClient(sidecar, id: "c", tables: ["items"])
        try await client.open()
        let before = sidecar.residentBytes
        try await sidecar.query(
            "INSERT INTO items SELECT 'row ' || i, repeat('x', 100) FROM generate_series(1, 40000) AS i")
        try await eventually("all rows are there", within: .seconds(120)) {
            await client.inspect { $0.tables["items"]?.rows.count } == 40_000
        }
        #expect(await client.replica.violations == [])
        #expect(sidecar.residentBytes - before < 200 << 20)
        await client.close()
        await sidecar.destroy()
    }

    @Test func onlyGoodTokensAreTakenInSecureMode() async throws {
        let key = "integration-tests-signing-key-of-48-bytes-or-more!!"
        let sidecar = try await Self.start(
            .replication, ["AUTH_MODE": "secure", "AUTH_JWT_ALG": "HS256", "AUTH_JWT_KEY": key])
        await #expect(throws: SatelliteClient.Failure.self) {
            _ = try await SatelliteClient.start(port: sidecar.port, clientID: "c", token: SidecarProcess.token())
        }
        let outcome = try await ChildProcess.run(
            [SidecarProcess.programPath, "token", "--algorithm", "HS256"],
            environment: ["AUTH_JWT_KEY": key])
        let token = outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
        let client = try await SatelliteClient.start(port: sidecar.port, clientID: "c", token: token)
        await client.close()
        #expect(!sidecar.log.contains(key))
        #expect(!sidecar.log.contains(token))
        await sidecar.destroy()
    }
}
