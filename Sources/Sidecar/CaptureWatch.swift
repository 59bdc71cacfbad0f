import Logging
import PostgresClient
import Synchronization

/// Watches whether the database captures migrations.
///
/// Why: without the event triggers a column that is added, dropped or renamed reaches no client, and nothing else says so.
final class CaptureWatch: Sendable {
    /// What an operator has to do where they are missing.
    static let remedy =
        "run as a superuser in the database: SELECT electric.install_event_triggers(); (or CREATE EXTENSION penstock;)"

    private static let query = """
        SELECT pg_catalog.count(*) = 2 FROM pg_catalog.pg_event_trigger
        WHERE evtname IN ('penstock_ddl_command_end', 'penstock_sql_drop') AND evtenabled <> 'D'
        """
    private static let interval = Duration.seconds(30)

    private let pool: PostgresPool
    private let logger: Logger
    private let state = Mutex<Bool?>(nil)

    init(pool: PostgresPool, logger: Logger) {
        self.pool = pool
        self.logger = logger
    }

    /// Nil until the database has been asked.
    var isCapturing: Bool? { self.state.withLock { $0 } }

    /// Looks again and again until cancelled: somebody may drop the event triggers, or make them at last.
    func run() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.interval)
            guard let found = try? await self.pool.query(Self.query).boolean(0, 0) else { continue }
            self.note(found)
        }
    }

    /// Logs what the setup lacks, at the start.
    func tellFindings(_ connection: PostgresConnection) async throws {
        let findings = try await connection.query(
            """
            SELECT check_name, detail, remedy FROM electric.check_setup()
            WHERE NOT ok AND severity <> 'info' AND check_name NOT IN ('migration_capture', 'replication_slot')
            """)
        for row in findings.rows {
            self.logger.warning(
                "the database's setup lacks something",
                metadata: ["check": "\(row[0] ?? "")", "detail": "\(row[1] ?? "")", "remedy": "\(row[2] ?? "")"])
        }
        self.note(try await connection.query(Self.query).boolean(0, 0) ?? false)
    }

    private func note(_ isCapturing: Bool) {
        let before = self.state.withLock { state in
            defer { state = isCapturing }
            return state
        }
        guard before != isCapturing else { return }
        if !isCapturing {
            self.logger.warning(
                "migrations are not captured: the event triggers are missing, so clients lose data by the next migration",
                metadata: ["remedy": "\(Self.remedy)"])
        } else if before == false {
            self.logger.notice("migrations are captured again")
        }
    }
}
