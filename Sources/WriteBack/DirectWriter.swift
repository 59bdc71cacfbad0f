internal import ExactText
package import Logging
package import PostgresClient
import Synchronization

/// Writes clients' transactions to Postgres (`ELECTRIC_WRITE_TO_PG_MODE=direct_writes`).
///
/// Transactions of one client are written in the order of their submission, whichever connection of the client's they
/// came over; clients are written concurrently over a few connections. A transaction takes one round trip, and
/// transactions of a client that wait together share it. Each is a transaction of Postgres' own that also moves the
/// client's acknowledged position. Errors that may pass are tried again, without end and in order; others reject the
/// one transaction, move the client's position past it and tell the submitter. A repeated transaction changes nothing,
/// so whatever was lost on the way may be submitted again.
package final class DirectWriter: Sendable {
    /// Bounds of the queue. Past a limit ``Admission/acceptedAndFull`` asks the submitter to wait; past twice the limit
    /// it is refused.
    package struct Limits: Sendable {
        package var transactionsPerClient = 1000
        package var bytesPerClient = 16 << 20
        package var totalBytes = 128 << 20
        /// Transactions that share a round trip.
        package var transactionsPerBatch = 50
        package var bytesPerBatch = 1 << 20
        package var firstRetryPause: Duration = .milliseconds(20)
        package var greatestRetryPause: Duration = .seconds(10)

        package init() {}
    }

    /// What the queue says to a submission.
    package enum Admission: Sendable, Hashable {
        case accepted
        /// Accepted. Submit the client's next transaction after a completion of an earlier one; this one's completion
        /// comes for sure.
        case acceptedAndFull
        /// Not accepted: the submitter went on although it was asked to wait.
        case refused
        /// Not accepted: the service is ending.
        case closed
    }

    /// How the writer stands, for metrics and health.
    package struct Status: Sendable, Hashable {
        package var waitingTransactions = 0
        package var waitingBytes = 0
        package var waitingClients = 0
        package var applied: UInt64 = 0
        package var rejected: UInt64 = 0
        package var retries: UInt64 = 0
        /// Description of the last error, without values; nil after a success.
        package var lastError: String?
    }

    private struct Counters {
        var applied: UInt64 = 0
        var rejected: UInt64 = 0
        var retries: UInt64 = 0
        var lastError: String?
    }

    private let parameters: ConnectionParameters
    private let connectionCount: Int
    private let limits: Limits
    private let logger: Logger
    private let queue: WriteQueue
    private let tables = TableDescriptions()
    private let counters = Mutex(Counters())

    /// - Parameter connections: how many clients are written at the same time.
    package init(
        _ parameters: ConnectionParameters, connections: Int = 4, limits: Limits = Limits(),
        logger: Logger = Logger(label: "penstock.write-back")
    ) {
        // The row triggers take what this session writes for clients' changes.
        self.parameters = parameters.adding(settings: ["electric.session_replication_role": "replica"])
        self.connectionCount = max(1, connections)
        self.limits = limits
        self.logger = logger
        self.queue = WriteQueue(limits: limits)
    }

    package var status: Status {
        let waiting = self.queue.status
        return self.counters.withLock {
            Status(
                waitingTransactions: waiting.transactions, waitingBytes: waiting.bytes, waitingClients: waiting.clients,
                applied: $0.applied, rejected: $0.rejected, retries: $0.retries, lastError: $0.lastError)
        }
    }

    // MARK: Submitting

    /// Hands a transaction over without waiting; may be called on an event loop.
    ///
    /// - Parameter completion: called once when the transaction has been dealt with, on a thread of the writer's; never
    /// after `refused` and `closed`.
    package func submit(
        _ transaction: WriteTransaction, completion: @escaping @Sendable (WriteOutcome) -> Void
    ) -> Admission {
        self.queue.submit(.init(transaction: transaction, byteCount: transaction.byteCount, completion: completion))
    }

    /// Writes a transaction and waits until it has been dealt with.
    package func write(_ transaction: WriteTransaction) async throws -> WriteOutcome {
        let outcome: WriteOutcome? = await withCheckedContinuation { continuation in
            switch self.submit(transaction, completion: { continuation.resume(returning: $0) }) {
            case .accepted, .acceptedAndFull: break
            case .refused: continuation.resume(returning: nil)
            case .closed: continuation.resume(returning: .abandoned)
            }
        }
        guard let outcome else {
            throw PostgresError(sqlState: "53200", message: "too many client transactions wait to be written")
        }
        return outcome
    }

    /// The schema of the database has changed.
    package func noteSchemaChange() {
        self.tables.invalidate()
    }

    // MARK: Running

    /// Writes until ``drain(within:)`` has been called or the task is cancelled; then tells the submitters of what is
    /// left.
    package func run() async {
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                let (pauses, pause) = AsyncStream.makeStream(of: Pause.self)
                group.addTask { await self.releaseAfterPauses(pauses) }
                group.addTask {
                    await withDiscardingTaskGroup { workers in
                        for _ in 0..<self.connectionCount {
                            workers.addTask { await self.work(pause) }
                        }
                    }
                    pause.finish()
                }
            }
        } onCancel: {
            self.queue.stop()
        }
        self.queue.abandonAll()
    }

    /// Takes no more transactions, and ends ``run()`` when the queue is empty or `limit` has passed.
    package func drain(within limit: Duration) async {
        self.queue.close()
        let deadline = ContinuousClock.now + limit
        while self.queue.status.transactions > 0, ContinuousClock.now < deadline, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(10))
        }
        self.queue.stop()
    }

    /// A client that waits before its next attempt. There is at most one for each client.
    private struct Pause: Sendable {
        var clientID: String
        var duration: Duration
    }

    /// A client that pauses keeps its place, and nobody takes its later transactions; the workers write others
    /// meanwhile.
    private func releaseAfterPauses(_ pauses: AsyncStream<Pause>) async {
        await withDiscardingTaskGroup { group in
            for await pause in pauses {
                group.addTask {
                    try? await Task.sleep(for: pause.duration)
                    self.queue.release(pause.clientID)
                }
            }
        }
    }

    private func work(_ pauses: AsyncStream<Pause>.Continuation) async {
        var connection: PostgresConnection?
        while let clientID = await self.queue.nextClient() {
            let result = await self.writeFront(of: clientID, connection: &connection)
            if result.needsReconnection {
                await connection?.close()
                connection = nil
            }
            guard let pause = result.pause else {
                self.queue.release(clientID)
                continue
            }
            pauses.yield(Pause(clientID: clientID, duration: pause))
            // A server that is not there is no better for the next client.
            if result.needsReconnection { try? await Task.sleep(for: min(pause, .seconds(1))) }
        }
        await connection?.close()
    }

    private struct Progress {
        var pause: Duration?
        var needsReconnection = false
    }

    /// Writes the transactions at the front of a client's queue.
    private func writeFront(of clientID: String, connection: inout PostgresConnection?) async -> Progress {
        let entries = self.queue.front(
            of: clientID, count: self.limits.transactionsPerBatch, bytes: self.limits.bytesPerBatch)
        guard let first = entries.first else { return Progress() }
        do {
            let open: PostgresConnection
            if let present = connection {
                open = present
            } else {
                open = try await PostgresConnection.connect(self.parameters, logger: self.logger)
                connection = open
            }
            // A transaction that has failed is tried alone, so that nothing is sent in vain behind it.
            return try await self.write(first.attempts > 0 ? [first] : entries, of: clientID, on: open)
        } catch let error as PostgresError {
            return await self.handle(error, with: first, of: clientID, on: connection)
        } catch {
            return Progress(pause: self.limits.firstRetryPause, needsReconnection: true)
        }
    }

    /// Sends a batch. Throws what went wrong with the transaction that is then at the front.
    private func write(
        _ entries: [WriteQueue.Entry], of clientID: String, on connection: PostgresConnection
    ) async throws -> Progress {
        var statements: [PostgresStatement] = []
        // Index of the COMMIT of each transaction.
        var commits: [Int] = []
        var refusal: WriteStatements.Refusal?
        for entry in entries {
            do {
                let tables = try await self.descriptions(for: entry.transaction, on: connection)
                statements += try WriteStatements.transaction(entry.transaction, tables: tables)
                commits.append(statements.count - 1)
            } catch let error as WriteStatements.Refusal {
                refusal = error
                break
            }
        }
        var outcome = PipelineOutcome(results: [])
        if !statements.isEmpty { outcome = try await self.send(statements, on: connection) }
        for commit in commits where commit < outcome.results.count {
            guard outcome.results[commit].commandTag == "COMMIT" else { break }
            self.counters.withLock {
                $0.applied += 1
                $0.lastError = nil
            }
            self.queue.completeFront(of: clientID, .applied)
        }
        if let error = outcome.error {
            let position = commits.firstIndex { $0 >= outcome.results.count } ?? 0
            let entry = entries[min(position, entries.count - 1)]
            return await self.handle(error, with: entry, of: clientID, on: connection)
        }
        if let refusal {
            let entry = entries[commits.count]
            if refusal.mayBeStale, entry.attempts == 0 {
                self.tables.invalidate()
                self.queue.noteAttempt(of: clientID)
                return Progress()
            }
            return await self.reject(
                entry.transaction, sqlState: refusal.sqlState, message: refusal.message, on: connection)
        }
        return Progress()
    }

    /// A pipeline; a value that cannot be sent at all is the fault of the transaction at the front.
    private func send(_ statements: [PostgresStatement], on connection: PostgresConnection) async throws
        -> PipelineOutcome
    {
        do {
            return try await connection.pipeline(statements)
        } catch let error as PostgresError where !error.connectionLost {
            // Nothing has been sent. Which of them it was shows when they are tried one by one.
            let isAlone = statements.count { $0 == WriteStatements.begin } == 1
            if isAlone { return PipelineOutcome(results: [], error: error) }
            throw PostgresError(sqlState: "40001", message: "the transactions are tried one by one")
        }
    }

    private func descriptions(
        for transaction: WriteTransaction, on connection: PostgresConnection
    ) async throws -> [TableDescription] {
        var tables: [TableDescription] = []
        tables.reserveCapacity(transaction.changes.count)
        for change in transaction.changes {
            let table = try await self.tables.description(schema: change.schema, table: change.table, on: connection)
            guard let table else {
                throw WriteStatements.Refusal(
                    sqlState: "42P01", message: "table \(change.schema).\(change.table) is not electrified",
                    mayBeStale: true)
            }
            tables.append(table)
        }
        return tables
    }

    // MARK: Failures

    private func handle(
        _ error: PostgresError, with entry: WriteQueue.Entry, of clientID: String, on connection: PostgresConnection?
    ) async -> Progress {
        self.counters.withLock { $0.lastError = "\(error)" }
        var needsReconnection = false
        if !error.connectionLost, let connection {
            needsReconnection = await !self.endTransaction(on: connection)
        }
        switch WriteFailure(error, attempt: entry.attempts) {
        case .reject:
            guard let connection, !needsReconnection else { return Progress(needsReconnection: true) }
            if error.sqlState == "23503", !entry.isSorted, await self.sort(entry, of: clientID, on: connection) {
                return Progress()
            }
            return await self.reject(
                entry.transaction, sqlState: error.sqlState, message: error.message, on: connection)
        case .retryWithFreshDescriptions:
            self.tables.invalidate()
            self.queue.noteAttempt(of: clientID)
            return Progress(needsReconnection: needsReconnection)
        case .retry:
            return self.retry(error, of: clientID, needsReconnection: needsReconnection)
        case .reconnect:
            return self.retry(error, of: clientID, needsReconnection: true)
        }
    }

    /// Puts the changes of a transaction that has met a foreign key in an order that respects them; false when there is
    /// no other order.
    private func sort(_ entry: WriteQueue.Entry, of clientID: String, on connection: PostgresConnection) async -> Bool {
        guard entry.transaction.changes.count > 1,
            let tables = try? await self.descriptions(for: entry.transaction, on: connection),
            let order = try? await ForeignKeyOrder.read(from: connection)
        else { return false }
        let keys = ExactDictionary(firstOf: tables.map { ("\($0.schema).\($0.table)", $0.keyNames) })
        guard let sorted = order.sorted(entry.transaction.changes, keyNames: { keys["\($0.schema).\($0.table)"] ?? [] })
        else { return false }
        self.queue.sortFront(of: clientID, sorted)
        return true
    }

    private func endTransaction(on connection: PostgresConnection) async -> Bool {
        guard await connection.isInTransaction else { return await connection.isUsable }
        return (try? await connection.execute("ROLLBACK")) != nil
    }

    private func retry(_ error: PostgresError, of clientID: String, needsReconnection: Bool) -> Progress {
        let attempts = self.queue.noteAttempt(of: clientID)
        self.counters.withLock { $0.retries += 1 }
        // Often enough to be seen, seldom enough not to fill the log: the first, second, fourth, eighth time.
        if attempts & (attempts - 1) == 0 {
            self.logger.log(
                level: attempts < 8 ? .debug : .warning, "A client's transaction is tried again",
                metadata: ["client": "\(clientID)", "attempts": "\(attempts)", "error": "\(error)"])
        }
        let factor = 1 << min(attempts - 1, 16)
        let pause = min(self.limits.firstRetryPause * max(1, factor), self.limits.greatestRetryPause)
        // Two clients that meet in a deadlock must not meet again at the same moment.
        return Progress(pause: pause * Double.random(in: 0.5...1), needsReconnection: needsReconnection)
    }

    /// Moves the client's position past a transaction that cannot be written, and tells the submitter.
    private func reject(
        _ transaction: WriteTransaction, sqlState: String, message: String, on connection: PostgresConnection
    ) async -> Progress {
        do {
            _ = try await connection.pipeline(WriteStatements.rejection(of: transaction)).get()
        } catch {
            // Not even the position can be written: the server is in trouble, or going.
            let error = error as? PostgresError ?? .client("the writer was stopped", connectionLost: true)
            return self.retry(error, of: transaction.clientID, needsReconnection: true)
        }
        self.counters.withLock { $0.rejected += 1 }
        self.logger.warning(
            "Postgres has rejected a client's transaction",
            metadata: ["client": "\(transaction.clientID)", "sqlstate": "\(sqlState)"])
        self.queue.completeFront(
            of: transaction.clientID,
            .rejected(WriteRejection(clientLSN: transaction.clientLSN, sqlState: sqlState, message: message)))
        return Progress()
    }
}
