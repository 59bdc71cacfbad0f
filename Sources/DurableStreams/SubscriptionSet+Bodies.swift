import ExactText
import NIOCore

/// The JSON that the control API gives out.
extension SubscriptionSet {
    static func jsonResponse(status: Int, _ bytes: ByteBuffer) -> StreamResponse {
        StreamResponse(
            status: status,
            headers: [("Content-Type", "application/json"), ("Cache-Control", CachePolicy.noStore)],
            body: .bytes(bytes))
    }

    /// A subscription as a response: to a PUT (201 or 200) and a GET.
    ///
    /// - Parameter keyID: the identifier of the signing key in use.
    package func response(status: Int, for subscription: Subscription, keyID: String?) -> StreamResponse {
        var text = JSONText()
        text.beginObject()
        text.member("id", subscription.id)
        text.member("subscription_id", subscription.id)
        let configuration = subscription.configuration
        var wakeStream: String?
        var url: WebhookURL?
        switch configuration.delivery {
        case .webhook(let found):
            url = found
            text.member("type", "webhook")
        case .pullWake(let stream):
            wakeStream = stream
            text.member("type", "pull-wake")
        }
        text.key("pattern")
        if let pattern = configuration.pattern { text.string(pattern.text) } else { text.null() }
        text.key("streams")
        text.beginArray()
        for (name, link) in subscription.links.sortedByKey() {
            text.beginObject()
            text.member("path", name)
            text.member("link_type", link.type)
            text.member("acked_offset", StreamOffset(position: link.acked).token)
            text.endObject()
        }
        text.endArray()
        if let url {
            text.key("webhook")
            text.beginObject()
            text.member("url", url.text)
            if let keyID {
                text.key("signing")
                text.beginObject()
                text.member("alg", "ed25519")
                text.member("kid", keyID)
                text.member("jwks_url", (subscription.controlURL ?? self.settings.controlURL) + "/jwks.json")
                text.endObject()
            }
            text.endObject()
        }
        text.key("wake_stream")
        if let wakeStream { text.string(wakeStream) } else { text.null() }
        text.member("lease_ttl_ms", configuration.leaseTTL)
        text.member("created_at", Timestamp.text(milliseconds: subscription.createdAt))
        text.member("status", subscription.isFailed ? "failed" : "active")
        text.key("description")
        if let description = configuration.description { text.string(description) } else { text.null() }
        text.endObject()
        return Self.jsonResponse(status: status, text.bytes)
    }

    /// What a webhook is sent.
    func wakeBody(_ subscription: Subscription, wake: Subscription.Wake, token: String) -> ByteBuffer {
        var text = JSONText()
        text.beginObject()
        text.member("subscription_id", subscription.id)
        text.member("wake_id", wake.id)
        text.member("generation", subscription.generation)
        Self.writeWakeStreams(subscription, into: &text)
        let path = HeaderText.percentEncodedPath(subscription.id)
        let base = subscription.controlURL ?? self.settings.controlURL
        text.member("callback_url", base + "/subscriptions/" + path + "/callback")
        text.member("callback_token", token)
        text.endObject()
        return text.bytes
    }

    /// The links as a receiver or worker sees them.
    static func writeWakeStreams(_ subscription: Subscription, into text: inout JSONText) {
        text.key("streams")
        text.beginArray()
        for (name, link) in subscription.links.sortedByKey() {
            text.beginObject()
            text.member("path", name)
            text.member("link_type", link.type)
            text.member("acked_offset", StreamOffset(position: link.acked).token)
            text.member("tail_offset", StreamOffset(position: link.tail).token)
            text.member("has_pending", link.isPending)
            text.endObject()
        }
        text.endArray()
    }
}
