import PostgresClient

/// The tables that flows keep in the database: where they are, and what they could not write.
package enum MirrorSchema {
    static let checkpoints = "penstock.mirror_checkpoints"
    /// Where flows were in streams that others of the same name stand in for.
    static let formerCheckpoints = MirrorTableName(schema: "penstock", name: "mirror_former_checkpoints")
    package static let deadLetters = MirrorTableName(schema: "penstock", name: "mirror_dead_letters")

    /// Columns of the table of dead letters, also of one that a flow names itself.
    private static let deadLetterColumns = """
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        flow text NOT NULL,
        stream text NOT NULL,
        stream_identity text NOT NULL,
        stream_offset text NOT NULL,
        content_type text NOT NULL,
        payload bytea NOT NULL,
        sqlstate text,
        reason text NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (flow, stream, stream_identity, stream_offset)
        """

    /// What makes the schema; every statement may be repeated.
    package static let script = """
        CREATE SCHEMA IF NOT EXISTS penstock;
        CREATE TABLE IF NOT EXISTS penstock.mirror_checkpoints (
            flow text NOT NULL,
            stream text NOT NULL,
            stream_identity text NOT NULL,
            incarnation bigint NOT NULL DEFAULT 1,
            stream_offset text NOT NULL,
            state text NOT NULL DEFAULT 'active',
            updated_at timestamptz NOT NULL DEFAULT now(),
            finished_at timestamptz,
            PRIMARY KEY (flow, stream)
        );
        CREATE TABLE IF NOT EXISTS penstock.mirror_former_checkpoints (
            flow text NOT NULL,
            stream text NOT NULL,
            stream_identity text NOT NULL,
            incarnation bigint NOT NULL,
            stream_offset text NOT NULL,
            left_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (flow, stream, stream_identity)
        );
        \(Self.deadLetterScript(Self.deadLetters))
        """

    static func deadLetterScript(_ table: MirrorTableName) -> String {
        "CREATE TABLE IF NOT EXISTS \(SQLText.identifier(table.schema, table.name)) (\(Self.deadLetterColumns));"
    }

    /// The built-in event table. `ds_incarnation` and the unique key are more than other programs of this kind have; with them a
    /// message can not get in twice even when the checkpoints are lost.
    package static func eventTableScript(_ table: MirrorTableName) -> String {
        """
        CREATE TABLE IF NOT EXISTS \(SQLText.identifier(table.schema, table.name)) (
            id serial PRIMARY KEY,
            stream_name text NOT NULL,
            event_key text,
            event_type text,
            operation text,
            payload jsonb NOT NULL,
            ds_offset text,
            ds_incarnation bigint,
            received_at timestamptz DEFAULT now(),
            UNIQUE (stream_name, ds_incarnation, ds_offset)
        );
        """
    }

    /// Makes what is missing of the given tables.
    static func prepare(_ pool: PostgresPool, _ tables: [(name: MirrorTableName, script: String)]) async throws {
        try await pool.withConnection { connection in
            var missing: [String] = []
            for table in tables {
                let name = SQLText.identifier(table.name.schema, table.name.name)
                let found = try await connection.query(
                    "SELECT pg_catalog.to_regclass($1) IS NOT NULL", [.text(name)])
                if found.boolean(0, 0) != true { missing.append(table.script) }
            }
            guard !missing.isEmpty else { return }
            // Why a lock: several flows begin at the same time, and "IF NOT EXISTS" is no help against that.
            try await connection.execute(
                """
                BEGIN;
                SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('penstock mirror schema', 0));
                SELECT pg_catalog.set_config('electric.internal_ddl', 'on', true);
                \(missing.joined(separator: "\n"))
                COMMIT
                """)
        }
    }
}
