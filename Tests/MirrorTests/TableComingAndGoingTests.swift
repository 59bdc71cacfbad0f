import DurableStreams
import Foundation
import StreamDirectory
import TestSupport
import Testing

@testable import Mirror

/// Tables that are dropped or taken out of the publication while a stream is made of them, and come back.
@Suite(.serialized, .timeLimit(.minutes(3))) struct TableComingAndGoingTests {
    private static let schema = """
        CREATE TABLE items (id int PRIMARY KEY, title text, body text);
        CREATE PUBLICATION electric_publication;
        """

    private static func flow() -> [MirrorFlow] {
        [.tableToStream(TableToStreamFlow(name: "items", source: MirrorTableName("items"), target: "pg-items"))]
    }

    private static func controls(_ harness: MirrorHarness) async throws -> [String] {
        try await harness.messages("pg-items").compactMap { ($0["headers"] as? [String: Any])?["control"] as? String }
    }

    @Test(arguments: MirrorSetting.tables)
    func tableThatGoesIsSaidAndOneThatComesBackIsReadAnew(_ setting: MirrorSetting) async throws {
        let harness = try await MirrorHarness(setting, script: Self.schema)
        try await harness.sql("INSERT INTO items VALUES (1, 'a')")
        try harness.startFeed()
        func fails(_ service: MirrorService, _ reason: String) async throws {
            try await eventually("it is said: \(reason)") {
                guard let status = service.status.first?.streams.first else { return false }
                return status.state == .failed && status.problem?.contains(reason) == true
            }
        }
        let publish = "ALTER PUBLICATION electric_publication ADD TABLE public.items"
        let unpublish = "ALTER PUBLICATION electric_publication DROP TABLE public.items"
        try await harness.run(Self.flow()) { service in
            try await harness.waitUntilEqual("pg-items", "items")
            try await harness.sql("INSERT INTO items VALUES (2, 'b')")
            try await harness.sql("DROP TABLE items")
            try await fails(service, "there is no table public.items any more")
            // What was written before is in the stream all the same, and nothing says that the rows are gone.
            try await eventually("the last change comes") { try await harness.fold("pg-items").count == 2 }
            #expect(try await Self.controls(harness) == ["snapshot-end"])
            try await harness.sql(
                "CREATE TABLE items (id int PRIMARY KEY, title text, body text); INSERT INTO items VALUES (9, 'new')")
            try await harness.waitUntilEqual("pg-items", "items")
            #expect(try await Self.controls(harness) == ["snapshot-end", "must-refetch", "snapshot-end"])

            try await harness.sql("\(unpublish); INSERT INTO items VALUES (10, 'unseen')")
            try await fails(service, publish)
            #expect(try await harness.fold("pg-items").count == 1)
            try await harness.sql(publish)
            try await harness.waitUntilEqual("pg-items", "items")
            // Out and in again before anybody looks.
            for part in [unpublish, "INSERT INTO items VALUES (11, 'unseen')", publish] { try await harness.sql(part) }
            try await harness.waitUntilEqual("pg-items", "items")
            try await eventually("it follows") { service.status.first?.streams.first?.state == .following }
            #expect(service.status.first?.problem == nil)
        }
        // While no one looks, too.
        try await harness.sql("\(unpublish); INSERT INTO items VALUES (12, 'unseen')")
        try await harness.run(Self.flow()) { service in
            try await fails(service, publish)
            try await harness.sql(publish)
            try await harness.waitUntilEqual("pg-items", "items")
            try await harness.sql("DELETE FROM items WHERE id > 9")
            try await harness.waitUntilEqual("pg-items", "items")
        }
        try await harness.finish()
    }

    @Test func columnsThatAreOthersOfTheSameNameAreReadAnew() async throws {
        let harness = try await MirrorHarness(script: Self.schema)
        try await harness.sql("INSERT INTO items VALUES (1, 'a', 'b'), (2, 'c', 'd')")
        try harness.startFeed()
        try await harness.run(Self.flow()) { _ in
            try await harness.waitUntilEqual("pg-items", "items")
            // Nothing that the feed brings tells these from what was there, and nothing is written afterwards.
            try await harness.sql("ALTER TABLE items DROP COLUMN body; ALTER TABLE items ADD COLUMN body text")
            try await harness.waitUntilEqual("pg-items", "items")
            try await harness.sql(
                """
                UPDATE items SET body = 'e';
                BEGIN; ALTER TABLE items RENAME title TO x; ALTER TABLE items RENAME body TO title;
                ALTER TABLE items RENAME x TO body; COMMIT
                """)
            try await harness.waitUntilEqual("pg-items", "items")
            // One is renamed, and another gets its name.
            try await harness.sql(
                """
                BEGIN; ALTER TABLE items RENAME title TO name; ALTER TABLE items ADD COLUMN title text;
                INSERT INTO items VALUES (3); COMMIT
                """)
            try await harness.waitUntilEqual("pg-items", "items")
            // Values that a default has left.
            try await harness.sql(
                """
                BEGIN; ALTER TABLE items ADD COLUMN mark uuid DEFAULT gen_random_uuid();
                ALTER TABLE items ALTER mark DROP DEFAULT;
                INSERT INTO items VALUES (4); COMMIT
                """)
            try await harness.waitUntilEqual("pg-items", "items")
        }
        #expect(try await Self.controls(harness).filter { $0 == "must-refetch" }.count == 4)
        // A plain column is no reason to read the table anew.
        try await harness.run(Self.flow()) { _ in
            try await harness.sql("ALTER TABLE items ADD COLUMN plain int; UPDATE items SET plain = 1 WHERE id = 1")
            try await harness.waitUntilEqual("pg-items", "items")
        }
        #expect(try await Self.controls(harness).last == "schema-changed")
        try await harness.finish()
    }

    @Test func streamWhoseBeginningIsDroppedBeginsAnew() async throws {
        let harness = try await MirrorHarness(script: Self.schema)
        try await harness.sql("INSERT INTO items VALUES (1, 'a')")
        try harness.startFeed()
        _ = try await harness.calls.create(
            "pg-items",
            CreateRequest(
                contentType: .json, retention: StreamRetention(maximumBytes: 1000, maximumAgeSeconds: nil)))
        try await harness.run(Self.flow()) { _ in
            try await harness.waitUntilEqual("pg-items", "items")
            try await harness.sql(
                "DO $$ BEGIN FOR n IN 1..300 LOOP UPDATE items SET body = repeat('x', 500); COMMIT; END LOOP; END $$")
            try await eventually("the beginning is dropped") { try harness.calls.lookup("pg-items").earliest > 1000 }
        }
        try await harness.run(Self.flow()) { service in
            try await eventually("it begins anew") { service.status.first?.streams.first?.restarts == 1 }
            try await eventually("it follows") { service.status.first?.streams.first?.state == .following }
        }
        try await harness.finish()
    }
}
