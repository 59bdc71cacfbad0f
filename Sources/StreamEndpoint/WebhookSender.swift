import DurableStreams
import NIOCore

/// One request to a webhook, ready to be sent.
package struct WebhookRequest: Sendable {
    package var url: WebhookURL
    package var headers: [(name: String, value: String)]
    package var body: ByteBuffer

    package init(url: WebhookURL, headers: [(name: String, value: String)], body: ByteBuffer) {
        self.url = url
        self.headers = headers
        self.body = body
    }
}

/// Brings requests to webhooks. Whoever does so keeps the rules against calling what should not be called: every
/// address of
/// the host is checked by ``WebhookURL/allows(_:)``, the connection goes to a checked one, redirects and proxies are
/// not used.
package protocol WebhookSender: Sendable {
    /// Sends and calls back once, on any thread: with what was answered, or why nothing usable was. Must come to an end
    /// by itself, within a bounded time.
    func send(_ request: WebhookRequest, answered: @escaping @Sendable (Result<WebhookReply, WebhookFailure>) -> Void)
}

/// Why a webhook gave no usable answer. The text is for the log: it holds neither path nor body.
package struct WebhookFailure: Error, Hashable, Sendable {
    package var reason: String

    package init(_ reason: String) {
        self.reason = reason
    }
}

/// What a webhook answered; a body beyond some size is cut off.
package struct WebhookReply: Sendable {
    package var status: Int
    package var body: ByteBuffer

    package init(status: Int, body: ByteBuffer) {
        self.status = status
        self.body = body
    }
}

/// Signs webhooks, and publishes the keys for it.
package protocol WebhookSigning: Sendable {
    /// Identifier of the key in use.
    func currentID(at now: UInt64) -> String
    /// The value of `Webhook-Signature` for a body that is sent now; nil if it cannot be made.
    func signature(of body: ByteBuffer, at now: UInt64) -> String?
    /// The public keys as a response.
    func keySet(at now: UInt64) -> StreamResponse
    /// The digest under which tokens are kept: SHA-256.
    static func digest(_ bytes: [UInt8]) -> [UInt8]
}

/// For services that call nobody: every delivery fails and is tried again.
package struct NoWebhooks: WebhookSender {
    package init() {}
    package func send(
        _ request: WebhookRequest, answered: @escaping @Sendable (Result<WebhookReply, WebhookFailure>) -> Void
    ) {
        answered(.failure(WebhookFailure("webhooks are not sent here")))
    }
}
