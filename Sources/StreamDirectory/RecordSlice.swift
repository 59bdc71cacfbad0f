import DurableStreams
import NIOCore
import StreamStore
import Synchronization

/// A range of a stream in an environment of `acid`, to be read piece by piece. What it consists of stays there until the
/// slice is let go of, also when the stream is deleted.
package final class RecordSlice: Sendable {
    private let shard: AcidShard
    private let identity: UInt64
    private let start: UInt64
    package let count: Int
    /// The end of the last record whose checksum was right: a large one is not checked again for each piece.
    private let checked = Mutex<UInt64>(0)

    /// What no longer than this is copied at once; the rest of a reading is such a slice.
    static let eagerCount = 256 << 10

    init(_ shard: AcidShard, _ identity: UInt64, _ range: Range<UInt64>) {
        self.shard = shard
        self.identity = identity
        self.start = range.lowerBound
        self.count = range.count
        shard.hold(identity)
    }

    deinit { self.shard.release(self.identity) }

    /// A part of the range, copied and checked. Blocks.
    package func read(from offset: Int, count: Int) throws(StoreError) -> ByteBuffer {
        let environment = self.shard.environment
        var position = self.start + UInt64(offset)
        let end = min(position + UInt64(count), self.start + UInt64(self.count))
        var bytes = ByteBufferAllocator().buffer(capacity: Int(end - position))
        var known = self.checked.withLock { $0 }
        do throws(LMDBEnvironment.Fault) {
            try environment.read { transaction throws(LMDBEnvironment.Fault) in
                try environment.forEach(
                    environment.records, from: LMDBEnvironment.key(self.identity, position + 1), in: transaction
                ) { key, value, _ in
                    guard position < end, LMDBEnvironment.number(key, at: 0) == self.identity else { return false }
                    let recordEnd = LMDBEnvironment.number(key, at: 1)
                    guard let append = AcidEngine.append(value, isChecked: recordEnd == known),
                        UInt64(append.count) <= recordEnd, recordEnd - UInt64(append.count) <= position
                    else { return false }
                    known = recordEnd
                    let first = recordEnd - UInt64(append.count)
                    let part = append[Int(position - first)..<Int(min(end, recordEnd) - first)]
                    bytes.writeBytes(UnsafeRawBufferPointer(rebasing: part))
                    position = min(end, recordEnd)
                    return position < end
                }
            }
        } catch {
            throw error.storeError(environment.path)
        }
        guard position == end else {
            throw StoreError(.corrupt, "an append fails its checksum", file: environment.path, offset: position)
        }
        let last = known
        self.checked.withLock { $0 = last }
        return bytes
    }
}
