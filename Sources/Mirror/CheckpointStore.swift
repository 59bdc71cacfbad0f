import DurableStreams
import PostgresClient

/// How far a stream has been written to its table.
struct StreamCheckpoint: Hashable, Sendable {
    var identity: UInt64
    var incarnation: Int64
    var position: UInt64
    var isFinished: Bool
}

/// The checkpoints of one flow.
struct CheckpointStore: Sendable {
    let pool: PostgresPool
    let flow: String

    private static let table = MirrorSchema.checkpoints

    private static func token(_ position: UInt64) -> PostgresParameter {
        .text(StreamOffset(position: position).token)
    }

    func load(_ stream: String) async throws -> StreamCheckpoint? {
        let result = try await self.pool.query(
            """
            SELECT stream_identity, incarnation, stream_offset, finished_at IS NOT NULL
            FROM \(Self.table) WHERE flow = $1 AND stream = $2
            """, [.text(self.flow), .text(stream)])
        guard result.rowCount == 1 else { return nil }
        guard let identity = result[0, 0].flatMap({ UInt64($0) }), let incarnation = result.integer(0, 1),
            let offset = result[0, 2].flatMap({ StreamOffset(token: $0) })
        else { throw MirrorError.fatal("the checkpoint of a stream cannot be read") }
        return StreamCheckpoint(
            identity: identity, incarnation: incarnation, position: offset.position,
            isFinished: result.boolean(0, 3) ?? false)
    }

    /// The checkpoint to go on from, made or made anew when the stream is another one than before.
    func open(_ stream: String, view: StreamViewFacts, start: StreamToTableFlow.Start) async throws -> StreamCheckpoint
    {
        for _ in 0..<4 {
            guard let found = try await self.load(stream) else {
                try await self.pool.query(
                    """
                    INSERT INTO \(Self.table) (flow, stream, stream_identity, stream_offset) VALUES ($1, $2, $3, $4)
                    ON CONFLICT DO NOTHING
                    """,
                    [
                        .text(self.flow), .text(stream), .text(String(view.identity)),
                        Self.token(start == .now ? view.tail : 0),
                    ])
                continue
            }
            if found.identity == view.identity, found.position <= view.tail { return found }
            if found.identity == view.identity {
                // It has lost its last moments to a power cut, in a storage mode that allows it.
                try await self.setBack(stream, found, to: view.tail)
            } else {
                try await self.change(stream, found, to: view.identity)
            }
        }
        throw MirrorError.transient("another worker moves the checkpoint")
    }

    private func setBack(_ stream: String, _ found: StreamCheckpoint, to tail: UInt64) async throws {
        try await self.pool.query(
            """
            UPDATE \(Self.table) SET stream_offset = $5, state = 'active', finished_at = NULL, updated_at = pg_catalog.now()
            WHERE flow = $1 AND stream = $2 AND stream_identity = $3 AND stream_offset = $4
            """,
            [
                .text(self.flow), .text(stream), .text(String(found.identity)), Self.token(found.position),
                Self.token(tail),
            ])
    }

    /// Goes over to another stream of the same name, which begins at its beginning.
    ///
    /// Why the one before is remembered: two processes with streams of their own may take turns, and then it comes back. And no
    /// incarnation may be given twice: rows of the second would be taken for those of the first.
    private func change(_ stream: String, _ found: StreamCheckpoint, to identity: UInt64) async throws {
        let former = "\(MirrorSchema.formerCheckpoints)"
        try await self.pool.query(
            """
            WITH here AS MATERIALIZED (
                SELECT * FROM \(Self.table)
                WHERE flow = $1 AND stream = $2 AND stream_identity = $3 AND stream_offset = $4 FOR UPDATE),
            kept AS (
                INSERT INTO \(former) (flow, stream, stream_identity, incarnation, stream_offset)
                SELECT flow, stream, stream_identity, incarnation, stream_offset FROM here
                ON CONFLICT (flow, stream, stream_identity) DO UPDATE SET incarnation = EXCLUDED.incarnation,
                    stream_offset = EXCLUDED.stream_offset, left_at = pg_catalog.now()),
            back AS (
                SELECT incarnation, stream_offset FROM \(former)
                WHERE flow = $1 AND stream = $2 AND stream_identity = $5),
            highest AS (
                SELECT pg_catalog.max(incarnation) AS incarnation FROM \(former) WHERE flow = $1 AND stream = $2),
            forgotten AS (
                DELETE FROM \(former) WHERE flow = $1 AND stream = $2 AND stream_identity NOT IN ($3, $5)
                    AND incarnation < (SELECT incarnation FROM highest) - 100)
            UPDATE \(Self.table) AS c SET stream_identity = $5,
                stream_offset = coalesce((SELECT stream_offset FROM back), $6),
                incarnation = coalesce((SELECT incarnation FROM back),
                    greatest(c.incarnation, (SELECT incarnation FROM highest)) + 1),
                state = 'active', finished_at = NULL, updated_at = pg_catalog.now()
            FROM here WHERE c.flow = here.flow AND c.stream = here.stream
            """,
            [
                .text(self.flow), .text(stream), .text(String(found.identity)), Self.token(found.position),
                .text(String(identity)), Self.token(0),
            ])
    }

    /// Moves a checkpoint from where it was seen to be; fails with division by zero when it is elsewhere by now.
    func moving(_ stream: String, from: StreamCheckpoint, to position: UInt64, finishes: Bool) -> PostgresStatement {
        PostgresStatement(
            """
            WITH moved AS (
                UPDATE \(Self.table) SET stream_offset = $5, updated_at = pg_catalog.now(),
                    finished_at = CASE WHEN $6::boolean THEN pg_catalog.now() END,
                    state = CASE WHEN $6::boolean THEN 'finished' ELSE 'active' END
                WHERE flow = $1 AND stream = $2 AND stream_identity = $3 AND stream_offset = $4 RETURNING 1)
            SELECT 1 / (SELECT pg_catalog.count(*) FROM moved)
            """,
            [
                .text(self.flow), .text(stream), .text(String(from.identity)), Self.token(from.position),
                Self.token(position), .text(finishes ? "t" : "f"),
            ], isReusable: true)
    }

    /// Notes why nothing more will come of a stream: `deleted`, `expired` or `missing`.
    func end(_ stream: String, identity: UInt64?, state: String) async throws {
        try await self.pool.query(
            """
            UPDATE \(Self.table) SET state = $3, updated_at = pg_catalog.now()
            WHERE flow = $1 AND stream = $2 AND state <> $3 AND ($4::text IS NULL OR stream_identity = $4)
            """,
            [.text(self.flow), .text(stream), .text(state), .text(identity.map { String($0) })])
    }

    /// Streams with a checkpoint that counts as active.
    func active() async throws -> [String] {
        try await self.pool.query(
            "SELECT stream FROM \(Self.table) WHERE flow = $1 AND state IN ('active', 'finished')", [.text(self.flow)]
        ).rows.compactMap { $0[0] }
    }
}

/// What a checkpoint is compared with.
struct StreamViewFacts: Sendable {
    var identity: UInt64
    var tail: UInt64
}
