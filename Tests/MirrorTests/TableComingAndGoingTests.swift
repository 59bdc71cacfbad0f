import Foundation
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
}
