import DurableStreams
import NIOCore

// Records of the log of the metadata. Their key is the identity of the stream, 0 for a mark. Numbers are little-endian.

/// What kinds of records there are.
enum MetadataKind: UInt8 {
    /// A stream as it is, with small contents.
    case snapshot = 1
    /// A stream is gone, and its files.
    case tombstone = 2
    /// Everything before an offset of the write-ahead log is contained in what comes before.
    case mark = 3
}

/// One stream in the log of the metadata. All bytes from `start` to the state's tail are in the stream's files, or here.
struct SnapshotRecord {
    var state: StreamState
    /// The write-ahead log's records of this stream are contained up to here.
    var lastRecordEnd: UInt64
    var placement: StreamEntry.Placement
    /// Entries in the index file.
    var indexCount: UInt64
    /// Own bytes before this are not there any more; 0 if there never were any.
    var start: UInt64 = 0
    /// Ends and checksums of the appends that `bytes` consists of.
    var appends: [StreamFiles.Entry] = []
    var bytes = ByteBuffer()

    private static let version: UInt8 = 1
    /// With `start`. Where that is 0 the older version is written.
    private static let trimmedVersion: UInt8 = 2

    func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(self.start > 0 ? Self.trimmedVersion : Self.version)
        if self.start > 0 { buffer.writeInteger(self.start, endianness: .little) }
        buffer.writeInteger(self.placement.rawValue)
        buffer.writeInteger(self.lastRecordEnd, endianness: .little)
        buffer.writeInteger(self.indexCount, endianness: .little)
        self.state.encode(into: &buffer)
        buffer.writeInteger(UInt32(self.appends.count), endianness: .little)
        for append in self.appends { append.encode(into: &buffer) }
        buffer.writeImmutableBuffer(self.bytes)
    }

    init(
        state: StreamState, lastRecordEnd: UInt64, placement: StreamEntry.Placement, indexCount: UInt64,
        start: UInt64 = 0, appends: [StreamFiles.Entry] = [], bytes: ByteBuffer = ByteBuffer()
    ) {
        self.state = state
        self.lastRecordEnd = lastRecordEnd
        self.placement = placement
        self.indexCount = indexCount
        self.start = start
        self.appends = appends
        self.bytes = bytes
    }

    /// Nil when the bytes are none.
    init?(decoding buffer: ByteBuffer) {
        var rest = buffer
        let version = rest.readInteger(as: UInt8.self)
        var start: UInt64 = 0
        if version == Self.trimmedVersion {
            guard let found = rest.readInteger(endianness: .little, as: UInt64.self), found > 0 else { return nil }
            start = found
        }
        guard version == Self.version || start > 0,
            let placement = rest.readInteger(as: UInt8.self).flatMap(StreamEntry.Placement.init(rawValue:)),
            let lastRecordEnd = rest.readInteger(endianness: .little, as: UInt64.self),
            let indexCount = rest.readInteger(endianness: .little, as: UInt64.self),
            let state = StreamState(decoding: &rest),
            let count = rest.readInteger(endianness: .little, as: UInt32.self),
            rest.readableBytes >= Int(count) * StreamFiles.entryCount
        else { return nil }
        var appends: [StreamFiles.Entry] = []
        for _ in 0..<count {
            guard let append = StreamFiles.Entry(decoding: &rest) else { return nil }
            appends.append(append)
        }
        self.init(
            state: state, lastRecordEnd: lastRecordEnd, placement: placement, indexCount: indexCount, start: start,
            appends: appends, bytes: rest)
    }
}

/// The end of a checkpoint.
struct MarkRecord {
    /// Records of the write-ahead log before this are not needed.
    var logOffset: UInt64
    var nextIdentity: UInt64

    func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(self.logOffset, endianness: .little)
        buffer.writeInteger(self.nextIdentity, endianness: .little)
    }

    init(logOffset: UInt64, nextIdentity: UInt64) {
        self.logOffset = logOffset
        self.nextIdentity = nextIdentity
    }

    init?(decoding buffer: ByteBuffer) {
        var rest = buffer
        guard let logOffset = rest.readInteger(endianness: .little, as: UInt64.self),
            let nextIdentity = rest.readInteger(endianness: .little, as: UInt64.self), rest.readableBytes == 0
        else { return nil }
        self.init(logOffset: logOffset, nextIdentity: nextIdentity)
    }
}

extension StreamFiles.Entry {
    func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(self.end, endianness: .little)
        buffer.writeInteger(self.checksum, endianness: .little)
        buffer.writeInteger(self.messageCount, endianness: .little)
    }

    init?(decoding buffer: inout ByteBuffer) {
        guard let end = buffer.readInteger(endianness: .little, as: UInt64.self),
            let checksum = buffer.readInteger(endianness: .little, as: UInt32.self),
            let messageCount = buffer.readInteger(endianness: .little, as: UInt32.self)
        else { return nil }
        self.init(end: end, checksum: checksum, messageCount: messageCount)
    }
}
