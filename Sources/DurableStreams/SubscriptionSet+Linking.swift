import ExactText
import NIOCore

/// How a subscription comes to be: begun, linked to what is there piece by piece, and finished.
///
/// Why in steps: there may be a million streams, and whoever owns the machine cannot hold everybody up while it looks at
/// them. From the first step on streams that change or come are linked as for any subscription, so that the look may be
/// at any moment after it. Until the last nothing of it is told or written down: a crash in between leaves nothing.
extension SubscriptionSet {
    /// What a PUT has led to.
    package enum Beginning: Sendable {
        /// An equal one is there.
        case confirmed
        /// To be linked with every stream that ``follows(_:_:)`` takes in, and finished.
        case begun(SubscriptionConfiguration)
    }

    /// PUT: begins a subscription, or confirms an equal one.
    ///
    /// - Parameters:
    ///   - controlURL: absolute URL of the control API as the creator reached it; nil for the one of the settings.
    ///   - tail: the tail of a stream that is named; nil if it is not there.
    package mutating func begin(
        _ id: String, body: ByteBuffer, controlURL: String? = nil, tail: (String) -> UInt64?, at now: UInt64
    ) throws(SubscriptionError) -> Beginning {
        guard !id.isEmpty, id.utf8.count <= Self.maximumIDLength, !id.contains("/"),
            id.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F })
        else { throw SubscriptionError(.invalidRequest, "The name of the subscription is invalid.") }
        let configuration = try SubscriptionConfiguration(
            body: body, names: self.settings.names, allowsLocalWebhooks: self.settings.allowsLocalWebhooks)
        if let existing = self.subscriptions[id] {
            guard existing.configuration.canonicalText == configuration.canonicalText else {
                throw SubscriptionError(
                    .subscriptionAlreadyExists, "A subscription with another configuration has this name.")
            }
            guard !existing.isLinking else {
                throw SubscriptionError(.unavailable, "The subscription is being made by another request.")
            }
            return .confirmed
        }
        guard !self.tombstones.contains(id) else {
            throw SubscriptionError(.subscriptionAlreadyExists, "A deleted subscription had this name.")
        }
        guard self.subscriptions.count + self.tombstones.count < self.settings.maximumSubscriptions else {
            throw SubscriptionError(.unavailable, "There are as many subscriptions as the service keeps.")
        }
        var subscription = Subscription(id: id, configuration: configuration, createdAt: now)
        subscription.controlURL = controlURL
        subscription.isLinking = true
        for name in configuration.streams {
            let tail = tail(name) ?? 0
            subscription.addLink(
                name,
                Subscription.Link(
                    isExplicit: true, isGlob: Self.follows(name, configuration), acked: tail, tail: tail))
            self.followers[name, default: []].append(id)
        }
        self.subscriptions[id] = subscription
        // Whoever concerned no one may concern this one.
        self.strangers = []
        return .begun(configuration)
    }

    /// Links streams that were found by a look at all of them, unless a change has told of them before.
    ///
    /// - Parameters:
    ///   - names: streams that the subscription follows.
    ///   - tail: as it is now; nil for a stream that has gone since.
    package mutating func link(_ id: String, to names: some Sequence<String>, tail: (String) -> UInt64?) {
        // Why taken out: a copy of all links for each piece would cost more than the links.
        guard var subscription = self.subscriptions.removeValue(forKey: id) else { return }
        for name in names where subscription.links[name] == nil {
            guard subscription.links.count < self.settings.maximumLinks else { break }
            guard let tail = tail(name) else { continue }
            subscription.addLink(name, Subscription.Link(isExplicit: false, isGlob: true, acked: tail, tail: tail))
            self.followers[name, default: []].append(id)
            self.strangers.remove(name)
        }
        self.subscriptions[id] = subscription
    }

    /// Everything that was there is linked: the subscription is one like the others.
    package mutating func finish(_ id: String, at now: UInt64) -> [SubscriptionAction] {
        guard self.subscriptions[id]?.isLinking == true else { return [] }
        self.subscriptions[id]?.isLinking = false
        return Self.merged([.persist] + self.wakeIfNeeded(id, at: now))
    }

    /// Whether the pattern of a subscription takes a stream in. The stream that carries its wake events never is: each
    /// event would cause the next.
    package static func follows(_ name: String, _ configuration: SubscriptionConfiguration) -> Bool {
        if case .pullWake(let own) = configuration.delivery, own.isExactly(name) { return false }
        return configuration.pattern?.matches(name) ?? false
    }

    mutating func unfollow(_ name: String, by id: String) {
        guard var ids = self.followers.removeValue(forKey: name) else { return }
        ids.removeAll { $0.isExactly(id) }
        if !ids.isEmpty { self.followers[name] = ids }
    }

    mutating func rebuildFollowers() {
        self.followers = [:]
        self.strangers = []
        for (id, subscription) in self.subscriptions {
            for name in subscription.links.keys { self.followers[name, default: []].append(id) }
        }
    }
}
