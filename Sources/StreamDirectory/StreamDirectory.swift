import DurableStreams
import NIOCore
import StreamStore
import Synchronization

/// All streams of a server, in one of several storage modes behind one interface.
///
/// - A change is decided under the lock of its stream, handed to the storage inside that lock, and answered when it is
///   durable in the sense of the mode; only then do readers see it. So the order of decisions is the order on the disk,
///   and nothing that was read can be taken back by what the mode survives.
/// - All that one request changes is one record: there after a crash, or not.
/// - Nothing here blocks on the disk but what says so. Answers come on the thread that made them durable, or, with a
///   `CompletionTarget`, gathered for each target.
package final class StreamDirectory: Sendable {
    enum Engine: Sendable {
        case memory
        case files(FileEngine)
        case acid(AcidEngine)
    }

    package let configuration: StreamDirectoryConfiguration
    let engine: Engine
    let shards: [StreamShard]
    /// Held by whatever changes who refers to whom: forks, deletions, expiry. Taken before any shard.
    let families = Mutex<Void>(())
    let clock: @Sendable () -> UInt64
    let nextIdentity: Atomic<UInt64>
    let nextObserver = Atomic<UInt64>(1)
    /// Decided and not settled.
    let waitingChanges = Atomic<Int>(0)
    let waitingBytes = Atomic<Int>(0)
    /// Payload bytes of all streams, of forks their own.
    let totalBytes: Atomic<UInt64>
    /// What all producers take in memory, roughly.
    let producerBytes: Atomic<Int>
    /// Payload bytes in memory until a checkpoint puts them away.
    let tailBytes = Atomic<Int>(0)
    let refusedCount = Atomic<UInt64>(0)
    let stateOfHealth = Mutex<StreamDirectoryCondition>(.healthy)
    /// Whether changes are taken: a copy of the above for the fast path.
    let takesChanges = Atomic<Bool>(true)
    /// `acid`: environments that have no room.
    let fullCount = Atomic<Int>(0)
    let conditionObservers = Mutex<[@Sendable (StreamDirectoryCondition) -> Void]>([])
    let damageObservers = Mutex<[@Sendable (String, StoreError) -> Void]>([])
    let expiries = Mutex(ExpiryHeap())
    /// When streams with a bound on age have something that is too old.
    let ages = Mutex(ExpiryHeap())
    /// Streams with a sliding lifetime that had live readers lately.
    let keptEntries = Mutex<[StreamEntry]>([])
    let contentTypes = ContentTypePool()
    let maintenance = MaintenanceThread()

    /// Opens a directory, or makes one. Blocks: brings everything into the state that the last process answered for.
    ///
    /// - Parameters:
    ///   - fileSystem: For tests. The environments of `acid` are files of LMDB, which it opens and writes by itself.
    ///   - clock: Milliseconds since 1970, for what happens by itself.
    /// - Throws: `StoreError`: damage, a layout of another kind, a lock held by another process.
    package static func open(
        _ configuration: StreamDirectoryConfiguration, fileSystem: any FileSystem = PosixFileSystem(),
        clock: @escaping @Sendable () -> UInt64
    ) throws -> StreamDirectory {
        switch configuration.mode {
        case .memory, .acidInMemory:
            return StreamDirectory(configuration, engine: .memory, recovered: RecoveredStreams(), clock: clock)
        case .fileFast, .fileDurable:
            let (engine, recovered) = try FileEngine.open(configuration, fileSystem: fileSystem)
            let directory = StreamDirectory(configuration, engine: .files(engine), recovered: recovered, clock: clock)
            engine.start(directory)
            return directory
        case .acid(let shards):
            let (engine, recovered) = try AcidEngine.open(
                configuration, shardCount: shards, fileSystem: fileSystem)
            let directory = StreamDirectory(configuration, engine: .acid(engine), recovered: recovered, clock: clock)
            engine.start(directory)
            return directory
        }
    }

    private init(
        _ configuration: StreamDirectoryConfiguration, engine: Engine, recovered: RecoveredStreams,
        clock: @escaping @Sendable () -> UInt64
    ) {
        self.configuration = configuration
        self.engine = engine
        self.clock = clock
        self.shards = (0..<max(1, configuration.lockCount)).map { _ in StreamShard() }
        let now = clock()
        // Why from the clock: entity tags hold identities, and caches outlive a directory that starts anew from
        // nothing.
        self.nextIdentity = Atomic(max(recovered.nextIdentity, now << 20, 1))
        var total: UInt64 = 0
        var tails = 0
        var producers = 0
        for entry in recovered.entries {
            entry.trimming?.earliest = entry.state.earliest
            total += entry.state.tail - entry.floor
            producers += entry.state.producerBytes
            tails += Int(entry.state.tail - entry.checkpointedTail)
            entry.flags.insert(.isVisible)
            // A stored countdown begins ahead of itself; here it begins now.
            if entry.state.lastTouched > now, entry.state.lastTouched - now <= Self.touchAdvance {
                entry.state.restartCountdown(at: now)
            }
            if entry.state.isClosed { entry.flags.insert(.isDurablyClosed) }
            entry.durableTail = entry.state.tail
        }
        self.totalBytes = Atomic(total)
        self.producerBytes = Atomic(producers)
        if case .files = engine { self.tailBytes.store(tails, ordering: .relaxed) }
        for entry in recovered.entries {
            let shard = self.shard(of: entry)
            shard.withLock {
                guard !entry.isRemoved else { return }
                shard.table.insert(entry)
                shard.statistics.recovered(entry)
            }
            if !entry.isRemoved { self.schedule(entry) }
            if entry.trimming != nil { shard.withLock { self.recoverTrimming(of: entry) } }
        }
        for entry in recovered.dirty {
            let shard = self.shard(of: entry)
            shard.withLock { shard.markDirty(entry) }
        }
        self.maintenance.start(self)
    }

    deinit {
        self.maintenance.stop()
    }

    // MARK: - Condition

    package var condition: StreamDirectoryCondition {
        let condition = self.stateOfHealth.withLock { $0 }
        return condition == .healthy && self.isShortOfRoom ? .diskFull : condition
    }

    /// Whether changes are taken.
    package var isReady: Bool { self.takesChanges.load(ordering: .acquiring) && !self.isShortOfRoom }

    /// Calls `body` whenever the condition changes, on the thread that found out.
    package func onCondition(_ body: @escaping @Sendable (StreamDirectoryCondition) -> Void) {
        self.conditionObservers.withLock { $0.append(body) }
    }

    func changeCondition(to condition: StreamDirectoryCondition) {
        let changed = self.stateOfHealth.withLock { current -> Bool in
            switch current {
            case .failed where condition != .closed: return false
            case .closed: return false
            default: break
            }
            guard current != condition else { return false }
            current = condition
            self.takesChanges.store(condition == .healthy, ordering: .releasing)
            return true
        }
        if changed { self.tellCondition() }
    }

    func tellCondition() {
        let condition = self.condition
        for observer in self.conditionObservers.withLock({ $0 }) { observer(condition) }
    }

    /// Calls `body` with the name of a stream when a reading finds its stored bytes damaged, once for each stream, on the
    /// thread that reads.
    package func onDamage(_ body: @escaping @Sendable (String, StoreError) -> Void) {
        self.damageObservers.withLock { $0.append(body) }
    }

    /// Remembers that a stream is damaged, and tells it the first time.
    func foundDamage(of entry: StreamEntry, _ error: StoreError) {
        guard self.shard(of: entry).withLock({ entry.flags.insert(.isDamaged).inserted }) else { return }
        for observer in self.damageObservers.withLock({ $0 }) { observer(entry.state.name, error) }
    }

    /// One of several parts of the storage has no room, or has room again: the whole takes changes when all have.
    func partIsFull(_ isFull: Bool, wasFull: Bool) {
        if isFull != wasFull { self.fullCount.wrappingAdd(isFull ? 1 : -1, ordering: .acquiringAndReleasing) }
        if !isFull, self.fullCount.load(ordering: .acquiring) == 0 { self.changeCondition(to: .healthy) }
        // Why a second look: another part may have become full in between.
        if self.fullCount.load(ordering: .acquiring) > 0 { self.changeCondition(to: .diskFull) }
    }

    var conditionError: StreamError? {
        switch self.condition {
        case .healthy: nil
        case .diskFull: StreamError(.insufficientStorage, "The disk is full.")
        case .failed: StreamError(.unavailable, "The storage has failed and takes no changes until it is restarted.")
        case .closed: StreamError(.unavailable, "The server is stopping.")
        }
    }

    // MARK: - Admission

    /// Whether a change of so many bytes may begin now.
    ///
    /// - Parameters:
    ///   - environment: `acid`: where it goes.
    ///   - isDeletion: It may use what is kept free for deletions.
    func admissionError(byteCount: Int, environment: UInt8 = 0, isDeletion: Bool = false) -> StreamError? {
        if !self.takesChanges.load(ordering: .acquiring), !(isDeletion && self.takesDeletions),
            let error = self.conditionError
        {
            return error
        }
        let limits = self.configuration.limits
        guard self.waitingChanges.load(ordering: .relaxed) < limits.waitingChanges,
            self.waitingBytes.load(ordering: .relaxed) + byteCount <= max(limits.waitingBytes, byteCount)
        else {
            self.refusedCount.wrappingAdd(1, ordering: .relaxed)
            return StreamError(.unavailable, "Too many changes are waiting for the disk.", retryAfterSeconds: 1)
        }
        if let limit = limits.totalBytes, byteCount > 0,
            self.totalBytes.load(ordering: .relaxed) + UInt64(byteCount)
                + UInt64(max(0, self.producerBytes.load(ordering: .relaxed))) > limit
        {
            return StreamError(.payloadTooLarge, "All streams together would exceed their limit.")
        }
        if !isDeletion, !self.hasRoom(for: byteCount, environment: environment) {
            return StreamError(.insufficientStorage, "The disk is full.")
        }
        return nil
    }

    /// Whether a disk that is full for checkpoints still takes records.
    private var takesDeletions: Bool {
        guard case .files(let engine) = self.engine, self.condition == .diskFull else { return false }
        return engine.log.condition == .healthy
    }

    // MARK: - By hand

    /// Makes what is waiting durable and settles it, on this thread. Blocks. The directory's threads do so by
    /// themselves.
    package func flush() {
        switch self.engine {
        case .memory: break
        case .files(let engine): engine.flush()
        case .acid(let engine): engine.flush()
        }
    }

    /// Makes what is waiting durable and puts it where it stays: in files, with the log cut; `acid`: removes what
    /// deleted streams have left. Blocks.
    package func checkpoint() throws(StoreError) {
        switch self.engine {
        case .memory: break
        case .files(let engine): try engine.checkpoint(self)
        case .acid(let engine): try engine.checkpoint()
        }
    }

    // MARK: - Closing

    /// Tells every observer that it is released, as when the stream ends; for a shutdown that lets live readers go
    /// first.
    package func releaseObservers() {
        var batch = DeliveryBatch()
        for shard in self.shards {
            shard.withLock {
                shard.table.forEach { entry in
                    guard let live = entry.live, !live.observers.isEmpty else { return }
                    let notice = StreamNotice(
                        tail: entry.durableTail, isClosed: entry.flags.contains(.isDurablyClosed), end: .released)
                    for observer in live.observers.values {
                        batch.add(StreamCompletion(.notice(observer, notice)), to: observer.target)
                    }
                    live.observers = [:]
                    entry.rest()
                }
            }
        }
        batch.deliver()
    }

    /// Makes everything accepted durable, writes a last checkpoint and gives the files free. Blocks. Changes that come
    /// later are refused.
    package func close() throws(StoreError) {
        self.maintenance.stop()
        let condition = self.condition
        if condition == .closed { return }
        self.takesChanges.store(false, ordering: .releasing)
        defer { self.changeCondition(to: .closed) }
        switch self.engine {
        case .memory: break
        case .files(let engine): try engine.close(self)
        case .acid(let engine): try engine.close()
        }
    }
}

/// What opening found.
struct RecoveredStreams {
    var entries: [StreamEntry] = []
    /// Of these, and of streams that are gone, what the next checkpoint has to do.
    var dirty: [StreamEntry] = []
    var nextIdentity: UInt64 = 1
}
