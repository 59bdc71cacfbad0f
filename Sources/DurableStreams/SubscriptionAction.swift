import NIOCore

/// What the machine of subscriptions wants done.
package enum SubscriptionAction: Hashable, Sendable {
    /// Sign and send; report ``SubscriptionSet/webhookAnswered(_:attempt:generation:with:at:)``.
    case deliver(WebhookDelivery)
    /// Append to the wake stream; report ``SubscriptionSet/wakeEventWritten(_:generation:succeeded:at:)``.
    case appendWakeEvent(subscription: String, generation: UInt64, stream: String, event: ByteBuffer)
    /// Durable state has changed: write ``SubscriptionSet/snapshot()`` before anything that rests on it is answered.
    case persist
}

/// One request to a webhook.
package struct WebhookDelivery: Hashable, Sendable {
    package var subscription: String
    package var generation: UInt64
    package var attempt: UInt64
    package var url: WebhookURL
    /// The exact bytes to sign and to send.
    package var body: ByteBuffer
}

/// What a webhook answered.
package enum WebhookAnswer: Hashable, Sendable {
    /// Status 2xx and `{"done":true}`.
    case done
    /// Status 2xx: the receiver calls back.
    case accepted
    /// No answer, or another status.
    case failed

    /// Reads an answer. Redirects are not followed and count as failures.
    package init(status: Int, body: ByteBuffer) {
        guard (200..<300).contains(status) else {
            self = .failed
            return
        }
        self = JSONValue(body)?["done"]?.boolValue == true ? .done : .accepted
    }
}

/// A list of subscriptions' answer to an acknowledgement.
package struct AcknowledgeOutcome: Hashable, Sendable {
    package var nextWake: Bool

    package var response: StreamResponse {
        var text = JSONText()
        text.beginObject()
        text.member("ok", true)
        text.member("next_wake", self.nextWake)
        text.endObject()
        return SubscriptionSet.jsonResponse(status: 200, text.bytes)
    }
}
