/// The kinds of refusal, each with its HTTP status and the strings that stand in a problem body.
package enum StreamErrorCode: UInt8, CaseIterable, Sendable {
    case notFound
    case gone
    case alreadyExists
    case pathBlocked
    case forkFromTombstone
    case contentTypeMismatch
    case streamClosed
    case sequenceConflict
    case producerEpochFenced
    case invalidOffset
    case invalidStreamName
    case invalidJSON
    case emptyBody
    case emptyArray
    case badRequest
    case payloadTooLarge
    case unavailable
    case insufficientStorage
    case internalError
    // Extensions of the base protocol.
    case preconditionFailed
    case tooManyProducers
    case rateLimited
    case methodNotAllowed
    case unauthorized
    case forbidden
    case offsetGone

    private struct Row {
        var status: Int
        var code: String
        var slug: String
        var title: String
    }

    private var row: Row {
        switch self {
        case .notFound:
            return Row(status: 404, code: "NOT_FOUND", slug: "not-found", title: "Stream not found")
        case .gone:
            return Row(status: 410, code: "GONE", slug: "gone", title: "Stream is gone")
        case .alreadyExists:
            return Row(status: 409, code: "ALREADY_EXISTS", slug: "already-exists", title: "Stream exists and differs")
        case .pathBlocked:
            return Row(status: 409, code: "PATH_BLOCKED", slug: "path-blocked", title: "Path is blocked by forks")
        case .forkFromTombstone:
            return Row(
                status: 409, code: "FORK_FROM_TOMBSTONE", slug: "fork-from-tombstone", title: "Fork source was deleted")
        case .contentTypeMismatch:
            return Row(
                status: 409, code: "CONTENT_TYPE_MISMATCH", slug: "content-type-mismatch",
                title: "Content type does not match the stream")
        case .streamClosed:
            return Row(status: 409, code: "STREAM_CLOSED", slug: "stream-closed", title: "Stream is closed")
        case .sequenceConflict:
            return Row(
                status: 409, code: "SEQUENCE_CONFLICT", slug: "sequence-conflict", title: "Sequence does not follow")
        case .producerEpochFenced:
            return Row(
                status: 403, code: "PRODUCER_EPOCH_FENCED", slug: "producer-epoch-fenced",
                title: "Producer epoch is stale")
        case .invalidOffset:
            return Row(status: 400, code: "INVALID_OFFSET", slug: "invalid-offset", title: "Invalid offset")
        case .invalidStreamName:
            return Row(
                status: 400, code: "INVALID_STREAM_NAME", slug: "invalid-stream-name", title: "Invalid stream name")
        case .invalidJSON:
            return Row(status: 400, code: "INVALID_JSON", slug: "invalid-json", title: "Body is not valid JSON")
        case .emptyBody:
            return Row(status: 400, code: "EMPTY_BODY", slug: "empty-body", title: "Body is empty")
        case .emptyArray:
            return Row(status: 400, code: "EMPTY_ARRAY", slug: "empty-array", title: "Array is empty")
        case .badRequest:
            return Row(status: 400, code: "BAD_REQUEST", slug: "bad-request", title: "Bad request")
        case .payloadTooLarge:
            return Row(
                status: 413, code: "PAYLOAD_TOO_LARGE", slug: "payload-too-large", title: "Payload is too large")
        case .unavailable:
            return Row(status: 503, code: "UNAVAILABLE", slug: "unavailable", title: "Temporarily unavailable")
        case .insufficientStorage:
            return Row(
                status: 507, code: "INSUFFICIENT_STORAGE", slug: "insufficient-storage", title: "Storage is full")
        case .internalError:
            return Row(status: 500, code: "INTERNAL_ERROR", slug: "internal", title: "Internal error")
        case .preconditionFailed:
            return Row(
                status: 412, code: "PRECONDITION_FAILED", slug: "precondition-failed", title: "Tail is elsewhere")
        case .tooManyProducers:
            return Row(
                status: 429, code: "TOO_MANY_PRODUCERS", slug: "too-many-producers", title: "Too many producers")
        case .rateLimited:
            return Row(status: 429, code: "RATE_LIMITED", slug: "rate-limited", title: "Too many requests")
        case .methodNotAllowed:
            return Row(
                status: 405, code: "METHOD_NOT_ALLOWED", slug: "method-not-allowed", title: "Method not allowed")
        case .unauthorized:
            return Row(status: 401, code: "UNAUTHORIZED", slug: "unauthorized", title: "Authentication is required")
        case .forbidden:
            return Row(status: 403, code: "FORBIDDEN", slug: "forbidden", title: "Not allowed")
        case .offsetGone:
            return Row(status: 410, code: "OFFSET_GONE", slug: "offset-gone", title: "Offset is no longer kept")
        }
    }

    /// The HTTP status of the response.
    package var status: Int { self.row.status }
    /// The stable name that programs compare.
    package var code: String { self.row.code }
    /// The reference that stands as `type` in a problem body.
    package var type: String { "/errors/" + self.row.slug }
    /// The sentence for people, the same for every error of this code.
    package var title: String { self.row.title }
}
