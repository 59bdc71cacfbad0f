import ChangeFeed
import NIOCore
import PostgresClient
import PostgresWire
import Satellite

/// Reads the rows of a subscription in one snapshot, as a stream of finished frames.
///
/// How many run at once is bounded, below what the pool has, because others need it too; how fast one runs, by the client's reading.
package struct SnapshotFetcher: Sendable {
    /// Gives an event to the session; returns when the client can take more.
    package typealias Delivery = @Sendable (SessionEvent) async throws -> Void

    private let pool: PostgresPool
    private let feed: ChangeFeed
    /// Bytes of frames handed over at once.
    private let frameBytes: Int
    private let limit: WorkLimit

    package init(pool: PostgresPool, feed: ChangeFeed, frameBytes: Int = 128 * 1024, maximumFetches: Int = 6) {
        self.pool = pool
        self.feed = feed
        self.frameBytes = frameBytes
        self.limit = WorkLimit(maximumFetches)
    }

    private struct SnapshotUnavailable: Error, CustomStringConvertible {
        var description: String { "a commit of the stream did not become visible in time" }
    }

    package func fetch(_ request: SnapshotRequest, deliver: @escaping Delivery) async throws {
        try await self.withSnapshot(after: request.after) { connection, snapshot, end in
            try await deliver(.snapshotStarted(request.number, snapshot, end: end))
            for table in request.tables {
                try await self.copy(
                    Self.rowsQuery(table, userID: request.userID), connection,
                    deliver: { try await deliver(.rowsAvailable(request.number, $0)) }
                ) { encoder, fields in
                    var row = PointerRow(fields)
                    let tags = row.columns.removeFirst()
                    guard encoder.appendInsert(table: table, row: row, tagsText: tags) else {
                        throw PostgresError.client("the shadow row's tags cannot be read")
                    }
                }
            }
        }
    }

    package func fetch(_ request: KeysRequest, deliver: @escaping Delivery) async throws {
        try await self.withSnapshot(after: request.after) { connection, _, _ in
            for table in request.tables {
                try await self.copy(
                    Self.keysQuery(table), connection,
                    deliver: { try await deliver(.rowsAvailable(request.number, $0)) }
                ) { encoder, fields in
                    var columns = [UnsafeRawBufferPointer?](repeating: nil, count: table.columns.count)
                    for (field, column) in zip(fields, table.primaryKey) { columns[column] = field }
                    encoder.appendGone(table: table, key: PointerRow(columns))
                }
            }
        }
    }

    /// Opens a read-only snapshot that sees everything the stream has brought up to `position`.
    private func withSnapshot(
        after position: LSN,
        _ body: @Sendable (PostgresConnection, TransactionSnapshot, LSN) async throws -> Void
    ) async throws {
        try await self.limit.run { try await self.snapshot(after: position, body) }
    }

    private func snapshot(
        after position: LSN,
        _ body: @Sendable (PostgresConnection, TransactionSnapshot, LSN) async throws -> Void
    ) async throws {
        try await self.pool.withConnection { connection in
            for attempt in 0..<200 {
                try await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                do {
                    let result = try await connection.query(
                        "SELECT pg_catalog.pg_current_snapshot(), pg_catalog.pg_current_wal_insert_lsn()")
                    guard let snapshot = result[0, 0].flatMap({ TransactionSnapshot($0) }),
                        let end = result[0, 1].flatMap({ LSN($0) })
                    else { throw PostgresError.client("the server did not describe its snapshot") }
                    if !self.feed.hasTransactionUnseen(by: snapshot, upTo: position) {
                        try await body(connection, snapshot, end)
                        try await connection.execute("COMMIT")
                        return
                    }
                } catch {
                    _ = try? await connection.execute("ROLLBACK")
                    throw error
                }
                try await connection.execute("ROLLBACK")
                // Why: a commit that is in the stream becomes visible to others a moment later.
                try await Task.sleep(for: .milliseconds(min(1 + attempt, 50)))
            }
            throw SnapshotUnavailable()
        }
    }

    private func copy(
        _ query: String, _ connection: PostgresConnection, deliver: (FrameBatch) async throws -> Void,
        append: (inout RowFrameEncoder, [UnsafeRawBufferPointer?]) throws -> Void
    ) async throws {
        let reader = try await connection.copyOut("COPY (\(query)) TO STDOUT")
        var parser = CopyTextParser()
        var encoder = RowFrameEncoder()
        while let chunk = try await reader.nextChunk(maxBytes: self.frameBytes) {
            try parser.forEachRow(in: chunk) { try append(&encoder, $0) }
            if let frames = encoder.takeFrames(minimumBytes: self.frameBytes) { try await deliver(frames) }
        }
        let rest = encoder.finish()
        if !rest.isEmpty { try await deliver(rest) }
    }

    // MARK: SQL, made of catalogue names alone

    static func rowsQuery(_ table: SatelliteTable, userID: String) -> String {
        let columns = table.columns.map { "t.\(SQLText.identifier($0.name))" }.joined(separator: ", ")
        let keys = table.primaryKey.map { SQLText.identifier(table.columns[$0].name) }
            .map { "s.\($0) = t.\($0)" }.joined(separator: " AND ")
        var query = """
            SELECT s."_tags", \(columns) FROM \(SQLText.identifier(table.schema, table.name)) AS t \
            LEFT JOIN \(SQLText.identifier("electric", table.shadowName)) AS s ON \(keys)
            """
        if table.ownerColumn != nil {
            let owner = "t.\(SQLText.identifier(SatelliteTable.ownerColumnName))"
            query += " WHERE \(owner) IS NULL OR \(owner)::pg_catalog.text IN ('', \(SQLText.literal(userID)))"
        }
        return query
    }

    static func keysQuery(_ table: SatelliteTable) -> String {
        let keys = table.primaryKey.map { SQLText.identifier(table.columns[$0].name) }.joined(separator: ", ")
        return """
            SELECT \(keys) FROM \(SQLText.identifier(table.schema, table.name)) \
            UNION SELECT \(keys) FROM \(SQLText.identifier("electric", table.shadowName))
            """
    }
}
