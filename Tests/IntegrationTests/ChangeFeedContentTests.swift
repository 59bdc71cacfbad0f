import ChangeFeed
import NIOCore
import PostgresWire
import TestSupport
import Testing

/// What the stream holds, compared with what Postgres itself gives out by SQL.
@Suite(.timeLimit(.minutes(3))) struct ChangeFeedContentTests {
    struct Variant: Sendable, CustomTestStringConvertible {
        var transport: FeedTransportChoice
        var version: PostgresVersion

        var testDescription: String { "\(self.transport), \(self.version)" }

        static var all: [Variant] {
            PostgresVersion.installed.flatMap { version in
                [Variant(transport: .replication, version: version)]
                    + (version.hasExtension ? [Variant(transport: .extension, version: version)] : [])
            }
        }
    }

    private static let schema = """
        CREATE TABLE items (id text PRIMARY KEY, content text);
        ALTER TABLE items ALTER content SET STORAGE EXTERNAL;
        CREATE TABLE kinds (id int PRIMARY KEY, at timestamptz, day date, bytes bytea, number float8, flag bool);
        CREATE TABLE other (id int, filler text);
        CREATE PUBLICATION electric_publication FOR TABLE items, kinds;
        ALTER DATABASE postgres SET datestyle = 'SQL, MDY';
        ALTER DATABASE postgres SET bytea_output = 'escape';
        ALTER DATABASE postgres SET timezone = 'Asia/Tokyo';
        ALTER DATABASE postgres SET extra_float_digits = -3;
        """

    private static let changes = """
        INSERT INTO items VALUES ('1', repeat('x', 9000)), ('2', 'two');
        INSERT INTO kinds VALUES (1, '2024-02-03 04:05:06+00', '2024-02-03', '\\x00ff41', 0.1, true);
        UPDATE items SET id = '1b' WHERE id = '1';
        BEGIN; INSERT INTO items VALUES ('gone', 'x'); ROLLBACK;
        BEGIN;
        INSERT INTO items VALUES ('3', 'kept');
        SAVEPOINT a; INSERT INTO items VALUES ('gone too', 'x'); ROLLBACK TO a;
        SAVEPOINT b; INSERT INTO items VALUES ('4', 'kept'); RELEASE b;
        COMMIT;
        SELECT pg_logical_emit_message(true, 'test', 'inside');
        BEGIN;
        INSERT INTO items VALUES ('5', 'narrow');
        ALTER TABLE items ADD COLUMN extra text DEFAULT 'd';
        INSERT INTO items VALUES ('6', 'wide', 'e');
        COMMIT;
        DELETE FROM items WHERE id = '2';
        TRUNCATE items, kinds;
        INSERT INTO items VALUES ('7', 'after', 'f');
        """

    private static let expected = [
        "insert items(id,content) 1|9000 bytes", "insert items(id,content) 2|two",
        "insert kinds(id,at,day,bytes,number,flag) 1|2024-02-03 04:05:06+00|2024-02-03|\\x00ff41|0.1|t",
        "update items(id,content) 1b|unchanged",
        "insert items(id,content) 3|kept", "insert items(id,content) 4|kept",
        "message inside",
        "insert items(id,content) 5|narrow", "insert items(id,content,extra) 6|wide|e",
        "delete items 2",
        "truncate items kinds",
        "insert items(id,content,extra) 7|after|f",
    ]

    @Test(arguments: Variant.all)
    func streamIsWhatPostgresGivesWhateverItsSettings(_ variant: Variant) async throws {
        let harness = try await FeedHarness.make(variant.transport, version: variant.version)
        try await harness.query(Self.schema)
        // A second slot keeps the same WAL for Postgres' own account of it.
        try await harness.query("SELECT 1 FROM pg_create_logical_replication_slot('reference', 'pgoutput')")
        try harness.start(transport: variant.transport)
        try await harness.waitUntilReady()
        let start = try #require(try harness.feed.position)
        try await harness.query(Self.changes)
        try await harness.waitUntilCurrent()

        var described: [String] = []
        var bytes: [String] = []
        try await harness.forEachMessage(after: start) { _, message, relations in
            if let text = try Self.describe(message, relations) {
                described.append(text)
                bytes.append(Self.hex(message))
            }
        }
        #expect(described == Self.expected)
        let reference = try await harness.query(
            """
            SET datestyle = 'ISO, DMY'; SET bytea_output = 'hex'; SET timezone = 'UTC';
            SET extra_float_digits = 1;
            SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('reference', NULL, NULL,
                'proto_version', '1', 'publication_names', 'electric_publication', 'messages', 'true');
            """)
        let changes = reference.split(separator: "\n").map(String.init).filter { text in
            // Begin, Commit, Relation, Type and messages outside of transactions are not part of a transaction's changes.
            !["42", "43", "52", "59"].contains(text.prefix(2)) && !text.hasPrefix("4d00")
        }
        #expect(bytes == changes)
        try await harness.stop()

        // From the log, by a feed that has seen none of it.
        try harness.start(transport: variant.transport)
        try await harness.waitUntilReady()
        var again: [String] = []
        try await harness.forEachMessage(after: start) { _, message, relations in
            if let text = try Self.describe(message, relations) { again.append(text) }
        }
        #expect(again == Self.expected)
        try await Self.expectAcknowledgementsToPassForeignWAL(harness)
        try await harness.stop()
        await harness.destroy()
    }

    private static func expectAcknowledgementsToPassForeignWAL(_ harness: FeedHarness) async throws {
        for transactional in [false, true] {
            let emitted = try await harness.query("SELECT pg_logical_emit_message(\(transactional), 'test', 'x')")
            let position = try #require(LSN(emitted))
            try await eventually("the slot passes a logical message", within: .seconds(6)) {
                try await harness.confirmed() >= position
            }
        }
        try await harness.query("INSERT INTO other SELECT n, repeat('x', 200) FROM generate_series(1, 20000) AS n")
        let flush = try #require(LSN(try await harness.query("SELECT pg_current_wal_flush_lsn()")))
        try await eventually("the slot passes the WAL of a table that is not published", within: .seconds(6)) {
            try await harness.confirmed() >= flush
        }
    }

    private static func hex(_ message: ByteBuffer) -> String {
        message.readableBytesView.map { byte in
            let text = String(byte, radix: 16)
            return text.utf8.count == 1 ? "0" + text : text
        }.joined()
    }

    /// A line for a change; nil for definitions. The names of columns come from the definition in force.
    private static func describe(_ message: ByteBuffer, _ relations: [UInt32: Relation]) throws -> String? {
        func names(_ oid: UInt32) -> String {
            guard let relation = relations[oid] else { return "undefined" }
            return "\(relation.name)(\(relation.columns.map(\.name).joined(separator: ",")))"
        }
        func values(_ tuple: Tuple) -> String {
            tuple.columns.map { column in
                if column == .unchanged { return "unchanged" }
                guard let text = column.string else { return "null" }
                return text.utf8.count > 100 ? "\(text.utf8.count) bytes" : text
            }.joined(separator: "|")
        }
        switch try ReplicationMessage.decode(message) {
        case .insert(let insert): return "insert \(names(insert.relation)) \(values(insert.new))"
        case .update(let update): return "update \(names(update.relation)) \(values(update.new))"
        case .delete(let delete):
            return "delete \(relations[delete.relation]?.name ?? "?") \(delete.old.columns[0].string ?? "?")"
        case .truncate(let truncate):
            return "truncate " + truncate.relations.map { relations[$0]?.name ?? "?" }.sorted().joined(separator: " ")
        case .logical(let logical): return "message \(String(buffer: logical.content))"
        case .relation, .type, .origin: return nil
        default: return "unexpected"
        }
    }
}
