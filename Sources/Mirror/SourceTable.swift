import PostgresClient
import PostgresWire

/// The table that a flow reads, as the catalogue describes it.
struct SourceTable: Sendable {
    let name: MirrorTableName
    let oid: UInt32
    /// The table and, of a partitioned one, its leaves: what changes come under.
    let members: Set<UInt32>
    let isPartitioned: Bool
    let identity: Relation.ReplicaIdentity
    /// In the order of the key.
    let primaryKey: [String]
    /// Columns of the index that is the replica identity, if one is.
    let identityIndex: [String]
    /// What the publication carries, in the order of the table.
    let columns: [SourceColumn]
    /// The publication's own condition on rows.
    let rowFilter: String?
    /// Whether the publication carries the table.
    let isPublished: Bool

    /// The columns that tell rows apart, the same for rows of a snapshot and for changes. Empty: all columns.
    var keyColumns: [String] {
        switch self.identity {
        case .primaryKey, .full: self.primaryKey
        case .index: self.identityIndex
        case .nothing: []
        }
    }

    static func load(
        _ name: MirrorTableName, publication: String, _ connection: PostgresConnection
    ) async throws -> SourceTable {
        let title = SQLText.identifier(name.schema, name.name)
        let facts = try await connection.query(
            """
            SELECT c.oid, c.relkind, c.relreplident, c.relpersistence,
                   EXISTS (SELECT FROM pg_catalog.pg_publication AS p WHERE p.pubname = $2),
                   (SELECT pg_catalog.string_agg(t.relid::pg_catalog.oid::text, ' ')
                    FROM pg_catalog.pg_partition_tree(c.oid) AS t WHERE t.isleaf)
            FROM pg_catalog.pg_class AS c WHERE c.oid = pg_catalog.to_regclass($1)
            """, [.text(title), .text(publication)])
        guard facts.rowCount == 1, let oid = facts[0, 0].flatMap({ UInt32($0) }) else {
            throw MirrorError.fatal("there is no table \(name)")
        }
        let kind = facts[0, 1] ?? ""
        guard kind == "r" || kind == "p", facts[0, 3] == "p" else {
            throw MirrorError.fatal(
                "\(name) is no table whose changes can be followed: it is a view, unlogged or temporary")
        }
        guard facts.boolean(0, 4) == true else { throw MirrorError.fatal("there is no publication \(publication)") }
        var members: Set<UInt32> = [oid]
        for part in (facts[0, 5] ?? "").split(separator: " ") { if let leaf = UInt32(part) { members.insert(leaf) } }
        let identity = facts[0, 2]?.utf8.first.flatMap { Relation.ReplicaIdentity(rawValue: $0) } ?? .primaryKey

        // Generated columns do not come with changes before Postgres 18, where the publication says so.
        let hasLists = connection.serverVersion >= 150_000
        let hasGenerated = connection.serverVersion >= 180_000
        let published = try await connection.query(
            """
            SELECT \(hasLists ? "p.rowfilter" : "NULL::text"), \(hasLists ? "pg_catalog.array_to_json(p.attnames)" : "NULL::json")
            FROM pg_catalog.pg_publication_tables AS p
            JOIN pg_catalog.pg_class AS c ON c.relname = p.tablename AND c.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident(p.schemaname))
            WHERE p.pubname = $1 AND c.oid = ANY ($2::pg_catalog.oid[])
            """,
            [.text(publication), .text("{\(members.map { String($0) }.joined(separator: ","))}")])
        let columns = try await connection.query(
            """
            SELECT a.attname, a.atttypid, a.atttypmod
            FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped
                  AND ($2::boolean OR a.attgenerated = '')
                  AND ($3::json IS NULL OR a.attname IN (SELECT pg_catalog.json_array_elements_text($3::json)))
            ORDER BY a.attnum
            """,
            [.text(String(oid)), .text(hasGenerated && published.rowCount > 0 ? "t" : "f"), .text(published[0, 1])])
        let keys = try await connection.query(
            """
            SELECT a.attname
            FROM pg_catalog.pg_index AS i,
                 pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k(place),
                 pg_catalog.pg_attribute AS a
            WHERE i.indrelid = $1::pg_catalog.oid AND i.indisprimary
                  AND a.attrelid = i.indrelid AND a.attnum = i.indkey[k.place]
            ORDER BY k.place
            """, [.text(String(oid))])
        let replicaIndex = try await connection.query(
            """
            SELECT a.attname
            FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid
            WHERE i.indrelid = $1::pg_catalog.oid AND i.indisreplident
                  AND a.attnum = ANY (i.indkey::int2[]) ORDER BY a.attnum
            """, [.text(String(oid))])
        return SourceTable(
            name: name, oid: oid, members: members, isPartitioned: kind == "p", identity: identity,
            primaryKey: keys.rows.compactMap { $0[0] },
            identityIndex: replicaIndex.rows.compactMap { $0[0] },
            columns: columns.rows.compactMap { row in
                guard let name = row[0], let type = row[1].flatMap({ UInt32($0) }),
                    let modifier = row[2].flatMap({ Int32($0) })
                else { return nil }
                return SourceColumn(name: name, typeOID: type, typeModifier: modifier)
            }, rowFilter: published[0, 0], isPublished: published.rowCount > 0)
    }

    /// Adds the table to the publication. Updates of a published table without a replica identity fail, so such a table is refused.
    func publish(in publication: String, _ connection: PostgresConnection) async throws {
        let hasIdentity =
            switch self.identity {
            case .full, .index: true
            case .primaryKey: !self.primaryKey.isEmpty
            case .nothing: false
            }
        guard hasIdentity else {
            throw MirrorError.fatal(
                "the table \(self.name) has no primary key: give it one, or ALTER TABLE ... REPLICA IDENTITY FULL")
        }
        do {
            try await connection.execute(
                """
                BEGIN;
                SELECT pg_catalog.set_config('electric.internal_ddl', 'on', true);
                ALTER PUBLICATION \(SQLText.identifier(publication)) ADD TABLE \(SQLText.identifier(self.name.schema, self.name.name));
                COMMIT
                """)
        } catch let error as PostgresError {
            _ = try? await connection.execute("ROLLBACK")
            // Somebody has added it meanwhile.
            if error.sqlState == "42710" { return }
            guard !error.isTransient else { throw error }
            throw MirrorError.fatal(
                """
                the table \(self.name) is not in the publication \(publication) and cannot be added (\(error)). Its owner, or a \
                superuser, can: ALTER PUBLICATION \(publication) ADD TABLE \(self.name)
                """)
        }
    }

    /// Waits until everybody who writes the table now has ended.
    ///
    /// Why: what a transaction wrote before the table was published is not in the feed, and what it has not committed is not in a
    /// snapshot.
    func waitForWriters(_ connection: PostgresConnection, isStopping: () -> Bool) async throws {
        let list = "{\(self.members.map { String($0) }.joined(separator: ","))}"
        let sql = """
            SELECT DISTINCT l.virtualtransaction FROM pg_catalog.pg_locks AS l
            WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY ($1::pg_catalog.oid[])
                  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
                  AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
                  AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
            """
        var writers = Set(try await connection.query(sql, [.text(list)]).rows.compactMap { $0[0] })
        var pause = Duration.milliseconds(5)
        while !writers.isEmpty {
            guard !isStopping() else { throw CancellationError() }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, .milliseconds(500))
            writers.formIntersection(try await connection.query(sql, [.text(list)]).rows.compactMap { $0[0] })
        }
    }

    /// What reads all rows, in COPY's text form.
    var copyStatement: String {
        let list = self.columns.map { SQLText.identifier($0.name) }.joined(separator: ", ")
        var query = "SELECT \(list) FROM \(SQLText.identifier(self.name.schema, self.name.name))"
        if let rowFilter = self.rowFilter { query += " WHERE \(rowFilter)" }
        return "COPY (\(query)) TO STDOUT"
    }
}
