import NIOCore
import PostgresClient

/// One message of a stream: a JSON value, or an append of another type.
struct StreamMessage: Sendable {
    var bytes: ByteBuffer
    /// Where it ends in its stream: unique in one stream, and where reading goes on.
    var end: UInt64
}

/// What is known of the stream that messages come from.
struct StreamOrigin: Sendable {
    var name: String
    var identity: UInt64
    var incarnation: Int64
    var contentType: String
    var isJSON: Bool
}

/// A message that can not be written, and why.
struct DeadLetter: Sendable {
    var message: StreamMessage
    var sqlState: String?
    /// May hold values: it goes into the database, not into a log.
    var reason: String
}

/// What one batch writes, apart from the checkpoint.
struct BatchPlan: Sendable {
    var statements: [PostgresStatement] = []
    var letters: [DeadLetter] = []
}
