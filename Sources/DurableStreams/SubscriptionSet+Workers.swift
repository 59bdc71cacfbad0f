import ExactText
import NIOCore

/// What workers and receivers ask for.
extension SubscriptionSet {
    /// POST of a claim: the lease for the wake under way, or for a new one when there is work.
    package mutating func claim(
        _ id: String, body: ByteBuffer, at now: UInt64
    ) throws(SubscriptionError) -> (response: StreamResponse, actions: [SubscriptionAction]) {
        let subscription = try self.subscription(id)
        guard case .pullWake = subscription.configuration.delivery else {
            throw SubscriptionError(.invalidRequest, "Only pull-wake subscriptions are claimed.")
        }
        guard let worker = JSONValue(body)?["worker"]?.stringValue, !worker.isEmpty, worker.utf8.count <= 256 else {
            throw SubscriptionError(.invalidRequest, "worker must be a short text.")
        }
        if let wake = subscription.wake, let holder = wake.holder, (wake.leaseEnd ?? 0) > now {
            throw SubscriptionError(
                .alreadyClaimed, "Another worker holds the lease.", currentHolder: holder,
                generation: subscription.generation)
        }
        guard !subscription.pending.isEmpty else {
            throw SubscriptionError(.noPendingWork, "There is nothing to do.")
        }
        if subscription.wake == nil || subscription.wake?.holder != nil {
            self.beginWake(id, phase: .claimed(worker: worker))
        }
        let token = self.issueToken(id)
        guard var claimed = self.subscriptions[id], var wake = claimed.wake else {
            throw SubscriptionError(.subscriptionNotFound, "There is no such subscription.")
        }
        wake.phase = .claimed(worker: worker)
        wake.leaseEnd = now + claimed.configuration.leaseTTL
        wake.snapshot = Self.snapshot(of: claimed)
        claimed.wake = wake
        claimed.failures = 0
        claimed.nextAttemptAt = nil
        self.subscriptions[id] = claimed

        var text = JSONText()
        text.beginObject()
        text.member("wake_id", wake.id)
        text.member("generation", claimed.generation)
        text.member("token", token)
        Self.writeWakeStreams(claimed, into: &text)
        text.member("lease_ttl_ms", claimed.configuration.leaseTTL)
        text.endObject()
        return (Self.jsonResponse(status: 200, text.bytes), [.persist])
    }

    /// POST of an ack by a worker, or of a callback by a webhook's receiver.
    ///
    /// - Parameter authorization: the header of that name.
    package mutating func acknowledge(
        _ id: String, authorization: String?, body: ByteBuffer, at now: UInt64
    ) throws(SubscriptionError) -> (outcome: AcknowledgeOutcome, actions: [SubscriptionAction]) {
        var subscription = try self.subscription(id)
        let document = try Self.object(body)
        try self.checkFence(subscription, authorization: authorization, document: document, at: now)

        // The whole batch is checked before any of it counts.
        var acks: [(name: String, position: UInt64)] = []
        if let list = document["acks"], !list.isNull {
            guard let values = list.arrayValue else {
                throw SubscriptionError(.invalidRequest, "acks must be a list.")
            }
            for value in values {
                guard let text = value["stream"]?.stringValue, let token = value["offset"]?.stringValue else {
                    throw SubscriptionError(.invalidRequest, "An ack needs stream and offset.")
                }
                let name = text.hasPrefix("/") ? String(text.dropFirst()) : text
                guard let link = subscription.links[name], let offset = StreamOffset(token: token),
                    offset.position >= link.acked, offset.position <= link.tail
                else {
                    throw SubscriptionError(
                        .invalidOffset, "An ack must name a followed stream, and lie between its last ack and its tail."
                    )
                }
                acks.append((name, offset.position))
            }
        }
        for ack in acks { subscription.updateLink(ack.name) { $0.acked = max($0.acked, ack.position) } }
        guard document["done"]?.boolValue == true else {
            subscription.wake?.leaseEnd = now + subscription.configuration.leaseTTL
            // A callback that comes before the answer to its request: the receiver is at work.
            if subscription.wake?.phase == .retrying { subscription.wake?.phase = .accepted }
            self.subscriptions[id] = subscription
            return (AcknowledgeOutcome(nextWake: false), [.persist])
        }
        self.release(&subscription)
        self.subscriptions[id] = subscription
        let actions = self.wakeIfNeeded(id, at: now)
        return (
            AcknowledgeOutcome(nextWake: !subscription.pending.isEmpty), Self.merged([.persist] + actions)
        )
    }

    /// POST of a release: the lease is given back, nothing is acked.
    package mutating func release(
        _ id: String, authorization: String?, body: ByteBuffer, at now: UInt64
    ) throws(SubscriptionError) -> [SubscriptionAction] {
        var subscription = try self.subscription(id)
        let document = try Self.object(body)
        try self.checkFence(subscription, authorization: authorization, document: document, at: now)
        self.release(&subscription)
        self.subscriptions[id] = subscription
        return Self.merged([.persist] + self.wakeIfNeeded(id, at: now))
    }

    private func release(_ subscription: inout Subscription) {
        subscription.wake = nil
        subscription.failures = 0
        subscription.nextAttemptAt = nil
    }

    private static func object(_ body: ByteBuffer) throws(SubscriptionError) -> JSONValue {
        guard let document = JSONValue(body), case .object = document else {
            throw SubscriptionError(.invalidRequest, "The body must be a JSON object.")
        }
        return document
    }

    /// Token, generation and wake must all be the ones in force, and the lease must not have ended.
    private func checkFence(
        _ subscription: Subscription, authorization: String?, document: JSONValue, at now: UInt64
    ) throws(SubscriptionError) {
        guard let token = Self.bearer(authorization) else {
            throw SubscriptionError(.tokenInvalid, "A bearer token is needed.")
        }
        let digest = self.digest(Array(token.utf8))
        guard let record = subscription.tokens.last(where: { Self.equal($0.digest, digest) }) else {
            throw SubscriptionError(.tokenInvalid, "The token is not one of this subscription.")
        }
        let fenced = SubscriptionError(
            .fenced, "The wake is no longer in force.", generation: subscription.generation)
        guard let wake = subscription.wake, record.generation == subscription.generation else { throw fenced }
        guard let generation = document["generation"]?.unsignedValue, let wakeID = document["wake_id"]?.stringValue
        else { throw SubscriptionError(.invalidRequest, "wake_id and generation are needed.") }
        guard generation == subscription.generation, wakeID == wake.id, wake.leaseEnd.map({ $0 > now }) ?? true else {
            throw fenced
        }
    }

    private static func bearer(_ authorization: String?) -> String? {
        guard let authorization else { return nil }
        let parts = authorization.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, HeaderText.equalIgnoringCase(String(parts[0]), "bearer") else { return nil }
        return HeaderText.trimmed(parts[1])
    }

    /// Compares without telling by its duration where the first difference is.
    private static func equal(_ lhs: [UInt8], _ rhs: [UInt8]) -> Bool {
        guard lhs.count == rhs.count else { return false }
        return zip(lhs, rhs).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
