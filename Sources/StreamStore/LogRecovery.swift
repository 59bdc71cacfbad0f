import NIOCore

/// What opening a log found.
package struct RecoveryReport: Hashable, Sendable {
    package var recordCount: UInt64 = 0
    package var segmentCount = 0
    package var firstOffset: UInt64 = 0
    package var end: UInt64 = 0
    /// Bytes of a write cut short by a crash that were removed at the end; none of it had been reported durable.
    package var tornByteCount: UInt64 = 0
}

/// Brings a log's directory into a good state and reads it.
///
/// What a crash can leave, and what becomes of it:
/// - a segment or value under its unfinished name: removed;
/// - a last segment that ends in part of a write: cut after its last whole record;
/// - records at the end that were written but never synced: kept, after they have been written again and synced.
///   (Again, since after a failed sync Linux holds pages for clean that never came to the disk.)
///
/// Anything else is damage: an error names file and offset, and nothing is changed.
struct LogRecovery {
    let directory: String
    let fileSystem: any FileSystem
    let configuration: LogConfiguration

    private static let lockName = "LOCK"
    private static let windowCount = 1 << 20

    func open(flusher: StoreFlusher, visit: (LogRecord) throws -> Void) throws -> SegmentedLog {
        try storing { () throws(FileError) in
            try self.fileSystem.makeDirectoryPath(self.directory)
            // Why: an earlier start may have made it and ended before this.
            try self.fileSystem.syncDirectory(parentDirectory(of: self.directory))
        }
        let lock = try storing { () throws(FileError) in
            try self.fileSystem.lock(self.directory + "/" + Self.lockName)
        }
        do {
            let floor = DurableFloor(directory: self.directory, fileSystem: self.fileSystem)
            var report = RecoveryReport()
            let segments = try self.recover(floor: floor, report: &report, visit: visit)
            return SegmentedLog(
                directory: self.directory, fileSystem: self.fileSystem, flusher: flusher,
                configuration: self.configuration, lock: lock, floor: floor, segments: segments, recovery: report)
        } catch {
            lock.release()
            throw error
        }
    }

    private func recover(
        floor: DurableFloor, report: inout RecoveryReport, visit: (LogRecord) throws -> Void
    ) throws -> [SegmentedLog.Segment] {
        let known = try floor.read()
        let bases = try self.cleanedBases()
        guard !bases.isEmpty else {
            if let known, known > 0 {
                throw StoreError(
                    .corrupt, "the log was durable up to \(known), but no segment is there", file: self.directory)
            }
            let file = try storing { () throws(FileError) in
                try SegmentFile.create(
                    base: 0, salt: UInt64.random(in: .min ... .max), in: self.directory, fileSystem: self.fileSystem)
            }
            try self.remember(0, in: floor)
            report.segmentCount = 1
            return [SegmentedLog.Segment(file: file, durableEnd: 0, index: SegmentIndex())]
        }

        var segments: [SegmentedLog.Segment] = []
        for (position, base) in bases.enumerated() {
            let isLast = position == bases.count - 1
            let file = try SegmentFile.open(
                name: SegmentFile.name(base: base), base: base, in: self.directory, fileSystem: self.fileSystem)
            if let previous = segments.last {
                guard previous.durableEnd == base else {
                    throw StoreError.corrupt(
                        file: file.path, offset: base, "records are missing before it, from \(previous.durableEnd)")
                }
                guard previous.file.salt == file.salt else {
                    throw StoreError.corrupt(file: file.path, offset: base, "the file belongs to another log")
                }
            }
            segments.append(try self.scan(file, isLast: isLast, floor: known ?? 0, report: &report, visit: visit))
        }
        let end = segments[segments.count - 1].durableEnd
        guard end >= known ?? 0 else {
            throw StoreError.corrupt(
                file: segments[segments.count - 1].file.path, offset: end,
                "the log was durable up to \(known ?? 0), but ends here")
        }
        try storing { () throws(FileError) in try self.fileSystem.syncDirectory(self.directory) }
        if known != end { try self.remember(end, in: floor) }
        report.segmentCount = segments.count
        report.firstOffset = bases[0]
        report.end = end
        return segments
    }

    /// Removes unfinished files; returns the segments there are, in order.
    private func cleanedBases() throws(StoreError) -> [UInt64] {
        try storing { () throws(FileError) in
            var bases: [UInt64] = []
            for name in try self.fileSystem.list(self.directory) {
                if name.hasSuffix(SegmentFile.suffix + SegmentFile.unfinishedSuffix)
                    || name == DurableFloor.name + MetaFile.temporarySuffix
                {
                    try self.fileSystem.unlink(self.directory + "/" + name)
                } else if let base = SegmentFile.base(name: name) {
                    bases.append(base)
                }
            }
            return bases.sorted()
        }
    }

    private func remember(_ end: UInt64, in floor: DurableFloor) throws(StoreError) {
        do throws(StoreError) {
            try floor.write(end)
        } catch {
            // Why: a log on a full disk must open, or nothing could be trimmed from it. The lower floor is still true.
            if error.code != .diskFull { throw error }
        }
    }

    private func scan(
        _ file: SegmentFile, isLast: Bool, floor: UInt64, report: inout RecoveryReport,
        visit: (LogRecord) throws -> Void
    ) throws -> SegmentedLog.Segment {
        let size = try storing { () throws(FileError) in try file.file.size() }
        var segment = SegmentedLog.Segment(file: file, durableEnd: file.base, index: SegmentIndex())
        let fileEnd = file.base + (size - min(size, UInt64(SegmentHeader.byteCount)))
        var lastDistance: UInt32 = 0
        var lastOffset = file.base
        var damage: String?
        var windowCount = Self.windowCount
        scanning: while segment.durableEnd < fileEnd {
            let offset = segment.durableEnd
            let count = Int(min(UInt64(windowCount), fileEnd - offset))
            let buffer = try storing { () throws(FileError) in
                try ByteBuffer(reading: count, of: file.file, at: file.position(of: offset))
            }
            var parser = RecordParser(segment: file, buffer: buffer, offset: offset)
            parsing: while true {
                switch parser.next() {
                case .record(let record):
                    try visit(record)
                    segment.index.add(offset: record.offset, key: record.key, spacing: self.configuration.indexSpacing)
                    segment.durableEnd = record.end
                    lastDistance = parser.lastDistance
                    lastOffset = record.offset
                    report.recordCount += 1
                    windowCount = Self.windowCount
                case .incomplete(let needed):
                    if segment.durableEnd == fileEnd { break scanning }
                    if parser.offset + UInt64(needed) > fileEnd {
                        damage = "the file ends inside a record"
                        break scanning
                    }
                    windowCount = max(Self.windowCount, needed)
                    break parsing
                case .invalid(let reason):
                    damage = reason
                    break scanning
                }
            }
        }
        let end = segment.durableEnd
        if isLast, damage != nil {
            let written = try self.writtenEnd(of: file, from: end, to: fileEnd)
            // Zeros written ahead are the end, not damage.
            if written == end {
                damage = nil
                segment.roomEnd = fileEnd
            }
            report.tornByteCount = written - end
        }
        if let damage {
            guard isLast else { throw StoreError.corrupt(file: file.path, offset: end, damage) }
            guard floor <= end, try !self.wasDurable(end, of: file, fileEnd: fileEnd) else {
                throw StoreError.corrupt(file: file.path, offset: end, damage + " and had been durable")
            }
        }
        if isLast {
            if damage != nil {
                try storing { () throws(FileError) in try file.file.truncate(to: file.position(of: end)) }
            }
            // Nothing to write again of what is known to be on the disk; a cut by the process before may still be under
            // way.
            let back = min(UInt64(lastDistance), lastOffset - file.base)
            try self.secure(from: damage != nil || floor < end ? lastOffset - back : end, to: end, of: file)
        }
        return segment
    }

    /// Where zeros begin that go on to the end of the file.
    private func writtenEnd(of file: SegmentFile, from start: UInt64, to end: UInt64) throws(StoreError) -> UInt64 {
        var end = end
        while end > start {
            let count = min(UInt64(Self.windowCount), end - start)
            let bytes = try storing { () throws(FileError) in
                try ByteBuffer(reading: Int(count), of: file.file, at: file.position(of: end - count))
            }
            if let last = bytes.readableBytesView.lastIndex(where: { $0 != 0 }) {
                return end - count + UInt64(last - bytes.readerIndex) + 1
            }
            end -= count
        }
        return start
    }

    /// Whether a record after the damage at `end` proves that what is damaged had been durable.
    private func wasDurable(_ end: UInt64, of file: SegmentFile, fileEnd: UInt64) throws(StoreError) -> Bool {
        let overlap = UInt64(RecordHeader.byteCount - 1)
        var windowOffset = end + 1
        while windowOffset + UInt64(RecordHeader.byteCount) <= fileEnd {
            let (offset, count) = (windowOffset, Int(min(UInt64(Self.windowCount), fileEnd - windowOffset)))
            let buffer = try storing { () throws(FileError) in
                try ByteBuffer(reading: count, of: file.file, at: file.position(of: offset))
            }
            let isProven = buffer.withUnsafeReadableBytes { bytes in
                for start in 0...max(0, bytes.count - RecordHeader.byteCount)
                where bytes.count >= RecordHeader.byteCount && bytes[start + 12] != 0 {
                    let candidate = offset + UInt64(start)
                    let rest = UnsafeRawBufferPointer(rebasing: bytes[start..<start + RecordHeader.byteCount])
                    if let header = RecordHeader.decode(rest, salt: file.salt, offset: candidate),
                        candidate > end + UInt64(header.distance)
                    {
                        return true
                    }
                }
                return false
            }
            if isProven { return true }
            windowOffset += UInt64(count) - min(overlap, UInt64(count) - 1)
            if UInt64(count) < UInt64(Self.windowCount) { break }
        }
        return false
    }

    /// Writes the bytes of the last write again as they are and syncs them.
    private func secure(from start: UInt64, to end: UInt64, of file: SegmentFile) throws(StoreError) {
        try storing { () throws(FileError) in
            var offset = start
            while offset < end {
                let count = Int(min(UInt64(Self.windowCount), end - offset))
                let bytes = try ByteBuffer(reading: count, of: file.file, at: file.position(of: offset))
                try bytes.writingAll(to: file.file, at: file.position(of: offset))
                offset += UInt64(count)
            }
            try file.file.syncAll()
        }
    }
}
