import ExactText
import NIOCore

/// All subscriptions of a service, as one machine: events in, actions out. Time, chance and the hash function come from
/// outside; tokens leave it once and are kept as digests only.
package struct SubscriptionSet: Sendable {
    package struct Settings: Sendable {
        package var names: StreamNameRules
        package var allowsLocalWebhooks: Bool
        /// Absolute URL of the control API, without a slash at its end: `https://host/v1/stream/__ds`.
        package var controlURL: String
        /// Most subscriptions, living and tombstones together.
        package var maximumSubscriptions: Int
        /// Most links of one subscription; streams found beyond it are not followed.
        package var maximumLinks: Int
        /// Bounds of the back-off, in milliseconds.
        package var firstRetry: UInt64
        package var longestRetry: UInt64

        package init(
            controlURL: String, names: StreamNameRules = StreamNameRules(), allowsLocalWebhooks: Bool = false,
            maximumSubscriptions: Int = 10_000, maximumLinks: Int = 100_000, firstRetry: UInt64 = 1000,
            longestRetry: UInt64 = 60_000
        ) {
            self.controlURL = controlURL
            self.names = names
            self.allowsLocalWebhooks = allowsLocalWebhooks
            self.maximumSubscriptions = maximumSubscriptions
            self.maximumLinks = maximumLinks
            self.firstRetry = firstRetry
            self.longestRetry = longestRetry
        }
    }

    package typealias Digest = @Sendable ([UInt8]) -> [UInt8]
    package typealias Chance = @Sendable () -> UInt64

    package let settings: Settings
    let digest: Digest
    let chance: Chance
    package internal(set) var subscriptions: ExactDictionary<Subscription> = [:]
    /// Names of deleted subscriptions; they are not given again.
    package internal(set) var tombstones: ExactSet = []
    /// Which subscriptions follow a stream; never empty lists.
    var followers: ExactDictionary<[String]> = [:]
    /// Streams that were looked at and found to concern no one, to be passed over quickly.
    var strangers: ExactSet = []

    /// - Parameters:
    ///   - digest: SHA-256.
    ///   - chance: a secure source of random numbers.
    package init(settings: Settings, digest: @escaping Digest, chance: @escaping Chance) {
        self.settings = settings
        self.digest = digest
        self.chance = chance
    }

    package static let maximumIDLength = 256

    package var isEmpty: Bool { self.subscriptions.isEmpty }

    package func subscription(_ id: String) throws(SubscriptionError) -> Subscription {
        guard let subscription = self.subscriptions[id], !subscription.isLinking else {
            throw SubscriptionError(.subscriptionNotFound, "There is no such subscription.")
        }
        return subscription
    }

    /// DELETE of a subscription: its name stays taken, what is under way for it fails from now on.
    package mutating func delete(_ id: String) throws(SubscriptionError) -> [SubscriptionAction] {
        if self.tombstones.contains(id) { return [] }
        let subscription = try self.subscription(id)
        self.subscriptions[id] = nil
        self.tombstones.insert(id)
        for name in subscription.links.keys { self.unfollow(name, by: id) }
        return [.persist]
    }

    /// POST of explicit links, at the tails that the streams have now.
    package mutating func addStreams(
        _ id: String, body: ByteBuffer, tail: (String) -> UInt64?
    ) throws(SubscriptionError) -> [SubscriptionAction] {
        var subscription = try self.subscription(id)
        guard let document = JSONValue(body), let list = document["streams"] else {
            throw SubscriptionError(.invalidRequest, "The body must be an object with streams.")
        }
        let names = try SubscriptionConfiguration.names(list, rules: self.settings.names)
        guard subscription.links.count + names.count <= self.settings.maximumLinks else {
            throw SubscriptionError(.unavailable, "The subscription follows as many streams as it can.")
        }
        for name in names {
            if subscription.links[name] != nil {
                subscription.updateLink(name) { $0.isExplicit = true }
            } else {
                let tail = tail(name) ?? 0
                subscription.addLink(
                    name,
                    Subscription.Link(
                        isExplicit: true, isGlob: Self.follows(name, subscription.configuration), acked: tail,
                        tail: tail))
                self.followers[name, default: []].append(id)
            }
        }
        self.subscriptions[id] = subscription
        return [.persist]
    }

    /// DELETE of one explicit link; what the pattern takes in stays.
    package mutating func removeStream(_ id: String, name: String) throws(SubscriptionError) -> [SubscriptionAction] {
        var subscription = try self.subscription(id)
        guard let link = subscription.links[name], link.isExplicit else { return [] }
        if link.isGlob {
            subscription.updateLink(name) { $0.isExplicit = false }
        } else {
            subscription.removeLink(name)
            self.unfollow(name, by: id)
        }
        self.subscriptions[id] = subscription
        return [.persist]
    }

    // MARK: Streams

    /// A stream was created or appended to. Call it before the writer is answered, so that a worker who knows of the
    /// data finds it pending.
    ///
    /// - Parameter previousTail: the tail before; a stream seen for the first time is followed from there.
    package mutating func streamChanged(
        _ name: String, previousTail: UInt64, tail: UInt64, at now: UInt64
    ) -> [SubscriptionAction] {
        if self.subscriptions.isEmpty { return [] }
        var actions: [SubscriptionAction] = []
        if self.followers[name] == nil, !self.strangers.contains(name) {
            if self.discover(name, tail: previousTail) { actions.append(.persist) }
        }
        for id in self.followers[name] ?? [] {
            self.subscriptions[id]?.updateLink(name) { $0.tail = max($0.tail, tail) }
            actions += self.wakeIfNeeded(id, at: now)
        }
        return Self.merged(actions)
    }

    /// A stream was made, possibly where another had been. Call it before its writer is answered.
    ///
    /// - Parameter previousTail: where its own data begins.
    package mutating func streamCreated(
        _ name: String, previousTail: UInt64, tail: UInt64, at now: UInt64
    ) -> [SubscriptionAction] {
        if self.subscriptions.isEmpty { return [] }
        var actions = self.streamRemoved(name)
        if self.discover(name, tail: previousTail) { actions.append(.persist) }
        for id in self.followers[name] ?? [] {
            self.subscriptions[id]?.updateLink(name) { $0.acked = max($0.acked, previousTail) }
        }
        return Self.merged(actions + self.streamChanged(name, previousTail: previousTail, tail: tail, at: now))
    }

    /// Names of all streams that a subscription follows.
    package var followedStreams: [String] { Array(self.followers.keys) }

    /// Whether no subscription has seen data of a stream, so that its absence says nothing new.
    package func isUnknown(_ name: String) -> Bool {
        (self.followers[name] ?? []).allSatisfy { id in
            self.subscriptions[id]?.links[name].map { $0.isExplicit && $0.tail == 0 } ?? true
        }
    }

    /// Links a stream to every subscription whose pattern takes it in. Returns whether any link has changed.
    mutating func discover(_ name: String, tail: UInt64) -> Bool {
        var found: [String] = []
        var hasChanged = false
        for (id, subscription) in self.subscriptions {
            let isGlob = Self.follows(name, subscription.configuration)
            if let link = subscription.links[name] {
                found.append(id)
                guard isGlob, !link.isGlob else { continue }
                self.subscriptions[id]?.updateLink(name) { $0.isGlob = true }
                hasChanged = true
            } else if isGlob, subscription.links.count < self.settings.maximumLinks {
                self.subscriptions[id]?.addLink(
                    name, Subscription.Link(isExplicit: false, isGlob: true, acked: tail, tail: tail))
                found.append(id)
                hasChanged = true
            }
        }
        if found.isEmpty {
            // Not without bound: who is forgotten is looked at again.
            if self.strangers.count >= 4 * self.settings.maximumLinks { self.strangers = [] }
            self.strangers.insert(name)
        } else {
            self.followers[name] = found
        }
        return hasChanged
    }

    /// A stream was deleted or has expired. Explicit links stay and begin anew with the next stream of that name.
    package mutating func streamRemoved(_ name: String) -> [SubscriptionAction] {
        guard let ids = self.followers[name] else {
            self.strangers.remove(name)
            return []
        }
        var left: [String] = []
        for id in ids {
            guard let link = self.subscriptions[id]?.links[name] else { continue }
            self.subscriptions[id]?.wake?.snapshot[name] = nil
            if link.isExplicit {
                self.subscriptions[id]?.updateLink(name) {
                    $0.acked = 0
                    $0.tail = 0
                }
                left.append(id)
            } else {
                self.subscriptions[id]?.removeLink(name)
            }
        }
        self.followers[name] = left.isEmpty ? nil : left
        return [.persist]
    }

    /// One `persist`, in front, for however many were collected.
    static func merged(_ actions: [SubscriptionAction]) -> [SubscriptionAction] {
        guard actions.contains(.persist) else { return actions }
        return [.persist] + actions.filter { $0 != .persist }
    }
}
