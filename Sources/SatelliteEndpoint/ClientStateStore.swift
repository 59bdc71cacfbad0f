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

/// What survives a client's connection, kept in the legacy service's own tables in schema `electric`.
///
/// Changes of all clients are written by one task, many in one transaction: an acknowledgement costs the database a row in a batch,
/// not a transaction.
package final class ClientStateStore: Sendable {
    package struct Stored: Sendable {
        package var checkpoint: LSN?
        package var subscriptions: [StoredSubscription]
        package var unsubscriptions: [StoredUnsubscription]
    }

    private struct Pending: Sendable {
        var clientID: String
        /// Nil for a barrier.
        var change: ClientStateChange?
        var completion: (@Sendable () -> Void)?
    }

    private let pool: PostgresPool
    private let logger: Logger
    private let pending = Mutex<[Pending]>([])
    private let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation
    /// Changes written in one transaction.
    private let batchLimit = 500

    package init(pool: PostgresPool, logger: Logger) {
        self.pool = pool
        self.logger = logger
        (self.signals, self.signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Queues a change. Each session has at most one checkpoint under way, so the queue is bounded by the number of sessions and what
    /// they subscribe to.
    func submit(_ change: ClientStateChange, for clientID: String, completion: (@Sendable () -> Void)? = nil) {
        self.enqueue(Pending(clientID: clientID, change: change, completion: completion))
    }

    private func enqueue(_ item: Pending) {
        self.pending.withLock { $0.append(item) }
        self.signal.yield()
    }

    // MARK: Reading

    /// What is stored, with everything that was submitted before.
    func load(_ clientID: String) async throws -> Stored {
        await withCheckedContinuation { continuation in
            self.enqueue(Pending(clientID: clientID, change: nil) { continuation.resume() })
        }
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
                    guard let id = row[0], let bytes = row[1].flatMap(Self.bytes(hex:)) else { return nil }
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
        return result.scalar.flatMap(Self.bytes(hex:)).flatMap { $0.readableBytes == 0 ? nil : $0 }
    }

    /// Makes every client start over.
    package func forgetEveryone() async throws {
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

    /// Writes until the task is cancelled, then what is left.
    package func run() async {
        for await _ in self.signals { await self.flush() }
        await Task { await self.flush() }.value
    }

    private func flush() async {
        while true {
            let batch = self.pending.withLock { pending in
                let batch = Array(pending.prefix(self.batchLimit))
                pending.removeFirst(batch.count)
                return batch
            }
            guard !batch.isEmpty else { return }
            let changes = batch.filter { $0.change != nil }
            if !changes.isEmpty { await self.write(changes) }
            for item in batch { item.completion?() }
        }
    }

    private func write(_ batch: [Pending]) async {
        var statements: [PostgresStatement] = ["BEGIN"]
        for item in batch {
            if let change = item.change { Self.append(change, item.clientID, to: &statements) }
        }
        statements.append("COMMIT")
        let script = statements
        var pause = Duration.milliseconds(50)
        for attempt in 1...5 {
            do {
                try await self.pool.withConnection { connection in
                    _ = try await connection.pipeline(script).get()
                }
                return
            } catch {
                self.logger.warning(
                    "cannot store clients' positions",
                    metadata: ["error": "\(error)", "attempt": "\(attempt)"])
                guard let error = error as? PostgresError, error.isTransient, !Task.isCancelled else { break }
                try? await Task.sleep(for: pause)
                pause *= 2
            }
        }
        // What is lost here costs a client its place at most: it is told to start over, never left with a hole.
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
                    .text(Self.hex(StoredSubscriptionCoding.encode(subscription))),
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

    // MARK: bytea in its hex form

    private static func bytes(hex: String) -> ByteBuffer? {
        guard hex.hasPrefix("\\x") else { return nil }
        var buffer = ByteBuffer()
        var high: UInt8?
        for byte in hex.utf8.dropFirst(2) {
            guard let value = Self.nibble(byte) else { return nil }
            if let first = high {
                buffer.writeInteger(first << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        return high == nil ? buffer : nil
    }

    private static func nibble(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): return byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): return byte - UInt8(ascii: "a") + 10
        default: return nil
        }
    }

    private static func hex(_ buffer: ByteBuffer) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text = Array("\\x".utf8)
        for byte in buffer.readableBytesView {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }
}
