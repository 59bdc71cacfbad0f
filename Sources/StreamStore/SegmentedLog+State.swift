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

/// When a log's records count as durable, and so become visible.
package enum LogSyncPolicy: Hashable, Sendable {
    /// When they are on the disk: each write is followed by a sync.
    case everyFlush
    /// When the system has them: they survive the end of the process, the last ones do not survive a power loss. The
    /// owner calls `syncNow()` from a thread of its own, so that appends never wait for it.
    case deferred
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
    package var syncPolicy: LogSyncPolicy
    /// Most zeros that are written ahead of the records, so that most syncs find the file's blocks and size as they are
    /// and have nothing to write but data. 0 for a log where few wait for syncs.
    package var roomByteLimit: UInt64

    package init(
        segmentByteCount: UInt64 = 64 << 20, pendingByteLimit: UInt64 = 32 << 20, recordByteLimit: Int = 1 << 30,
        indexSpacing: UInt64 = 64 << 10, syncPolicy: LogSyncPolicy = .everyFlush, roomByteLimit: UInt64 = 0
    ) {
        self.segmentByteCount = segmentByteCount
        self.pendingByteLimit = pendingByteLimit
        self.recordByteLimit = recordByteLimit
        self.indexSpacing = indexSpacing
        self.syncPolicy = syncPolicy
        self.roomByteLimit = roomByteLimit
    }
}

/// What the owner of a log gives along with a record, to get back when the record is durable.
package protocol LogAttachment: AnyObject, Sendable {}

/// Records that became durable together.
package struct LogDelivery: Sendable {
    package struct Item: Sendable {
        package var attachment: any LogAttachment
        /// Where the record ends in the log.
        package var end: UInt64
        /// Where the record's payload lies in `bytes`.
        package var payloadIndex: Int
        package var payloadCount: Int
    }

    /// In the order of their appends. Records without an attachment are left out.
    package var items: [Item]
    /// The records as written. Slices of it may be kept; the log does not use this memory again.
    package var bytes: ByteBuffer
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
        var attached: [LogDelivery.Item] = []

        var end: UInt64 { self.offset + UInt64(self.bytes.readableBytes) }

        func reset(offset: UInt64, startsSegment: Bool) {
            self.bytes.clear()
            self.records.removeAll(keepingCapacity: true)
            self.attached.removeAll(keepingCapacity: true)
            self.offset = offset
            self.startsSegment = startsSegment
        }
    }

    /// A segment, and how much of it is durable.
    struct Segment {
        let file: SegmentFile
        var durableEnd: UInt64
        var index: SegmentIndex
        /// Offset in the log where the zeros written ahead end; at most the end of the records where there are none. Changed
        /// inside the flusher's passes alone.
        var roomEnd: UInt64 = 0
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
        /// Everything before is on the disk; behind `durableEnd` only where syncs are deferred.
        var syncedEnd: UInt64
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
        var deliveryObserver: (@Sendable (LogDelivery) -> Void)?
        var dropObserver: (@Sendable ([any LogAttachment], StoreError) -> Void)?
        /// Size of the last chunk whose memory was given away: the next one starts with room for as much.
        var capacityHint = 0
        var metrics = LogMetrics()

        var durableEnd: UInt64 { self.segments[self.segments.count - 1].durableEnd }
        var pendingByteCount: UInt64 { self.nextOffset - self.durableEnd }

        mutating func makeChunk(startsSegment: Bool) -> Chunk {
            let chunk = self.spare.popLast() ?? Chunk()
            chunk.reset(offset: self.nextOffset, startsSegment: startsSegment)
            if chunk.bytes.capacity < self.capacityHint { chunk.bytes.reserveCapacity(self.capacityHint) }
            self.pending.append(chunk)
            return chunk
        }

        /// Gives up everything that waits to be written; returns what was attached to it.
        mutating func dropWaiting() -> [any LogAttachment] {
            let attached = (self.inFlight + self.pending).flatMap { $0.attached.map(\.attachment) }
            self.pending = []
            self.inFlight = []
            self.spare = []
            return attached
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
