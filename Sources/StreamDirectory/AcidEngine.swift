import CLMDB
import CStoreSupport
import DurableStreams
import NIOCore
import StreamStore
import Synchronization

/// What a transaction writes for one change.
struct AcidChange: Sendable {
    /// The environment of the family.
    var environment: UInt8
    /// States after the change; the first is the stream's own.
    var states: [StreamState]
    var removed: [StreamIdentity]
    var payload: ByteBuffer?
    /// Where the payload ends.
    var payloadEnd: UInt64
    var messageCount: Int
    /// Those of the stream itself that the change has moved.
    var producers: [AcidProducer] = []
}

/// The storage of the mode `acid`: LMDB environments, each with one thread that commits what waits in one transaction.
///
/// A family of forks lies in one environment, so that each change is one transaction. After a crash LMDB has the last
/// committed state without any recovery of ours.
final class AcidEngine: Sendable {
    let shards: [AcidShard]
    let room: DiskRoom
    private let lock: any FileLock
    private let configuration: StreamDirectoryConfiguration

    private init(
        shards: [AcidShard], lock: any FileLock, configuration: StreamDirectoryConfiguration, room: DiskRoom
    ) {
        self.room = room
        self.shards = shards
        self.lock = lock
        self.configuration = configuration
    }

    static func open(
        _ configuration: StreamDirectoryConfiguration, shardCount: Int, fileSystem: any FileSystem
    ) throws(StoreError) -> (AcidEngine, RecoveredStreams) {
        let root = configuration.directory + "/acid"
        let lock: any FileLock
        do throws(FileError) {
            try fileSystem.makeDirectoryPath(configuration.directory)
            guard try !fileSystem.list(configuration.directory).contains("wal") else {
                throw FileError(.open, configuration.directory + "/wal", number: SystemError.exists)
            }
            try fileSystem.makeDirectoryPath(root)
            lock = try fileSystem.lock(root + "/LOCK")
        } catch {
            if error.number == SystemError.exists, error.operation == .open {
                throw StoreError(
                    .unsupportedFormat, "the directory holds streams of a file storage mode", file: error.path)
            }
            throw StoreError(error)
        }
        do throws(StoreError) {
            let isMade = try AcidLayout.check(root, shardCount: shardCount, fileSystem)
            try Self.makeEnvironments(root, configuration, shardCount: shardCount, isMade: isMade, fileSystem)
            var recovery = AcidRecovery()
            var shards: [AcidShard] = []
            let turns = CommitTurns()
            for number in 0..<shardCount {
                let environment = try LMDBEnvironment(
                    path: Self.path(root, number), mapBytes: configuration.acidMapBytes,
                    mapLimit: configuration.acidMapLimit)
                let garbage = try recovery.read(environment, number: UInt8(number))
                shards.append(AcidShard(environment, garbage: garbage, turns: turns))
            }
            let recovered = try recovery.finished()
            if !isMade {
                // Why: another count of environments would look for these streams in the wrong places.
                guard recovered.entries.isEmpty else {
                    throw StoreError(.corrupt, "the store's layout is missing", file: root + "/layout.json")
                }
                try AcidLayout.write(root, shardCount: shardCount, fileSystem)
            }
            let room = DiskRoom(directory: root, reserve: configuration.reservedBytes, fileSystem: fileSystem)
            return (AcidEngine(shards: shards, lock: lock, configuration: configuration, room: room), recovered)
        } catch {
            lock.release()
            throw error
        }
    }

    private static func path(_ root: String, _ number: Int) -> String {
        root + "/shard_" + (number < 10 ? "0" : "") + String(number) + ".mdb"
    }

    /// Makes the environments of a new store: each under another name first, so that none is ever found half made.
    private static func makeEnvironments(
        _ root: String, _ configuration: StreamDirectoryConfiguration, shardCount: Int, isMade: Bool,
        _ fileSystem: any FileSystem
    ) throws(StoreError) {
        let names: Set<String>
        do throws(FileError) {
            names = Set(try fileSystem.list(root).map { root + "/" + $0 })
        } catch {
            throw StoreError(error)
        }
        for number in 0..<shardCount {
            let path = Self.path(root, number)
            guard !names.contains(path) else { continue }
            guard !isMade else { throw StoreError(.corrupt, "a part of the store is missing", file: path) }
            let new = path + ".new"
            do throws(FileError) {
                for left in [new, new + "-lock"] where names.contains(left) { try fileSystem.unlink(left) }
            } catch {
                throw StoreError(error)
            }
            try LMDBEnvironment.make(path: new, mapBytes: configuration.acidMapBytes)
            do throws(FileError) {
                try fileSystem.rename(new, to: path, replacing: true)
                try fileSystem.unlink(new + "-lock")
            } catch {
                throw StoreError(error)
            }
        }
        do throws(FileError) {
            try fileSystem.syncDirectory(root)
        } catch {
            throw StoreError(error)
        }
    }

    func start(_ directory: StreamDirectory) {
        for shard in self.shards { shard.start(directory, self.configuration) }
    }

    /// Where a stream that is no fork lies: by its name, for ever.
    func environment(for name: String) -> UInt8 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return UInt8(truncatingIfNeeded: Int(hash & UInt64(self.shards.count - 1)))
    }

    func submit(_ change: Change) {
        guard let transaction = change.transaction else { return }
        self.shards[Int(transaction.environment)].submit(change)
    }

    /// The countdown of a stream is to be written down.
    func touched(_ entry: StreamEntry) {
        self.shards[Int(entry.environment)].touched(entry.state.identity.rawValue, at: entry.storedTouch)
    }

    /// What a stream has before a position is to be removed.
    func trimmed(_ entry: StreamEntry, to floor: UInt64) {
        self.shards[Int(entry.environment)].trimmed(entry.state.identity.rawValue, to: floor)
    }

    func flush() {
        for shard in self.shards { shard.commitWaiting() }
    }

    /// Commits what waits, and does what the threads leave for quiet moments.
    func checkpoint() throws(StoreError) {
        for shard in self.shards { try shard.tidyUp() }
    }

    func close() throws(StoreError) {
        var failure: StoreError?
        for shard in self.shards {
            do throws(StoreError) { try shard.stop() } catch { failure = failure ?? error }
        }
        self.lock.release()
        if let failure { throw failure }
    }

    // MARK: - Reading

    /// Appends of a stream up to `cap`: the first ones copied and checked, what goes beyond a bound as a slice, so that
    /// readers who are slow hold no memory.
    func read(
        _ identity: StreamIdentity, environment: UInt8, upTo cap: UInt64,
        into gathering: inout StreamDirectory.Gathering
    ) throws(StreamError) {
        let shard = self.shards[Int(environment)]
        let environment = shard.environment
        var isDamaged = false
        let start = gathering.position
        var result = gathering
        // Until the slice does so itself.
        shard.hold(identity.rawValue)
        defer { shard.release(identity.rawValue) }
        do throws(LMDBEnvironment.Fault) {
            try environment.read { transaction throws(LMDBEnvironment.Fault) in
                /// Where the rest begins, and where the append there ends.
                var rest: (start: UInt64, firstEnd: UInt64)?
                try environment.forEach(
                    environment.records, from: LMDBEnvironment.key(identity.rawValue, start + 1), in: transaction
                ) { key, value, _ in
                    guard LMDBEnvironment.number(key, at: 0) == identity.rawValue else { return false }
                    let recordEnd = LMDBEnvironment.number(key, at: 1)
                    let end = min(recordEnd, cap)
                    guard end <= result.wanted || result.isEmpty else { return false }
                    let isLarge = end - min(result.position, end) > UInt64(RecordSlice.eagerCount)
                    guard let append = Self.append(value, isChecked: isLarge), UInt64(append.count) <= recordEnd,
                        recordEnd - UInt64(append.count) <= result.position, result.position < end
                    else {
                        isDamaged = true
                        return false
                    }
                    let first = recordEnd - UInt64(append.count)
                    if first < result.position, result.looksBehind {
                        result.begins(
                            behind: UnsafeRawBufferPointer(rebasing: append[..<Int(result.position - first)]))
                    }
                    guard !isLarge, end - start <= UInt64(RecordSlice.eagerCount) else {
                        rest = (result.position, end)
                        return false
                    }
                    let part = append[Int(result.position - first)..<Int(end - first)]
                    result.add(.bytes(ByteBuffer(bytes: UnsafeRawBufferPointer(rebasing: part))), end: end)
                    return end < cap
                }
                guard let rest, !isDamaged else { return }
                var end = rest.firstEnd
                if cap <= result.wanted {
                    end = cap
                } else if let last = try environment.lastKey(
                    environment.records, upTo: LMDBEnvironment.key(identity.rawValue, result.wanted), in: transaction),
                    last.0 == identity.rawValue
                {
                    end = max(end, last.1)
                }
                result.add(.records(RecordSlice(shard, identity.rawValue, rest.start..<end)), end: end)
            }
        } catch {
            throw StreamError(error.storeError(environment.path))
        }
        if isDamaged { throw StreamDirectory.damaged }
        guard result.position > start || !result.isEmpty else { throw StreamDirectory.notFound }
        gathering = result
    }

    /// The bytes of a record, or nil when they fail their checksum.
    ///
    /// - Parameter isChecked: It is known, or will be seen, whether they do.
    static func append(_ value: UnsafeRawBufferPointer, isChecked: Bool = false) -> UnsafeRawBufferPointer? {
        guard value.count >= 8 else { return nil }
        let bytes = UnsafeRawBufferPointer(rebasing: value[8...])
        if isChecked { return bytes }
        let checksum = UInt32(littleEndian: value.loadUnaligned(fromByteOffset: 0, as: UInt32.self))
        return penstock_crc32c(0, bytes.baseAddress, bytes.count) == checksum ? bytes : nil
    }

    /// The last end of an append at or before a position; nil if there is none.
    func lastEnd(of entry: StreamEntry, atOrBefore position: UInt64) throws(StreamError) -> UInt64? {
        let environment = self.shards[Int(entry.environment)].environment
        let identity = entry.state.identity.rawValue
        do throws(LMDBEnvironment.Fault) {
            return try environment.read { transaction throws(LMDBEnvironment.Fault) -> UInt64? in
                guard
                    let key = try environment.lastKey(
                        environment.records, upTo: LMDBEnvironment.key(identity, position), in: transaction),
                    key.0 == identity
                else { return nil }
                return key.1
            }
        } catch {
            throw StreamError(error.storeError(environment.path))
        }
    }

    /// Where the records of a stream begin; nil if there are none, or they cannot be read.
    func start(of entry: StreamEntry) -> UInt64? {
        let environment = self.shards[Int(entry.environment)].environment
        let identity = entry.state.identity.rawValue
        var start: UInt64?
        try? environment.read { transaction throws(LMDBEnvironment.Fault) in
            try environment.forEach(
                environment.records, from: LMDBEnvironment.key(identity, 0), in: transaction
            ) { key, value, _ in
                let (end, count) = (LMDBEnvironment.number(key, at: 1), UInt64(max(0, value.count - 8)))
                if LMDBEnvironment.number(key, at: 0) == identity, end >= count { start = end - count }
                return false
            }
        }
        return start
    }

    func verify(_ entry: StreamEntry) -> StoreError? {
        let environment = self.shards[Int(entry.environment)].environment
        let identity = entry.state.identity.rawValue
        // Records before what readers find may be there still or not, in whole.
        let start = max(entry.base, entry.trimming?.earliest ?? 0)
        var position: UInt64?
        var isDamaged = false
        do throws(LMDBEnvironment.Fault) {
            try environment.read { transaction throws(LMDBEnvironment.Fault) in
                try environment.forEach(
                    environment.records, from: LMDBEnvironment.key(identity, 0), in: transaction
                ) { key, value, _ in
                    guard LMDBEnvironment.number(key, at: 0) == identity else { return false }
                    let end = LMDBEnvironment.number(key, at: 1)
                    guard let append = Self.append(value), UInt64(append.count) <= end,
                        position.map({ $0 + UInt64(append.count) == end }) ?? (end - UInt64(append.count) <= start)
                    else {
                        isDamaged = true
                        return false
                    }
                    position = end
                    return true
                }
            }
        } catch {
            return error.storeError(environment.path)
        }
        guard !isDamaged, position ?? start >= entry.durableTail else {
            return StoreError(
                .corrupt, "an append fails its checksum", file: environment.path, offset: position ?? start)
        }
        return nil
    }
}
