package import Logging
package import PostgresClient

/// One finding of ``SetupCheck``.
package struct CheckLine: Sendable, Hashable {
    package enum Severity: String, Sendable, Hashable {
        /// The service cannot run.
        case error
        /// It runs, but something is amiss.
        case warning
        /// For information.
        case info
    }

    package var title: String
    package var ok: Bool
    package var severity: Severity
    package var detail: String
    /// SQL, or an instruction, that sets it right.
    package var remedy: String?

    package init(_ title: String, ok: Bool, severity: Severity = .error, detail: String, remedy: String? = nil) {
        self.title = title
        self.ok = ok
        self.severity = severity
        self.detail = detail
        self.remedy = ok ? nil : remedy
    }

    /// Whether the service cannot run because of it.
    package var isFatal: Bool { !self.ok && self.severity == .error }
}

/// Finds out what stands in the way of the service in a database, and how to set it right. Nothing is changed.
package struct SetupCheck: Sendable {
    package enum WriteMode: String, Sendable, Hashable {
        case direct = "direct_writes"
        case logical = "logical_replication"
    }

    /// Looks at the database as the service would. The command ends with a failure when a line ``CheckLine/isFatal``.
    package static func run(
        _ parameters: ConnectionParameters, writeMode: WriteMode, logger: Logger = Logger(label: "penstock.check")
    ) async -> [CheckLine] {
        let connection: PostgresConnection
        do {
            connection = try await PostgresConnection.connect(parameters, logger: logger)
        } catch {
            return [Self.connectionFailure(error, parameters)]
        }
        var lines = [CheckLine("connection", ok: true, detail: "Connected to database \(parameters.database).")]
        do {
            let report = try await DatabaseInspector.inspect(connection)
            lines += Self.server(report)
            lines += Self.role(report, writeMode)
            lines.append(await Self.replicationConnection(parameters, logger))
            lines += Self.slot(report)
            lines += try await Self.schema(report, connection)
            lines.append(Self.extension(report))
        } catch {
            lines.append(CheckLine("inspection", ok: false, detail: "The database could not be examined: \(error)"))
        }
        await connection.close()
        return lines
    }

    private static func connectionFailure(_ error: any Error, _ parameters: ConnectionParameters) -> CheckLine {
        let remedy =
            switch parameters.tls {
            case .disable, .prefer: "Check DATABASE_URL and that the server can be reached."
            case .require, .verifyCA, .verifyFull:
                "Check DATABASE_URL and that the server can be reached. A server without TLS needs DATABASE_REQUIRE_SSL=false."
            }
        return CheckLine("connection", ok: false, detail: "\(error)", remedy: remedy)
    }

    private static func server(_ report: DatabaseReport) -> [CheckLine] {
        let slots = report.server.replicationSlots
        let senders = report.server.walSenders
        return [
            CheckLine(
                "server version", ok: report.server.version >= 140_000,
                detail: "Postgres \(report.server.versionText).",
                remedy: "Use Postgres 14 or newer."),
            CheckLine(
                "encoding", ok: report.encoding == "UTF8", detail: "The database is encoded in \(report.encoding).",
                remedy: "Create the database with ENCODING 'UTF8'."),
            CheckLine(
                "primary", ok: !report.server.isStandby,
                detail: report.server.isStandby ? "The server is a standby." : "The server is a primary.",
                remedy: "Connect to the primary."),
            CheckLine(
                "wal_level", ok: report.server.walLevel == "logical", detail: "wal_level is \(report.server.walLevel).",
                remedy: "ALTER SYSTEM SET wal_level = 'logical'; and restart the server."),
            CheckLine(
                "replication slots", ok: report.slot != nil || slots.used < slots.limit,
                detail: "\(slots.used) of \(slots.limit) replication slots are in use.",
                remedy: "Drop a slot that is no longer used, or raise max_replication_slots and restart the server."),
            CheckLine(
                "WAL senders", ok: report.slot?.activeProcess != nil || senders.used < senders.limit,
                detail: "\(senders.used) of \(senders.limit) WAL senders are in use.",
                remedy: "Raise max_wal_senders and restart the server."),
        ]
    }

    private static func role(_ report: DatabaseReport, _ writeMode: WriteMode) -> [CheckLine] {
        let role = report.role
        let name = SQLText.identifier(role.name)
        var lines = [
            CheckLine(
                "role may replicate", ok: role.canReplicate,
                detail: "Role \(role.name) \(role.canReplicate ? "may" : "may not") replicate.",
                remedy: "ALTER ROLE \(name) REPLICATION; (on Amazon RDS: GRANT rds_replication TO \(name);)"),
            CheckLine(
                "role may create schemas", ok: report.schema != nil || role.canCreateInDatabase,
                detail:
                    "Role \(role.name) \(role.canCreateInDatabase ? "may" : "may not") create in database \(report.database).",
                remedy: "GRANT CREATE ON DATABASE \(SQLText.identifier(report.database)) TO \(name);"),
        ]
        switch writeMode {
        case .direct:
            break
        case .logical:
            let isEnough = role.isSuperuser || role.canSubscribe
            lines.append(
                CheckLine(
                    "role may subscribe", ok: isEnough,
                    detail: isEnough
                        ? "Role \(role.name) may make the subscription."
                        : "Writing by logical replication takes a role that may make a subscription.",
                    remedy: "ALTER ROLE \(name) SUPERUSER; or set ELECTRIC_WRITE_TO_PG_MODE=direct_writes."))
        }
        return lines
    }

    /// A pooler lets ordinary connections through and fails here.
    private static func replicationConnection(_ parameters: ConnectionParameters, _ logger: Logger) async -> CheckLine {
        let error = await ReplicationConnection.tryOut(parameters, logger: logger)
        return CheckLine(
            "replication connection", ok: error == nil,
            detail: error.map { "A replication connection is not possible: \($0)" }
                ?? "A replication connection is possible.",
            remedy:
                "DATABASE_URL must lead to the server itself, not to a pooler; pg_hba.conf must admit the role to the database."
        )
    }

    private static func slot(_ report: DatabaseReport) -> [CheckLine] {
        guard let slot = report.slot else {
            return [CheckLine("replication slot", ok: true, severity: .info, detail: "The slot has not been made yet.")]
        }
        let reason = slot.invalidationReason.map { " (\($0))" } ?? ""
        return [
            CheckLine(
                "replication slot", ok: !slot.isLost, severity: .warning,
                detail:
                    "Slot \(slot.name) is \(slot.walStatus ?? "new")\(reason); the server keeps \(slot.retainedBytes) bytes of WAL for it.",
                remedy:
                    "The service makes the slot anew and clients start over. Raise max_slot_wal_keep_size to avoid it."),
            CheckLine(
                "replication slot plugin", ok: slot.plugin == "pgoutput",
                detail: "Slot \(slot.name) uses \(slot.plugin ?? "no plugin").",
                remedy: "SELECT pg_drop_replication_slot(\(SQLText.literal(slot.name)));"),
        ]
    }

    /// What `electric.check_setup()` knows beyond the above, once the schema is there.
    private static func schema(
        _ report: DatabaseReport, _ connection: PostgresConnection
    ) async throws -> [CheckLine] {
        guard let schema = report.schema else {
            return [
                CheckLine(
                    "electric schema", ok: true, severity: .info,
                    detail: "Schema electric is not there yet; the service installs it.")
            ]
        }
        let line = CheckLine(
            "electric schema", ok: schema.isOurs, detail: "Schema electric belongs to role \(schema.owner).",
            remedy: "GRANT \(SQLText.identifier(schema.owner)) TO \(SQLText.identifier(report.role.name));")
        guard schema.isOurs, schema.layout != nil else { return [line] }
        let known: Set<String> = [
            "server_version", "encoding", "primary", "wal_level", "replication_slot", "free_replication_slots",
            "free_wal_senders",
            "role_replication", "role_superuser", "schema_ownership", "extension",
        ]
        let result = try await connection.query(
            "SELECT check_name, ok, severity, detail, remedy FROM electric.check_setup()")
        return [line]
            + result.rows.compactMap { row in
                guard let name = row[0], !known.contains(name) else { return nil }
                return CheckLine(
                    name.replacing("_", with: " "), ok: row.boolean(1) ?? false,
                    severity: row[2].flatMap { CheckLine.Severity(rawValue: $0) } ?? .warning, detail: row[3] ?? "",
                    remedy: row[4])
            }
    }

    private static func `extension`(_ report: DatabaseReport) -> CheckLine {
        let state = report.extension
        let database = report.database
        let detail: String
        let remedy: String
        if state.isUsable {
            detail = "The extension is loaded and has a worker for this database."
            remedy = ""
        } else if state.isPreloaded {
            detail = "The extension is loaded, and has no worker for this database."
            remedy = "ALTER SYSTEM SET penstock.databases = \(SQLText.literal(database)); and restart the server."
        } else if state.availableVersion != nil {
            detail = "The extension is on the server, and not loaded."
            remedy =
                "ALTER SYSTEM SET shared_preload_libraries = 'penstock'; ALTER SYSTEM SET penstock.databases = \(SQLText.literal(database)); and restart the server."
        } else {
            detail = "The extension is not on the server; changes come over a replication connection."
            remedy = "Optional: install the extension on the server."
        }
        return CheckLine("extension", ok: state.isUsable, severity: .info, detail: detail, remedy: remedy)
    }
}
