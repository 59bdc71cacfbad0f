import CLibPQ
import Foundation

/// A plain blocking libpq connection: what the figures are compared with must cost as little as it can.
///
/// Used by one thread at a time.
final class DatabaseSession: @unchecked Sendable {
    private let connection: OpaquePointer

    init(_ url: String) throws {
        guard let connection = PQconnectdb(url) else { throw BenchmarkError("libpq is out of memory") }
        self.connection = connection
        guard PQstatus(connection) == CONNECTION_OK else { throw BenchmarkError(self.errorText) }
        try self.run("SET client_min_messages = warning")
    }

    deinit { PQfinish(self.connection) }

    private var errorText: String { String(cString: PQerrorMessage(self.connection)) }

    /// Runs a script and returns the first value of its last result.
    @discardableResult
    func run(_ sql: String) throws -> String? {
        let result = PQexec(self.connection, sql)
        defer { PQclear(result) }
        switch PQresultStatus(result) {
        case PGRES_COMMAND_OK: return nil
        case PGRES_TUPLES_OK:
            guard PQntuples(result) > 0, PQnfields(result) > 0, PQgetisnull(result, 0, 0) == 0 else { return nil }
            return String(cString: PQgetvalue(result, 0, 0))
        default: throw BenchmarkError("\(self.errorText)while running: \(sql.prefix(200))")
        }
    }

    /// Runs a script until it does not fail any more.
    func runRetrying(_ sql: String, seconds: Double = 15) throws {
        let deadline = Clock.now + seconds
        while true {
            do {
                try self.run(sql)
                return
            } catch {
                guard Clock.now < deadline else { throw error }
                usleep(20_000)
            }
        }
    }

    /// Blocks on the socket until a notification has come; false after `seconds` without one.
    func waitForNotification(seconds: Double) throws -> Bool {
        let deadline = Clock.now + seconds
        while true {
            if let notification = PQnotifies(self.connection) {
                PQfreemem(notification)
                return true
            }
            let rest = deadline - Clock.now
            guard rest > 0 else { return false }
            var descriptor = pollfd(fd: PQsocket(self.connection), events: Int16(POLLIN), revents: 0)
            guard poll(&descriptor, 1, Int32(rest * 1_000) + 1) >= 0 || errno == EINTR else {
                throw BenchmarkError("poll failed")
            }
            guard PQconsumeInput(self.connection) == 1 else { throw BenchmarkError(self.errorText) }
        }
    }
}
