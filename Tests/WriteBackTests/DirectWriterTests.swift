import DatabaseSetup
import ExactText
import Logging
import PostgresClient
import Synchronization
import Testing
import TestSupport
import WriteBack

@Suite("Direct writes", .timeLimit(.minutes(2)))
struct DirectWriterTests {
    @Test(arguments: PostgresVersion.installed)
    func insertUpdateAndDeleteArriveWithTheirTagsAndThePosition(version: PostgresVersion) async throws {
        let bench = try await Workbench(version: version)
        let outcomes = try await bench.run { writer in
            [
                try await writer.write(bench.insert(id: 1, content: "one", lsn: 1, at: 1_000)),
                try await writer.write(
                    bench.transaction(
                        lsn: 2, at: 2_000,
                        [
                            .init(
                                kind: .update, table: "items",
                                columns: [
                                    .init("id", text: "1"), .init("content", text: "changed"),
                                    .init("data", [0, 1, 0xff]),
                                ],
                                modifiedColumns: ["content", "data"],
                                observedTags: [.init(timestampMilliseconds: 1_000, source: "alice")])
                        ])),
            ]
        }
        #expect(outcomes == [.applied, .applied])
        #expect(try await bench.rows() == "1|changed|\\x0001ff")
        #expect(
            try await bench.scalar("SELECT lsn FROM electric.acknowledged_client_lsns WHERE client_id = 'alice'")
                == "\\x02")
        #expect(
            try await bench.scalar("SELECT _tags::text || _tag_content::text FROM electric.shadow__public__items")
                == #"{"(\"1970-01-01 00:00:02+00\",alice)"}("1970-01-01 00:00:02+00",alice)"#)

        try await bench.run { writer in
            let gone = WriteChange(
                kind: .delete, table: "items",
                columns: [.init("id", text: "1"), .init("content", text: "changed"), .init("data", nil)],
                observedTags: [.init(timestampMilliseconds: 2_000, source: "alice")])
            let outcome = try await writer.write(bench.transaction(lsn: 3, at: 3_000, [gone]))
            #expect(outcome == .applied)
        }
        #expect(try await bench.rows() == "")
    }

    @Test func columnsAreResolvedSeparatelyAndTheLaterWriteWins() async throws {
        let bench = try await Workbench()
        func update(_ column: String, _ value: String, client: String, at time: Int64) -> WriteTransaction {
            var transaction = bench.transaction(
                client: client, lsn: 1, at: time,
                [
                    .init(
                        kind: .update, table: "items",
                        columns: [
                            .init("id", text: "1"), .init("content", text: column == "content" ? value : "one"),
                            .init("note", text: column == "note" ? value : nil),
                        ], modifiedColumns: [column],
                        observedTags: [.init(timestampMilliseconds: 1_000, source: "alice")])
                ])
            transaction.clientLSN = [UInt8(time / 1000)]
            return transaction
        }
        try await bench.run { writer in
            _ = try await writer.write(bench.insert(id: 1, content: "one", lsn: 1, at: 1_000))
            _ = try await writer.write(update("content", "late", client: "bob", at: 5_000))
            _ = try await writer.write(update("content", "early", client: "carol", at: 4_000))
            _ = try await writer.write(update("note", "other column", client: "carol", at: 3_000))
        }
        #expect(try await bench.scalar("SELECT content || '/' || note FROM public.items") == "late/other column")
    }

    @Test func aRejectedTransactionLeavesNothingAndTheNextOnesGoOn() async throws {
        let bench = try await Workbench()
        func child(_ parent: Int, lsn: UInt8) -> WriteTransaction {
            bench.transaction(
                lsn: lsn, at: 1_000,
                [
                    .init(
                        kind: .insert, table: "items",
                        columns: [.init("id", text: "\(lsn)"), .init("content", text: "c")]),
                    .init(
                        kind: .insert, table: "children",
                        columns: [.init("id", text: "\(lsn)"), .init("item_id", text: "\(parent)")]),
                ])
        }
        try await bench.run { writer in
            // Submitted together, so that they share a round trip.
            async let first = writer.write(child(1, lsn: 1))
            async let second = writer.write(child(99, lsn: 2))
            async let third = writer.write(child(3, lsn: 3))
            let outcomes = try await (first, second, third)
            #expect(outcomes.0 == .applied)
            #expect(outcomes.1.rejection?.sqlState == "23503")
            #expect(outcomes.1.rejection?.clientLSN == [2])
            #expect(outcomes.2 == .applied)
            #expect(writer.status.rejected == 1)

            let missing = bench.transaction(
                lsn: 4, at: 1_000,
                [.init(kind: .insert, table: "items", columns: [.init("id", text: "4"), .init("content", nil)])])
            #expect(try await writer.write(missing).rejection?.sqlState == "23502")
            #expect(try await bench.lsn() == "\\x04")
            let malformed = bench.transaction(
                lsn: 5, at: 1_000, [.init(kind: .insert, table: "items", columns: [.init("id", text: "five")])])
            #expect(try await writer.write(malformed).rejection?.sqlState == "22P02")
            let zero = bench.insert(id: 6, content: "a\0b", lsn: 6, at: 1_000)
            #expect(try await writer.write(zero).rejection?.sqlState == "22021")
            #expect(try await bench.lsn() == "\\x06")
        }
        #expect(try await bench.rows() == "1|c|,3|c|")
        #expect(try await bench.lsn() == "\\x06")
    }

    @Test func rowsAreWrittenAfterThoseTheyReferToWhateverTheClientsOrder() async throws {
        let bench = try await Workbench()
        let child = WriteChange(
            kind: .insert, table: "children", columns: [.init("id", text: "1"), .init("item_id", text: "5")])
        let parent = WriteChange(
            kind: .insert, table: "items", columns: [.init("id", text: "5"), .init("content", text: "p")])
        func gone(_ change: WriteChange) -> WriteChange {
            var copy = change
            copy.kind = .delete
            copy.observedTags = [.init(timestampMilliseconds: 1_000, source: "alice")]
            return copy
        }
        try await bench.run { writer in
            #expect(try await writer.write(bench.transaction(lsn: 1, at: 1_000, [child, parent])) == .applied)
            let count = try await bench.scalar("SELECT count(*) FROM public.children")
            #expect(count == "1")
            #expect(
                try await writer.write(bench.transaction(lsn: 2, at: 2_000, [gone(parent), gone(child)])) == .applied)
        }
        #expect(try await bench.scalar("SELECT count(*) FROM public.items") == "0")
    }

    @Test func unknownTablesAndColumnsAreRejectedUntilTheyExist() async throws {
        let bench = try await Workbench()
        let withNewColumn = WriteChange(
            kind: .insert, table: "items",
            columns: [.init("id", text: "7"), .init("content", text: "x"), .init("added", text: "y")])
        try await bench.run { writer in
            let unknown = bench.transaction(
                lsn: 1, at: 1, [.init(kind: .insert, table: "plain", columns: [.init("id", text: "1")])])
            #expect(try await writer.write(unknown).rejection?.sqlState == "42P01")
            #expect(
                try await writer.write(bench.transaction(lsn: 2, at: 1, [withNewColumn])).rejection?.sqlState == "42703"
            )
            let withoutKey = bench.transaction(
                lsn: 3, at: 1, [.init(kind: .insert, table: "items", columns: [.init("content", text: "x")])])
            #expect(try await writer.write(withoutKey).rejection?.sqlState == "23502")
            // The writer has not been told of the change and finds out by itself.
            try await bench.sql.execute("ALTER TABLE public.items ADD COLUMN added text")
            #expect(try await writer.write(bench.transaction(lsn: 4, at: 1, [withNewColumn])) == .applied)
        }
        #expect(try await bench.scalar("SELECT added FROM public.items WHERE id = 7") == "y")
    }

    @Test func columnsAnOlderClientDoesNotKnowKeepTheirValues() async throws {
        let bench = try await Workbench()
        try await bench.run { writer in
            _ = try await writer.write(bench.insert(id: 1, content: "one", lsn: 1, at: 1_000))
            try await bench.sql.query("UPDATE public.items SET note = 'kept' WHERE id = 1")
            let now = try await bench.milliseconds()
            let older = WriteChange(
                kind: .update, table: "items", columns: [.init("id", text: "1"), .init("content", text: "two")],
                modifiedColumns: ["content"])
            #expect(try await writer.write(bench.transaction(lsn: 2, at: now + 60_000, [older])) == .applied)
            let again = WriteChange(
                kind: .insert, table: "items", columns: [.init("id", text: "1"), .init("content", text: "three")])
            #expect(try await writer.write(bench.transaction(lsn: 3, at: now + 120_000, [again])) == .applied)
        }
        #expect(try await bench.scalar("SELECT content || '/' || note FROM public.items") == "three/kept")
    }

    @Test func aRepeatedTransactionChangesNothing() async throws {
        let bench = try await Workbench()
        let state =
            "SELECT (SELECT jsonb_agg(i) FROM public.items i)::text || (SELECT jsonb_agg(to_jsonb(s) - '_last_modified') FROM electric.shadow__public__items s)::text"
        try await bench.run { writer in
            let insert = bench.insert(id: 1, content: "one", lsn: 1, at: 1_000)
            _ = try await writer.write(insert)
            let before = try await bench.scalar(state)
            #expect(try await writer.write(insert) == .applied)
            #expect(try await bench.scalar(state) == before)
            #expect(before?.contains("one") == true)
        }
    }

    @Test func tenClientsWriteInParallelAndEachKeepsItsOrder() async throws {
        let bench = try await Workbench()
        try await bench.run { writer in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for client in 0..<10 {
                    group.addTask {
                        let order = Mutex<[UInt8]>([])
                        try await withThrowingTaskGroup(of: Void.self) { inner in
                            for number in UInt8(1)...50 {
                                // All clients write the same few rows as well as rows of their own.
                                let transaction = bench.transaction(
                                    client: "client-\(client)", lsn: number, at: Int64(number) * 1000,
                                    [
                                        .init(
                                            kind: .insert, table: "items",
                                            columns: [
                                                .init("id", text: "\(Int(number) % 3)"),
                                                .init("content", text: "\(client)/\(number)"),
                                            ]),
                                        .init(
                                            kind: .insert, table: "items",
                                            columns: [
                                                .init("id", text: "\(1000 + client)"),
                                                .init("content", text: "\(number)"),
                                            ]),
                                    ])
                                let done = AsyncStream.makeStream(of: WriteOutcome.self)
                                let admission = writer.submit(transaction) { outcome in
                                    order.withLock { $0.append(number) }
                                    done.continuation.yield(outcome)
                                    done.continuation.finish()
                                }
                                #expect(admission == .accepted)
                                inner.addTask { for await outcome in done.stream { #expect(outcome == .applied) } }
                            }
                            try await inner.waitForAll()
                        }
                        #expect(order.withLock { $0 } == Array(1...50))
                    }
                }
                try await group.waitForAll()
            }
            #expect(writer.status.applied == 500)
            #expect(writer.status.waitingTransactions == 0)
        }
        #expect(try await bench.scalar("SELECT count(*) FROM public.items WHERE id >= 1000 AND content = '50'") == "10")
        #expect(
            try await bench.scalar("SELECT count(*) FROM electric.acknowledged_client_lsns WHERE lsn = '\\x32'") == "10"
        )
    }

    @Test func aDeadlockIsTriedAgainInsteadOfLosingTheWrite() async throws {
        let bench = try await Workbench()
        try await bench.sql.execute("INSERT INTO public.items VALUES (1, 'a'), (2, 'b')")
        let application = try await bench.cluster.connect(database: bench.database)
        // The server looks for a deadlock once, when somebody has waited for his deadlock_timeout. The victim must be
        // the writer.
        try await application.execute("SET deadlock_timeout = '1h'; SET lock_timeout = '20s'")
        try await bench.run(settings: ["deadlock_timeout": "1s"]) { writer in
            let now = try await bench.milliseconds()
            func change(_ id: Int) -> WriteChange {
                .init(
                    kind: .update, table: "items",
                    columns: [.init("id", text: "\(id)"), .init("content", text: "client")],
                    modifiedColumns: ["content"])
            }
            for round in UInt8(1)...3 where writer.status.retries == 0 {
                try await application.execute("BEGIN; UPDATE public.items SET note = 'app' WHERE id = 2")
                async let outcome = writer.write(
                    bench.transaction(lsn: round, at: now + 60_000 * Int64(round), [change(1), change(2)]))
                try await bench.waitUntil(
                    "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
                // Now the other way round: the writer holds row 1. On a slow machine the writer may have looked before
                // this; then again.
                let crossed = try? await application.execute("UPDATE public.items SET note = 'app' WHERE id = 1")
                try await application.execute(crossed == nil ? "ROLLBACK" : "COMMIT")
                let result = try await outcome
                #expect(result == .applied)
            }
            #expect(writer.status.retries > 0)
        }
        #expect(
            try await bench.scalar("SELECT string_agg(content || note, ',' ORDER BY id) FROM public.items")
                == "clientapp,clientapp")
    }

    @Test func aLockThatIsNotToBeHadIsTriedAgain() async throws {
        let bench = try await Workbench()
        try await bench.sql.execute(
            "INSERT INTO public.items VALUES (1, 'a'); BEGIN; UPDATE public.items SET note = 'app'")
        try await bench.run(settings: ["lock_timeout": "10ms"]) { writer in
            async let blocked = writer.write(bench.insert(id: 1, content: "client", lsn: 1, at: 4_102_444_800_000))
            // Other clients are not held up.
            var other = bench.insert(id: 2, content: "other", lsn: 1, at: 1_000)
            other.clientID = "bob"
            #expect(try await writer.write(other) == .applied)
            while writer.status.retries < 3 { await Task.yield() }
            try await bench.sql.execute("COMMIT")
            let outcome = try await blocked
            #expect(outcome == .applied)
        }
        #expect(try await bench.scalar("SELECT content FROM public.items WHERE id = 1") == "client")
    }

    @Test func aKilledConnectionLosesAndDoublesNothing() async throws {
        let bench = try await Workbench()
        try await bench.run(connections: 2) { writer in
            let killer = Task {
                let connection = try await bench.cluster.connect()
                var killed = 0
                var mark: UInt64 = 0
                while !Task.isCancelled {
                    // Each time when some have gone through since the last.
                    guard writer.status.applied >= mark else {
                        await Task.yield()
                        continue
                    }
                    let result = try? await connection.query(
                        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'writer'",
                        [.text(bench.database)])
                    killed += Int(result?.scalar ?? "0") ?? 0
                    mark = writer.status.applied + 30
                }
                return killed
            }
            try await withThrowingTaskGroup(of: WriteOutcome.self) { group in
                for client in 0..<4 {
                    for number in UInt8(1)...100 {
                        let transaction = bench.transaction(
                            client: "client-\(client)", lsn: number, at: Int64(number) * 1000,
                            [
                                .init(
                                    kind: .insert, table: "items",
                                    columns: [
                                        .init("id", text: "\(client * 1000 + Int(number))"),
                                        .init("content", text: "\(number)"),
                                    ])
                            ])
                        group.addTask { try await writer.write(transaction) }
                    }
                }
                for try await outcome in group { #expect(outcome == .applied) }
            }
            killer.cancel()
            #expect(try await killer.value > 0)
        }
        #expect(try await bench.scalar("SELECT count(*) FROM public.items") == "400")
        #expect(
            try await bench.scalar("SELECT count(*) FROM electric.shadow__public__items WHERE cardinality(_tags) = 1")
                == "400")
        #expect(
            try await bench.scalar(
                "SELECT count(*) FROM electric.acknowledged_client_lsns WHERE client_id LIKE 'client-%'") == "4")
    }

    @Test func aFullQueueAsksToWaitAndThenRefuses() async throws {
        let cluster = try await TestCluster.shared()
        var limits = DirectWriter.Limits()
        limits.transactionsPerClient = 2
        // It does not run, so nothing leaves the queue.
        let writer = DirectWriter(cluster.parameters(), limits: limits)
        let outcomes = Mutex<[WriteOutcome]>([])
        let admissions = (0..<5).map { number in
            writer.submit(.init(clientID: "a", clientLSN: [UInt8(number)], commitTimestampMilliseconds: 0, changes: []))
            { outcome in
                outcomes.withLock { $0.append(outcome) }
            }
        }
        #expect(admissions == [.accepted, .acceptedAndFull, .acceptedAndFull, .acceptedAndFull, .refused])
        await #expect(throws: PostgresError.self) {
            try await writer.write(.init(clientID: "a", clientLSN: [], commitTimestampMilliseconds: 0, changes: []))
        }
        #expect(
            writer.submit(
                .init(clientID: "b", clientLSN: [], commitTimestampMilliseconds: 0, changes: []), completion: { _ in })
                == .accepted)
        await writer.drain(within: .zero)
        await writer.run()
        #expect(outcomes.withLock { $0 } == [.abandoned, .abandoned, .abandoned, .abandoned])
        #expect(
            writer.submit(
                .init(clientID: "c", clientLSN: [], commitTimestampMilliseconds: 0, changes: []), completion: { _ in })
                == .closed)
    }

    @Test func drainingWritesWhatWasAcceptedAndThenEnds() async throws {
        let bench = try await Workbench()
        let writer = bench.writer()
        let applied = Mutex(0)
        for number in UInt8(1)...100 {
            _ = writer.submit(bench.insert(id: Int(number), content: "x", lsn: number, at: 1_000)) { outcome in
                if outcome == .applied { applied.withLock { $0 += 1 } }
            }
        }
        async let running: Void = writer.run()
        await writer.drain(within: .seconds(60))
        await running
        #expect(applied.withLock { $0 } == 100)
        #expect(try await bench.scalar("SELECT count(*) FROM public.items") == "100")
    }
}
