internal import ExactText
internal import NIOCore

/// The client's subscriptions, and what is being delivered for them.
struct SubscriptionState: Sendable {
    /// A subscription whose data the client has.
    struct Subscription: Hashable, Sendable {
        var id: String
        /// The whole tables it stands for, those reached by foreign keys included.
        var tables: [UInt32]
    }

    /// A subscription whose data the client does not have yet.
    struct Pending: Hashable, Sendable {
        var id: String
        var requestIDs: [String]
        var tables: [UInt32]
        /// The encoded request, to be stored.
        var request: ByteBuffer
    }

    /// Something that stands between two transactions.
    struct Delivery: Sendable {
        enum Content: Sendable {
            case subscription(Pending)
            /// Removal of the rows that no subscription holds any longer. `ids` as the client gave them; `stored` are
            /// those that had been delivered, whose end is stored.
            case gone(ids: [String], stored: [String])
        }

        enum Step: Sendable {
            /// Exits: `fetching`, done.
            case queued
            /// Waits for the snapshot. Exits: `sending`, removed.
            case fetching
            /// The client has got the beginning. Exits: done.
            case sending
        }

        /// The number of the request, once there is one.
        var number = -1
        var content: Content
        var step = Step.queued
        /// The client has unsubscribed meanwhile: the removal of the rows is queued behind.
        var isRevoked = false
        /// The tables of the request.
        var tables: [SatelliteTable] = []
    }

    var active: [Subscription] = []
    /// Tables of which the client has rows and gets changes.
    var held = Set<UInt32>()
    var filters: [SnapshotFilter] = []
    /// The first one may be under way, the others are queued.
    var deliveries: [Delivery] = []
    /// Subscriptions that were ended and whose end is stored.
    var ended = ExactSet()
    private var nextNumber = 0

    /// Whether the stream has to wait.
    var isDelivering: Bool { !self.deliveries.isEmpty }

    /// Whether the client has got a part of a delivery.
    var isMidDelivery: Bool {
        if case .sending = self.deliveries.first?.step { return true }
        return false
    }

    var count: Int { self.active.count + self.deliveries.count }

    mutating func takeNumber() -> Int {
        self.nextNumber += 1
        return self.nextNumber
    }

    func isKnown(_ id: String) -> Bool {
        if self.active.contains(where: { $0.id.isExactly(id) }) { return true }
        return self.deliveries.contains { delivery in
            if case .subscription(let pending) = delivery.content { return pending.id.isExactly(id) }
            return false
        }
    }

    /// Begins with what the client already has. Subscriptions that wait for the stream stay.
    mutating func resume(_ subscriptions: [Subscription], filters: [SnapshotFilter]) {
        self.active = subscriptions
        self.held = Set(subscriptions.flatMap(\.tables))
        self.filters = filters
        self.deliveries.removeAll { if case .gone = $0.content { return true } else { return false } }
        self.ended = []
    }

    /// Ends subscriptions that the client has, and queues the removal of their rows. Until that is delivered the tables
    /// stay in ``held``.
    ///
    /// - Parameter stored: those of `ids` whose end is stored.
    mutating func end(_ ids: [String], stored: [String]) {
        self.active.removeAll { ids.containsExactly($0.id) }
        self.ended.formUnion(stored)
        self.deliveries.append(Delivery(content: .gone(ids: ids, stored: stored)))
    }
}
