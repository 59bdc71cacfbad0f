import Logging
import NIOCore
import NIOPosix
import PostgresWire
import ServiceLifecycle
import StreamStore
import Synchronization

/// The one stream of committed transactions: received from the database over either transport, stored, acknowledged, and
/// offered to every protocol.
///
/// Consumers are woken as soon as a transaction has arrived; the database is told that it may forget one only when the log holds it
/// durably. A crash in between makes the database send it again, so a client can never know of something that is lost.
package final class ChangeFeed: Service, Sendable {
    package let options: FeedOptions
    let database: any FeedDatabase
    let store: LogStore
    let group: any EventLoopGroup
    let logger: Logger
    let clock = ContinuousClock()
    let started: ContinuousClock.Instant
    /// Called when the log had to begin anew, before the first transaction of the new epoch.
    let onStartOver: @Sendable (_ reason: String) async throws -> Void
    let core: Mutex<FeedCore?>
    let slot = Mutex(SlotStateMachine())
    /// What the running transport delivers to, and through which acknowledgements go back.
    let currentSink = Mutex<Sink?>(nil)
    /// What the server is known to take for safe, where the slot is held back.
    let confirmed = Mutex(LSN.zero)
    /// Whether a trim of a log in memory is under way.
    let isTrimming = Atomic(false)
    private let observers = Mutex<[@Sendable () -> Void]>([])

    /// - Parameters:
    ///   - onStartOver: must make every client start over; it is awaited before streaming begins again.
    package init(
        options: FeedOptions, database: any FeedDatabase, store: LogStore, group: any EventLoopGroup, logger: Logger,
        onStartOver: @escaping @Sendable (_ reason: String) async throws -> Void
    ) {
        self.options = options
        self.database = database
        self.store = store
        self.group = group
        self.logger = logger
        self.onStartOver = onStartOver
        self.core = Mutex(nil)
        self.started = self.clock.now
    }

    /// Seconds since the feed was made, for the slot's state machine.
    var now: Double {
        let elapsed = self.clock.now - self.started
        return Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
    }

    /// Adds a closure that is called after new transactions have become visible, from the thread that received them. It must be
    /// short. There is no removal: consumers live as long as the feed.
    package func observe(_ observer: @escaping @Sendable () -> Void) {
        self.observers.withLock { $0.append(observer) }
    }

    func notifyObservers() {
        for observer in self.observers.withLock({ $0 }) { observer() }
    }

    /// The newest position that consumers may know; nil until the slot's position is known.
    package var position: LSN? { self.core.withLock { $0?.window.visiblePosition } }

    /// The oldest position from which the stream can be continued.
    package var oldestPosition: LSN? { self.core.withLock { $0?.log.base } }

    package var health: FeedHealth {
        let (ready, label, summary, recreated) = self.slot.withLock {
            ($0.isReady, $0.label, $0.summary, $0.recreatedBecause)
        }
        return self.core.withLock { core in
            FeedHealth(
                isReady: ready, label: label, summary: summary, startedOverBecause: recreated,
                position: core?.window.visiblePosition, durable: core?.acknowledged, epoch: core?.log.identity.epoch,
                lagBytes: core.map { $0.walFlush.distance(from: max($0.reached, $0.window.visiblePosition)) },
                logBytes: core?.log.totalBytes, cacheBytes: core?.window.cost, cachedTransactions: core?.window.count,
                transactions: core?.transactions ?? 0, duplicates: core?.duplicates ?? 0)
        }
    }

    /// What follows `position`, up to about `maximumBytes`.
    ///
    /// Served from memory when it is recent, otherwise from the log by a thread that may block.
    package func read(after position: LSN, maximumBytes: Int = 1 << 20) async throws -> FeedReadResult {
        enum Source {
            case memory([FeedEntry])
            case log(ChangeLog)
            case behind
        }
        let source: Source = self.core.withLock { core in
            guard let core, position >= core.log.base else { return .behind }
            guard let entries = core.window.entries(after: position, maximumBytes: maximumBytes) else {
                return .log(core.log)
            }
            return .memory(entries)
        }
        switch source {
        case .behind: return .behindWindow
        case .memory(let entries): return .entries(entries)
        case .log(let log):
            do {
                return try await NIOThreadPool.singleton.runIfActive {
                    try log.read(after: position, maximumBytes: maximumBytes)
                }
            } catch let error as StoreError where error.code == .closed && !self.isCurrent(log) {
                // A new epoch has begun.
                return .behindWindow
            }
        }
    }

    private func isCurrent(_ log: ChangeLog) -> Bool { self.core.withLock { $0?.log === log } }

    /// What follows `position` and is in memory; nil if the position lies before that. Never blocks.
    package func recent(after position: LSN, maximumBytes: Int = 1 << 20) -> [FeedEntry]? {
        self.core.withLock { $0?.window.entries(after: position, maximumBytes: maximumBytes) }
    }

    /// Reads one piece of a large transaction.
    package func piece(_ index: Int, of transaction: LargeTransaction) async throws -> TransactionPiece {
        guard let log = self.core.withLock({ $0?.log }) else {
            throw ChangeLogError(reason: "the change log is not open")
        }
        return try await NIOThreadPool.singleton.runIfActive {
            try log.piece(index, of: transaction)
        }
    }

    /// Whether a transaction that consumers have passed is not yet visible in `snapshot`; the snapshot must be taken again then.
    package func hasTransactionUnseen(by snapshot: TransactionSnapshot, upTo position: LSN) -> Bool {
        self.core.withLock { $0?.window.hasTransactionUnseen(by: snapshot, upTo: position) ?? false }
    }
}

/// What operators see of the feed.
package struct FeedHealth: Sendable {
    /// Whether current data is being served.
    package var isReady: Bool
    /// One word for metrics.
    package var label: String
    /// One sentence for people.
    package var summary: String
    package var startedOverBecause: String?
    package var position: LSN?
    /// What the database has been told to be safe.
    package var durable: LSN?
    package var epoch: UInt64?
    package var lagBytes: UInt64?
    package var logBytes: UInt64?
    package var cacheBytes: Int?
    package var cachedTransactions: Int?
    package var transactions: UInt64
    package var duplicates: UInt64
}
