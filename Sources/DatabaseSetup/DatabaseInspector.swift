package import PostgresClient
internal import PostgresWire

/// Looks at a database without changing anything.
package enum DatabaseInspector {
    /// - Parameter slot: name of the replication slot; nil for the database's main slot.
    package static func inspect(
        _ connection: PostgresConnection, slot: String? = nil
    ) async throws -> DatabaseReport {
        let name = slot ?? SlotName.main(database: connection.parameters.database)
        let results = try await connection.pipeline([
            Self.serverQuery, Self.roleQuery, Self.extensionQuery, PostgresStatement(Self.slotQuery, [.text(name)]),
            Self.schemaQuery,
        ]).get()
        guard results.count == 5, results[0].rowCount == 1, results[1].rowCount == 1 else {
            throw PostgresError.client("the server did not describe itself")
        }
        let server = results[0]
        return DatabaseReport(
            server: Self.server(server),
            role: Self.role(results[1]),
            database: server[0, "database"] ?? "",
            encoding: server[0, "encoding"] ?? "",
            extension: Self.extension(results[2]),
            slot: results[3].rowCount == 1 ? Self.slot(results[3]) : nil,
            schema: try await Self.schema(results[4], connection),
            walPosition: server[0, "position"].flatMap { LSN($0) } ?? .zero,
            flushPosition: server[0, "flushed"].flatMap { LSN($0) } ?? .zero,
            snapshot: server[0, "snapshot"] ?? "")
    }

    // The name of the present WAL file tells the timeline at once; the control file only after the next checkpoint.
    private static let serverQuery: PostgresStatement = """
        SELECT current_setting('server_version_num') AS version, current_setting('server_version') AS version_text,
               s.system_identifier, pg_is_in_recovery() AS standby, current_setting('wal_level') AS wal_level,
               current_setting('server_encoding') AS encoding, current_database() AS database,
               CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
                    ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END AS timeline,
               CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS position,
               CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END AS flushed,
               pg_current_snapshot() AS snapshot,
               (SELECT count(*) FROM pg_replication_slots) AS slots_used,
               current_setting('max_replication_slots') AS slot_limit,
               (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender') AS senders_used,
               current_setting('max_wal_senders') AS sender_limit
        FROM pg_control_system() s
        """

    private static let roleQuery: PostgresStatement = """
        SELECT r.rolname, r.rolsuper,
               r.rolsuper OR r.rolreplication OR EXISTS (
                   SELECT FROM pg_roles p WHERE p.rolname IN ('rds_replication', 'rds_superuser')
                                            AND pg_has_role(r.oid, p.oid, 'MEMBER')),
               has_database_privilege(current_database(), 'CREATE'),
               EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'public' AND has_schema_privilege(n.oid, 'CREATE')),
               r.rolsuper OR EXISTS (
                   SELECT FROM pg_roles p WHERE p.rolname = 'pg_create_subscription' AND pg_has_role(r.oid, p.oid, 'USAGE'))
        FROM pg_roles r WHERE r.rolname = current_user
        """

    // Settings of a library appear in pg_settings only when it is loaded.
    private static let extensionQuery: PostgresStatement = """
        SELECT (SELECT default_version FROM pg_available_extensions WHERE name = 'penstock'),
               (SELECT extversion FROM pg_extension WHERE extname = 'penstock'),
               d.setting IS NOT NULL,
               coalesce(current_database() = ANY (
                   SELECT trim(both '"' FROM trim(part)) FROM unnest(string_to_array(d.setting, ',')) AS part), false),
               (SELECT setting FROM pg_settings WHERE name = 'penstock.slot_prefix')
        FROM (SELECT (SELECT setting FROM pg_settings WHERE name = 'penstock.databases') AS setting) d
        """

    // Columns that only some versions have are read through JSON.
    private static let slotQuery = """
        SELECT s.slot_name, s.plugin, s.database, s.temporary, s.active_pid, s.wal_status, s.confirmed_flush_lsn, s.restart_lsn,
               coalesce(nullif(to_jsonb(s) ->> 'invalidation_reason', ''),
                        CASE WHEN (to_jsonb(s) ->> 'conflicting')::boolean THEN 'conflict'
                             WHEN s.wal_status = 'lost' THEN 'wal_removed' END),
               greatest(0, coalesce((CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)
                                    - s.restart_lsn, 0))::bigint
        FROM pg_replication_slots s WHERE s.slot_name = $1
        """

    private static let schemaQuery: PostgresStatement = """
        SELECT pg_get_userbyid(n.nspowner), pg_has_role(current_user, n.nspowner, 'USAGE'),
               to_regclass('electric.installation') IS NOT NULL, to_regclass('electric.schema_migrations') IS NOT NULL
        FROM pg_namespace n WHERE n.nspname = 'electric'
        """

    private static func server(_ row: QueryResult) -> DatabaseReport.Server {
        func number(_ column: String) -> Int { row[0, column].flatMap { Int($0) } ?? 0 }
        return DatabaseReport.Server(
            version: number("version"), versionText: row[0, "version_text"] ?? "",
            systemIdentifier: row[0, "system_identifier"] ?? "", timeline: number("timeline"),
            isStandby: row[0, "standby"] == "t", walLevel: row[0, "wal_level"] ?? "",
            slotsUsed: number("slots_used"), slotLimit: number("slot_limit"),
            sendersUsed: number("senders_used"), senderLimit: number("sender_limit"))
    }

    private static func role(_ row: QueryResult) -> DatabaseReport.Role {
        DatabaseReport.Role(
            name: row[0, 0] ?? "", isSuperuser: row.boolean(0, 1) ?? false, canReplicate: row.boolean(0, 2) ?? false,
            canCreateInDatabase: row.boolean(0, 3) ?? false, canCreateInPublic: row.boolean(0, 4) ?? false,
            canSubscribe: row.boolean(0, 5) ?? false)
    }

    private static func `extension`(_ row: QueryResult) -> DatabaseReport.Extension {
        DatabaseReport.Extension(
            availableVersion: row[0, 0], installedVersion: row[0, 1], isPreloaded: row.boolean(0, 2) ?? false,
            hasWorker: row.boolean(0, 3) ?? false, slotPrefix: row[0, 4])
    }

    private static func slot(_ row: QueryResult) -> DatabaseReport.Slot {
        DatabaseReport.Slot(
            name: row[0, 0] ?? "", plugin: row[0, 1], database: row[0, 2], isTemporary: row.boolean(0, 3) ?? false,
            activeProcess: row[0, 4].flatMap { Int32($0) }, walStatus: row[0, 5],
            confirmedFlush: row[0, 6].flatMap { LSN($0) }, restart: row[0, 7].flatMap { LSN($0) },
            invalidationReason: row[0, 8], retainedBytes: row[0, 9].flatMap { UInt64($0) } ?? 0)
    }

    private static func schema(
        _ row: QueryResult, _ connection: PostgresConnection
    ) async throws -> DatabaseReport.Schema? {
        guard row.rowCount == 1 else { return nil }
        var schema = DatabaseReport.Schema(
            owner: row[0, 0] ?? "", isOurs: row.boolean(0, 1) ?? false, layout: nil, legacyMigrations: 0)
        guard schema.isOurs else { return schema }
        if row.boolean(0, 2) == true {
            let layout = try await connection.query(
                "SELECT version FROM electric.installation WHERE component = 'schema'")
            schema.layout = layout.integer(0, 0).map { Int($0) }
        }
        if row.boolean(0, 3) == true {
            let count = try await connection.query("SELECT count(*) FROM electric.schema_migrations")
            schema.legacyMigrations = count.integer(0, 0).map { Int($0) } ?? 0
        }
        return schema
    }
}
