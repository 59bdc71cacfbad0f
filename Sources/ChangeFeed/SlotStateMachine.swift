import PostgresWire

/// What the server says about the slot, and about itself, at one moment.
package struct SlotFacts: Hashable, Sendable {
    package enum Presence: Hashable, Sendable {
        case absent
        case present(confirmed: LSN, activePID: Int32?)
        /// The server has given the slot's WAL up, or the slot is of another kind.
        case unusable(reason: String)
    }

    package var systemIdentifier: UInt64
    package var timeline: UInt32
    package var walFlush: LSN
    package var nextXID: UInt64
    package var presence: Presence

    package init(systemIdentifier: UInt64, timeline: UInt32, walFlush: LSN, nextXID: UInt64, presence: Presence) {
        self.systemIdentifier = systemIdentifier
        self.timeline = timeline
        self.walFlush = walFlush
        self.nextXID = nextXID
        self.presence = presence
    }
}

/// What the sidecar's own disk says about the stream it followed.
package struct StreamIdentity: Hashable, Sendable {
    package var systemIdentifier: UInt64
    package var timeline: UInt32
    package var slotName: String
    /// Counts how often the log had to begin anew.
    package var epoch: UInt64
    /// The log is complete after this position.
    package var base: LSN

    package init(systemIdentifier: UInt64, timeline: UInt32, slotName: String, epoch: UInt64, base: LSN) {
        self.systemIdentifier = systemIdentifier
        self.timeline = timeline
        self.slotName = slotName
        self.epoch = epoch
        self.base = base
    }
}

/// Whether the log on disk can be continued from the slot, decided from facts alone.
package enum SlotDecision: Hashable, Sendable {
    /// Both fit: stream from the log's position.
    case resume
    /// Nothing was ever stored: take the slot as it is (or make one).
    case begin(createSlot: Bool, dropFirst: Bool)
    /// The log cannot be continued without a gap: begin a new epoch; clients start over.
    case startOver(reason: String, createSlot: Bool, dropFirst: Bool)

    /// - Parameters:
    ///   - identity: of the log on disk, nil if there is none.
    ///   - stored: the last position that the log holds durably, progress records included.
    package static func decide(
        facts: SlotFacts, identity: StreamIdentity?, stored: LSN, slotName: String
    ) -> SlotDecision {
        let unusable: Bool
        if case .unusable = facts.presence { unusable = true } else { unusable = false }
        let create = if case .present = facts.presence { false } else { true }

        guard let identity else { return .begin(createSlot: create, dropFirst: unusable) }
        func over(_ reason: String) -> SlotDecision {
            .startOver(reason: reason, createSlot: create, dropFirst: unusable)
        }
        if identity.systemIdentifier != facts.systemIdentifier {
            return over("the database belongs to another cluster than the change log")
        }
        if identity.slotName != slotName {
            return over("the change log belongs to slot \(identity.slotName)")
        }
        switch facts.presence {
        case .absent:
            return over("the replication slot is gone")
        case .unusable(let reason):
            return over(reason)
        case .present(let confirmed, _):
            if confirmed > stored {
                return over(
                    "the slot stands at \(confirmed), beyond the log's end at \(stored): it was moved or recreated")
            }
            if facts.walFlush < stored {
                return over(
                    "the server's WAL ends at \(facts.walFlush), before the log's end at \(stored): it was restored")
            }
            if identity.timeline != facts.timeline, confirmed < stored {
                return over("the server is on timeline \(facts.timeline) now and the slot lags behind the log")
            }
            return .resume
        }
    }
}

/// The life of the replication slot, told alike in health, log and metrics.
///
/// Pure: events in, the state out. Durations are seconds of any monotonic clock.
package struct SlotStateMachine: Sendable {
    package enum State: Hashable, Sendable {
        /// Not looked at yet, or the database is away. Next: `absent`, `connecting`, `lost`.
        case unknown(reason: String)
        /// There is no slot. Next: `creating`.
        case absent
        /// The slot is being made, which waits for the transactions named. Next: `connecting`, `unknown`.
        case creating(waitingFor: [Int32])
        /// The slot exists; a transport is being started. Next: `streaming`, `lost`, `unknown`.
        case connecting(transport: String)
        /// Changes flow. Next: `lagging`, `connecting`, `lost`, `unknown`.
        case streaming(transport: String)
        /// WAL moves and the stream does not. Next: `streaming`, `connecting`, `lost`, `unknown`.
        case lagging(transport: String, bytes: UInt64)
        /// The slot cannot be used any more and why; it is being replaced. Next: `creating`, `connecting`.
        case lost(reason: String)
    }

    package private(set) var state: State = .unknown(reason: "starting")
    /// Why the log began anew last, if it did since the start of the process.
    package private(set) var recreatedBecause: String?
    /// Whether everything that was committed when the stream began has been received.
    package private(set) var caughtUp = false
    private var target: LSN = .zero
    private var lastAdvance: Double = 0
    private var lastPosition: LSN = .zero
    /// Seconds without progress, while WAL moves, after which the stream counts as lagging.
    package let patience: Double

    package init(patience: Double = 20) {
        self.patience = patience
    }

    /// Whether clients can be served with current data.
    package var isReady: Bool {
        guard case .streaming = self.state else { return false }
        return self.caughtUp
    }

    package mutating func databaseLost(_ reason: String) {
        self.state = .unknown(reason: reason)
        // What is committed while we are away has to be caught up with.
        self.caughtUp = false
    }
    package mutating func slotMissing() { self.state = .absent }
    package mutating func creationStarted() { self.state = .creating(waitingFor: []) }
    package mutating func creationWaits(for pids: [Int32]) { self.state = .creating(waitingFor: pids) }
    package mutating func slotLost(_ reason: String) {
        self.state = .lost(reason: reason)
        self.caughtUp = false
    }
    package mutating func startedOver(_ reason: String) { self.recreatedBecause = reason }
    package mutating func transportChosen(_ transport: String) { self.state = .connecting(transport: transport) }

    /// The stream runs; `walFlush` is the end of WAL at that moment, up to which it has to catch up first.
    package mutating func streamStarted(_ transport: String, position: LSN, walFlush: LSN, now: Double) {
        self.state = .streaming(transport: transport)
        if !self.caughtUp { self.target = walFlush }
        self.lastAdvance = now
        self.advanced(to: position, now: now)
    }

    /// Everything up to `position` has been received.
    package mutating func advanced(to position: LSN, now: Double) {
        if position > self.lastPosition || position >= self.target {
            self.lastPosition = max(position, self.lastPosition)
            self.lastAdvance = now
        }
        if position >= self.target { self.caughtUp = true }
        if case .lagging(let transport, _) = self.state { self.state = .streaming(transport: transport) }
    }

    /// The end of WAL was looked up: tells whether the stream keeps up with it.
    package mutating func walObserved(flush: LSN, position: LSN, now: Double) {
        let lag = flush.distance(from: position)
        switch self.state {
        case .streaming(let transport), .lagging(let transport, _):
            if lag > 0, now - self.lastAdvance > self.patience {
                self.state = .lagging(transport: transport, bytes: lag)
            } else {
                self.state = .streaming(transport: transport)
            }
        default:
            break
        }
        if lag == 0 { self.lastAdvance = now }
    }

    /// One sentence for health and log.
    package var summary: String {
        switch self.state {
        case .unknown(let reason): return "not connected: \(reason)"
        case .absent: return "the replication slot does not exist yet"
        case .creating(let pids) where pids.isEmpty: return "creating the replication slot"
        case .creating(let pids):
            let list = pids.map(String.init).joined(separator: ", ")
            return "creating the replication slot; it waits for open transactions of pid \(list)"
        case .connecting(let transport): return "starting the stream over \(transport)"
        case .streaming(let transport):
            return self.caughtUp ? "streaming over \(transport)" : "catching up over \(transport)"
        case .lagging(let transport, let bytes): return "stalled over \(transport), \(bytes) bytes behind"
        case .lost(let reason): return "slot lost: \(reason)"
        }
    }

    /// One low-cardinality word for metrics.
    package var label: String {
        switch self.state {
        case .unknown: return "unknown"
        case .absent: return "absent"
        case .creating: return "creating"
        case .connecting: return "connecting"
        case .streaming: return self.caughtUp ? "streaming" : "catching_up"
        case .lagging: return "lagging"
        case .lost: return "lost"
        }
    }
}
