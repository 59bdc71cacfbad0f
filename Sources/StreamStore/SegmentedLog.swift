import NIOCore
import Synchronization

/// A durable log: records are appended at the end, become visible when they are durable, and are dropped from the front
/// in whole files.
///
/// An offset is a position in the log's own count of bytes, which never starts again; file headers do not count. A
/// record's offset is known when it is appended and never changes.
///
/// - Order: records are durable and visible in the order of their appends, without holes, after any crash.
/// - Appending takes memory only and never blocks on the disk; the store's `StoreFlusher` writes.
/// - Readers see durable records only: a crash cannot take back what was read.
/// - A failed write or sync fails the log for good. A full disk does not.
///
/// All of it may be called from any thread. What says that it blocks belongs on a thread that may.
package final class SegmentedLog: Sendable {
    package let directory: String
    package let configuration: LogConfiguration
    /// What opening found.
    package let recovery: RecoveryReport

    let fileSystem: any FileSystem
    let flusher: StoreFlusher
    let lock: any FileLock
    let floor: DurableFloor
    /// Goes into the checksum of every record.
    let salt: UInt64
    let state: Mutex<State>
    /// A copy for reading without the lock.
    let durable: Atomic<UInt64>

    /// Opens or makes a log. Blocks: reads all that is there.
    ///
    /// - Parameters:
    ///   - directory: Made if missing. Locked until the log is closed.
    ///   - visitRecovered: Sees every record that is there, in order, before this returns.
    /// - Throws: `StoreError`, or what `visitRecovered` throws.
    package static func open(
        directory: String,
        fileSystem: any FileSystem,
        flusher: StoreFlusher,
        configuration: LogConfiguration = LogConfiguration(),
        visitRecovered: (LogRecord) throws -> Void = { _ in }
    ) throws -> SegmentedLog {
        try LogRecovery(directory: directory, fileSystem: fileSystem, configuration: configuration)
            .open(flusher: flusher, visit: visitRecovered)
    }

    init(
        directory: String, fileSystem: any FileSystem, flusher: StoreFlusher, configuration: LogConfiguration,
        lock: any FileLock, floor: DurableFloor, segments: [Segment], recovery: RecoveryReport
    ) {
        precondition(!segments.isEmpty, "a log has at least one segment")
        let last = segments[segments.count - 1]
        self.directory = directory
        self.fileSystem = fileSystem
        self.flusher = flusher
        self.configuration = configuration
        self.lock = lock
        self.floor = floor
        self.recovery = recovery
        self.salt = last.file.salt
        self.state = Mutex(
            State(
                segments: segments, appendBase: last.file.base, nextOffset: last.durableEnd, syncedEnd: last.durableEnd)
        )
        self.durable = Atomic(last.durableEnd)
    }

    // MARK: - Where the log begins and ends

    /// End of what is durable and visible to readers.
    package var durableEnd: UInt64 { self.durable.load(ordering: .acquiring) }
    /// Offset the next appended record will have.
    package var nextOffset: UInt64 { self.state.withLock { $0.nextOffset } }
    /// Offset of the first record kept; `durableEnd` if there is none.
    package var firstOffset: UInt64 { self.state.withLock { $0.segments[0].file.base } }
    package var condition: LogCondition { self.state.withLock { $0.condition } }

    package var metrics: LogMetrics {
        self.state.withLock { state in
            var metrics = state.metrics
            metrics.pendingBytes = state.pendingByteCount
            metrics.segmentCount = state.segments.count
            metrics.totalBytes = state.durableEnd - state.segments[0].file.base
            return metrics
        }
    }

    // MARK: - Appending

    /// Appends a record to what goes to the disk next. Does not block.
    ///
    /// - Parameters:
    ///   - kind: 1 to 255.
    ///   - payload: Written one after the other.
    ///   - attachment: Given back by `onDelivery(_:)` or `onDrop(_:)`.
    /// - Throws: `diskFull`, `failed`, `closed`, `recordTooLarge`; nothing was appended then.
    @discardableResult
    package func append(
        kind: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, key: UInt64, payload: [ByteBuffer]
    ) throws(StoreError) -> AppendOutcome {
        var checksum = CRC32C()
        var count = 0
        for part in payload {
            checksum.update(part)
            count += part.readableBytes
        }
        return try self.append(
            kind: kind, flags: flags, stream: stream, key: key, payloadCount: count, checksum: checksum.value
        ) { target in
            var position = 0
            for part in payload {
                part.withUnsafeReadableBytes { bytes in
                    UnsafeMutableRawBufferPointer(rebasing: target[position...]).copyMemory(from: bytes)
                    position += bytes.count
                }
            }
        }
    }

    /// Appends a record of two buffers without an array for them; see the other `append`.
    @discardableResult
    package func append(
        kind: UInt8, key: UInt64, head: ByteBuffer, body: ByteBuffer?, attachment: (any LogAttachment)? = nil
    ) throws(StoreError) -> AppendOutcome {
        var checksum = CRC32C()
        checksum.update(head)
        if let body { checksum.update(body) }
        let headCount = head.readableBytes
        return try self.append(
            kind: kind, flags: 0, stream: 0, key: key, payloadCount: headCount + (body?.readableBytes ?? 0),
            checksum: checksum.value, attachment: attachment
        ) { target in
            head.withUnsafeReadableBytes { target.copyMemory(from: $0) }
            body?.withUnsafeReadableBytes { bytes in
                UnsafeMutableRawBufferPointer(rebasing: target[headCount...]).copyMemory(from: bytes)
            }
        }
    }

    /// Appends a record of one buffer; see the other `append`.
    @discardableResult
    package func append(
        kind: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, key: UInt64, payload: ByteBuffer
    ) throws(StoreError) -> AppendOutcome {
        var checksum = CRC32C()
        checksum.update(payload)
        return try self.append(
            kind: kind, flags: flags, stream: stream, key: key, payloadCount: payload.readableBytes,
            checksum: checksum.value
        ) { target in
            payload.withUnsafeReadableBytes { target.copyMemory(from: $0) }
        }
    }

    /// A record never crosses into another chunk beyond this size, which keeps distances in chunks within 32 bits.
    private static var chunkByteLimit: Int { 1 << 30 }

    private func append(
        kind: UInt8, flags: UInt8, stream: UInt32, key: UInt64, payloadCount: Int, checksum: UInt32,
        attachment: (any LogAttachment)? = nil, copy: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(StoreError) -> AppendOutcome {
        precondition(kind != 0, "record kind 0 stands for nothing")
        guard payloadCount <= min(self.configuration.recordByteLimit, Int(Int32.max) - RecordHeader.byteCount) else {
            throw StoreError(
                .recordTooLarge, "\(payloadCount) bytes are over the limit of \(self.configuration.recordByteLimit)")
        }
        let total = RecordHeader.byteCount + payloadCount
        let (outcome, mustEnqueue, isMuch) = try self.state.withLock {
            state throws(StoreError) -> (AppendOutcome, Bool, Bool) in
            try Self.checkTakesAppends(state)
            guard
                state.pendingByteCount == 0
                    || state.pendingByteCount + UInt64(total) <= self.configuration.pendingByteLimit
            else {
                state.metrics.fullCount += 1
                return (.full, false, false)
            }
            let offset = state.nextOffset
            let chunk = self.chunk(for: total, in: &state)
            let durableBefore =
                switch self.configuration.syncPolicy {
                case .everyFlush: chunk.offset
                case .deferred: state.syncedEnd
                }
            let header = RecordHeader(
                payloadCount: UInt32(payloadCount), payloadChecksum: checksum, kind: kind, flags: flags, stream: stream,
                distance: UInt32(truncatingIfNeeded: min(offset - durableBefore, UInt64(UInt32.max))), key: key)
            if let attachment {
                chunk.attached.append(
                    LogDelivery.Item(
                        attachment: attachment, end: offset + UInt64(total),
                        payloadIndex: chunk.bytes.writerIndex + RecordHeader.byteCount, payloadCount: payloadCount))
            }
            chunk.bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: total) { target in
                header.encode(to: target, salt: self.salt, offset: offset)
                copy(UnsafeMutableRawBufferPointer(rebasing: target[RecordHeader.byteCount..<total]))
                return total
            }
            chunk.records.append((offset, key))
            state.nextOffset += UInt64(total)
            state.metrics.recordsAppended += 1
            state.metrics.bytesAppended += UInt64(total)
            let mustEnqueue = !state.isEnqueued
            state.isEnqueued = true
            return (
                .appended(LogSpan(offset: offset, end: offset + UInt64(total))), mustEnqueue,
                state.pendingByteCount > self.configuration.pendingByteLimit / 8
            )
        }
        if mustEnqueue { self.flusher.enqueue(self) }
        if isMuch { self.flusher.hurry() }
        return outcome
    }

    private static func checkTakesAppends(_ state: borrowing State) throws(StoreError) {
        switch state.condition {
        case .healthy: break
        case .diskFull: throw StoreError(.diskFull, "the disk is full")
        case .failed(let error): throw StoreError(.failed, "the log failed earlier: \(error)")
        case .closed: throw StoreError(.closed, "the log is closed")
        }
        if state.isClosing { throw StoreError(.closed, "the log is being closed") }
    }

    /// The chunk that takes a record of this size; decides where segments begin.
    private func chunk(for byteCount: Int, in state: inout State) -> Chunk {
        if state.nextOffset - state.appendBase >= self.configuration.segmentByteCount {
            state.appendBase = state.nextOffset
            return state.makeChunk(startsSegment: true)
        }
        if let chunk = state.pending.last, chunk.bytes.readableBytes + byteCount <= Self.chunkByteLimit {
            return chunk
        }
        return state.makeChunk(startsSegment: false)
    }
}
