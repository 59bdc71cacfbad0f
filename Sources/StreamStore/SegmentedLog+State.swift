import NIOCore

/// How a log does. `failed` and `closed` are for good.
package enum LogCondition: Hashable, Sendable {
    case healthy
    /// The disk is full: appends are refused, what was appended waits in memory and is tried again by itself.
    case diskFull
    /// A write or sync failed; what was not durable by then is lost.
    case failed(StoreError)
    case closed
}

/// Where an appended record lies in its log.
package struct LogSpan: Hashable, Sendable {
    package var offset: UInt64
    /// The record is durable when the log's `durableEnd` has reached this.
    package var end: UInt64
}

/// What became of an append.
package enum AppendOutcome: Hashable, Sendable {
    case appended(LogSpan)
    /// Too much is waiting for the disk; nothing was appended. `waitForRoom()` tells when to go on.
    case full
}

/// Settings of a log.
package struct LogConfiguration: Sendable {
    /// A segment takes no more records from this size on.
    package var segmentByteCount: UInt64
    /// More than this may not wait for the disk, except for a single record.
    package var pendingByteLimit: UInt64
    /// Largest payload.
    package var recordByteLimit: Int
    /// Distance of the points of the index in memory.
    package var indexSpacing: UInt64

    package init(
        segmentByteCount: UInt64 = 64 << 20, pendingByteLimit: UInt64 = 32 << 20, recordByteLimit: Int = 1 << 30,
        indexSpacing: UInt64 = 64 << 10
    ) {
        self.segmentByteCount = segmentByteCount
        self.pendingByteLimit = pendingByteLimit
        self.recordByteLimit = recordByteLimit
        self.indexSpacing = indexSpacing
    }
}

extension SegmentedLog {
    /// Records that go to the disk in one write, with one sync.
    ///
    /// Changed under the log's lock while it takes records, afterwards by the flusher alone.
    final class Chunk: @unchecked Sendable {
        // Why unchecked: see above, it has one owner at a time and is handed over under the lock.
        var bytes = ByteBuffer()
        var offset: UInt64 = 0
        /// Whether a new segment begins here.
        var startsSegment = false
        var records: [(offset: UInt64, key: UInt64)] = []

        var end: UInt64 { self.offset + UInt64(self.bytes.readableBytes) }

        func reset(offset: UInt64, startsSegment: Bool) {
            self.bytes.clear()
            self.records.removeAll(keepingCapacity: true)
            self.offset = offset
            self.startsSegment = startsSegment
        }
    }

    /// A segment, and how much of it is durable.
    struct Segment {
        let file: SegmentFile
        var durableEnd: UInt64
        var index: SegmentIndex
    }

    struct Waiter {
        var id: UInt64
        /// For `durableEnd`; nil waits for room.
        var end: UInt64?
        var body: @Sendable (Result<Void, any Error>) -> Void
    }

    struct State {
        var condition: LogCondition = .healthy
        var isClosing = false
        /// Oldest first, never empty: what is durable of these is what readers see.
        var segments: [Segment]
        /// Where the segment begins to which the next record goes.
        var appendBase: UInt64
        var nextOffset: UInt64
        /// Being filled; the last one takes appends.
        var pending: [Chunk] = []
        /// Taken by the flusher, not durable yet.
        var inFlight: [Chunk] = []
        /// Kept for their memory.
        var spare: [Chunk] = []
        /// Whether the flusher has been told.
        var isEnqueued = false
        var waiters: [Waiter] = []
        var nextWaiterID: UInt64 = 0
        var durableObservers: [@Sendable (UInt64) -> Void] = []
        var conditionObservers: [@Sendable (LogCondition) -> Void] = []
        var metrics = LogMetrics()

        var durableEnd: UInt64 { self.segments[self.segments.count - 1].durableEnd }
        var pendingByteCount: UInt64 { self.nextOffset - self.durableEnd }

        mutating func makeChunk(startsSegment: Bool) -> Chunk {
            let chunk = self.spare.popLast() ?? Chunk()
            chunk.reset(offset: self.nextOffset, startsSegment: startsSegment)
            self.pending.append(chunk)
            return chunk
        }

        /// Takes out the waiters that are served now.
        mutating func takeWaiters(where isServed: (Waiter) -> Bool) -> [Waiter] {
            guard self.waiters.contains(where: isServed) else { return [] }
            let served = self.waiters.filter(isServed)
            self.waiters.removeAll(where: isServed)
            return served
        }
    }
}
