import NIOCore

/// A refusal of the control API.
package struct SubscriptionError: Error, Hashable, Sendable {
    package enum Code: String, CaseIterable, Sendable {
        case subscriptionNotFound = "SUBSCRIPTION_NOT_FOUND"
        case invalidRequest = "INVALID_REQUEST"
        case subscriptionAlreadyExists = "SUBSCRIPTION_ALREADY_EXISTS"
        case webhookURLRejected = "WEBHOOK_URL_REJECTED"
        case tokenInvalid = "TOKEN_INVALID"
        case tokenExpired = "TOKEN_EXPIRED"
        case alreadyClaimed = "ALREADY_CLAIMED"
        case noPendingWork = "NO_PENDING_WORK"
        case fenced = "FENCED"
        case invalidOffset = "INVALID_OFFSET"
        case unavailable = "UNAVAILABLE"

        package var status: Int {
            switch self {
            case .subscriptionNotFound: 404
            case .invalidRequest, .webhookURLRejected: 400
            case .tokenInvalid, .tokenExpired: 401
            case .subscriptionAlreadyExists, .alreadyClaimed, .noPendingWork, .fenced, .invalidOffset: 409
            case .unavailable: 503
            }
        }
    }

    package var code: Code
    package var message: String
    /// For ``Code/alreadyClaimed``.
    package var currentHolder: String?
    package var generation: UInt64?

    package init(_ code: Code, _ message: String, currentHolder: String? = nil, generation: UInt64? = nil) {
        self.code = code
        self.message = message
        self.currentHolder = currentHolder
        self.generation = generation
    }

    package var response: StreamResponse {
        var text = JSONText()
        text.beginObject()
        text.key("error")
        text.beginObject()
        text.member("code", self.code.rawValue)
        text.member("message", self.message)
        if let holder = self.currentHolder { text.key("current_holder"); text.string(holder) }
        if let generation = self.generation { text.member("generation", generation) }
        text.endObject()
        text.endObject()
        var headers: [(name: String, value: String)] = [
            ("Content-Type", "application/json"), ("Cache-Control", CachePolicy.noStore),
        ]
        if self.code == .unavailable { headers.append(("Retry-After", "1")) }
        if self.code == .tokenInvalid || self.code == .tokenExpired { headers.append(("WWW-Authenticate", "Bearer")) }
        var response = StreamResponse(status: self.code.status, headers: headers, body: .bytes(text.bytes))
        response.errorCode = self.code.rawValue
        return response
    }
}
