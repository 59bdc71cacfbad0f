import ExactText
import NIOCore

/// Wakes: how they are issued, delivered, tried again and given up.
extension SubscriptionSet {
    /// Issues a wake when there is work, none is under way and the back-off allows it.
    mutating func wakeIfNeeded(_ id: String, at now: UInt64) -> [SubscriptionAction] {
        guard let subscription = self.subscriptions[id], subscription.wake == nil, !subscription.pending.isEmpty,
            !subscription.isLinking,
            subscription.nextAttemptAt ?? 0 <= now
        else { return [] }
        self.beginWake(id, phase: .announcing)
        switch subscription.configuration.delivery {
        case .webhook: return [.persist] + self.send(id, at: now)
        case .pullWake: return [.persist] + self.announce(id, at: now)
        }
    }

    /// Makes the next generation.
    mutating func beginWake(_ id: String, phase: Subscription.Wake.Phase) {
        let wakeID = "w_" + Base64URL.text(self.randomBytes(count: 16))
        self.subscriptions[id]?.generation += 1
        self.subscriptions[id]?.wake = Subscription.Wake(
            id: wakeID, phase: phase, snapshot: [:], leaseEnd: nil, attempt: 0)
    }

    func randomBytes(count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            var number = self.chance()
            for _ in 0..<min(8, count - bytes.count) {
                bytes.append(UInt8(truncatingIfNeeded: number))
                number >>= 8
            }
        }
        return bytes
    }

    /// Gives out a token for the generation in force.
    mutating func issueToken(_ id: String) -> String {
        let token = Base64URL.text(self.randomBytes(count: 32))
        let digest = self.digest(Array(token.utf8))
        guard var subscription = self.subscriptions[id] else { return token }
        subscription.tokens.append(
            Subscription.TokenRecord(generation: subscription.generation, digest: digest))
        if subscription.tokens.count > Subscription.rememberedTokens { subscription.tokens.removeFirst() }
        self.subscriptions[id] = subscription
        return token
    }

    /// Sends the webhook of the wake under way; its lease begins.
    private mutating func send(_ id: String, at now: UInt64) -> [SubscriptionAction] {
        let token = self.issueToken(id)
        guard var subscription = self.subscriptions[id], var wake = subscription.wake,
            case .webhook(let url) = subscription.configuration.delivery
        else { return [] }
        wake.phase = .sending
        wake.attempt += 1
        wake.snapshot = Self.snapshot(of: subscription)
        wake.leaseEnd = now + subscription.configuration.leaseTTL
        subscription.wake = wake
        subscription.nextAttemptAt = nil
        self.subscriptions[id] = subscription
        let body = self.wakeBody(subscription, wake: wake, token: token)
        return [
            .deliver(
                WebhookDelivery(
                    subscription: id, generation: subscription.generation, attempt: wake.attempt, url: url, body: body))
        ]
    }

    /// Appends the wake event of the wake under way.
    private mutating func announce(_ id: String, at now: UInt64) -> [SubscriptionAction] {
        guard var subscription = self.subscriptions[id],
            case .pullWake(let stream) = subscription.configuration.delivery
        else { return [] }
        subscription.wake?.phase = .announcing
        subscription.nextAttemptAt = nil
        self.subscriptions[id] = subscription
        var text = JSONText()
        text.beginObject()
        text.member("type", "wake")
        text.member("subscription_id", id)
        text.key("stream")
        text.string(subscription.pending.min() ?? "")
        text.member("generation", subscription.generation)
        text.member("ts", now)
        text.endObject()
        return [
            .appendWakeEvent(
                subscription: id, generation: subscription.generation, stream: stream, event: text.bytes)
        ]
    }

    static func snapshot(of subscription: Subscription) -> ExactDictionary<UInt64> {
        subscription.links.mapValues(\.tail)
    }

    /// The webhook was answered, or could not be reached. Answers to attempts of the past are passed over.
    package mutating func webhookAnswered(
        _ id: String, attempt: UInt64, generation: UInt64, with answer: WebhookAnswer, at now: UInt64
    ) -> [SubscriptionAction] {
        guard var subscription = self.subscriptions[id], subscription.generation == generation,
            let wake = subscription.wake, wake.phase == .sending, wake.attempt == attempt
        else { return [] }
        switch answer {
        case .done:
            for (name, tail) in wake.snapshot {
                subscription.updateLink(name) { $0.acked = max($0.acked, min(tail, $0.tail)) }
            }
            subscription.wake = nil
            subscription.failures = 0
            subscription.nextAttemptAt = nil
            self.subscriptions[id] = subscription
            return Self.merged([.persist] + self.wakeIfNeeded(id, at: now))
        case .accepted:
            subscription.failures = 0
            subscription.wake?.phase = .accepted
            subscription.wake?.leaseEnd = now + subscription.configuration.leaseTTL
            self.subscriptions[id] = subscription
            return [.persist]
        case .failed:
            self.subscriptions[id] = subscription
            return self.attemptFailed(id, at: now)
        }
    }

    /// The wake event was appended, or could not be.
    package mutating func wakeEventWritten(
        _ id: String, generation: UInt64, succeeded: Bool, at now: UInt64
    ) -> [SubscriptionAction] {
        guard let subscription = self.subscriptions[id], subscription.generation == generation,
            subscription.wake?.phase == .announcing
        else { return [] }
        guard succeeded else { return self.attemptFailed(id, at: now) }
        self.subscriptions[id]?.wake?.phase = .announced
        self.subscriptions[id]?.failures = 0
        return [.persist]
    }

    private mutating func attemptFailed(_ id: String, at now: UInt64) -> [SubscriptionAction] {
        guard var subscription = self.subscriptions[id] else { return [] }
        subscription.nextAttemptAt = now + self.backOff(failures: subscription.failures)
        subscription.failures += 1
        subscription.wake?.phase = .retrying
        subscription.wake?.leaseEnd = nil
        self.subscriptions[id] = subscription
        return [.persist]
    }

    /// Doubles with each failure up to a bound; a fifth up or down by chance.
    func backOff(failures: UInt64) -> UInt64 {
        let doubled = self.settings.firstRetry << min(failures, 20)
        let base = min(doubled, self.settings.longestRetry)
        let spread = base * 2 / 5
        return base - base / 5 + (spread > 0 ? self.chance() % (spread + 1) : 0)
    }

    // MARK: Time

    /// When ``timeReached(_:)`` is due next.
    package var nextDeadline: UInt64? {
        self.subscriptions.values.compactMap(\.deadline).min()
    }

    /// Leases end, retries come due.
    package mutating func timeReached(_ now: UInt64) -> [SubscriptionAction] {
        var actions: [SubscriptionAction] = []
        let due = self.subscriptions.values.filter { $0.deadline.map { $0 <= now } ?? false }.map(\.id).sortedExactly()
        for id in due { actions += self.timeReached(now, for: id) }
        return Self.merged(actions)
    }

    private mutating func timeReached(_ now: UInt64, for id: String) -> [SubscriptionAction] {
        guard let subscription = self.subscriptions[id], let wake = subscription.wake else {
            return self.wakeIfNeeded(id, at: now)
        }
        switch wake.phase {
        case .retrying:
            if subscription.pending.isEmpty {
                self.subscriptions[id]?.wake = nil
                self.subscriptions[id]?.nextAttemptAt = nil
                return [.persist]
            }
            switch subscription.configuration.delivery {
            case .webhook: return [.persist] + self.send(id, at: now)
            case .pullWake: return [.persist] + self.announce(id, at: now)
            }
        case .sending:
            // The receiver took the whole lease without an answer: the wake is void, and that was a failure.
            let next = now + self.backOff(failures: subscription.failures)
            self.subscriptions[id]?.wake = nil
            self.subscriptions[id]?.nextAttemptAt = next
            self.subscriptions[id]?.failures += 1
            return [.persist]
        case .accepted, .claimed:
            self.subscriptions[id]?.wake = nil
            return [.persist] + self.wakeIfNeeded(id, at: now)
        case .announcing, .announced:
            return []
        }
    }
}
