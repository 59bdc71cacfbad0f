import Logging
import NIOCore
import PostgresClient
import PostgresWire
import Synchronization

/// The feed's view of a real server.
package final class PostgresFeedDatabase: FeedDatabase, Sendable {
    let parameters: ConnectionParameters
    let logger: Logger
    /// One connection for the small questions, made again when it is lost.
    private let control = Mutex<PostgresConnection?>(nil)

    package init(parameters: ConnectionParameters, logger: Logger) {
        self.parameters = parameters
        self.logger = logger
    }

    private func query(_ sql: String, _ values: [PostgresParameter] = []) async throws -> QueryResult {
        let connection: PostgresConnection
        if let open = self.control.withLock({ $0 }), await open.isUsable {
            connection = open
        } else {
            connection = try await PostgresConnection.connect(self.parameters, logger: self.logger)
            self.control.withLock { $0 = connection }
        }
        do {
            return try await connection.query(sql, values)
        } catch let error as PostgresError where error.connectionLost {
            self.control.withLock { $0 = nil }
            throw error
        }
    }

    package func facts(slot: String) async throws -> SlotFacts {
        let result = try await self.query(
            """
            SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()),
                   ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 8))::bit(32)::bigint,
                   pg_catalog.pg_current_wal_flush_lsn(),
                   pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()),
                   s.slot_name, s.plugin, s.database, s.confirmed_flush_lsn, s.active_pid, s.wal_status, s.temporary,
                   s.database = pg_catalog.current_database()
            FROM (SELECT 1) AS one
                 LEFT JOIN pg_catalog.pg_replication_slots AS s ON s.slot_name = $1
            """, [.text(slot)])
        guard result.rowCount == 1, let system = result[0, 0].flatMap({ Int64($0) }),
            let timeline = result[0, 1].flatMap({ UInt32($0) }), let flush = result[0, 2].flatMap({ LSN($0) }),
            let xid = result[0, 3].flatMap({ UInt64($0) })
        else { throw PostgresError.client("the server did not tell its identity") }
        return SlotFacts(
            systemIdentifier: UInt64(bitPattern: system), timeline: timeline, walFlush: flush, nextXID: xid,
            presence: try Self.presence(result))
    }

    private static func presence(_ result: QueryResult) throws -> SlotFacts.Presence {
        guard result[0, 4] != nil else { return .absent }
        if result[0, 9] == "lost" {
            return .unusable(reason: "the server has removed WAL that the slot still needed (max_slot_wal_keep_size)")
        }
        // Why errors and not "unusable": a slot that is somebody else's must never be dropped by us.
        guard result[0, 5] == "pgoutput", result.boolean(0, 10) == false else {
            throw PostgresError.client(
                "the replication slot \(result[0, 4] ?? "") exists and is not a permanent pgoutput slot",
                hint: "Drop it, if nobody needs it")
        }
        guard result.boolean(0, 11) == true else {
            throw PostgresError.client(
                "the replication slot \(result[0, 4] ?? "") belongs to database \(result[0, 6] ?? "?")",
                hint: "Two databases whose names differ in capitals or punctuation alone cannot both be served")
        }
        guard let confirmed = result[0, 7].flatMap({ LSN($0) }) else {
            return .unusable(reason: "the slot has no confirmed position")
        }
        return .present(confirmed: confirmed, activePID: result[0, 8].flatMap { Int32($0) })
    }

    package func createSlot(_ name: String, waiting: @escaping @Sendable ([Int32]) -> Void) async throws -> LSN {
        // A connection of its own: creation can take as long as the longest open transaction, and is watched from the other one.
        let creator = try await PostgresConnection.connect(self.parameters, logger: self.logger)
        let creatorPID = creator.backendProcessID
        let watch = Task {
            while true {
                try await Task.sleep(for: .seconds(2))
                let blockers = try await self.query(
                    """
                    SELECT DISTINCT pid FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1::int4)) AS pid ORDER BY pid LIMIT 10
                    """, [.text(String(creatorPID))])
                waiting(blockers.rows.compactMap { $0[0].flatMap { Int32($0) } })
            }
        }
        defer { watch.cancel() }
        let result = try await creator.query(
            "SELECT lsn FROM pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput')", [.text(name)])
        await creator.close()
        guard let position = result.scalar.flatMap({ LSN($0) }) else {
            throw PostgresError.client("the server did not tell the position of the new slot")
        }
        return position
    }

    package func dropSlot(_ name: String) async throws {
        for attempt in 0... {
            do {
                _ = try await self.query(
                    """
                    SELECT pg_catalog.pg_drop_replication_slot(slot_name)
                    FROM pg_catalog.pg_replication_slots WHERE slot_name = $1
                    """, [.text(name)])
                return
            } catch let error as PostgresError where error.sqlState == "55006" && attempt < 10 {
                // Held by a process that is about to let go.
                try await Task.sleep(for: .milliseconds(500))
            }
        }
    }

    package func walFlush() async throws -> LSN {
        let result = try await self.query("SELECT pg_catalog.pg_current_wal_flush_lsn()")
        guard let position = result.scalar.flatMap({ LSN($0) }) else {
            throw PostgresError.client("the server did not tell the end of its WAL")
        }
        return position
    }

    package func expectsWorker() async throws -> Bool {
        // Both settings exist only where the library is loaded.
        let result = try await self.query(
            """
            SELECT pg_catalog.current_database() = ANY (
                SELECT pg_catalog.btrim(name, ' "')
                FROM pg_catalog.unnest(pg_catalog.string_to_array(
                    coalesce(pg_catalog.current_setting('penstock.databases', true), ''), ',')) AS name)
            """)
        return result.boolean(0, 0) ?? false
    }
}
