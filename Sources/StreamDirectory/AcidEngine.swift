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
}

/// The storage of the mode `acid`: LMDB environments, each with one thread that commits what waits in one transaction.
///
/// A family of forks lies in one environment, so that each change is one transaction. After a crash LMDB has the last
/// committed state without any recovery of ours.
final class AcidEngine: Sendable {
    let shards: [AcidShard]
    private let lock: any FileLock
    private let configuration: StreamDirectoryConfiguration

    private init(shards: [AcidShard], lock: any FileLock, configuration: StreamDirectoryConfiguration) {
        self.shards = shards
        self.lock = lock
        self.configuration = configuration
    }

    static func open(
        _ configuration: StreamDirectoryConfiguration, shardCount: Int
    ) throws(StoreError) -> (AcidEngine, RecoveredStreams) {
        let fileSystem = PosixFileSystem()
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
            try AcidLayout.check(root, shardCount: shardCount, fileSystem)
            var recovery = AcidRecovery()
            var shards: [AcidShard] = []
            for number in 0..<shardCount {
                let name = "shard_" + (number < 10 ? "0" : "") + String(number) + ".mdb"
                let environment = try LMDBEnvironment(
                    path: root + "/" + name, mapBytes: configuration.acidMapBytes, mapLimit: configuration.acidMapLimit)
                let garbage = try recovery.read(environment, number: UInt8(number))
                shards.append(AcidShard(environment, garbage: garbage))
            }
            do throws(FileError) { try fileSystem.syncDirectory(root) } catch { throw StoreError(error) }
            let recovered = try recovery.finished()
            return (AcidEngine(shards: shards, lock: lock, configuration: configuration), recovered)
        } catch {
            lock.release()
            throw error
        }
    }

    func start(_ directory: StreamDirectory) {
        for shard in self.shards { shard.start(directory, runsThread: self.configuration.runsThreads) }
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

    func flush() {
        for shard in self.shards { shard.commitWaiting() }
    }

    func close() throws(StoreError) {
        for shard in self.shards { shard.stop() }
        let failure = self.shards.compactMap { $0.failure }.first
        self.lock.release()
        if let failure { throw failure }
    }

    // MARK: - Reading

    /// Appends of a stream up to `cap`, copied and checked.
    func read(
        _ identity: StreamIdentity, environment: UInt8, upTo cap: UInt64,
        into gathering: inout StreamDirectory.Gathering
    ) throws(StreamError) {
        let environment = self.shards[Int(environment)].environment
        var isDamaged = false
        let start = gathering.position
        var result = gathering
        do throws(LMDBEnvironment.Fault) {
            try environment.read { transaction throws(LMDBEnvironment.Fault) in
                try environment.forEach(
                    environment.records, from: LMDBEnvironment.key(identity.rawValue, start + 1), in: transaction
                ) { key, value, _ in
                    guard LMDBEnvironment.number(key, at: 0) == identity.rawValue else { return false }
                    let end = min(LMDBEnvironment.number(key, at: 1), cap)
                    guard end <= result.wanted || result.isEmpty else { return false }
                    guard let append = Self.append(value), UInt64(append.count) <= LMDBEnvironment.number(key, at: 1),
                        LMDBEnvironment.number(key, at: 1) - UInt64(append.count) <= result.position
                    else {
                        isDamaged = true
                        return false
                    }
                    let first = LMDBEnvironment.number(key, at: 1) - UInt64(append.count)
                    let part = append[Int(result.position - first)..<Int(end - first)]
                    result.add(.bytes(ByteBuffer(bytes: UnsafeRawBufferPointer(rebasing: part))), end: end)
                    return end < cap
                }
            }
        } catch {
            throw StreamError(error.storeError(environment.path))
        }
        if isDamaged { throw StreamDirectory.damaged }
        guard result.position > start || !result.isEmpty else { throw StreamDirectory.notFound }
        gathering = result
    }

    /// The bytes of a record, or nil when they fail their checksum.
    private static func append(_ value: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        guard value.count >= 8 else { return nil }
        let bytes = UnsafeRawBufferPointer(rebasing: value[8...])
        let checksum = UInt32(littleEndian: value.loadUnaligned(fromByteOffset: 0, as: UInt32.self))
        return penstock_crc32c(0, bytes.baseAddress, bytes.count) == checksum ? bytes : nil
    }

    func verify(_ entry: StreamEntry) -> StoreError? {
        let environment = self.shards[Int(entry.environment)].environment
        let identity = entry.state.identity.rawValue
        var position = entry.base
        var isDamaged = false
        do throws(LMDBEnvironment.Fault) {
            try environment.read { transaction throws(LMDBEnvironment.Fault) in
                try environment.forEach(
                    environment.records, from: LMDBEnvironment.key(identity, 0), in: transaction
                ) { key, value, _ in
                    guard LMDBEnvironment.number(key, at: 0) == identity else { return false }
                    guard let append = Self.append(value),
                        position + UInt64(append.count) == LMDBEnvironment.number(key, at: 1)
                    else {
                        isDamaged = true
                        return false
                    }
                    position = LMDBEnvironment.number(key, at: 1)
                    return true
                }
            }
        } catch {
            return error.storeError(environment.path)
        }
        guard !isDamaged, position >= entry.durableTail else {
            return StoreError(.corrupt, "an append fails its checksum", file: environment.path, offset: position)
        }
        return nil
    }
}

/// Reads what environments hold.
struct AcidRecovery {
    private var entries: [UInt64: StreamEntry] = [:]
    private var nextIdentity: UInt64 = 1

    /// Takes in the streams of one environment; returns whose records are still to be removed.
    mutating func read(_ environment: LMDBEnvironment, number: UInt8) throws(StoreError) -> [UInt64] {
        var found: [StreamEntry] = []
        var garbage: [UInt64] = []
        var next: UInt64 = 1
        var isDamaged = false
        do throws(LMDBEnvironment.Fault) {
            try environment.read { transaction throws(LMDBEnvironment.Fault) in
                try environment.forEach(environment.streams, from: LMDBEnvironment.key(0), in: transaction) {
                    key, value, _ in
                    let identity = LMDBEnvironment.number(key, at: 0)
                    var bytes = ByteBuffer(bytes: value)
                    if identity == 0 {
                        next = bytes.readInteger(endianness: .little) ?? 1
                        return true
                    }
                    guard let state = StreamState(decoding: &bytes), state.identity.rawValue == identity else {
                        isDamaged = true
                        return false
                    }
                    let entry = StreamEntry(state: state, hash: StreamDirectory.hash(state.name), source: nil)
                    entry.environment = number
                    entry.checkpointedTail = state.tail
                    found.append(entry)
                    return true
                }
                try environment.forEach(environment.garbage, from: LMDBEnvironment.key(0), in: transaction) {
                    key, _, _ in
                    garbage.append(LMDBEnvironment.number(key, at: 0))
                    return true
                }
            }
        } catch {
            throw error.storeError(environment.path)
        }
        if isDamaged { throw StoreError(.corrupt, "a stream's state cannot be read", file: environment.path) }
        for entry in found { self.entries[entry.state.identity.rawValue] = entry }
        self.nextIdentity = max(self.nextIdentity, next, (found.last?.state.identity.rawValue ?? 0) + 1)
        return garbage
    }

    func finished() throws(StoreError) -> RecoveredStreams {
        for entry in self.entries.values {
            guard let fork = entry.state.configuration.fork else { continue }
            guard let source = self.entries[fork.source.rawValue] else {
                throw StoreError(.corrupt, "the source of a fork is missing")
            }
            entry.source = source
        }
        return RecoveredStreams(entries: Array(self.entries.values), dirty: [], nextIdentity: self.nextIdentity)
    }
}
