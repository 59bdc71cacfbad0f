import DurableStreams
import PostgresClient

/// What is to be done about a failure.
enum MirrorFault: Sendable {
    /// It passes by itself: tried again soon.
    case transient(String)
    /// The database does not take the data: the message goes to the dead letters.
    case poison(String)
    /// A person has to do something: said in the status, tried again from time to time.
    case fatal(String)

    init(_ error: any Error) {
        switch error {
        case let error as PostgresError: self.init(error)
        case let error as StreamError: self.init(error)
        case let error as MirrorError: self = error.isFatal ? .fatal(error.reason) : .transient(error.reason)
        default: self = .transient("\(error)")
        }
    }

    private init(_ error: PostgresError) {
        if error.isTransient || error.sqlState.isEmpty {
            self = .transient("\(error)")
            return
        }
        if error.isRaisedByApplication {
            self = .poison("\(error)")
            return
        }
        switch error.sqlStateClass {
        // Besides data and constraints: two rows of one key in a statement, limits of an index row, the check option of a view,
        // what triggers raise.
        case "20", "21", "22", "23", "38", "39", "44", "54", "P0": self = .poison("\(error)")
        // Serialization, and a server that has become a standby.
        case "40", "25": self = .transient("\(error)")
        default: self = .fatal("\(error)")
        }
    }

    private init(_ error: StreamError) {
        switch error.code {
        case .unavailable, .rateLimited, .insufficientStorage, .preconditionFailed, .sequenceConflict:
            self = .transient("\(error)")
        case .payloadTooLarge:
            self = .fatal(
                """
                \(error) Raise DS_LIMITS__MAX_STREAM_BYTES and DS_LIMITS__MAX_MEMORY_BYTES, or keep streams on a disk: \
                DS_STORAGE__MODE
                """)
        default: self = .fatal("\(error)")
        }
    }

    var reason: String {
        switch self {
        case .transient(let reason), .poison(let reason), .fatal(let reason): reason
        }
    }

    var isFatal: Bool {
        if case .fatal = self { true } else { false }
    }

    var isPoison: Bool {
        if case .poison = self { true } else { false }
    }
}

/// A failure that this module finds itself. `reason` holds no row values.
struct MirrorError: Error, CustomStringConvertible {
    var reason: String
    var isFatal: Bool

    static func fatal(_ reason: String) -> MirrorError { MirrorError(reason: reason, isFatal: true) }
    static func transient(_ reason: String) -> MirrorError { MirrorError(reason: reason, isFatal: false) }

    var description: String { self.reason }
}
