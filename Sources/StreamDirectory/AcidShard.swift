import CLMDB
import CStoreSupport
import DurableStreams
import ExactText
import NIOCore
import StreamStore
import Synchronization

/// One environment, what waits for it, and the thread that commits it.
final class AcidShard: Sendable {
    private struct State {
        var waiting: [Change] = []
        /// Streams whose records are still to be removed.
        var garbage: [UInt64]
        /// Streams whose records somebody reads, and how many do.
        var holds: [UInt64: Int] = [:]
        /// Streams that were read, and from when on their countdown is to be written down.
        var touches: [UInt64: UInt64] = [:]
        /// Streams that were trimmed, and up to where their records are to be removed.
        var floors: [UInt64: UInt64] = [:]
        var isStopping = false
        var failure: StoreError?
        var thread: StoreThread?
        var isFull = false
        /// The disk had no room to remove what is left of deleted streams: not before this.
        var nextTidying: ContinuousClock.Instant?
        var commits = CommitStatistics()

        /// A stream whose records can be removed now.
        var nextGarbage: UInt64? { self.garbage.last { self.holds[$0] == nil } }

        /// A stream that was trimmed and whose records can be removed now.
        var nextFloor: UInt64? { self.floors.keys.first { self.holds[$0] == nil } }
    }

    let environment: LMDBEnvironment
    private let state: Mutex<State>
    private let signal = ThreadSignal()
    /// Held during a commit: one at a time.
    private let committing = Mutex<Void>(())
    private let directory = Mutex<WeakDirectory>(WeakDirectory())
    /// Bytes of pages that the file has and nothing needs, as of the last look.
    let reusable = Atomic<Int>(0)

    private struct WeakDirectory {
        weak var directory: StreamDirectory?
    }

    /// Records removed in one transaction.
    private static let garbageCount = 2000

    /// Shared by all environments of a store.
    private let turns: CommitTurns

    init(_ environment: LMDBEnvironment, garbage: [UInt64], turns: CommitTurns) {
        self.environment = environment
        self.turns = turns
        self.state = Mutex(State(garbage: garbage))
    }

    var failure: StoreError? { self.state.withLock { $0.failure } }
    var commits: CommitStatistics { self.state.withLock { $0.commits } }

    func start(_ directory: StreamDirectory, _ configuration: StreamDirectoryConfiguration) {
        self.directory.withLock { $0.directory = directory }
        guard configuration.runsThreads else { return }
        let thread = StoreThread { self.run(configuration.checkpointInterval) }
        self.state.withLock { $0.thread = thread }
    }

    func submit(_ change: Change) {
        let wasEmpty = self.state.withLock { state in
            state.waiting.append(change)
            return state.waiting.count == 1
        }
        if wasEmpty { self.signal.raise() }
    }

    func touched(_ identity: UInt64, at time: UInt64) {
        self.state.withLock { $0.touches[identity] = time }
    }

    /// The records of a stream that end at or before a position are not needed any more; that they are not is durable.
    func trimmed(_ identity: UInt64, to floor: UInt64) {
        self.state.withLock { $0.floors[identity] = floor }
        self.signal.raise()
    }

    /// Keeps the records of a stream from being removed until ``release(_:)``.
    func hold(_ identity: UInt64) {
        self.state.withLock { $0.holds[identity, default: 0] += 1 }
    }

    func release(_ identity: UInt64) {
        let isGarbage = self.state.withLock { state in
            let count = state.holds[identity] ?? 1
            state.holds[identity] = count > 1 ? count - 1 : nil
            return count <= 1 && !(state.garbage.isEmpty && state.floors.isEmpty)
        }
        if isGarbage { self.signal.raise() }
    }

    /// Commits what waits and ends the thread. Throws when something could not be committed.
    func stop() throws(StoreError) {
        let thread = self.state.withLock { state in
            state.isStopping = true
            defer { state.thread = nil }
            return state.thread
        }
        self.signal.raise()
        thread?.join()
        self.commitWaiting()
        self.committing.withLock { _ in self.storeTouches() }
        // What a full disk kept from being committed.
        let left = self.state.withLock { state in
            defer { state.waiting = [] }
            return state.waiting
        }
        self.drop(left, StoreError(.closed, "the storage is closed"))
        if let failure = self.failure { throw failure }
        if !left.isEmpty { throw StoreError(.diskFull, "the disk is full", file: self.environment.path) }
    }

    private func run(_ interval: Duration) {
        let clock = ContinuousClock()
        // Sooner than the interval, which bounds how long a touch is not on the disk.
        var nextTouches = clock.now
        while true {
            if clock.now >= nextTouches {
                self.committing.withLock { _ in self.storeTouches() }
                nextTouches = clock.now + interval * 0.6
            }
            let (hasWork, hasGarbage, isStopping, isFull) = self.state.withLock {
                (
                    !$0.waiting.isEmpty,
                    ($0.nextGarbage != nil || $0.nextFloor != nil) && $0.nextTidying.map { $0 <= clock.now } ?? true,
                    $0.isStopping, $0.isFull
                )
            }
            if isStopping { return }
            if isFull {
                self.signal.wait(milliseconds: 250)
                self.commitWaiting()
            } else if hasWork {
                self.commitWaiting()
            } else if hasGarbage {
                self.committing.withLock { _ in _ = self.removeGarbage() }
            } else {
                self.signal.wait(milliseconds: 1000)
            }
        }
    }

    private enum CommitOutcome {
        case nothing
        case committed([Change], Duration)
        case failed([Change], LMDBEnvironment.Fault)
        /// The environment had failed before.
        case refused([Change], StoreError)
    }

    /// Commits what waits, on this thread. Returns when it is durable, or the disk full, or the environment failed.
    func commitWaiting() {
        self.committing.withLock { _ in
            switch self.turns.take({ self.commitInTurn() }) {
            case .nothing: break
            case .committed(let changes, let duration): self.committed(changes, in: duration)
            case .failed(let changes, let fault): self.failed(fault, changes)
            case .refused(let changes, let failure): self.drop(changes, failure)
            }
        }
    }

    private func commitInTurn() -> CommitOutcome {
        let (changes, failure) = self.state.withLock { state in
            defer { state.waiting = [] }
            return (state.waiting, state.failure)
        }
        guard !changes.isEmpty else { return .nothing }
        if let failure { return .refused(changes, failure) }
        let start = ContinuousClock.now
        do throws(LMDBEnvironment.Fault) {
            try self.environment.commit(changes)
        } catch {
            return .failed(changes, error)
        }
        return .committed(changes, start.duration(to: .now))
    }

    private func committed(_ changes: [Change], in duration: Duration) {
        let wasFull = self.state.withLock { state in
            state.commits.batches += 1
            state.commits.changes += UInt64(changes.count)
            state.commits.syncs.add(duration)
            state.garbage += changes.flatMap { $0.transaction?.removed.map(\.rawValue) ?? [] }
            defer { state.isFull = false }
            return state.isFull
        }
        guard let directory = self.directory.withLock({ $0.directory }) else { return }
        if wasFull { directory.partIsFull(false, wasFull: true) }
        if directory.isShortOfRoom { self.lookForReusable() }
        directory.settle(changes)
    }

    func tidyUp() throws(StoreError) {
        self.commitWaiting()
        self.committing.withLock { _ in self.storeTouches() }
        while self.state.withLock({
            $0.failure == nil && !$0.isFull && ($0.nextGarbage != nil || $0.nextFloor != nil)
        }) {
            guard self.committing.withLock({ _ in self.removeGarbage() }) else { break }
            self.commitWaiting()
        }
        let (failure, isFull) = self.state.withLock { ($0.failure, $0.isFull) }
        if let failure { throw failure }
        if isFull { throw StoreError(.diskFull, "the disk is full", file: self.environment.path) }
    }

    private func failed(_ fault: LMDBEnvironment.Fault, _ changes: [Change]) {
        let error = fault.storeError(self.environment.path)
        guard fault.isDiskFull || fault.isMapFull else {
            self.state.withLock { state in
                state.failure = error
                state.garbage = []
                state.floors = [:]
            }
            self.directory.withLock { $0.directory }?.changeCondition(to: .failed(error))
            return self.drop(changes, error)
        }
        // Tidying up is tried again later; only what somebody waits for makes the disk count as full.
        if changes.isEmpty { return self.state.withLock { $0.nextTidying = .now + .seconds(1) } }
        // Kept, and tried again.
        let wasFull = self.state.withLock { state in
            state.waiting = changes + state.waiting
            defer { state.isFull = true }
            return state.isFull
        }
        guard let directory = self.directory.withLock({ $0.directory }) else { return }
        directory.partIsFull(true, wasFull: wasFull)
        directory.answerStalled(changes)
    }

    private func drop(_ changes: [Change], _ error: StoreError) {
        guard !changes.isEmpty, let directory = self.directory.withLock({ $0.directory }) else { return }
        directory.drop(changes, .storageFailed(error))
        directory.namesLeft(changes)
    }

    /// Writes down when countdowns began, into the states as they are committed.
    private func storeTouches() {
        let (touches, isUsable) = self.state.withLock { ($0.touches, $0.failure == nil && !$0.isFull) }
        guard !touches.isEmpty, isUsable else { return }
        let environment = self.environment
        do throws(LMDBEnvironment.Fault) {
            var encoded = ByteBuffer()
            try environment.write { transaction throws(LMDBEnvironment.Fault) in
                for (identity, time) in touches {
                    let key = LMDBEnvironment.key(identity)
                    // Gone, or not there yet: its creation has its time.
                    guard var value = try environment.get(environment.streams, key, in: transaction),
                        var state = StreamState(decoding: &value)
                    else { continue }
                    state.touch(at: time)
                    encoded.clear()
                    state.encode(into: &encoded)
                    try environment.put(environment.streams, key, encoded, in: transaction)
                }
            }
            self.state.withLock { state in
                for (identity, time) in touches where state.touches[identity] == time { state.touches[identity] = nil }
            }
        } catch {
            self.failed(error, [])
        }
    }

    /// Removes some records of a stream that is gone, or of the front of one that was trimmed. False when the disk had no
    /// room for it, or has failed.
    private func removeGarbage() -> Bool {
        guard let identity = self.state.withLock({ $0.nextGarbage }) else { return self.removeTrimmed() }
        let environment = self.environment
        do throws(LMDBEnvironment.Fault) {
            var isDone = false
            try environment.write { transaction throws(LMDBEnvironment.Fault) in
                var count = 0
                isDone = true
                for table in [environment.records, environment.producers] {
                    try environment.forEach(
                        table, from: LMDBEnvironment.key(identity, 0), in: transaction
                    ) { key, _, cursor throws(LMDBEnvironment.Fault) in
                        guard LMDBEnvironment.number(key, at: 0) == identity else { return false }
                        guard count < Self.garbageCount else {
                            isDone = false
                            return false
                        }
                        count += 1
                        try LMDBEnvironment.check(mdb_cursor_del(cursor, 0))
                        return true
                    }
                }
                if isDone {
                    try environment.delete(environment.garbage, LMDBEnvironment.key(identity), in: transaction)
                }
            }
            if isDone { self.state.withLock { state in state.garbage.removeAll { $0 == identity } } }
            return true
        } catch {
            self.failed(error, [])
            return false
        }
    }
}

extension AcidShard {
    /// Removes some records from the front of streams that were trimmed: so many in one transaction that no commit waits for
    /// long.
    private func removeTrimmed() -> Bool {
        // Why not beside what waits: it may be the deletion of a fork without which these records would still be needed.
        let floors = self.state.withLock { state in
            guard state.waiting.isEmpty, state.failure == nil else { return [UInt64: UInt64]() }
            return state.floors.filter { state.holds[$0.key] == nil }
        }
        guard !floors.isEmpty else { return true }
        let environment = self.environment
        var done: [UInt64: UInt64] = [:]
        do throws(LMDBEnvironment.Fault) {
            try environment.write { transaction throws(LMDBEnvironment.Fault) in
                // Why here: the transaction may be done again, when the map has grown.
                done = [:]
                var left = Self.garbageCount
                for (identity, floor) in floors where left > 0 {
                    left -= 1
                    var isDone = true
                    try environment.forEach(
                        environment.records, from: LMDBEnvironment.key(identity, 0), in: transaction
                    ) { key, _, cursor throws(LMDBEnvironment.Fault) in
                        guard LMDBEnvironment.number(key, at: 0) == identity,
                            LMDBEnvironment.number(key, at: 1) <= floor
                        else { return false }
                        guard left > 0 else {
                            isDone = false
                            return false
                        }
                        left -= 1
                        try LMDBEnvironment.check(mdb_cursor_del(cursor, 0))
                        return true
                    }
                    if isDone { done[identity] = floor }
                }
            }
            self.state.withLock { state in
                for (identity, floor) in done where state.floors[identity] == floor { state.floors[identity] = nil }
            }
            return true
        } catch {
            self.failed(error, [])
            return false
        }
    }
}

extension StreamDirectory {
    /// Settles changes that were committed together.
    func settle(_ changes: [Change]) {
        var batch = DeliveryBatch()
        defer { self.namesLeft(changes) }
        for change in changes {
            self.shard(of: change.entry).withLock {
                self.settle(change, bytes: ByteBuffer(), batch: &batch)
            }
            for other in change.collected { self.shard(of: other).withLock { self.dropTail(of: other) } }
            self.settleRelease(of: change)
        }
        batch.deliver()
    }

    /// Lets creations go on that waited for deletions among these changes. To be called without any lock.
    func namesLeft(_ changes: [Change]) {
        for change in changes where change.kind == .delete {
            let removed = Set(change.transaction?.removed ?? [])
            for entry in [change.entry] + change.collected where removed.contains(entry.state.identity) {
                let shard = self.shard(of: entry)
                for resume in shard.withLock({ shard.leaving.settled(entry.state.name) }) { resume() }
            }
        }
    }
}
