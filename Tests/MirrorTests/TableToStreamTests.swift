import ChangeFeed
import DurableStreams
import Foundation
import PostgresClient
import StreamDirectory
import StreamStoreTestSupport
import TestSupport
import Testing

@testable import Mirror

/// Tables go into streams: complete, in the order of commits, each change once.
@Suite(.serialized, .timeLimit(.minutes(3))) struct TableToStreamTests {
    private static let schema = """
        CREATE TABLE items (id int PRIMARY KEY, title text, body text);
        CREATE PUBLICATION electric_publication;
        """

    private static func flow(_ table: String = "items", target: String = "pg-items") -> [MirrorFlow] {
        [.tableToStream(TableToStreamFlow(name: "items", source: MirrorTableName(table), target: target))]
    }

    private static func controls(_ harness: MirrorHarness, _ name: String = "pg-items") async throws -> [String] {
        try await harness.messages(name).compactMap { ($0["headers"] as? [String: Any])?["control"] as? String }
    }

    @Test(arguments: MirrorSetting.tables)
    func rowsThatAreThereComeBeforeChanges(_ setting: MirrorSetting) async throws {
        let harness = try await MirrorHarness(setting, script: Self.schema)
        try await harness.sql(#"INSERT INTO items VALUES (1, 'a/b', E'tab\t"quote"\\'), (2, NULL, 'ä')"#)
        try harness.startFeed()
        try await harness.run(Self.flow()) { service in
            try await harness.waitUntilEqual("pg-items", "items")
            try await harness.sql(
                "INSERT INTO items VALUES (3, 'new', NULL); UPDATE items SET title = 'x' WHERE id = 1; DELETE FROM items WHERE id = 2"
            )
            try await harness.waitUntilEqual("pg-items", "items")
            #expect(service.status.first?.streams.first?.state == .following)
        }
        let messages = try await harness.messages("pg-items")
        #expect(messages[0]["key"] as? String == #""public"."items"/"1""#)
        #expect(messages[0]["operation"] as? String == "insert")
        #expect((messages[0]["value"] as? [String: Any])?["id"] as? String == "1")
        let delete = try #require(messages.first { $0["operation"] as? String == "delete" })
        #expect((delete["value"] as? [String: Any])?.keys.sorted() == ["id"])
        let headers = try #require(messages.last?["headers"] as? [String: Any])
        #expect((headers["txids"] as? [Any])?.count == 1)
        #expect(Int(headers["lsn"] as? String ?? "") != nil)
        #expect(try await Self.controls(harness) == ["snapshot-end"])
        // Nothing but the target can be found.
        #expect(try await harness.calls.list().filter { !$0.isSoftDeleted }.map(\.view.name) == ["pg-items"])
        try await harness.finish()
    }

    @Test func targetAppearsWhole() async throws {
        let harness = try await MirrorHarness(script: Self.schema)
        try await harness.sql("INSERT INTO items SELECT n, repeat('x', 300) FROM generate_series(1, 5000) AS n")
        try harness.startFeed()
        var options = MirrorHarness.options
        options.partBytes = 20_000
        options.inFlightBytes = 60_000
        try await harness.run(Self.flow(), options: options) { _ in
            try await eventually("the stream appears") { (try? harness.calls.lookup("pg-items")) != nil }
            #expect(try await harness.fold("pg-items").count == 5000)
        }
        try await harness.finish()
    }

    /// Changes of keys, truncation, unchanged long values, several writers, during snapshots and restarts.
    @Test(arguments: Array(zip(UInt64(11)..., MirrorSetting.tables)))
    func foldIsTheTableUnderLoad(_ seed: UInt64, _ setting: MirrorSetting) async throws {
        let harness = try await MirrorHarness(setting, script: Self.schema)
        try await harness.sql("ALTER TABLE items ALTER body SET STORAGE EXTERNAL")
        try await harness.sql("INSERT INTO items SELECT n, 't', repeat('y', 3000) FROM generate_series(1, 50) AS n")
        try harness.startFeed()
        let isDone = Flag()
        let writers = (0..<3).map { writer in
            Task {
                var random = SplitMix(seed: seed * 10 + UInt64(writer))
                let connection = try await harness.cluster.connect(database: harness.database)
                while !isDone.isSet {
                    var script = "BEGIN;"
                    for _ in 0..<Int.random(in: 1...5, using: &random) {
                        let id = Int.random(in: 0..<80, using: &random)
                        switch Int.random(in: 0..<20, using: &random) {
                        case 0..<6:
                            script +=
                                "INSERT INTO public.items VALUES (\(id), 'i', repeat('z', \(id * 60))) ON CONFLICT DO NOTHING;"
                        case 6..<12:
                            script +=
                                "UPDATE public.items SET title = 'u\(Int.random(in: 0..<999, using: &random))' WHERE id = \(id);"
                        case 12..<15: script += "DELETE FROM public.items WHERE id = \(id);"
                        case 15..<17:
                            script +=
                                "UPDATE public.items SET id = id + 1000, title = 'moved' WHERE id = \(id) AND NOT EXISTS (SELECT FROM public.items WHERE id = \(id + 1000));"
                        case 17:
                            script +=
                                "SAVEPOINT s; INSERT INTO public.items VALUES (\(id + 5000), 'gone'); ROLLBACK TO s;"
                        case 18 where id == 7: script += "TRUNCATE public.items;"
                        default: script += "SELECT pg_catalog.pg_sleep(0.002);"
                        }
                    }
                    script += Bool.random(using: &random) ? "COMMIT" : "ROLLBACK"
                    do { _ = try await connection.execute(script) } catch {
                        _ = try? await connection.execute("ROLLBACK")
                    }
                }
                await connection.close()
            }
        }
        for round in 0..<4 {
            try await harness.run(Self.flow()) { service in
                try await eventually("it follows") { service.status.first?.streams.first?.state == .following }
                let before = service.status.first?.streams.first?.batches ?? 0
                try await eventually("changes come") {
                    (service.status.first?.streams.first?.batches ?? 0) > before + 30
                }
                if round == 3 {
                    isDone.set()
                    for writer in writers { try await writer.value }
                    try await harness.waitUntilEqual("pg-items", "items")
                }
            }
            // Memory would leave nothing to look at.
            if round < 3 || setting.mode != .memory { try harness.losePower() }
        }
        #expect(try await Self.controls(harness).filter { $0 != "truncate" } == ["snapshot-end"])
        try await harness.finish()
    }

    @Test(arguments: MirrorSetting.tables)
    func crashBetweenAnyTwoStepsLosesAndDoublesNothing(_ setting: MirrorSetting) async throws {
        let harness = try await MirrorHarness(setting, script: Self.schema)
        try await harness.sql("INSERT INTO items SELECT n, 'first' FROM generate_series(1, 60) AS n")
        try harness.startFeed()
        var options = MirrorHarness.options
        options.partBytes = 2000
        var step = 1
        var crashes: [Int] = []
        while true {
            let counter = CrashCounter(at: step)
            let service = harness.service(Self.flow(), options: options, probe: counter.probe)
            let task = Task { try await service.run() }
            try await harness.sql(
                """
                INSERT INTO items SELECT \(step * 1000) + n, 'row of \(step)' FROM generate_series(1, 40) AS n;
                UPDATE items SET title = 'updated' WHERE id % 7 = 0 AND id > \(step * 1000);
                DELETE FROM items WHERE id % 1000 = 5;
                """)
            try await eventually("it crashes, or is done") {
                if counter.hasCrashed { return true }
                guard service.status.first?.streams.first?.state == .following else { return false }
                return try await harness.fold("pg-items") == harness.table("items")
            }
            // The last step may be taken while it drains.
            if !counter.hasCrashed { service.drain() }
            if case .success = await task.result { break }
            crashes.append(step)
            try harness.losePower()
            step += 1
        }
        // How many steps there are hangs on how much one crash takes back, and on what goes into one batch.
        #expect(crashes.count >= 3)
        try await harness.finish()
    }

    /// Every step of a table that is read anew into a stream that is there.
    @Test func crashWhileTheTableIsReadAnew() async throws {
        let harness = try await MirrorHarness(script: Self.schema)
        try await harness.sql("INSERT INTO items SELECT n, 'first' FROM generate_series(1, 60) AS n")
        try harness.startFeed()
        var options = MirrorHarness.options
        options.partBytes = 3000
        try await harness.run(Self.flow(), options: options) { _ in
            try await harness.waitUntilEqual("pg-items", "items")
        }
        var step = 1
        while true {
            // A column with a default: what rows hold in it does not come by.
            try await harness.sql(
                "ALTER TABLE items ADD COLUMN c\(step) int DEFAULT \(step); UPDATE items SET title = '\(step)' WHERE id = 1"
            )
            let counter = CrashCounter(at: step)
            let service = harness.service(Self.flow(), options: options, probe: counter.probe)
            let task = Task { try await service.run() }
            try await eventually("it crashes, or is done") {
                if counter.hasCrashed { return true }
                guard service.status.first?.streams.first?.state == .following else { return false }
                return try await harness.fold("pg-items") == harness.table("items")
            }
            if !counter.hasCrashed { service.drain() }
            if case .success = await task.result { break }
            try harness.losePower()
            step += 1
        }
        #expect(step > 6)
        try await harness.finish()
    }

    @Test func largeTransactionGoesInPartsAndIsContinued() async throws {
        let harness = try await MirrorHarness(script: Self.schema)
        try harness.startFeed(pieceBytes: 64 << 10)
        var options = MirrorHarness.options
        options.partBytes = 20_000
        options.inFlightBytes = 80_000
        try await harness.run(Self.flow(), options: options) { _ in
            try await harness.waitUntilEqual("pg-items", "items")
        }
        try await harness.sql(
            "BEGIN; INSERT INTO items SELECT n, 'large' FROM generate_series(1, 6000) AS n; UPDATE items SET id = id + 100000 WHERE id % 3 = 0; COMMIT"
        )
        for step in [3, 20, 50] {
            let counter = CrashCounter(at: step)
            let service = harness.service(Self.flow(), options: options, probe: counter.probe)
            await #expect(throws: MirrorCrash.self) { try await service.run() }
            try harness.losePower()
        }
        try await harness.run(Self.flow(), options: options) { _ in
            try await harness.waitUntilEqual("pg-items", "items")
        }
        #expect(try await Self.controls(harness) == ["snapshot-end"])
        try await harness.finish()
    }

    @Test func newColumnsComeWithTheChanges() async throws {
        let harness = try await MirrorHarness(script: Self.schema)
        try await harness.sql("INSERT INTO items VALUES (1, 'a'), (2, 'b')")
        try harness.startFeed()
        try await harness.run(Self.flow()) { _ in
            try await harness.waitUntilEqual("pg-items", "items")
            try await harness.sql(
                "ALTER TABLE items ADD COLUMN extra text; INSERT INTO items VALUES (3, 'c', NULL, 'e')")
            try await harness.waitUntilEqual("pg-items", "items")
            #expect(try await Self.controls(harness) == ["snapshot-end", "schema-changed"])
        }
        try harness.losePower()
        try await harness.run(Self.flow()) { _ in
            try await harness.sql("ALTER TABLE items DROP COLUMN body; UPDATE items SET extra = 'f' WHERE id = 1")
            try await harness.waitUntilEqual("pg-items", "items")
            #expect(try await Self.controls(harness) == ["snapshot-end", "schema-changed", "schema-changed"])
            try await harness.sql(
                "ALTER TABLE items ALTER extra TYPE int USING 7; INSERT INTO items VALUES (4, 'd', 9)")
            try await harness.waitUntilEqual("pg-items", "items")
            try await eventually("the table has been read anew") {
                try await Self.controls(harness).suffix(2) == ["must-refetch", "snapshot-end"]
            }
            try await harness.sql(
                "DROP TABLE items; CREATE TABLE items (id int PRIMARY KEY, other text); ALTER PUBLICATION electric_publication ADD TABLE items; INSERT INTO items VALUES (1, 'again')"
            )
            try await harness.waitUntilEqual("pg-items", "items")
        }
        try await harness.finish()
    }

    @Test func historyThatIsLostMeansReadingAnew() async throws {
        let harness = try await MirrorHarness(script: Self.schema)
        try await harness.sql("INSERT INTO items VALUES (1, 'a'), (2, 'b')")
        try harness.startFeed()
        try await harness.run(Self.flow()) { _ in try await harness.waitUntilEqual("pg-items", "items") }
        await harness.stopFeed()
        try await harness.sql(
            "DELETE FROM items WHERE id = 1; SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
        )
        try harness.startFeed()
        try await harness.run(Self.flow()) { service in
            try await harness.waitUntilEqual("pg-items", "items")
            // The rows may be right a moment before the end of the snapshot is said.
            try await eventually("the table has been read once more") {
                service.status.first?.streams.first?.restarts == 1
            }
            #expect(try await Self.controls(harness) == ["snapshot-end", "must-refetch", "snapshot-end"])
            // And while it runs: the slot goes, and what happens until there is another one does not come by.
            try await harness.sql(
                """
                SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database();
                INSERT INTO items VALUES (3, 'c');
                """)
            try await eventually("the slot can be dropped") {
                (try? await harness.sql(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
                )) != nil
            }
            try await harness.sql("UPDATE items SET title = 'd' WHERE id = 2")
            try await eventually("the table is read once more") { service.status.first?.streams.first?.restarts == 2 }
            try await harness.waitUntilEqual("pg-items", "items")
        }
        try await harness.finish()
    }

    /// The feed goes down with the mirror, and knows less than the stream when it comes back: it brings again what it had not stored.
    @Test(arguments: MirrorSetting.tables)
    func feedAndStreamsCrashTogether(_ setting: MirrorSetting) async throws {
        let harness = try await MirrorHarness(setting, script: Self.schema)
        try harness.startFeed()
        for round in 0..<5 {
            let service = harness.service(Self.flow())
            let task = Task { try await service.run() }
            for row in 0..<30 {
                try await harness.sql(
                    "INSERT INTO items VALUES (\(round * 100 + row), 'r'); UPDATE items SET title = 'u' WHERE id % 9 = \(row % 9)"
                )
            }
            task.cancel()
            await harness.stopFeed()
            _ = await task.result
            try harness.losePower()
            try harness.startFeed()
        }
        try await harness.run(Self.flow()) { _ in try await harness.waitUntilEqual("pg-items", "items") }
        #expect(try await Self.controls(harness) == ["snapshot-end"])
        try await harness.finish()
    }

    @Test func streamsThatAreNotOursAreLeftAlone() async throws {
        let harness = try await MirrorHarness(script: Self.schema)
        try await harness.sql("INSERT INTO items VALUES (1, 'a')")
        try harness.startFeed()
        try await harness.create("pg-items", body: "[{\"foreign\":true}]")
        try await harness.run(Self.flow()) { service in
            try await eventually("it is refused") { service.status.first?.streams.first?.state == .failed }
            #expect(service.status.first?.problem?.contains("not made by this flow") == true)
            try await harness.calls.delete("pg-items")
            // One that a client has made beforehand, to read from it.
            try await harness.create("pg-items")
            try await harness.waitUntilEqual("pg-items", "items")
            try await harness.calls.delete("pg-items")
            try await harness.sql("INSERT INTO items VALUES (2, 'b')")
            try await harness.waitUntilEqual("pg-items", "items")
            // Somebody writes into it all the same: the tail is not where it was, and nothing of ours gets lost.
            for row in 3..<40 {
                try await harness.sql("INSERT INTO items VALUES (\(row), 'c')")
                try await harness.append("pg-items", #"{"headers":{"control":"foreign"}}"#)
            }
            try await harness.waitUntilEqual("pg-items", "items")
            #expect(try await Self.controls(harness).filter { $0 == "foreign" }.count == 37)
        }
        try await harness.finish()
    }

    @Test func tableThatCannotBeFollowedIsSaid() async throws {
        let harness = try await MirrorHarness(
            script:
                "CREATE PUBLICATION electric_publication; CREATE TABLE nokey (id int); CREATE VIEW v AS SELECT 1 AS id")
        try harness.startFeed()
        let flows: [MirrorFlow] = ["nokey", "v", "missing"].map {
            .tableToStream(TableToStreamFlow(name: $0, source: MirrorTableName($0), target: "t-\($0)"))
        }
        try await harness.run(flows) { service in
            try await eventually("all are refused") { service.status.allSatisfy { $0.streams.first?.state == .failed } }
            let problems = service.status.map { $0.problem ?? "" }
            #expect(problems[0] == "there is no table public.missing")
            #expect(problems[1].contains("REPLICA IDENTITY FULL"))
            #expect(problems[2].contains("is a view"))
            try await harness.sql(
                "ALTER TABLE nokey REPLICA IDENTITY FULL; INSERT INTO nokey VALUES (1), (2); DELETE FROM nokey WHERE id = 1"
            )
            try await harness.waitUntilEqual("t-nokey", "nokey")
        }
        try await harness.finish()
    }

    @Test func partitionsAreOneTable() async throws {
        let harness = try await MirrorHarness(
            script: """
                CREATE PUBLICATION electric_publication;
                CREATE TABLE parts (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
                CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
                CREATE TABLE parts_2 (note text, id int PRIMARY KEY);
                ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (100) TO (200);
                INSERT INTO parts VALUES (1, 'a'), (101, 'b');
                """)
        try harness.startFeed()
        try await harness.run(Self.flow("parts", target: "parts")) { _ in
            try await harness.waitUntilEqual("parts", "parts")
            try await harness.sql(
                "INSERT INTO parts VALUES (2, 'c'), (102, 'd'); UPDATE parts SET id = 103 WHERE id = 1")
            try await harness.waitUntilEqual("parts", "parts")
            try await harness.sql(
                "CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (200) TO (300); INSERT INTO parts VALUES (201, 'e')"
            )
            try await harness.waitUntilEqual("parts", "parts")
            try await harness.sql("TRUNCATE parts_2")
            try await harness.waitUntilEqual("parts", "parts")
            try await harness.sql("TRUNCATE parts; INSERT INTO parts VALUES (5, 'f')")
            try await harness.waitUntilEqual("parts", "parts")
        }
        try await harness.finish()
    }

    /// A row that a transaction wrote before the table was published, and committed after.
    @Test func writerFromBeforeThePublicationIsWaitedFor() async throws {
        let harness = try await MirrorHarness(script: Self.schema)
        try harness.startFeed()
        try await eventually("the feed runs") { try harness.feed.position != nil }
        let early = try await harness.cluster.connect(database: harness.database)
        try await early.execute("BEGIN; INSERT INTO public.items VALUES (1, 'early')")
        try await harness.run(Self.flow()) { service in
            try await eventually("the table is published") {
                try await harness.sql("SELECT count(*) FROM pg_publication_tables") == "1"
            }
            try await eventually("the wait is said") {
                service.status.first?.problem?.contains("are waited for") == true
            }
            #expect((try? harness.calls.lookup("pg-items")) == nil)
            try await early.execute("INSERT INTO public.items VALUES (2, 'late'); COMMIT")
            try await harness.waitUntilEqual("pg-items", "items")
        }
        #expect(try await harness.fold("pg-items").count == 2)
        await early.close()
        try await harness.finish()
    }

    @Test func databaseThatGoesAwayIsWaitedFor() async throws {
        let cluster = try await TestCluster.start()
        let harness = try await MirrorHarness(cluster: cluster, script: Self.schema)
        try harness.startFeed()
        try await harness.run(Self.flow()) { _ in
            for round in 0..<3 {
                try await harness.sql("INSERT INTO items SELECT \(round * 100) + n FROM generate_series(1, 100) AS n")
                if round == 0 { try await cluster.restart(.immediate) }
                if round == 1 {
                    try await cluster.kill()
                    try await cluster.start()
                }
            }
            try await harness.waitUntilEqual("pg-items", "items")
        }
        #expect(try await Self.controls(harness) == ["snapshot-end"])
        #expect(try await harness.fold("pg-items").count == 300)
        try await harness.finish()
        await cluster.destroy()
    }

    /// There and back: a table, its stream, and a table made of the stream.
    @Test func tableThroughAStreamIsTheSameTable() async throws {
        let harness = try await MirrorHarness(
            script: Self.schema + "CREATE TABLE copy (id int PRIMARY KEY, title text, body text);")
        try harness.startFeed()
        let back = StreamToTableFlow(
            name: "back", source: .names(["pg-items"]), target: MirrorTableName("copy"), mode: .upsert(key: ["id"]),
            columns: ["id", "title", "body"].map { .init(path: ["value", $0], name: $0) }, batchDelay: .milliseconds(1))
        try await harness.run(Self.flow() + [.streamToTable(back)]) { _ in
            for round in 0..<20 {
                try await harness.sql(
                    "INSERT INTO items SELECT \(round * 10) + n, 'r\(round)', NULL FROM generate_series(1, 10) AS n; UPDATE items SET body = 'b\(round)' WHERE id % 3 = 0; DELETE FROM items WHERE id % 11 = \(round % 11)"
                )
            }
            try await eventually("the copy is the table") {
                try await harness.sql(
                    "SELECT count(*) FROM ((TABLE items EXCEPT TABLE copy) UNION ALL (TABLE copy EXCEPT TABLE items)) a"
                ) == "0"
            }
        }
        try await harness.finish()
    }
}
