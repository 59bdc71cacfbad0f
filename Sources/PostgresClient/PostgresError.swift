/// An error reported by Postgres, or by the connection to it.
///
/// The description never holds row values, passwords or statement text, so it may be logged. Postgres puts values of
/// rows into the detail of many errors, and into the message of some (classes 22 and 23); applications write messages
/// of their own (class P0, and every class that Postgres does not have). Those texts are only in ``message``,
/// ``detail`` and `String(reflecting:)`. Compare and branch on ``sqlState`` alone: texts depend on the language of the
/// server.
package struct PostgresError: Error, Sendable {
    /// The five characters of the SQLSTATE; empty when the error did not come from the server.
    package var sqlState: String
    package var severity: String
    package var message: String
    package var detail: String?
    package var hint: String?
    package var schema: String?
    package var table: String?
    package var column: String?
    package var constraint: String?
    /// True when the connection is of no more use. A statement that was under way may or may not have taken effect.
    package var connectionLost: Bool

    package init(
        sqlState: String, severity: String = "ERROR", message: String, detail: String? = nil, hint: String? = nil,
        schema: String? = nil, table: String? = nil, column: String? = nil, constraint: String? = nil,
        connectionLost: Bool = false
    ) {
        self.sqlState = sqlState
        self.severity = severity
        self.message = message
        self.detail = detail
        self.hint = hint
        self.schema = schema
        self.table = table
        self.column = column
        self.constraint = constraint
        self.connectionLost = connectionLost
    }

    /// An error of the client side: `message` must be free of secrets and row values.
    package static func client(_ message: String, hint: String? = nil, connectionLost: Bool = false) -> PostgresError {
        PostgresError(sqlState: "", message: message, hint: hint, connectionLost: connectionLost)
    }

    /// The first two characters of the SQLSTATE.
    package var sqlStateClass: String { String(self.sqlState.prefix(2)) }

    /// Whether the same work may succeed when it is tried again: a lost connection, a serialization failure, a
    /// deadlock, a lock that was not available, a server that is starting or stopping, or one that is short of
    /// resources.
    package var isTransient: Bool {
        if self.connectionLost { return true }
        switch self.sqlState {
        case "40001", "40P01", "55P03", "57014": return true
        case "57P01", "57P02", "57P03", "57P05": return true
        default: return self.sqlStateClass == "08" || self.sqlStateClass == "53"
        }
    }

    /// Whether the server refused a connection for a reason that does not pass by itself: wrong password, no such database
    /// or role.
    ///
    /// Why by text: libpq tells no SQLSTATE for a connection that was not made. A server that speaks another language is asked
    /// again, as one that is away.
    package var refusesConnection: Bool {
        guard self.connectionLost, self.sqlState.isEmpty else { return false }
        if self.message.contains("no password supplied") { return true }
        let reasons = [
            "authentication failed for user", "does not exist", "no pg_hba.conf entry", "is not permitted to log in",
        ]
        return self.message.contains("FATAL:") && reasons.contains { self.message.contains($0) }
    }

    private var messageMayHoldValues: Bool {
        ["20", "22", "23", "38", "39", "P0"].contains(self.sqlStateClass) || self.isRaisedByApplication
    }

    /// Whether no part of Postgres gives this SQLSTATE: a function or trigger of the application has raised it.
    package var isRaisedByApplication: Bool {
        !self.sqlState.isEmpty && !Self.serverClasses.contains(self.sqlStateClass)
    }

    private static let serverClasses: Set<String> = [
        "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24",
        "25",
        "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54", "55",
        "57",
        "58", "72", "F0", "HV", "P0", "XX",
    ]
}

extension PostgresError: CustomStringConvertible, CustomDebugStringConvertible {
    package var description: String {
        var text = self.sqlState.isEmpty ? "" : "\(self.severity) \(self.sqlState)"
        if !self.messageMayHoldValues {
            text += text.isEmpty ? self.message : ": \(self.message)"
            if let hint = self.hint { text += " (\(hint))" }
        }
        if let table = self.table { text += ", table \(self.schema.map { "\($0)." } ?? "")\(table)" }
        if let column = self.column { text += ", column \(column)" }
        if let constraint = self.constraint { text += ", constraint \(constraint)" }
        return text
    }

    /// The whole of the error, row values included: for a developer's eyes, not for a log.
    package var debugDescription: String {
        var text = "\(self.severity) \(self.sqlState): \(self.message)"
        if let detail = self.detail { text += " DETAIL: \(detail)" }
        if let hint = self.hint { text += " HINT: \(hint)" }
        if let table = self.table { text += " TABLE: \(self.schema ?? "").\(table)" }
        if let column = self.column { text += " COLUMN: \(column)" }
        if let constraint = self.constraint { text += " CONSTRAINT: \(constraint)" }
        if self.connectionLost { text += " (connection lost)" }
        return text
    }
}
