import DurableStreams
import Foundation
import NIOCore
import PostgresClient
import StreamDirectory
import StreamStoreTestSupport
import TestSupport
import Testing

@testable import Mirror

/// Streams go into tables, each message once.
@Suite(.serialized, .timeLimit(.minutes(3))) struct StreamToTableTests {
    private static func flow(
        _ source: StreamSelector = .names(["events"]), batch: Int = 10, workers: Int = 1
    ) -> StreamToTableFlow {
        StreamToTableFlow(
            name: "flow", source: source, target: MirrorTableName("session_events"), batchSize: batch,
            batchDelay: .milliseconds(1), workers: workers, createsTable: true)
    }

    /// A database with the event table.
    private static func harness(cluster: TestCluster? = nil) async throws -> MirrorHarness {
        try await MirrorHarness(
            cluster: cluster, script: MirrorSchema.eventTableScript(MirrorTableName("session_events")))
    }

    private static func numbers(_ harness: MirrorHarness, _ order: String = "id") async throws -> [String] {
        try await harness.sql("SELECT payload ->> 'n' FROM session_events ORDER BY \(order)")
            .split(separator: "\n").map(String.init)
    }

    /// For messages of several streams, whose order among each other is nobody's promise.
    private static func sortedNumbers(_ harness: MirrorHarness) async throws -> [String] {
        try await self.numbers(harness, "(payload ->> 'n')::integer")
    }

    @Test(arguments: MirrorSetting.streams)
    func eventsFillTheColumnsOfTheBuiltInTable(_ setting: MirrorSetting) async throws {
        let harness = try await MirrorHarness(setting)
        try await harness.create(
            "events", body: #"[{"key":"k1","type":"chat","operation":"set","value":{"a":[1, 2]}}]"#)
        try await harness.append("events", #"[{"key":"","n":1e400}, 17]"#)
        try await harness.run([.streamToTable(Self.flow())]) { service in
            try await eventually("all are written") { service.status.first?.streams.first?.messages == 3 }
            let status = try #require(service.status.first?.streams.first)
            #expect(status.state == .following)
            #expect(status.lagBytes == 0)
        }
        let rows = try await harness.sql(
            "SELECT stream_name, event_key, event_type, operation, payload, ds_offset, ds_incarnation FROM session_events ORDER BY id"
        ).split(separator: "\n")
        let tail = try harness.calls.lookup("events").tailOffset.token
        #expect(rows.count == 3)
        #expect(rows[0].hasPrefix("events|k1|chat|set|{\"key\": \"k1\""))
        #expect(rows[1].hasPrefix("events|||"))
        #expect(rows[2] == "events||||17|\(tail)|1")
        #expect(
            try await harness.sql("SELECT stream, stream_offset, state FROM penstock.mirror_checkpoints")
                == "events|\(tail)|active")
        try await harness.finish()
    }

    @Test func appendsOfOtherTypesAreARowEach() async throws {
        let harness = try await MirrorHarness(
            script:
                "CREATE TABLE raw (stream_name text, payload bytea, ds_offset text); CREATE TABLE words (stream_name text, payload text)"
        )
        try await harness.create("bytes", type: "application/octet-stream")
        try await harness.create("words", type: "text/plain")
        for text in ["one", "two\\", "thrée\t"] {
            try await harness.append("bytes", text, type: "application/octet-stream")
            try await harness.append("words", text, type: "text/plain")
        }
        let flows = ["raw": "bytes", "words": "words"].map { table, stream in
            MirrorFlow.streamToTable(
                StreamToTableFlow(name: table, source: .names([stream]), target: MirrorTableName(table)))
        }
        try await harness.run(flows) { _ in
            try await eventually("all are written") {
                try await harness.sql("SELECT (SELECT count(*) FROM raw), (SELECT count(*) FROM words)") == "3|3"
            }
        }
        #expect(
            try await harness.sql("SELECT convert_from(payload, 'UTF8'), ds_offset FROM raw ORDER BY ds_offset").split(
                separator: "\n"
            ).first
                == "one|0000000000000000_0000000000000003")
        #expect(
            try await harness.sql("SELECT count(*) FROM words WHERE payload IN ('one', E'two\\\\', E'thrée\\t')") == "3"
        )
        try await harness.finish()
    }

    @Test func aMessageThatIsNullIsARowWithThatPayload() async throws {
        let harness = try await MirrorHarness(script: "CREATE TABLE t (payload jsonb NOT NULL, ds_offset text)")
        try await harness.create("events", body: #"[1,null,"null"]"#)
        let flow = StreamToTableFlow(name: "t", source: .names(["events"]), target: MirrorTableName("t"))
        try await harness.run([.streamToTable(flow)]) { service in
            try await eventually("all are dealt with") { service.status.first?.streams.first?.messages == 3 }
            #expect(service.status.first?.streams.first?.deadLetters == 0)
        }
        #expect(
            try await harness.sql("SELECT string_agg(payload::text, ' ' ORDER BY ds_offset) FROM t") == #"1 null "null""#)
        try await harness.finish()
    }

    @Test func messagesThatTheDatabaseRefusesBecomeDeadLetters() async throws {
        let harness = try await MirrorHarness(
            script: "CREATE TABLE t (n int NOT NULL CHECK (n <> 13), note text)")
        let flow = StreamToTableFlow(
            name: "flow", source: .names(["events"]), target: MirrorTableName("t"),
            columns: [.init(path: ["n"], name: "n"), .init(path: ["v", "note"], name: "note")], batchSize: 64)
        try await harness.create("events")
        let bad = [3: "null", 13: "13", 40: "\"x\"", 41: "99999999999"]
        let list = (0..<100).map { #"{"n":\#(bad[$0] ?? "\($0)"),"v":{"note":"\#($0 == 50 ? "\\u0000" : "ok")"}}"# }
        try await harness.append("events", "[\(list.joined(separator: ","))]")
        try await harness.run([.streamToTable(flow)]) { service in
            try await eventually("all are dealt with") { service.status.first?.streams.first?.messages == 100 }
            #expect(service.status.first?.streams.first?.deadLetters == 5)
        }
        #expect(try await harness.sql("SELECT count(*), count(DISTINCT n), min(n), max(n) FROM t") == "95|95|0|99")
        let letters = try await harness.sql(
            "SELECT sqlstate, convert_from(payload, 'UTF8') FROM penstock.mirror_dead_letters ORDER BY stream_offset")
        #expect(
            letters == """
                23502|{"n":null,"v":{"note":"ok"}}
                23514|{"n":13,"v":{"note":"ok"}}
                22P02|{"n":"x","v":{"note":"ok"}}
                22003|{"n":99999999999,"v":{"note":"ok"}}
                22P05|{"n":50,"v":{"note":"\\u0000"}}
                """)
        try await harness.finish()
    }

    @Test func missingTableIsSaidAndWaitedFor() async throws {
        let harness = try await MirrorHarness()
        try await harness.create("events", body: #"[{"n":1}]"#)
        var flow = Self.flow()
        flow.createsTable = false
        let service = harness.service([.streamToTable(flow)])
        let task = Task { try await service.run() }
        try await eventually("the failure shows") { service.status.first?.streams.first?.state == .failed }
        #expect(service.status.first?.streams.first?.problem == "there is no table public.session_events")
        try await harness.sql(MirrorSchema.eventTableScript(MirrorTableName("session_events")))
        try await eventually("it is written") { try await Self.numbers(harness) == ["1"] }
        service.drain()
        try await task.value
        try await harness.finish()
    }

    @Test func endOfAStreamIsNoted() async throws {
        let harness = try await Self.harness()
        try await harness.create("events")
        try await harness.create("other")
        try await harness.run([.streamToTable(Self.flow(.names(["events", "other"])))]) { service in
            try await harness.append("events", #"{"n":1}"#, closes: true)
            try await harness.append("other", #"{"n":2}"#)
            try await eventually("both are written") { try await Self.sortedNumbers(harness) == ["1", "2"] }
            try await eventually("the end is noted") {
                try await harness.sql(
                    "SELECT state, finished_at IS NOT NULL FROM penstock.mirror_checkpoints WHERE stream = 'events'"
                ) == "finished|t"
            }
            try await harness.calls.delete("other")
            try await eventually("the deletion is noted") {
                try await harness.sql("SELECT state FROM penstock.mirror_checkpoints WHERE stream = 'other'")
                    == "deleted"
            }
            try await harness.create("other", body: #"[{"n":3},{"n":4}]"#)
            try await eventually("the new stream is written from its beginning") {
                try await Self.sortedNumbers(harness) == ["1", "2", "3", "4"]
            }
            #expect(
                try await harness.sql("SELECT payload ->> 'n' FROM session_events WHERE stream_name = 'other' ORDER BY id")
                    == "2\n3\n4")
            #expect(
                try await harness.sql(
                    "SELECT incarnation, state FROM penstock.mirror_checkpoints WHERE stream = 'other'") == "2|active")
            #expect(service.status.first?.streams.map(\.state) == [.finished, .following])
        }
        // Also when nobody looked.
        try await harness.calls.delete("other")
        try await harness.create("other", body: #"[{"n":5}]"#)
        try await harness.run([.streamToTable(Self.flow(.names(["events", "other"])))]) { _ in
            try await eventually("the next one is written") {
                try await Self.sortedNumbers(harness) == ["1", "2", "3", "4", "5"]
            }
        }
        try await harness.finish()
    }

    @Test func hundredStreamsByPrefixWithStreamsThatComeLater() async throws {
        let harness = try await Self.harness()
        for number in 0..<60 { try await harness.create("many/\(number)", body: "[{\"n\":\(number)}]") }
        try await harness.create("few/1", body: "[{\"n\":-1}]")
        try await harness.run([.streamToTable(Self.flow(.prefix("many/"), workers: 4))]) { service in
            for number in 60..<100 { try await harness.create("many/\(number)", body: "[{\"n\":\(number)}]") }
            for number in 0..<100 { try await harness.append("many/\(number)", "[{\"n\":\(number + 1000)}]") }
            try await eventually("all are written") {
                try await harness.sql("SELECT count(*) FROM session_events") == "200"
            }
            #expect(service.status.first?.streams.count == 100)
        }
        #expect(
            try await harness.sql("SELECT count(DISTINCT payload), count(DISTINCT stream_name) FROM session_events")
                == "200|100")
        // In each stream in its order.
        #expect(
            try await harness.sql(
                "SELECT count(*) FROM session_events a JOIN session_events b USING (stream_name) WHERE a.id < b.id AND a.ds_offset > b.ds_offset"
            ) == "0")
        try await harness.finish()
    }

    @Test(arguments: MirrorSetting.streams)
    func crashBetweenAnyTwoStepsLosesAndDoublesNothing(_ setting: MirrorSetting) async throws {
        let harness = try await MirrorHarness(setting)
        // Without the second guard: the first alone must do.
        try await harness.sql(
            "CREATE TABLE session_events (id serial, stream_name text, event_key text, event_type text, operation text, payload jsonb NOT NULL CHECK (payload ->> 'n' <> '7'), ds_offset text)"
        )
        try await harness.create("events")
        var expected: [String] = []
        var step = 1
        while true {
            let counter = CrashCounter(at: step)
            let base = step * 100
            let list = (0..<23).map { "{\"n\":\($0 == 7 ? 7 : base + $0)}" }
            expected += (0..<23).filter { $0 != 7 }.map { String(base + $0) }
            try await harness.append("events", "[\(list.prefix(11).joined(separator: ","))]")
            try await harness.append("events", "[\(list.dropFirst(11).joined(separator: ","))]")
            let service = harness.service([.streamToTable(Self.flow(batch: 5))], probe: counter.probe)
            let task = Task { try await service.run() }
            let count = expected.count
            try await eventually("it crashes, or is done") {
                if counter.hasCrashed { return true }
                return try await harness.sql("SELECT count(*) FROM session_events") == "\(count)"
            }
            if !counter.hasCrashed { service.drain() }
            let result = await task.result
            if case .success = result, !counter.hasCrashed { break }
            try harness.losePower()
            step += 1
        }
        #expect(step > 5)
        #expect(try await Self.numbers(harness) == expected)
        #expect(try await harness.sql("SELECT count(*) FROM penstock.mirror_dead_letters") == "\(step)")
        try await harness.finish()
    }

    @Test func workersThatContendWriteEachMessageOnce() async throws {
        let harness = try await Self.harness()
        for number in 0..<8 { try await harness.create("s/\(number)") }
        let first = harness.service([.streamToTable(Self.flow(.prefix("s/"), batch: 3, workers: 2))])
        let second = harness.service([.streamToTable(Self.flow(.prefix("s/"), batch: 4, workers: 2))])
        let firstTask = Task { try await first.run() }
        let secondTask = Task { try await second.run() }
        for round in 0..<20 {
            for number in 0..<8 { try await harness.append("s/\(number)", "[{\"n\":\(round)},{\"n\":\(round + 100)}]") }
            if round == 10 {
                // One goes, as a process that is killed; the other takes over what it had.
                try await eventually("one is at work") {
                    try await harness.sql("SELECT count(*) > 20 FROM session_events") == "t"
                }
                firstTask.cancel()
                _ = await firstTask.result
            }
        }
        try await eventually("all are written") {
            try await harness.sql("SELECT count(*) FROM session_events") == "320"
        }
        second.drain()
        try await secondTask.value
        #expect(try await harness.sql("SELECT count(DISTINCT (stream_name, ds_offset)) FROM session_events") == "320")
        try await harness.finish()
    }

    /// Two that both believe to have the lease: the checkpoint stands between them.
    @Test func checkpointThatMovedStopsTheSecondWriter() async throws {
        let harness = try await MirrorHarness(
            script: MirrorSchema.script + MirrorSchema.eventTableScript(MirrorTableName("session_events")))
        let checkpoints = CheckpointStore(pool: harness.pool, flow: "flow")
        let table = try await TargetTable.load(MirrorTableName("session_events"), harness.pool)
        let writer = BatchWriter(
            pool: harness.pool, checkpoints: checkpoints, deadLetters: MirrorSchema.deadLetters,
            planner: .events(try EventPlanner(table, columns: [])), probe: MirrorProbe())
        let start = try await checkpoints.open("s", view: StreamViewFacts(identity: 5, tail: 100), start: .beginning)
        let origin = StreamOrigin(name: "s", identity: 5, incarnation: 1, contentType: "application/json", isJSON: true)
        let messages = [StreamMessage(bytes: ByteBuffer(string: "{}"), end: 3)]
        var mine = start
        var other = start
        _ = try await writer.write(messages[...], of: origin, checkpoint: &mine, finishes: false)
        await #expect(throws: CheckpointMoved.self) {
            _ = try await writer.write(messages[...], of: origin, checkpoint: &other, finishes: false)
        }
        #expect(try await harness.sql("SELECT count(*) FROM session_events") == "1")
        try await harness.finish()
    }

    @Test func databaseThatGoesAwayIsWaitedFor() async throws {
        let cluster = try await TestCluster.start()
        let harness = try await Self.harness(cluster: cluster)
        try await harness.create("events")
        try await harness.run([.streamToTable(Self.flow())]) { _ in
            for number in 0..<300 {
                try await harness.append("events", "{\"n\":\(number)}")
                if number == 100 { try await cluster.restart(.immediate) }
                if number == 200 {
                    try await cluster.kill()
                    try await cluster.start()
                }
            }
            try await eventually("all are written") {
                try await harness.sql("SELECT count(*) FROM session_events") == "300"
            }
        }
        #expect(try await Self.numbers(harness, "(payload ->> 'n')::int") == (0..<300).map(String.init))
        try await harness.finish()
        await cluster.destroy()
    }

    // MARK: Upsert

    private static let upsert = StreamToTableFlow(
        name: "upsert", source: .names(["rows"]), target: MirrorTableName("rows"), mode: .upsert(key: ["id"]),
        columns: [
            .init(path: ["key"], name: "id"), .init(path: ["value", "title"], name: "title"),
            .init(path: ["value", "count"], name: "count"), .init(path: ["value"], name: "body"),
        ], batchSize: 37, batchDelay: .milliseconds(1))

    @Test(arguments: [UInt64(1), 2, 3]) func tableIsTheFoldOfTheStream(_ seed: UInt64) async throws {
        let harness = try await MirrorHarness(
            script: "CREATE TABLE rows (id text PRIMARY KEY, title text, count int NOT NULL DEFAULT 5, body jsonb)")
        try await harness.create("rows")
        var random = SplitMix(seed: seed)
        var model: [String: (title: String?, count: Int)] = [:]
        var letters = 0
        try await harness.run([.streamToTable(Self.upsert)]) { service in
            for _ in 0..<40 {
                var batch: [String] = []
                for _ in 0..<Int.random(in: 1...40, using: &random) {
                    let key = "k\(Int.random(in: 0..<12, using: &random))"
                    let title = Bool.random(using: &random) ? "t\(Int.random(in: 0..<99, using: &random))" : nil
                    let count = Int.random(in: 0..<1000, using: &random)
                    let titleMember = title.map { "\"title\":\"\($0)\"," } ?? ""
                    switch Int.random(in: 0..<12, using: &random) {
                    case 0, 1, 2:
                        batch.append("{\"key\":\"\(key)\",\"operation\":\"remove\"}")
                        model[key] = nil
                    case 3, 4, 5:
                        batch.append(
                            "{\"key\":\"\(key)\",\"operation\":\"update\",\"value\":{\(titleMember)\"count\":\(count)}}"
                        )
                        model[key] = (title ?? model[key]?.title, count)
                    case 6:
                        batch.append(
                            [
                                "{\"operation\":\"set\"}", "7", "{\"key\":\"a\",\"operation\":\"append\"}",
                                "{\"key\":null}",
                            ].randomElement(using: &random) ?? "7")
                        letters += 1
                    case 7: batch.append("{\"headers\":{\"control\":\"up-to-date\"}}")
                    default:
                        batch.append(
                            "{\"key\":\"\(key)\",\"operation\":\"set\",\"value\":{\(titleMember)\"count\":\(count)}}")
                        model[key] = (title, count)
                    }
                }
                try await harness.append("rows", "[\(batch.joined(separator: ","))]")
            }
            try await eventually("the stream has been written") {
                guard let status = service.status.first?.streams.first else { return false }
                return status.lagBytes == 0 && status.state == .following
            }
        }
        let rows = try await harness.sql("SELECT id, title, count FROM rows ORDER BY id")
        let expected = model.sorted { $0.key < $1.key }.map { "\($0.key)|\($0.value.title ?? "")|\($0.value.count)" }
        #expect(rows == expected.joined(separator: "\n"), "seed \(seed)")
        #expect(try await harness.sql("SELECT count(*) FROM penstock.mirror_dead_letters") == "\(letters)")
        try await harness.finish()
    }
}
