import CLibPQ
internal import Logging
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A `PGconn` with blocking calls. It belongs to one thread, or to one serial executor.
final class LibPQHandle {
    /// What the notice receiver needs; libpq holds a pointer to it.
    fileprivate final class NoticeSink {
        let logger: Logger
        init(logger: Logger) { self.logger = logger }
    }

    private(set) var pointer: OpaquePointer?
    let interrupt = ConnectionInterrupt()
    private let notices: Unmanaged<NoticeSink>
    /// Servers of which it has been said that they offer no TLS: once a process is enough.
    private static let unencrypted = Mutex<Set<String>>([])

    /// Connects, within the time limit of `parameters` for each address of the host.
    init(parameters: ConnectionParameters, replication: Bool, logger: Logger) throws(PostgresError) {
        let addresses = try HostResolver.addresses(for: parameters)
        let keywords = parameters.keywords(replication: replication, addresses: addresses)
        if keywords.contains(where: { $0.1.utf8.contains(0) }) {
            throw .client("a connection parameter contains a zero byte")
        }
        var names: [UnsafePointer<CChar>?] = keywords.map { UnsafePointer(strdup($0.0)) } + [nil]
        var values: [UnsafePointer<CChar>?] = keywords.map { UnsafePointer(strdup($0.1)) } + [nil]
        let connection = PQconnectdbParams(&names, &values, 0)
        for pointer in names + values {
            free(UnsafeMutablePointer(mutating: pointer))
        }
        self.notices = Unmanaged.passRetained(NoticeSink(logger: logger))
        guard let connection else {
            self.notices.release()
            throw .client("out of memory", connectionLost: true)
        }
        self.pointer = connection
        guard PQstatus(connection) == CONNECTION_OK else {
            let error = self.connectionError(parameters: parameters)
            self.close()
            throw error
        }
        PQsetNoticeReceiver(
            connection,
            { context, result in
                guard let context, let result else { return }
                Unmanaged<NoticeSink>.fromOpaque(context).takeUnretainedValue().receive(result)
            }, self.notices.toOpaque())
        self.interrupt.attach(connection: connection)
        if parameters.tls == .prefer, !parameters.isUnixSocket, PQsslInUse(connection) == 0,
            Self.unencrypted.withLock({ $0.insert("\(parameters.host):\(parameters.port)").inserted })
        {
            logger.warning("The connection to Postgres is not encrypted: the server offers no TLS")
        }
    }

    deinit {
        self.close()
    }

    func close() {
        guard let pointer = self.pointer else { return }
        self.interrupt.detach()
        PQfinish(pointer)
        self.pointer = nil
        self.notices.release()
    }

    var isUsable: Bool {
        guard let pointer = self.pointer else { return false }
        return PQstatus(pointer) == CONNECTION_OK && !self.interrupt.isAborted
    }

    /// The `PGconn`, or an error when the connection is closed.
    func connection() throws(PostgresError) -> OpaquePointer {
        guard let pointer = self.pointer else {
            throw .client("the connection to Postgres is closed", connectionLost: true)
        }
        return pointer
    }

    // MARK: Waiting

    enum Readiness {
        case readable
        case woken
        case timedOut
    }

    /// Waits for input on the socket, or on `wakeDescriptor`. A negative timeout waits for ever.
    func waitReadable(timeoutMilliseconds: Int32, wakeDescriptor: Int32 = -1) throws(PostgresError) -> Readiness {
        let connection = try self.connection()
        var descriptors = [
            pollfd(fd: PQsocket(connection), events: Int16(POLLIN), revents: 0),
            pollfd(fd: wakeDescriptor, events: Int16(POLLIN), revents: 0),
        ]
        let count = poll(&descriptors, wakeDescriptor >= 0 ? 2 : 1, timeoutMilliseconds)
        if count < 0 && errno != EINTR { throw self.lost("cannot wait for the connection to Postgres") }
        if count <= 0 { return count == 0 ? .timedOut : .woken }
        return descriptors[0].revents != 0 ? .readable : .woken
    }

    func consumeInput() throws(PostgresError) {
        if PQconsumeInput(try self.connection()) == 0 { throw self.lost() }
    }

    /// The next result of the statement under way; nil when there are no more. In a pipeline, nil ends each statement.
    func nextResult() throws(PostgresError) -> OpaquePointer? {
        let connection = try self.connection()
        while PQisBusy(connection) != 0 {
            if try self.waitReadable(timeoutMilliseconds: -1) == .readable { try self.consumeInput() }
        }
        return PQgetResult(connection)
    }

    // MARK: Statements

    /// Sends one or several statements by the simple protocol and returns the last result.
    func runSimple(_ sql: String) throws(PostgresError) -> QueryResult? {
        let connection = try self.connection()
        try ParameterArena.check(PostgresStatement(sql))
        if PQsendQuery(connection, sql) == 0 { throw self.lost() }
        return try self.collectResults()
    }

    /// Reads results up to the end of the statement. The first error is thrown after the rest has been read.
    func collectResults() throws(PostgresError) -> QueryResult? {
        var last: QueryResult?
        var failure: PostgresError?
        while let raw = try self.nextResult() {
            switch PQresultStatus(raw) {
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                PQclear(raw)
                self.close()
                throw .client("COPY is not possible in this call", connectionLost: true)
            default:
                switch Self.classify(raw) {
                case .success(let result): last = result
                case .failure(let error): failure = failure ?? self.completed(error)
                }
            }
        }
        if let failure { throw failure }
        return last
    }

    /// Sends a statement that has passed `ParameterArena.check` by the extended protocol, or puts it in the pipeline.
    func send(_ statement: PostgresStatement) throws(PostgresError) {
        let connection = try self.connection()
        let sent = ParameterArena.with(statement.parameters) { count, values, lengths, formats in
            PQsendQueryParams(connection, statement.sql, count, nil, values, lengths, formats, 0)
        }
        if sent == 0 { throw self.lost() }
    }

    func sendPrepare(name: String, sql: String) throws(PostgresError) {
        if PQsendPrepare(try self.connection(), name, sql, 0, nil) == 0 { throw self.lost() }
    }

    func sendPrepared(name: String, _ parameters: [PostgresParameter]) throws(PostgresError) {
        let connection = try self.connection()
        let sent = ParameterArena.with(parameters) { count, values, lengths, formats in
            PQsendQueryPrepared(connection, name, count, values, lengths, formats, 0)
        }
        if sent == 0 { throw self.lost() }
    }

    // MARK: Results and errors

    /// Takes over a result that ends a statement.
    static func classify(_ raw: OpaquePointer) -> Result<QueryResult, PostgresError> {
        switch PQresultStatus(raw) {
        case PGRES_TUPLES_OK, PGRES_SINGLE_TUPLE, PGRES_COMMAND_OK, PGRES_EMPTY_QUERY:
            return .success(QueryResult(taking: raw))
        default:
            let error = Self.error(of: raw)
            PQclear(raw)
            return .failure(error)
        }
    }

    /// Adds what only the connection knows to an error.
    func completed(_ error: PostgresError) -> PostgresError {
        var error = error
        if !self.isUsable || error.severity == "FATAL" || error.severity == "PANIC" { error.connectionLost = true }
        return error
    }

    static func error(of result: OpaquePointer) -> PostgresError {
        func field(_ code: Character) -> String? {
            PQresultErrorField(result, Int32(code.asciiValue ?? 0)).map { String(cString: $0) }
        }
        let text = PQresultErrorMessage(result).map { Self.trimmed(String(cString: $0)) }
        return PostgresError(
            sqlState: field("C") ?? "", severity: field("V") ?? "ERROR",
            message: field("M") ?? text ?? "Postgres gave no reason",
            detail: field("D"), hint: field("H"), schema: field("s"), table: field("t"), column: field("c"),
            constraint: field("n"))
    }

    /// The connection failed in the middle of something.
    func lost(_ fallback: String = "the connection to Postgres was lost") -> PostgresError {
        let text = self.pointer.flatMap { PQerrorMessage($0) }.map { Self.trimmed(String(cString: $0)) } ?? ""
        return .client(text.isEmpty ? fallback : text, connectionLost: true)
    }

    /// Why the connection could not be made. libpq passes on the server's text without its SQLSTATE, so the few reasons
    /// the operator can do something about are told apart here by what libpq itself knows.
    private func connectionError(parameters: ConnectionParameters) -> PostgresError {
        let text = self.pointer.flatMap { PQerrorMessage($0) }.map { Self.trimmed(String(cString: $0)) } ?? ""
        var message = text.isEmpty ? "cannot connect to Postgres" : text
        if let password = parameters.password, !password.isEmpty {
            message = message.split(separator: password, omittingEmptySubsequences: false).joined(separator: "***")
        }
        let needsPassword = self.pointer.map { PQconnectionNeedsPassword($0) != 0 } ?? false
        return .client(
            message, hint: needsPassword ? "the server asks for a password and none is configured" : nil,
            connectionLost: true)
    }

    private static func trimmed(_ text: String) -> String {
        var text = Substring(text)
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return String(text)
    }
}

extension LibPQHandle.NoticeSink {
    fileprivate func receive(_ result: OpaquePointer) {
        let error = LibPQHandle.error(of: result)
        // Why told apart: only what our own routines say is known to hold no values of rows, and it is for the operator.
        if error.severity == "WARNING", error.sqlState.hasPrefix("EX") {
            var metadata: Logger.Metadata = ["sqlstate": "\(error.sqlState)"]
            metadata["detail"] = error.detail.map { "\($0)" }
            metadata["hint"] = error.hint.map { "\($0)" }
            self.logger.warning("\(error.message)", metadata: metadata)
            return
        }
        let level: Logger.Level = error.severity == "WARNING" ? .info : .debug
        self.logger.log(
            level: level, "Postgres sent a notice",
            metadata: ["notice": "\(error.message)", "sqlstate": "\(error.sqlState)"])
    }
}
