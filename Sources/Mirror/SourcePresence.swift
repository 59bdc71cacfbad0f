import ExactText
import PostgresClient

/// Whether a flow's table is there, and by which entries the publication carries it.
///
/// What happens to a table while the publication does not carry it does not come by. Entries have numbers that are not
/// given twice, so a table that was taken out and put back between two looks has another mark.
struct SourcePresence: Hashable, Sendable {
    /// Nil when there is no table of the name.
    var oid: UInt32?
    /// The publication's entries for the table; empty when it carries none of it.
    var mark: String
    /// The number of each column: a column that is dropped and made anew, or gets the name of another, has another one.
    var numbers: [ExactText: Int] = [:]
    /// Which files the rows are in; others after all rows were written anew.
    var storage = ""

    private static let ancestors =
        "SELECT t.oid UNION SELECT a.relid::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors(t.oid) AS a"

    static func load(
        _ name: MirrorTableName, publication: String, _ connection: PostgresConnection
    ) async throws -> SourcePresence {
        let bySchema =
            connection.serverVersion >= 150_000
            ? """
            UNION ALL
            SELECT 's' || n.oid FROM pg_catalog.pg_publication_namespace AS n
            JOIN pg_catalog.pg_publication AS p ON p.oid = n.pnpubid
            JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.pnnspid
            WHERE p.pubname = $2 AND c.oid = t.oid
            """ : ""
        func entries(_ relations: String) -> String {
            """
            SELECT 't' || r.oid FROM pg_catalog.pg_publication_rel AS r
            JOIN pg_catalog.pg_publication AS p ON p.oid = r.prpubid
            WHERE p.pubname = $2 AND r.prrelid IN (\(relations))
            """
        }
        let result = try await connection.query(
            """
            SELECT t.oid, coalesce(
                (SELECT pg_catalog.string_agg(m, ' ' ORDER BY m) FROM (
                    SELECT 'a' || p.oid FROM pg_catalog.pg_publication AS p WHERE p.pubname = $2 AND p.puballtables
                    UNION ALL
                    \(entries(Self.ancestors))
                    \(bySchema)) AS own(m)),
                (SELECT pg_catalog.string_agg(m, ' ' ORDER BY m) FROM (
                    \(entries("SELECT l.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree(t.oid) AS l"))) AS parts(m)), '')
            FROM (SELECT pg_catalog.to_regclass($1)::pg_catalog.oid) AS t(oid)
            """,
            [.text(SQLText.identifier(name.schema, name.name)), .text(publication)])
        var presence = SourcePresence(oid: result[0, 0].flatMap { UInt32($0) }, mark: result[0, 1] ?? "")
        guard let oid = presence.oid else { return presence }
        let columns = try await connection.query(
            """
            SELECT attname, attnum FROM pg_catalog.pg_attribute
            WHERE attrelid = $1::pg_catalog.oid AND attnum > 0 AND NOT attisdropped
            """, [.text(String(oid))])
        for row in columns.rows {
            if let name = row[0], let number = row[1].flatMap({ Int($0) }) {
                presence.numbers[ExactText(name)] = number
            }
        }
        let files = try await connection.query(
            """
            SELECT pg_catalog.md5(pg_catalog.string_agg(f, ' ' ORDER BY f)) FROM (
                SELECT pg_catalog.pg_relation_filenode($1::pg_catalog.oid)::text
                UNION
                SELECT pg_catalog.pg_relation_filenode(t.relid)::text
                FROM pg_catalog.pg_partition_tree($1::pg_catalog.oid) AS t) AS files(f)
            """, [.text(String(oid))])
        presence.storage = files[0, 0] ?? ""
        return presence
    }

    /// What follows for a stream that was made of the table.
    enum Verdict: Hashable, Sendable {
        case fine
        /// A person has to put something right.
        case problem(String)
        /// The stream cannot be continued with what is there.
        case refetch(String)
    }

    func verdict(on description: SourceDescription, _ name: MirrorTableName, publication: String) -> Verdict {
        guard let oid = self.oid else {
            return .problem(
                "there is no table \(name) any more; the stream stays as it is, and begins anew when there is one")
        }
        guard oid == description.oid else { return .refetch("the table was dropped and made anew") }
        guard !self.mark.isEmpty else {
            return .problem(
                """
                the table \(name) was taken out of the publication \(publication), so its changes do not come; to have it \
                read anew: ALTER PUBLICATION \(publication) ADD TABLE \(name)
                """)
        }
        if let mark = description.publicationMark, mark != self.mark {
            return .refetch("the table was out of the publication")
        }
        if self.hasOtherColumns(than: description) {
            return .refetch("a column of the table was dropped and made anew, or renamed")
        }
        return .fine
    }

    /// Whether a name that the stream knows stands for another column now.
    func hasOtherColumns(than description: SourceDescription) -> Bool {
        guard let known = description.numbers else { return false }
        return known.contains { name, number in
            self.numbers.contains { ($0.key == name) != ($0.value == number) }
        }
    }
}
