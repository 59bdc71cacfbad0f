import DurableStreams
import StreamDirectory
import TestSupport
import Testing

@testable import Mirror

/// What a table's own rules refuse, and messages that only seem to be of different rows.
@Suite(.serialized, .timeLimit(.minutes(2))) struct RefusedMessageTests {
    private static func finish(_ harness: MirrorHarness, _ flow: StreamToTableFlow, _ messages: UInt64) async throws {
        try await harness.run([.streamToTable(flow)]) { service in
            try await eventually("all are dealt with") { service.status.first?.streams.first?.messages == messages }
        }
    }

    private static func events(_ table: String, stream: String = "events") -> StreamToTableFlow {
        StreamToTableFlow(name: "flow", source: .names([stream]), target: MirrorTableName(table))
    }

    @Test func messageThatAnotherUniqueKeyRefusesIsADeadLetter() async throws {
        let harness = try await MirrorHarness(
            script: """
                CREATE TABLE t (stream_name text, ds_incarnation bigint, ds_offset text, event_key text UNIQUE, payload jsonb,
                                PRIMARY KEY (ds_offset, stream_name, ds_incarnation))
                """)
        try await harness.create("events", body: #"[{"key":"a","n":1},{"key":"a","n":2},{"key":"b","n":3}]"#)
        try await Self.finish(harness, Self.events("t"), 3)
        #expect(try await harness.sql("SELECT string_agg(payload ->> 'n', ' ' ORDER BY ds_offset) FROM t") == "1 3")
        let letters = "SELECT sqlstate, convert_from(payload, 'UTF8') FROM penstock.mirror_dead_letters"
        #expect(try await harness.sql(letters) == #"23505|{"key":"a","n":2}"#)
        // Messages that are there already are known again when the checkpoints are lost.
        try await harness.sql("DELETE FROM penstock.mirror_checkpoints; DELETE FROM penstock.mirror_dead_letters")
        try await Self.finish(harness, Self.events("t"), 3)
        #expect(try await harness.sql("SELECT count(*) FROM t") == "2")
        #expect(try await harness.sql(letters) == #"23505|{"key":"a","n":2}"#)
        try await harness.finish()
    }

    @Test func messagesThatTriggersAndViewsRefuseAreDeadLetters() async throws {
        let harness = try await MirrorHarness(
            script: """
                CREATE TABLE t (payload jsonb, ds_offset text);
                CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF NEW.payload ->> 'n' = '2' THEN RAISE 'secret %', NEW.payload USING ERRCODE = 'MY001'; END IF;
                    RETURN NEW; END $$;
                CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse();
                CREATE VIEW v AS SELECT * FROM t WHERE payload ->> 'n' <> '3' WITH CHECK OPTION
                """)
        try await harness.create("events", body: #"[{"n":1},{"n":2},{"n":3},{"n":4}]"#)
        try await Self.finish(harness, Self.events("v"), 4)
        #expect(try await harness.sql("SELECT string_agg(payload ->> 'n', ' ' ORDER BY ds_offset) FROM t") == "1 4")
        #expect(
            try await harness.sql("SELECT string_agg(sqlstate, ' ' ORDER BY id) FROM penstock.mirror_dead_letters")
                == "MY001 44000")
        try await harness.finish()
    }

    @Test func keysThatAreWrittenDifferentlyAreOneRow() async throws {
        let harness = try await MirrorHarness(script: "CREATE TABLE t (id uuid, n int, v text, PRIMARY KEY (id, n))")
        let id = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
        let flow = StreamToTableFlow(
            name: "flow", source: .names(["rows"]), target: MirrorTableName("t"), mode: .upsert(key: ["id", "n"]),
            columns: ["id", "n", "v"].map { .init(path: [$0], name: $0) })
        try await harness.create(
            "rows",
            body: """
                [{"id":"\(id)","n":1,"v":"x"},{"id":"\(id.uppercased())","n":1,"operation":"remove"},
                 {"id":"\(id)","n":2,"v":"old"},{"id":"\(id)","n":"2","v":"new"},{"id":"\(id)","n":3,"v":"y"}]
                """)
        try await Self.finish(harness, flow, 5)
        #expect(try await harness.sql("SELECT n, v FROM t ORDER BY n") == "2|new\n3|y")
        #expect(try await harness.sql("SELECT count(*) FROM penstock.mirror_dead_letters") == "0")
        try await harness.finish()
    }

    @Test func streamThatHasDroppedUnreadMessagesSaysHowToGoOn() async throws {
        let harness = try await MirrorHarness(script: "CREATE TABLE t (payload jsonb, ds_offset text)")
        _ = try await harness.calls.create(
            "events",
            CreateRequest(contentType: .json, retention: StreamRetention(maximumBytes: 100, maximumAgeSeconds: nil)))
        try await harness.append("events", "[0]")
        let flow = Self.events("t")
        try await Self.finish(harness, flow, 1)
        let filling = String(repeating: "x", count: 500)
        for number in 1...300 { try await harness.append("events", "[\"\(filling) \(number)\"]") }
        try await eventually("something is dropped") { try harness.calls.lookup("events").earliest > 2 }
        try await harness.run([.streamToTable(flow)]) { service in
            let remedy = "DELETE FROM penstock.mirror_checkpoints WHERE flow = 'flow' AND stream = 'events'"
            try await eventually("it is said") {
                service.status.first?.streams.first?.problem?.contains(remedy) == true
            }
            try await harness.sql(remedy)
            try await eventually("it goes on") { service.status.first?.streams.first?.lagBytes == 0 }
        }
        #expect(
            try await harness.sql("SELECT count(*) FROM t WHERE payload #>> '{}' LIKE '% 300' OR payload = '0'") == "2")
        try await harness.finish()
    }
}
