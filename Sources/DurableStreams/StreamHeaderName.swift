/// The names of the header fields of the protocol.
package enum StreamHeaderName {
    package static let ttl = "Stream-TTL"
    package static let expiresAt = "Stream-Expires-At"
    package static let closed = "Stream-Closed"
    package static let sequence = "Stream-Seq"
    package static let nextOffset = "Stream-Next-Offset"
    package static let upToDate = "Stream-Up-To-Date"
    package static let cursor = "Stream-Cursor"
    package static let sseDataEncoding = "Stream-SSE-Data-Encoding"
    package static let producerID = "Producer-Id"
    package static let producerEpoch = "Producer-Epoch"
    package static let producerSeq = "Producer-Seq"
    package static let producerExpectedSeq = "Producer-Expected-Seq"
    package static let producerReceivedSeq = "Producer-Received-Seq"
    package static let forkedFrom = "Stream-Forked-From"
    package static let forkOffset = "Stream-Fork-Offset"
    package static let forkSubOffset = "Stream-Fork-Sub-Offset"
    // Extensions of the base protocol.
    package static let retentionBytes = "Stream-Retention-Bytes"
    package static let retentionSeconds = "Stream-Retention-Seconds"
    package static let earliestOffset = "Stream-Earliest-Offset"
    package static let webhookSignature = "Webhook-Signature"

    /// Fields that a page of another origin may send.
    package static let allowedInRequests: [String] = [
        "content-type", "authorization", "if-none-match", "if-match", "last-event-id", "stream-ttl",
        "stream-expires-at", "stream-closed", "stream-seq", "producer-id", "producer-epoch", "producer-seq",
        "stream-forked-from", "stream-fork-offset", "stream-fork-sub-offset", "stream-retention-bytes",
        "stream-retention-seconds",
    ]

    /// Fields that a page of another origin may read.
    package static let exposedInResponses: [String] = [
        "stream-next-offset", "stream-up-to-date", "stream-closed", "stream-cursor", "stream-sse-data-encoding",
        "stream-ttl", "stream-expires-at", "producer-id", "producer-epoch", "producer-seq", "producer-expected-seq",
        "producer-received-seq", "stream-earliest-offset", "stream-retention-bytes", "stream-retention-seconds", "etag",
        "content-type", "content-encoding", "vary", "location", "retry-after",
    ]

    /// The methods that a stream knows.
    package static let methods: [String] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]
}
