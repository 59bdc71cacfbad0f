import CLMDB
import CStoreSupport
import DurableStreams
import NIOCore
import StreamStore
import Synchronization

/// One environment, what waits for it, and the thread that commits it.
final class AcidShard: Sendable {
    private struct State {
        var waiting: [Change] = []
        /// Streams whose records are still to be removed.
        var garbage: [UInt64]
        var isStopping = false
        var failure: StoreError?
        var thread: StoreThread?
        var isFull = false
        var commits = CommitStatistics()
    }

    let environment: LMDBEnvironment
    private let state: Mutex<State>
    private let signal = ThreadSignal()
    /// Held during a commit: one at a time.
    private let committing = Mutex<Void>(())
    private let directory = Mutex<WeakDirectory>(WeakDirectory())

    private struct WeakDirectory {
        weak var directory: StreamDirectory?
    }

    /// Records removed in one transaction.
    private static let garbageCount = 2000

    init(_ environment: LMDBEnvironment, garbage: [UInt64]) {
        self.environment = environment
        self.state = Mutex(State(garbage: garbage))
    }

    var failure: StoreError? { self.state.withLock { $0.failure } }
    var commits: CommitStatistics { self.state.withLock { $0.commits } }

    func start(_ directory: StreamDirectory, runsThread: Bool) {
        self.directory.withLock { $0.directory = directory }
        guard runsThread else { return }
        let thread = StoreThread { self.run() }
        self.state.withLock { $0.thread = thread }
    }

    func submit(_ change: Change) {
        let wasEmpty = self.state.withLock { state in
            state.waiting.append(change)
            return state.waiting.count == 1
        }
        if wasEmpty { self.signal.raise() }
    }

    func stop() {
        let thread = self.state.withLock { state in
            state.isStopping = true
            defer { state.thread = nil }
            return state.thread
        }
        self.signal.raise()
        thread?.join()
        self.commitWaiting()
        // What a full disk kept from being committed.
        self.drop(
            self.state.withLock { state in
                defer { state.waiting = [] }
                return state.waiting
            }, StoreError(.closed, "the storage is closed"))
    }

    private func run() {
        while true {
            let (hasWork, hasGarbage, isStopping, isFull) = self.state.withLock {
                (!$0.waiting.isEmpty, !$0.garbage.isEmpty, $0.isStopping, $0.isFull)
            }
            if isStopping { return }
            if isFull {
                self.signal.wait(milliseconds: 250)
                self.commitWaiting()
            } else if hasWork {
                self.commitWaiting()
            } else if hasGarbage {
                self.committing.withLock { _ in self.removeGarbage() }
            } else {
                self.signal.wait(milliseconds: 1000)
            }
        }
    }

    /// Commits what waits, on this thread. Returns when it is durable, or the disk full, or the environment failed.
    func commitWaiting() {
        self.committing.withLock { _ in
            let (changes, failure) = self.state.withLock { state in
                defer { state.waiting = [] }
                return (state.waiting, state.failure)
            }
            guard !changes.isEmpty else { return }
            if let failure { return self.drop(changes, failure) }
            let start = ContinuousClock.now
            do throws(LMDBEnvironment.Fault) {
                try self.commit(changes)
            } catch {
                return self.failed(error, changes)
            }
            let duration = start.duration(to: .now)
            let wasFull = self.state.withLock { state in
                state.commits.batches += 1
                state.commits.changes += UInt64(changes.count)
                state.commits.syncs.add(duration)
                state.garbage += changes.flatMap { $0.transaction?.removed.map(\.rawValue) ?? [] }
                defer { state.isFull = false }
                return state.isFull
            }
            guard let directory = self.directory.withLock({ $0.directory }) else { return }
            if wasFull { directory.changeCondition(to: .healthy) }
            directory.settle(changes)
        }
    }

    private func failed(_ fault: LMDBEnvironment.Fault, _ changes: [Change]) {
        let error = fault.storeError(self.environment.path)
        guard fault.isDiskFull || fault.isMapFull else {
            self.state.withLock { $0.failure = error }
            self.directory.withLock { $0.directory }?.changeCondition(to: .failed(error))
            return self.drop(changes, error)
        }
        // Kept, and tried again.
        self.state.withLock { state in
            state.waiting = changes + state.waiting
            state.isFull = true
        }
        self.directory.withLock { $0.directory }?.changeCondition(to: .diskFull)
    }

    private func drop(_ changes: [Change], _ error: StoreError) {
        guard !changes.isEmpty else { return }
        self.directory.withLock { $0.directory }?.drop(changes, .storageFailed(error))
    }

    /// One transaction for all of it: the last state of each stream, every append.
    private func commit(_ changes: [Change]) throws(LMDBEnvironment.Fault) {
        var states: [UInt64: StreamState] = [:]
        var removed: Set<UInt64> = []
        var largest: UInt64 = 0
        for change in changes {
            guard let transaction = change.transaction else { continue }
            for state in transaction.states { states[state.identity.rawValue] = state }
            for identity in transaction.removed { removed.insert(identity.rawValue) }
            if change.kind == .create { largest = max(largest, change.entry.state.identity.rawValue) }
        }
        let environment = self.environment
        var encoded = ByteBuffer()
        try environment.write { transaction throws(LMDBEnvironment.Fault) in
            for change in changes {
                guard let acid = change.transaction, let payload = acid.payload, payload.readableBytes > 0 else {
                    continue
                }
                let identity = change.entry.state.identity.rawValue
                try environment.put(
                    environment.records, LMDBEnvironment.key(identity, acid.payloadEnd),
                    count: 8 + payload.readableBytes,
                    in: transaction
                ) { target in
                    target.storeBytes(of: appendChecksum(payload).littleEndian, toByteOffset: 0, as: UInt32.self)
                    target.storeBytes(
                        of: UInt32(clamping: acid.messageCount).littleEndian, toByteOffset: 4, as: UInt32.self)
                    payload.withUnsafeReadableBytes {
                        UnsafeMutableRawBufferPointer(rebasing: target[8...]).copyMemory(from: $0)
                    }
                }
            }
            for (identity, state) in states where !removed.contains(identity) {
                encoded.clear()
                state.encode(into: &encoded)
                try environment.put(environment.streams, LMDBEnvironment.key(identity), encoded, in: transaction)
            }
            for identity in removed {
                try environment.delete(environment.streams, LMDBEnvironment.key(identity), in: transaction)
                try environment.put(environment.garbage, LMDBEnvironment.key(identity), ByteBuffer(), in: transaction)
            }
            if largest > 0 {
                try environment.put(
                    environment.streams, LMDBEnvironment.key(0), ByteBuffer(integer: largest + 1, endianness: .little),
                    in: transaction)
            }
        }
    }

    /// Removes some records of a stream that is gone.
    private func removeGarbage() {
        guard let identity = self.state.withLock({ $0.garbage.last }) else { return }
        let environment = self.environment
        do throws(LMDBEnvironment.Fault) {
            var isDone = false
            try environment.write { transaction throws(LMDBEnvironment.Fault) in
                var count = 0
                isDone = true
                try environment.forEach(
                    environment.records, from: LMDBEnvironment.key(identity, 0), in: transaction
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
                if isDone {
                    try environment.delete(environment.garbage, LMDBEnvironment.key(identity), in: transaction)
                }
            }
            if isDone { self.state.withLock { state in state.garbage.removeAll { $0 == identity } } }
        } catch {
            // Left for the next start; a full disk or a fault shows with the next change.
            self.state.withLock { $0.garbage = [] }
        }
    }
}

extension StreamDirectory {
    /// Settles changes that were committed together.
    func settle(_ changes: [Change]) {
        var batch = DeliveryBatch()
        for change in changes {
            self.shard(of: change.entry).withLock {
                self.settle(change, bytes: ByteBuffer(), batch: &batch)
            }
            for other in change.collected { self.shard(of: other).withLock { self.dropTail(of: other) } }
        }
        batch.deliver()
    }
}
