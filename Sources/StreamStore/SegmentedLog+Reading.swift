import Synchronization
import NIOCore

/// What one read gave.
package struct LogBatch: Sendable {
    package var records: [LogRecord]
    /// Where to read on.
    package var nextOffset: UInt64
}

/// A position in a log that moves forward. Holds no file and no lock; costs nothing when left.
package struct LogReader: Sendable {
    package let log: SegmentedLog
    /// Where the next batch begins.
    package private(set) var offset: UInt64

    /// The next durable records, none at the durable end; see `SegmentedLog.read(from:maxBytes:)`.
    package mutating func nextBatch(maxBytes: Int) throws(StoreError) -> [LogRecord] {
        let batch = try self.log.read(from: self.offset, maxBytes: maxBytes)
        self.offset = batch.nextOffset
        return batch.records
    }

    fileprivate init(log: SegmentedLog, offset: UInt64) {
        self.log = log
        self.offset = offset
    }
}

extension SegmentedLog {
    /// A reader that begins at an offset, one that a record begins at, or the durable end.
    package func reader(from offset: UInt64) -> LogReader {
        LogReader(log: self, offset: offset)
    }

    /// Durable records from an offset on, as many as fit into `maxBytes` of the file, but at least one if there is one.
    /// Blocks.
    ///
    /// Payloads are slices of one buffer. A read does not go past the end of a segment, so that fewer records than
    /// asked for do not mean the end; no records do.
    ///
    /// - Parameter offset: Where a record begins, or the durable end. Any other offset inside the log is reported as
    ///   damage.
    /// - Throws: `trimmed`, `outOfRange`, `corrupt`, `io`, `closed`.
    package func read(from offset: UInt64, maxBytes: Int) throws(StoreError) -> LogBatch {
        guard let segment = try self.segment(at: offset) else { return LogBatch(records: [], nextOffset: offset) }
        let available = segment.durableEnd - offset
        let count = Int(min(available, UInt64(max(maxBytes, RecordHeader.byteCount))))
        let position = segment.file.position(of: offset)
        var buffer = try storing { () throws(FileError) in
            try ByteBuffer(reading: count, of: segment.file.file, at: position)
        }
        // Why: the first record may be larger than what the caller would like at a time.
        if let needed = segment.file.recordCount(in: buffer, at: offset), needed > buffer.readableBytes,
            UInt64(needed) <= available
        {
            try storing { () throws(FileError) in
                buffer.reserveCapacity(needed)
                try buffer.append(
                    reading: needed - buffer.readableBytes, of: segment.file.file,
                    at: position + UInt64(buffer.readableBytes))
            }
        }
        var parser = RecordParser(segment: segment.file, buffer: buffer, offset: offset)
        var records: [LogRecord] = []
        while parser.offset < segment.durableEnd {
            switch parser.next() {
            case .record(let record): records.append(record)
            case .incomplete where !records.isEmpty: return LogBatch(records: records, nextOffset: parser.offset)
            case .incomplete: throw parser.damage("the file ends inside a record")
            case .invalid(let reason): throw parser.damage(reason)
            }
        }
        return LogBatch(records: records, nextOffset: parser.offset)
    }

    /// Offset of the first durable record whose key is at least `key`, or nil if there is none. Blocks for a short
    /// read.
    package func firstOffset(withKeyAtLeast key: UInt64) throws(StoreError) -> UInt64? {
        let found = self.state.withLock { state -> (Segment, UInt64)? in
            for segment in state.segments {
                if let start = segment.index.scanStart(keyAtLeast: key) { return (segment, start) }
            }
            return nil
        }
        guard let (segment, start) = found else { return nil }
        var headers = HeaderScanner(segment: segment.file, offset: start, end: segment.durableEnd)
        while let (offset, header) = try headers.next() {
            if header.key >= key { return offset }
        }
        throw .corrupt(
            file: segment.file.path, offset: start, "a record that was there when the log was opened is missing")
    }

    /// The segment that holds an offset, or nil at the durable end.
    private func segment(at offset: UInt64) throws(StoreError) -> Segment? {
        try self.state.withLock { state throws(StoreError) in
            if case .closed = state.condition { throw StoreError(.closed, "the log is closed") }
            let first = state.segments[0].file.base
            guard offset >= first else {
                throw StoreError(.trimmed, "the log begins at \(first)", offset: offset)
            }
            guard offset <= state.durableEnd else {
                throw StoreError(.outOfRange, "the log ends at \(state.durableEnd)", offset: offset)
            }
            var low = 0
            var high = state.segments.count
            while high - low > 1 {
                let middle = (low + high) / 2
                if state.segments[middle].file.base <= offset { low = middle } else { high = middle }
            }
            let segment = state.segments[low]
            return offset < segment.durableEnd ? segment : nil
        }
    }
}
