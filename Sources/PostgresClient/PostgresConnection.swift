import CLibPQ
package import Logging
package import NIOCore

/// A connection to Postgres.
///
/// The actor runs on a thread of its own, where libpq may block. Statements run one at a time, in the order of the
/// calls. A cancelled task cancels its statement in the server. Use one connection from one place at a time
/// (``PostgresPool`` sees to it): two tasks that share one share its transaction as well.
package actor PostgresConnection {
    private nonisolated let executor: ThreadExecutor
    private nonisolated let interrupt: ConnectionInterrupt
    private nonisolated let opened: Opened
    private var statements = StatementCache()
    private var copy: CopyProgress = .none

    package nonisolated let parameters: ConnectionParameters
    /// For example 150020.
    package nonisolated let serverVersion: Int
    /// Process id of the server process, as in `pg_stat_activity`.
    package nonisolated let backendProcessID: Int32

    private enum CopyProgress {
        case none
        /// Rows are coming; the number tells an abandoned copy from the present one.
        case out(UInt64)
    }

    private var copyCount: UInt64 = 0

    /// Only for the connection's own thread.
    private var handle: LibPQHandle { self.opened.handle }

    package nonisolated var unownedExecutor: UnownedSerialExecutor { self.executor.asUnownedSerialExecutor() }

    /// A handle on its way from the thread that opened it to the actor that owns it from then on, and at last to the
    /// one that closes it.
    // Why unchecked: at any time there is one thread that uses it.
    private struct Opened: @unchecked Sendable {
        let handle: LibPQHandle
    }

    private init(executor: ThreadExecutor, opened: Opened, parameters: ConnectionParameters) {
        self.executor = executor
        self.opened = opened
        self.interrupt = opened.handle.interrupt
        self.parameters = parameters
        self.serverVersion = opened.handle.pointer.map { Int(PQserverVersion($0)) } ?? 0
        self.backendProcessID = opened.handle.pointer.map { PQbackendPID($0) } ?? 0
    }

    deinit {
        // Why: closing a connection writes to the network, which may block; any thread may drop the last reference.
        let opened = self.opened
        if !BackgroundThread.start(name: "pg-close", { opened.handle.close() }) { opened.handle.close() }
        self.executor.shutdown()
    }

    /// Opens a connection.
    package static func connect(
        _ parameters: ConnectionParameters, logger: Logger = Logger(label: "penstock.postgres")
    ) async throws -> PostgresConnection {
        let opened = try await withCheckedThrowingContinuation {
            (continuation: CheckedContinuation<Opened, any Error>) in
            let hasStarted = BackgroundThread.start(name: "pg-connect") {
                continuation.resume(
                    with: Result {
                        Opened(handle: try LibPQHandle(parameters: parameters, replication: false, logger: logger))
                    })
            }
            if !hasStarted {
                continuation.resume(throwing: PostgresError.client("no thread is left", connectionLost: true))
            }
        }
        guard let executor = ThreadExecutor(name: "pg-connection") else {
            opened.handle.close()
            throw PostgresError.client("no thread is left", connectionLost: true)
        }
        return PostgresConnection(executor: executor, opened: opened, parameters: parameters)
    }

    // MARK: Statements

    /// Runs one statement and returns its rows in text form.
    @discardableResult
    package nonisolated func query(_ sql: String, _ parameters: [PostgresParameter] = []) async throws -> QueryResult {
        try await self.query(PostgresStatement(sql, parameters))
    }

    /// Runs one statement and returns its rows in text form.
    @discardableResult
    package nonisolated func query(_ statement: PostgresStatement) async throws -> QueryResult {
        var outcome = try await self.pipeline([statement])
        if let error = outcome.error {
            if Self.isAnswerToCancellation(error) { throw CancellationError() }
            throw error
        }
        guard let result = outcome.results.popLast() else {
            throw PostgresError.client("the server returned no result", connectionLost: true)
        }
        return result
    }

    /// Runs a script of one or more statements by the simple protocol and returns the last result. Without a `BEGIN` of
    /// its own the script is one transaction.
    @discardableResult
    package nonisolated func execute(_ script: String) async throws -> QueryResult? {
        try await self.interruptible { connection, number throws(PostgresError) in
            try connection.runScript(script, number: number)
        }
    }

    /// Sends all statements at once and reads all answers: one round trip. After an error the server skips the rest;
    /// statements before a `COMMIT` that succeeded stay committed. Throws only what prevented sending; everything else
    /// is in the outcome.
    package nonisolated func pipeline(_ statements: [PostgresStatement]) async throws -> PipelineOutcome {
        try await self.interruptible { connection, number throws(PostgresError) in
            try connection.runPipeline(statements, number: number)
        }
    }

    /// Begins `COPY (...) TO STDOUT`; the rows are pulled from the returned reader. Any later call on the connection
    /// ends the copy.
    package nonisolated func copyOut(_ sql: String) async throws -> CopyOutReader {
        let number = try await self.interruptible { connection, number throws(PostgresError) in
            try connection.startCopyOut(sql, number: number)
        }
        return CopyOutReader(connection: self, number: number)
    }

    /// Whether the connection is in a transaction; a failed one counts.
    package var isInTransaction: Bool {
        guard let pointer = self.handle.pointer else { return false }
        return PQtransactionStatus(pointer) != PQTRANS_IDLE
    }

    package var isUsable: Bool { self.handle.isUsable }

    /// Ends what the last user left open; false when the connection is of no more use.
    func cleanUp() -> Bool {
        guard self.handle.isUsable else { return false }
        _ = self.interrupt.begin(self.interrupt.newNumber())
        defer { self.interrupt.end() }
        do {
            try self.endAbandonedCopy()
            if self.isInTransaction { _ = try self.handle.runSimple("ROLLBACK") }
        } catch {
            return false
        }
        return self.handle.isUsable && !self.isInTransaction
    }

    /// Whether the connection is encrypted.
    package var isEncrypted: Bool { self.handle.pointer.map { PQsslInUse($0) != 0 } ?? false }

    /// Asks the server to cancel the statement under way, if any.
    package nonisolated func cancel() {
        let interrupt = self.interrupt
        BackgroundThread.start(name: "pg-cancel") { interrupt.cancel() }
    }

    /// Cuts the connection at once; a statement under way fails with `connectionLost`.
    package nonisolated func abort() {
        self.interrupt.abort()
    }

    /// Says good-bye to the server. Later calls fail with `connectionLost`.
    package func close() {
        self.handle.close()
    }

    // MARK: On the connection's thread

    /// Runs `body` as one statement, which is cancelled in the server when the task is.
    private nonisolated func interruptible<R: Sendable>(
        _ body: @Sendable (isolated PostgresConnection, UInt64) throws(PostgresError) -> R
    ) async throws -> R {
        let number = self.interrupt.newNumber()
        return try await withTaskCancellationHandler {
            try await self.isolated(number, body)
        } onCancel: {
            self.interrupt.cancelInBackground(number)
        }
    }

    private func isolated<R: Sendable>(
        _ number: UInt64, _ body: @Sendable (isolated PostgresConnection, UInt64) throws(PostgresError) -> R
    ) throws -> R {
        guard !Task.isCancelled, self.interrupt.begin(number) else { throw CancellationError() }
        defer { self.interrupt.end() }
        do {
            return try body(self, number)
        } catch {
            if Self.isAnswerToCancellation(error) { throw CancellationError() }
            throw error
        }
    }

    /// The server's answer to our cancel request is no news to somebody who has cancelled.
    private static func isAnswerToCancellation(_ error: PostgresError) -> Bool {
        Task.isCancelled && (error.sqlState == "57014" || error.connectionLost)
    }

    private func runScript(_ script: String, number: UInt64) throws(PostgresError) -> QueryResult? {
        try self.endAbandonedCopy()
        return try self.handle.runSimple(script)
    }

    private func runPipeline(_ list: [PostgresStatement], number: UInt64) throws(PostgresError) -> PipelineOutcome {
        try self.endAbandonedCopy()
        guard !list.isEmpty else { return PipelineOutcome(results: []) }
        for statement in list { try ParameterArena.check(statement) }
        let connection = try self.handle.connection()
        guard PQenterPipelineMode(connection) == 1 else { throw self.handle.lost() }
        // Which answers to expect: a statement used for the first time is parsed first, and that has an answer of its
        // own.
        var expected: [Expected] = []
        expected.reserveCapacity(list.count + 1)
        for statement in list {
            if statement.isReusable {
                let name: String
                switch self.statements.lookUp(statement.sql) {
                case .known(let known):
                    name = known
                case .new(let new, let evicted):
                    name = new
                    if let evicted {
                        try self.handle.send(PostgresStatement("DEALLOCATE \(evicted)"))
                        expected.append(.auxiliary)
                    }
                    try self.handle.sendPrepare(name: new, sql: statement.sql)
                    expected.append(.preparation(sql: statement.sql))
                }
                try self.handle.sendPrepared(name: name, statement.parameters)
            } else {
                try self.handle.send(statement)
            }
            expected.append(.statement)
        }
        guard PQpipelineSync(connection) == 1 else {
            return PipelineOutcome(results: [], error: self.handle.lost())
        }
        return self.collectPipeline(expected)
    }

    private enum Expected {
        case statement
        case auxiliary
        case preparation(sql: String)
    }

    /// Reads the answers of a pipeline, up to and including that to its Sync.
    private func collectPipeline(_ expected: [Expected]) -> PipelineOutcome {
        var outcome = PipelineOutcome(results: [])
        outcome.results.reserveCapacity(expected.count)
        do throws(PostgresError) {
            for item in expected {
                var failure: PostgresError?
                // Each statement gives one result, then nil.
                while let raw = try self.handle.nextResult() {
                    if PQresultStatus(raw) == PGRES_PIPELINE_ABORTED {
                        PQclear(raw)
                        continue
                    }
                    switch LibPQHandle.classify(raw) {
                    case .success(let result):
                        if case .statement = item { outcome.results.append(result) }
                    case .failure(let error):
                        failure = failure ?? self.handle.completed(error)
                    }
                }
                if case .preparation(let sql) = item, failure != nil || outcome.error != nil {
                    self.statements.forget(sql)
                }
                outcome.error = outcome.error ?? failure
                if outcome.error?.connectionLost == true { return outcome }
            }
            while let raw = try self.handle.nextResult() {
                let status = PQresultStatus(raw)
                if status == PGRES_PIPELINE_SYNC {
                    PQclear(raw)
                    break
                }
                if case .failure(let error) = LibPQHandle.classify(raw) {
                    outcome.error = outcome.error ?? self.handle.completed(error)
                    if error.severity == "FATAL" { return outcome }
                }
            }
            if PQexitPipelineMode(try self.handle.connection()) == 0 { throw self.handle.lost() }
        } catch {
            // Why: a server that ends the session says so by an error before it closes the connection. That one is the
            // better story.
            if outcome.error == nil {
                outcome.error = error
            } else {
                outcome.error?.connectionLost = true
            }
        }
        return outcome
    }

    // MARK: COPY

    private func startCopyOut(_ sql: String, number: UInt64) throws(PostgresError) -> UInt64 {
        try self.endAbandonedCopy()
        let statement = PostgresStatement(sql)
        try ParameterArena.check(statement)
        try self.handle.send(statement)
        guard let raw = try self.handle.nextResult() else { throw self.handle.lost() }
        if PQresultStatus(raw) == PGRES_COPY_OUT {
            PQclear(raw)
            self.copyCount += 1
            self.copy = .out(self.copyCount)
            return self.copyCount
        }
        let outcome = LibPQHandle.classify(raw)
        _ = try self.handle.collectResults()
        if case .failure(let error) = outcome { throw self.handle.completed(error) }
        throw .client("the statement is not a COPY to the client")
    }

    nonisolated func nextCopyChunk(_ copyNumber: UInt64, maxBytes: Int) async throws -> ByteBuffer? {
        try await self.interruptible { connection, _ throws(PostgresError) in
            try connection.readCopyChunk(copyNumber, maxBytes: maxBytes)
        }
    }

    private func readCopyChunk(_ copyNumber: UInt64, maxBytes: Int) throws(PostgresError) -> ByteBuffer? {
        guard case .out(copyNumber) = self.copy else { return nil }
        let connection = try self.handle.connection()
        var chunk = ByteBuffer()
        while true {
            var row: UnsafeMutablePointer<CChar>?
            let length = PQgetCopyData(connection, &row, 1)
            if length > 0, let row {
                if chunk.capacity == 0 { chunk.reserveCapacity(min(max(maxBytes, 1024), 1 << 20)) }
                chunk.writeBytes(UnsafeRawBufferPointer(start: row, count: Int(length)))
                PQfreemem(row)
                if chunk.readableBytes >= maxBytes { return chunk }
            } else if length == 0 {
                if chunk.readableBytes > 0 { return chunk }
                if try self.handle.waitReadable(timeoutMilliseconds: -1) == .readable { try self.handle.consumeInput() }
            } else {
                self.copy = .none
                if length == -2 {
                    _ = try? self.handle.collectResults()
                    throw self.handle.lost()
                }
                _ = try self.handle.collectResults()
                return chunk.readableBytes > 0 ? chunk : nil
            }
        }
    }

    /// Ends a copy whose reader went away before the last row.
    private func endAbandonedCopy() throws(PostgresError) {
        guard case .out = self.copy else { return }
        self.copy = .none
        self.interrupt.cancel()
        let connection = try self.handle.connection()
        while true {
            var row: UnsafeMutablePointer<CChar>?
            let length = PQgetCopyData(connection, &row, 0)
            if let row { PQfreemem(row) }
            if length < 0 { break }
        }
        do {
            _ = try self.handle.collectResults()
        } catch  where error.connectionLost {
            throw error
        } catch {
            // The answer to the cancel request.
        }
    }

    func abandonCopy(_ copyNumber: UInt64) throws {
        guard case .out(copyNumber) = self.copy else { return }
        _ = self.interrupt.begin(self.interrupt.newNumber())
        defer { self.interrupt.end() }
        try self.endAbandonedCopy()
    }
}
