import ExactText
import Logging
import NIOCore
import PostgresClient
import PostgresWire
import Satellite
import Synchronization

/// A change of what is stored about a client.
package enum ClientStateChange: Sendable {
    case deleteState
    case checkpoint(LSN)
    case saveSubscription(StoredSubscription)
    case saveUnsubscriptions([StoredUnsubscription])
    case forgetUnsubscriptions([String])
    case removeSubscriptions([String])
}

/// Why a batch of changes was not written.
enum ClientStateWriteError: Error {
    /// The database cannot be reached or is busy: the same may succeed later.
    case unavailable(any Error)
    /// Something in the batch will never be taken.
    case refused(any Error)
}

/// What survives a client's connection, kept in the legacy service's own tables in schema `electric`.
///
/// Changes of all clients are written by one task, many in one transaction: an acknowledgement costs the database a row in a batch,
/// not a transaction. Checkpoints wait for company, since clients acknowledge all the time and an older one only costs a client that
/// comes back some transactions that it has already. While the database is away, changes wait; a change that the database refuses is dropped alone. What is dropped
/// costs its client its place at most: it is told to start over, never left with a hole.
package final class ClientStateStore: Sendable {
    package struct Stored: Sendable {
        package var checkpoint: LSN?
        package var subscriptions: [StoredSubscription]
        package var unsubscriptions: [StoredUnsubscription]
    }

    struct Pending: Sendable {
        var clientID: String
        /// Nil for a barrier.
        var change: ClientStateChange?
        /// Called with whether the change was carried out, or dropped.
        var completion: (@Sendable (Bool) -> Void)?
    }

    private struct State {
        var pending: [Pending] = []
        /// A write is due for checkpoints that wait.
        var isPaced = false
        /// When writing must be over; set when the service stops.
        var deadline: ContinuousClock.Instant?
        var isClosed = false
        var dropped: UInt64 = 0
    }

    private let pool: PostgresPool
    private let logger: Logger
    private let write: @Sendable ([PostgresStatement]) async -> ClientStateWriteError?
    private let state = Mutex(State())
    private let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation
    /// Changes written in one transaction.
    private static let batchLimit = 500
    /// Changes that may wait; further ones are dropped.
    private let pendingLimit: Int
    /// Time to write what is left when the service stops.
    private let stopLimit: Duration
    /// How long a checkpoint waits for others.
    private let checkpointInterval: Duration

    package convenience init(pool: PostgresPool, logger: Logger) {
        self.init(pool: pool, logger: logger) { script in await Self.run(script, on: pool) }
    }

    init(
        pool: PostgresPool, logger: Logger, pendingLimit: Int = 200_000, stopLimit: Duration = .seconds(3),
        checkpointInterval: Duration = .milliseconds(500),
        write: @escaping @Sendable ([PostgresStatement]) async -> ClientStateWriteError?
    ) {
        self.pool = pool
        self.logger = logger
        self.pendingLimit = pendingLimit
        self.stopLimit = stopLimit
        self.checkpointInterval = checkpointInterval
        self.write = write
        (self.signals, self.signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Changes that were dropped because the database refused them, or for too many waited.
    package var droppedCount: UInt64 { self.state.withLock { $0.dropped } }
    /// Changes that wait to be written.
    package var pendingCount: Int { self.state.withLock { $0.pending.count } }

    /// Queues a change. `completion` is called once it is written or given up. Each session has at most one checkpoint under way, so
    /// the queue is bounded by the number of sessions and what they subscribe to, and in the end by its limit.
    func submit(_ change: ClientStateChange, for clientID: String, completion: (@Sendable () -> Void)? = nil) {
        self.enqueue(Pending(clientID: clientID, change: change) { _ in completion?() })
    }

    private func enqueue(_ item: Pending) {
        enum Step { case write, pace, wait, refuse }
        let isCheckpoint = if case .checkpoint = item.change { true } else { false }
        let step = self.state.withLock { state -> Step in
            guard !state.isClosed, state.pending.count < self.pendingLimit else {
                if item.change != nil { state.dropped += 1 }
                return .refuse
            }
            state.pending.append(item)
            guard isCheckpoint else { return .write }
            if state.isPaced { return .wait }
            state.isPaced = true
            return .pace
        }
        switch step {
        case .write: self.signal.yield()
        case .wait: break
        case .refuse: item.completion?(false)
        case .pace:
            Task {
                try? await Task.sleep(for: self.checkpointInterval)
                self.state.withLock { $0.isPaced = false }
                self.signal.yield()
            }
        }
    }

    /// Returns when everything that was submitted before has been dealt with.
    private func barrier(_ clientID: String) async throws {
        let isDone = await withCheckedContinuation { continuation in
            self.enqueue(Pending(clientID: clientID, change: nil) { continuation.resume(returning: $0) })
        }
        if !isDone { throw PostgresError.client("too many changes of clients' state wait to be written") }
    }

    // MARK: Reading

    /// What is stored, with everything that was submitted before.
    func load(_ clientID: String) async throws -> Stored {
        try await self.barrier(clientID)
        return try await self.pool.withConnection { connection in
            let outcome = try await connection.pipeline([
                PostgresStatement(
                    "SELECT pg_wal_pos FROM electric.client_checkpoints WHERE client_id = $1", [.text(clientID)]),
                PostgresStatement(
                    """
                    SELECT subscription_id, shape_requests FROM electric.client_shape_subscriptions
                    WHERE client_id = $1 ORDER BY ord
                    """, [.text(clientID)]),
                PostgresStatement(
                    "SELECT subscription_id, wal_pos FROM electric.client_unsub_points WHERE client_id = $1",
                    [.text(clientID)]),
            ]).get()
            return Stored(
                checkpoint: outcome[0].integer(0, 0).map { LSN(rawValue: UInt64(bitPattern: $0)) },
                subscriptions: outcome[1].rows.compactMap { row in
                    guard let id = row[0], let bytes = row[1].flatMap(HexBytes.bytes(hex:)) else { return nil }
                    return StoredSubscriptionCoding.decode(id: id, bytes)
                },
                unsubscriptions: outcome[2].rows.compactMap { row in
                    guard let id = row[0], let position = row.integer(1) else { return nil }
                    return StoredUnsubscription(id: id, position: LSN(rawValue: UInt64(bitPattern: position)))
                })
        }
    }

    /// The last transaction of the client that is in the database.
    func clientPosition(of clientID: String) async throws -> ByteBuffer? {
        let result = try await self.pool.query(
            "SELECT lsn FROM electric.acknowledged_client_lsns WHERE client_id = $1", [.text(clientID)])
        return result.scalar.flatMap(HexBytes.bytes(hex:)).flatMap { $0.readableBytes == 0 ? nil : $0 }
    }

    /// Makes every client start over. What was submitted before does not come back afterwards.
    package func forgetEveryone() async throws {
        let abandoned = self.state.withLock { state in
            defer { state.pending = [] }
            return state.pending
        }
        for item in abandoned { item.completion?(true) }
        // What is being written at this moment comes first.
        try await self.barrier("")
        try await self.pool.withConnection { connection in
            _ = try await connection.execute(
                """
                DELETE FROM electric.client_checkpoints;
                DELETE FROM electric.client_shape_subscriptions;
                DELETE FROM electric.client_unsub_points;
                DELETE FROM electric.client_additional_data;
                DELETE FROM electric.client_actions;
                """)
        }
    }

    // MARK: Writing

    /// Writes until the task is cancelled, then what is left, for a while.
    package func run() async {
        await withTaskCancellationHandler {
            // Why a task of its own: a batch that is under way when the service stops must not be cut off.
            await Task {
                for await _ in self.signals { await self.flush() }
                await self.flush()
                self.close()
            }.value
        } onCancel: {
            self.state.withLock { $0.deadline = $0.deadline ?? .now + self.stopLimit }
            self.signal.finish()
        }
    }

    private func close() {
        let abandoned = self.state.withLock { state in
            state.isClosed = true
            defer { state.pending = [] }
            return state.pending
        }
        for item in abandoned { item.completion?(false) }
    }

    private func flush() async {
        while true {
            let batch = self.state.withLock { state in
                let batch = Array(state.pending.prefix(Self.batchLimit))
                state.pending.removeFirst(batch.count)
                return batch
            }
            guard !batch.isEmpty else { return }
            await self.write(Self.coalesced(batch))
            for item in batch { item.completion?(true) }
        }
    }

    /// The changes of a batch without checkpoints that a later one of the same client replaces.
    static func coalesced(_ batch: [Pending]) -> [Pending] {
        var seen = ExactSet()
        var kept: [Pending] = []
        for item in batch.reversed() {
            switch item.change {
            case .none: continue
            case .checkpoint: if seen.insert(item.clientID).inserted { kept.append(item) }
            default: kept.append(item)
            }
        }
        return kept.reversed()
    }

    /// Writes changes in one transaction. If the database refuses something, the clients are halved until those are found that it
    /// refuses; only theirs is dropped.
    private func write(_ changes: [Pending]) async {
        guard !changes.isEmpty, let problem = await self.writeInTime(changes) else { return }
        var clients: [String] = []
        var known = ExactSet()
        for item in changes where known.insert(item.clientID).inserted { clients.append(item.clientID) }
        guard case .refused = problem, clients.count > 1 else {
            self.state.withLock { $0.dropped += UInt64(changes.count) }
            self.logger.warning(
                "clients' positions are not stored; these clients start over",
                metadata: ["error": "\(problem)", "changes": "\(changes.count)", "clients": "\(clients.count)"])
            return
        }
        let firstHalf = ExactSet(clients.prefix(clients.count / 2))
        await self.write(changes.filter { firstHalf.contains($0.clientID) })
        await self.write(changes.filter { !firstHalf.contains($0.clientID) })
    }

    /// Tries until the database takes or refuses the changes, or the service has to stop.
    private func writeInTime(_ changes: [Pending]) async -> ClientStateWriteError? {
        var statements: [PostgresStatement] = ["BEGIN"]
        if changes.allSatisfy({ if case .checkpoint = $0.change { true } else { false } }) {
            // Nobody is told that a checkpoint is stored, so no disk needs to be waited for.
            statements.append("SET LOCAL synchronous_commit = off")
        }
        for item in changes {
            if let change = item.change { Self.append(change, item.clientID, to: &statements) }
        }
        statements.append("COMMIT")
        var pause = Duration.milliseconds(50)
        var attempts = 0
        while true {
            guard let problem = await self.write(statements) else { return nil }
            guard case .unavailable(let error) = problem else { return problem }
            if let deadline = self.state.withLock({ $0.deadline }), .now + pause >= deadline { return problem }
            attempts += 1
            if attempts % 20 == 1 {
                self.logger.warning(
                    "cannot store clients' positions now; trying again",
                    metadata: ["error": "\(error)", "attempt": "\(attempts)"])
            }
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(1))
        }
    }

    private static func run(_ script: [PostgresStatement], on pool: PostgresPool) async -> ClientStateWriteError? {
        do {
            return try await pool.withConnection { connection in
                do {
                    _ = try await connection.pipeline(script).get()
                    return nil
                } catch let error as PostgresError where !error.isTransient {
                    return .refused(error)
                } catch {
                    return .unavailable(error)
                }
            }
        } catch {
            // No connection could be had.
            return .unavailable(error)
        }
    }

    private static func append(
        _ change: ClientStateChange, _ clientID: String, to statements: inout [PostgresStatement]
    ) {
        func add(_ sql: String, _ parameters: [PostgresParameter]) {
            statements.append(PostgresStatement(sql, [.text(clientID)] + parameters, isReusable: true))
        }
        switch change {
        case .deleteState:
            for table in ["client_checkpoints", "client_shape_subscriptions", "client_unsub_points"] {
                add("DELETE FROM electric.\(table) WHERE client_id = $1", [])
            }
        case .checkpoint(let position):
            add(
                """
                INSERT INTO electric.client_checkpoints AS c (client_id, pg_wal_pos, sent_rows_graph)
                VALUES ($1, $2, '\\x')
                ON CONFLICT (client_id) DO UPDATE SET pg_wal_pos = excluded.pg_wal_pos
                """, [.text(String(Int64(bitPattern: position.rawValue)))])
        case .saveSubscription(let subscription):
            add(
                """
                INSERT INTO electric.client_shape_subscriptions (client_id, subscription_id, min_txid, ord, shape_requests)
                VALUES ($1, $2, $3, 0, $4)
                ON CONFLICT (client_id, subscription_id)
                DO UPDATE SET min_txid = excluded.min_txid, shape_requests = excluded.shape_requests
                """,
                [
                    .text(subscription.id), .text(String(subscription.snapshot?.xmin ?? 0)),
                    .text(HexBytes.hex(StoredSubscriptionCoding.encode(subscription))),
                ])
        case .saveUnsubscriptions(let list):
            for item in list {
                add(
                    """
                    INSERT INTO electric.client_unsub_points (client_id, subscription_id, wal_pos) VALUES ($1, $2, $3)
                    ON CONFLICT (client_id, subscription_id) DO UPDATE SET wal_pos = excluded.wal_pos
                    """, [.text(item.id), .text(String(Int64(bitPattern: item.position.rawValue)))])
            }
        case .forgetUnsubscriptions(let ids):
            for id in ids {
                add(
                    "DELETE FROM electric.client_unsub_points WHERE client_id = $1 AND subscription_id = $2",
                    [.text(id)])
            }
        case .removeSubscriptions(let ids):
            for id in ids {
                for table in ["client_unsub_points", "client_shape_subscriptions"] {
                    add("DELETE FROM electric.\(table) WHERE client_id = $1 AND subscription_id = $2", [.text(id)])
                }
            }
        }
    }
}
