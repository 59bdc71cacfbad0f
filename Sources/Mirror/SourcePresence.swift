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
        return SourcePresence(oid: result[0, 0].flatMap { UInt32($0) }, mark: result[0, 1] ?? "")
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
        return .fine
    }
}
