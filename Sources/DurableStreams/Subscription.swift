import ExactText

/// One subscription: its links to streams, and the wake that is under way.
package struct Subscription: Sendable {
    /// A stream that the subscription follows.
    package struct Link: Hashable, Sendable {
        package var isExplicit: Bool
        package var isGlob: Bool
        /// Position up to which work is done.
        package var acked: UInt64
        package var tail: UInt64

        package var isPending: Bool { self.tail > self.acked }
        package var type: String { self.isExplicit ? "explicit" : "glob" }
    }

    /// A wake between its issue and its release.
    package struct Wake: Hashable, Sendable {
        package enum Phase: Hashable, Sendable {
            /// A webhook request is under way.
            case sending
            /// The next attempt is due at ``Subscription/nextAttemptAt``.
            case retrying
            /// The webhook was taken; its receiver works under the lease.
            case accepted
            /// The wake event is being appended.
            case announcing
            /// The wake event was appended; no one has claimed yet.
            case announced
            /// A worker holds the lease.
            case claimed(worker: String)
        }

        package var id: String
        package var phase: Phase
        /// Tails that the receiver was told.
        package var snapshot: ExactDictionary<UInt64>
        /// When the lease ends; nil while there is none.
        package var leaseEnd: UInt64?
        /// Counts webhook requests of this wake, so that answers to earlier ones are known.
        package var attempt: UInt64

        package var holder: String? {
            if case .claimed(let worker) = self.phase { worker } else { nil }
        }
    }

    /// The digest of a token that was given out.
    struct TokenRecord: Hashable, Sendable {
        var generation: UInt64
        var digest: [UInt8]
    }

    package let id: String
    package let configuration: SubscriptionConfiguration
    package let createdAt: UInt64
    /// Absolute URL of the control API as its creator reached it; nil for the one of the settings.
    package internal(set) var controlURL: String?
    package internal(set) var links: ExactDictionary<Link> = [:]
    /// Names of links that are pending.
    package internal(set) var pending: ExactSet = []
    package internal(set) var generation: UInt64 = 0
    package internal(set) var wake: Wake?
    /// Failed attempts in a row.
    package internal(set) var failures: UInt64 = 0
    /// No attempt before this time.
    package internal(set) var nextAttemptAt: UInt64?
    var tokens: [TokenRecord] = []
    /// Whether the streams that were there before it are still being looked up. Nobody knows of it until that is done.
    var isLinking = false

    static let rememberedTokens = 16

    init(id: String, configuration: SubscriptionConfiguration, createdAt: UInt64) {
        self.id = id
        self.configuration = configuration
        self.createdAt = createdAt
    }

    package var isFailed: Bool { self.failures > 0 }

    mutating func updateLink(_ name: String, _ change: (inout Link) -> Void) {
        guard var link = self.links[name] else { return }
        change(&link)
        self.links[name] = link
        if link.isPending { self.pending.insert(name) } else { self.pending.remove(name) }
    }

    mutating func addLink(_ name: String, _ link: Link) {
        self.links[name] = link
        if link.isPending { self.pending.insert(name) } else { self.pending.remove(name) }
    }

    mutating func removeLink(_ name: String) {
        self.links[name] = nil
        self.pending.remove(name)
    }

    /// When time next matters to this subscription.
    var deadline: UInt64? {
        guard let wake = self.wake else { return self.pending.isEmpty ? nil : self.nextAttemptAt }
        return wake.phase == .retrying ? self.nextAttemptAt : wake.leaseEnd
    }
}
