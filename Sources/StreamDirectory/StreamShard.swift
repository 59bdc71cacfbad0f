import ExactText
import NIOCore
import Synchronization

/// A part of the streams, under one lock.
///
/// Locks are taken in this order: the lock of families, then shards by rising number, then those of the engine.
final class StreamShard: @unchecked Sendable {
    // Why unchecked: all but the lock is touched inside `withLock` only.
    private let lock = Mutex<Void>(())

    var table = StreamTable()
    /// What the next checkpoint has to do.
    var dirty: [StreamEntry] = []
    /// What has more than its bound on bytes.
    var overBound: [StreamEntry] = []
    var statistics = ShardStatistics()
    /// `acid`: names that another environment may not take yet.
    var leaving = LeavingNames()
    /// For the heads of records.
    var scratch = ByteBuffer()

    func withLock<Result, Failure>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        var result: Swift.Result<Result, Failure>?
        self.lock.withLock { _ in
            do throws(Failure) {
                result = .success(try body())
            } catch {
                result = .failure(error)
            }
        }
        guard let result else { preconditionFailure("the body has run") }
        return try result.get()
    }

    func markDirty(_ entry: StreamEntry) {
        guard !entry.flags.contains(.isDirty) else { return }
        entry.flags.insert(.isDirty)
        self.dirty.append(entry)
    }
}

extension StreamDirectory {
    static func hash(_ name: String) -> UInt32 {
        var hasher = Hasher()
        name.hashExactly(into: &hasher)
        return UInt32(truncatingIfNeeded: hasher.finalize())
    }

    // Why the upper bits: tables use the lower ones.
    func shardIndex(_ hash: UInt32) -> Int { Int(hash >> 20) % self.shards.count }

    func shard(of entry: StreamEntry) -> StreamShard { self.shards[self.shardIndex(entry.hash)] }

    /// Holds the locks of all these streams at once.
    func withShards<Result, Failure>(
        of hashes: [UInt32], _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try self.withShards(Set(hashes.map { self.shardIndex($0) }).sorted()[...], body)
    }

    private func withShards<Result, Failure>(
        _ indices: ArraySlice<Int>, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard let first = indices.first else { return try body() }
        return try self.shards[first].withLock { () throws(Failure) in
            try self.withShards(indices.dropFirst(), body)
        }
    }
}
