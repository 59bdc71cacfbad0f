internal import PostgresClient

/// What to do about an error that Postgres answered to a client's transaction.
enum WriteFailure: Sendable, Hashable {
    /// Try again over the same connection, after a pause.
    case retry
    /// Try again over a new connection.
    case reconnect
    /// Try again once with fresh descriptions of the tables.
    case retryWithFreshDescriptions
    /// The transaction will never succeed.
    case reject

    /// How often an error inside the server is taken for an accident.
    static let internalErrorLimit = 3

    init(_ error: PostgresError, attempt: Int) {
        if error.connectionLost {
            self = .reconnect
            return
        }
        switch error.sqlState {
        case "25006":
            // Read-only: the server has become a standby, or is being switched over.
            self = .reconnect
        case "42P01", "42703", "26000", "0A000":
            // No such table or column, or a prepared statement that no longer fits.
            self = attempt == 0 ? .retryWithFreshDescriptions : .reject
        default:
            if error.isTransient {
                self = .retry
            } else if error.sqlStateClass == "XX" || error.sqlState.isEmpty {
                self = attempt < Self.internalErrorLimit ? .retry : .reject
            } else {
                self = .reject
            }
        }
    }
}
