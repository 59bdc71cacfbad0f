package import Logging
import Synchronization

/// A bounded number of connections to one database.
///
/// A connection is lent to one caller at a time. Callers wait in the order of their arrival, at most
/// ``Configuration/maximumWaiters`` of them and each at most ``Configuration/acquireTimeout``; beyond that they get an
/// error. Connections are opened when needed, examined when they have been idle for a while, and replaced when lost.
/// What a caller leaves open (a transaction, a copy) is ended for it.
package final class PostgresPool: Sendable {
    package struct Configuration: Sendable {
        package var maximumConnections = 10
        package var maximumWaiters = 1000
        package var acquireTimeout: Duration = .seconds(30)
        /// After this time a connection is tried before it is lent.
        package var idleCheck: Duration = .seconds(20)
        /// Pause after the first failure to connect; it doubles up to the greatest.
        package var firstBackoff: Duration = .milliseconds(200)
        package var greatestBackoff: Duration = .seconds(5)

        package init(maximumConnections: Int = 10) {
            self.maximumConnections = max(1, maximumConnections)
        }
    }

    /// How the pool stands, for metrics and health.
    package struct Status: Sendable, Hashable {
        package var openConnections: Int
        package var idleConnections: Int
        package var waiters: Int
        package var consecutiveFailures: Int
        /// Why the last attempt to connect failed; nil when it succeeded.
        package var problem: String?
    }

    private struct Idle {
        var connection: PostgresConnection
        var since: ContinuousClock.Instant
    }

    private enum Lease: Sendable {
        case connection(PostgresConnection, idleFor: Duration)
        /// The caller may open one.
        case permission
    }

    private struct Waiter {
        var id: UInt64
        var continuation: CheckedContinuation<Lease, any Error>
        var timeout: Task<Void, Never>
    }

    private struct State {
        var idle: [Idle] = []
        /// Lent, idle and being opened.
        var count = 0
        var waiters: [Waiter] = []
        var nextWaiter: UInt64 = 0
        var cancelled: Set<UInt64> = []
        var failures = 0
        var problem: String?
        var problemTold: ContinuousClock.Instant?
        var isClosed = false
    }

    package let parameters: ConnectionParameters
    private let configuration: Configuration
    private let logger: Logger
    private let state = Mutex(State())

    package init(
        _ parameters: ConnectionParameters, configuration: Configuration = Configuration(),
        logger: Logger = Logger(label: "penstock.postgres")
    ) {
        self.parameters = parameters
        self.configuration = configuration
        self.logger = logger
    }

    package var status: Status {
        self.state.withLock {
            Status(
                openConnections: $0.count, idleConnections: $0.idle.count, waiters: $0.waiters.count,
                consecutiveFailures: $0.failures, problem: $0.problem)
        }
    }

    /// Lends a connection to `body`.
    package func withConnection<R: Sendable>(
        isolation: isolated (any Actor)? = #isolation, _ body: (PostgresConnection) async throws -> sending R
    ) async throws -> sending R {
        let connection = try await self.acquire()
        do {
            let result = try await body(connection)
            await self.giveBack(connection)
            return result
        } catch {
            await self.giveBack(connection)
            throw error
        }
    }

    /// Runs one statement on any connection.
    @discardableResult
    package func query(_ sql: String, _ parameters: [PostgresParameter] = []) async throws -> QueryResult {
        try await self.withConnection { try await $0.query(sql, parameters) }
    }

    /// Closes all connections; those that are lent are closed when they come back. Waiters get an error.
    package func close() async {
        let (idle, waiters) = self.state.withLock { state in
            state.isClosed = true
            defer {
                state.count -= state.idle.count
                state.idle = []
                state.waiters = []
            }
            return (state.idle, state.waiters)
        }
        for waiter in waiters {
            waiter.timeout.cancel()
            waiter.continuation.resume(throwing: Self.closed)
        }
        for entry in idle { await entry.connection.close() }
    }

    private static let closed = PostgresError.client("the connection pool is closed", connectionLost: true)

    // MARK: Acquiring

    private func acquire() async throws -> PostgresConnection {
        let deadline = ContinuousClock.now + self.configuration.acquireTimeout
        switch try await self.lease() {
        case .permission:
            return try await self.open(until: deadline)
        case .connection(let connection, let idleFor):
            guard idleFor > self.configuration.idleCheck else { return connection }
            if (try? await connection.query("SELECT 1")) != nil { return connection }
            await connection.close()
            return try await self.open(until: deadline)
        }
    }

    private func lease() async throws -> Lease {
        enum Decision {
            case lease(Lease)
            case wait(UInt64)
            case fail(any Error)
        }
        let now = ContinuousClock.now
        let decision: Decision = self.state.withLock { state in
            if state.isClosed { return .fail(Self.closed) }
            if let entry = state.idle.popLast() {
                return .lease(.connection(entry.connection, idleFor: now - entry.since))
            }
            if state.count < self.configuration.maximumConnections {
                state.count += 1
                return .lease(.permission)
            }
            if state.waiters.count >= self.configuration.maximumWaiters {
                return .fail(Self.exhausted("too many callers wait for a connection to Postgres"))
            }
            state.nextWaiter += 1
            return .wait(state.nextWaiter)
        }
        switch decision {
        case .lease(let lease): return lease
        case .fail(let error): throw error
        case .wait(let id): return try await self.wait(id)
        }
    }

    private func wait(_ id: UInt64) async throws -> Lease {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let timeout = Task { [weak self, configuration] in
                    try? await Task.sleep(for: configuration.acquireTimeout)
                    guard !Task.isCancelled else { return }
                    self?.give(up: id, Self.exhausted("no connection to Postgres became free in time"))
                }
                let immediate: Result<Lease, any Error>? = self.state.withLock { state in
                    if state.cancelled.remove(id) != nil { return .failure(CancellationError()) }
                    if state.isClosed { return .failure(Self.closed) }
                    // One may have come back since the decision to wait.
                    if let entry = state.idle.popLast() {
                        return .success(.connection(entry.connection, idleFor: .zero))
                    }
                    if state.count < self.configuration.maximumConnections {
                        state.count += 1
                        return .success(.permission)
                    }
                    state.waiters.append(Waiter(id: id, continuation: continuation, timeout: timeout))
                    return nil
                }
                if let immediate {
                    timeout.cancel()
                    continuation.resume(with: immediate)
                }
            }
        } onCancel: {
            self.give(up: id, CancellationError())
        }
    }

    private func give(up id: UInt64, _ error: any Error) {
        let waiter: Waiter? = self.state.withLock { state in
            guard let index = state.waiters.firstIndex(where: { $0.id == id }) else {
                // Cancelled before it began to wait, or after it was served; ids are never used twice, and the set is
                // kept small.
                if error is CancellationError { state.cancelled.insert(id) }
                if state.cancelled.count > self.configuration.maximumWaiters { state.cancelled.removeAll() }
                return nil
            }
            return state.waiters.remove(at: index)
        }
        waiter?.timeout.cancel()
        waiter?.continuation.resume(throwing: error)
    }

    private static func exhausted(_ message: String) -> PostgresError {
        PostgresError(sqlState: "53300", message: message)
    }

    /// Opens a connection for a caller who has the permission, trying again until `deadline` when the server is not
    /// there.
    private func open(until deadline: ContinuousClock.Instant) async throws -> PostgresConnection {
        var pause = self.configuration.firstBackoff
        while true {
            do {
                try Task.checkCancellation()
                let connection = try await PostgresConnection.connect(self.parameters, logger: self.logger)
                self.connected()
                return connection
            } catch {
                let isCancellation = error is CancellationError
                let isClosed = isCancellation ? false : self.connectionFailed(error)
                let isLasting = (error as? PostgresError)?.refusesConnection == true
                guard !isClosed, !isCancellation, !isLasting, ContinuousClock.now + pause < deadline else {
                    self.release(nil)
                    throw error
                }
                try? await Task.sleep(for: pause)
                pause = min(pause * 2, self.configuration.greatestBackoff)
            }
        }
    }

    /// How often an unchanged reason is told again.
    private static let reminderInterval = Duration.seconds(60)

    /// Says at once why there is no connection: callers hear of it only when their patience is over.
    ///
    /// - Returns: whether the pool has been closed.
    private func connectionFailed(_ error: any Error) -> Bool {
        let reason = "\(error)"
        let now = ContinuousClock.now
        let (isNews, isClosed) = self.state.withLock { state in
            state.failures += 1
            let isNews = state.problem != reason || state.problemTold.map { now - $0 > Self.reminderInterval } ?? true
            state.problem = reason
            if isNews { state.problemTold = now }
            return (isNews, state.isClosed)
        }
        if isNews, !isClosed {
            self.logger.warning("cannot connect to Postgres; trying again", metadata: ["error": "\(reason)"])
        }
        return isClosed
    }

    private func connected() {
        let hadProblem = self.state.withLock { state in
            defer {
                state.failures = 0
                state.problem = nil
            }
            return state.problem != nil
        }
        if hadProblem { self.logger.notice("connected to Postgres again") }
    }

    // MARK: Giving back

    private func giveBack(_ connection: PostgresConnection) async {
        let isClosed = self.state.withLock { $0.isClosed }
        let isClean = isClosed ? false : await connection.cleanUp()
        if isClean {
            self.release(connection)
        } else {
            await connection.close()
            self.release(nil)
        }
    }

    /// Passes a connection, or the permission to open one, on to the next waiter.
    private func release(_ connection: PostgresConnection?) {
        let now = ContinuousClock.now
        let waiter: Waiter? = self.state.withLock { state in
            if let waiter = state.waiters.first {
                state.waiters.removeFirst()
                return waiter
            }
            if let connection, !state.isClosed {
                state.idle.append(Idle(connection: connection, since: now))
            } else {
                state.count -= 1
            }
            return nil
        }
        waiter?.timeout.cancel()
        waiter?.continuation.resume(returning: connection.map { .connection($0, idleFor: .zero) } ?? .permission)
    }
}
