import ExactText
import NIOCore

/// What a subscription is asked to be, in normal form: two requests that mean the same are equal.
package struct SubscriptionConfiguration: Hashable, Sendable {
    package enum Delivery: Hashable, Sendable {
        case webhook(WebhookURL)
        /// Workers claim; wake events go to this stream.
        case pullWake(stream: String)
    }

    package var delivery: Delivery
    package var pattern: StreamPattern?
    /// Sorted, each name once.
    package var streams: [String]
    /// Milliseconds.
    package var leaseTTL: UInt64
    package var description: String?

    package static let maximumStreams = 1000
    package static let maximumDescription = 4096
    package static let leaseBounds: ClosedRange<UInt64> = 1000...600_000

    /// Reads the body of a PUT.
    package init(
        body: ByteBuffer, names: StreamNameRules, allowsLocalWebhooks: Bool
    ) throws(SubscriptionError) {
        guard let document = JSONValue(body), case .object = document else {
            throw SubscriptionError(.invalidRequest, "The body must be a JSON object.")
        }
        try self.init(document: document, names: names, allowsLocalWebhooks: allowsLocalWebhooks)
    }

    init(document: JSONValue, names: StreamNameRules, allowsLocalWebhooks: Bool) throws(SubscriptionError) {
        self.pattern = nil
        if let value = document["pattern"], !value.isNull {
            guard let text = value.stringValue, let pattern = StreamPattern(text) else {
                throw SubscriptionError(.invalidRequest, "pattern must be a pattern over names of streams.")
            }
            self.pattern = pattern
        }
        self.streams = []
        if let value = document["streams"], !value.isNull {
            self.streams = try Self.names(value, rules: names)
        }
        guard self.pattern != nil || !self.streams.isEmpty else {
            throw SubscriptionError(.invalidRequest, "A subscription needs a pattern or streams.")
        }
        switch document["type"]?.stringValue {
        case "webhook":
            guard let url = document["webhook"]?["url"]?.stringValue else {
                throw SubscriptionError(.invalidRequest, "webhook.url is missing.")
            }
            self.delivery = .webhook(try WebhookURL(url, allowsLocalPlain: allowsLocalWebhooks))
        case "pull-wake":
            guard let text = document["wake_stream"]?.stringValue else {
                throw SubscriptionError(.invalidRequest, "wake_stream is missing.")
            }
            self.delivery = .pullWake(stream: try Self.name(text, rules: names))
        default:
            throw SubscriptionError(.invalidRequest, "type must be webhook or pull-wake.")
        }
        self.leaseTTL = 30_000
        if let value = document["lease_ttl_ms"], !value.isNull {
            guard let number = value.unsignedValue, Self.leaseBounds.contains(number) else {
                throw SubscriptionError(
                    .invalidRequest,
                    "lease_ttl_ms must be from \(Self.leaseBounds.lowerBound) to \(Self.leaseBounds.upperBound).")
            }
            self.leaseTTL = number
        }
        self.description = nil
        if let value = document["description"], !value.isNull {
            guard let text = value.stringValue, text.utf8.count <= Self.maximumDescription else {
                throw SubscriptionError(.invalidRequest, "description must be a short text.")
            }
            self.description = text
        }
    }

    /// Reads a list of names, sorted and without repeats.
    static func names(_ value: JSONValue, rules: StreamNameRules) throws(SubscriptionError) -> [String] {
        guard let values = value.arrayValue, values.count <= Self.maximumStreams else {
            throw SubscriptionError(
                .invalidRequest, "streams must be a list of at most \(Self.maximumStreams) names.")
        }
        var found: ExactSet = []
        for value in values {
            guard let text = value.stringValue else {
                throw SubscriptionError(.invalidRequest, "streams must hold names of streams.")
            }
            found.insert(try Self.name(text, rules: rules))
        }
        return found.sorted()
    }

    static func name(_ text: String, rules: StreamNameRules) throws(SubscriptionError) -> String {
        do throws(StreamError) {
            return try rules.name(decoded: text.hasPrefix("/") ? String(text.dropFirst()) : text)
        } catch {
            throw SubscriptionError(.invalidRequest, "A stream name is invalid. \(error.detail)")
        }
    }

    /// The configuration as text, the same for equal ones: what is hashed.
    var canonicalText: ByteBuffer {
        var text = JSONText()
        text.beginObject()
        self.write(into: &text)
        text.endObject()
        return text.bytes
    }

    /// The members of the request that would give this configuration.
    func write(into text: inout JSONText) {
        switch self.delivery {
        case .webhook(let url):
            text.member("type", "webhook")
            text.key("webhook")
            text.beginObject()
            text.member("url", url.text)
            text.endObject()
        case .pullWake(let stream):
            text.member("type", "pull-wake")
            text.member("wake_stream", stream)
        }
        text.key("pattern")
        if let pattern = self.pattern { text.string(pattern.text) } else { text.null() }
        text.key("streams")
        text.beginArray()
        for name in self.streams { text.string(name) }
        text.endArray()
        text.member("lease_ttl_ms", self.leaseTTL)
        text.key("description")
        if let description = self.description { text.string(description) } else { text.null() }
    }
}
