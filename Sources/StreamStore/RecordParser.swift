import NIOCore

/// Takes records out of bytes read from a segment.
struct RecordParser {
    enum Step {
        case record(LogRecord)
        /// The buffer ends inside a record, which needs so many bytes in all.
        case incomplete(needed: Int)
        case invalid(String)
    }

    let segment: SegmentFile
    private(set) var buffer: ByteBuffer
    /// Offset in the log of the buffer's first unread byte.
    private(set) var offset: UInt64
    /// Distance told by the last record taken.
    private(set) var lastDistance: UInt32 = 0

    init(segment: SegmentFile, buffer: ByteBuffer, offset: UInt64) {
        self.segment = segment
        self.buffer = buffer
        self.offset = offset
    }

    mutating func next() -> Step {
        guard self.buffer.readableBytes >= RecordHeader.byteCount else {
            return .incomplete(needed: RecordHeader.byteCount)
        }
        let decoded = self.buffer.withUnsafeReadableBytes {
            RecordHeader.decode($0, salt: self.segment.salt, offset: self.offset)
        }
        guard let header = decoded else { return .invalid("no valid record header") }
        guard self.buffer.readableBytes >= header.recordCount,
            let payload = self.buffer.getSlice(
                at: self.buffer.readerIndex + RecordHeader.byteCount, length: Int(header.payloadCount))
        else { return .incomplete(needed: header.recordCount) }
        var checksum = CRC32C()
        checksum.update(payload)
        guard checksum.value == header.payloadChecksum else { return .invalid("a record's payload fails its checksum") }
        let end = self.offset + UInt64(header.recordCount)
        let record = LogRecord(
            offset: self.offset, end: end, kind: header.kind, flags: header.flags, stream: header.stream,
            key: header.key, payload: payload)
        self.buffer.moveReaderIndex(forwardBy: header.recordCount)
        self.offset = end
        self.lastDistance = header.distance
        return .record(record)
    }

    func damage(_ reason: String) -> StoreError {
        .corrupt(file: self.segment.path, offset: self.offset, reason)
    }
}

/// Reads the headers alone, skipping payloads.
struct HeaderScanner {
    private let segment: SegmentFile
    private let end: UInt64
    private var offset: UInt64
    private var window = ByteBuffer()
    private var windowOffset: UInt64

    private static let windowCount = 64 << 10

    init(segment: SegmentFile, offset: UInt64, end: UInt64) {
        self.segment = segment
        self.offset = offset
        self.windowOffset = offset
        self.end = end
    }

    /// The next header, or nil at the end.
    mutating func next() throws(StoreError) -> (offset: UInt64, header: RecordHeader)? {
        guard self.offset < self.end else { return nil }
        let windowEnd = self.windowOffset + UInt64(self.window.readableBytes)
        if self.offset + UInt64(RecordHeader.byteCount) > windowEnd {
            let (segment, offset) = (self.segment, self.offset)
            self.window = try storing { () throws(FileError) in
                try ByteBuffer(reading: Self.windowCount, of: segment.file, at: segment.position(of: offset))
            }
            self.windowOffset = offset
        }
        let start = Int(self.offset - self.windowOffset)
        let decoded = self.window.withUnsafeReadableBytes { bytes in
            RecordHeader.decode(
                UnsafeRawBufferPointer(rebasing: bytes[min(start, bytes.count)...]), salt: self.segment.salt,
                offset: self.offset)
        }
        guard let header = decoded else {
            throw .corrupt(file: self.segment.path, offset: self.offset, "no valid record header")
        }
        defer { self.offset += UInt64(header.recordCount) }
        return (self.offset, header)
    }
}

extension SegmentFile {
    /// Size of the record whose header begins a buffer, if it is a valid one.
    func recordCount(in buffer: ByteBuffer, at offset: UInt64) -> Int? {
        buffer.withUnsafeReadableBytes { RecordHeader.decode($0, salt: self.salt, offset: offset)?.recordCount }
    }
}
