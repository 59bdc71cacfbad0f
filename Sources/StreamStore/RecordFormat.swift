import NIOCore

/// One record of a log, as read.
package struct LogRecord: Hashable, Sendable {
    /// Where the record begins in the log.
    package var offset: UInt64
    /// Where the next one begins.
    package var end: UInt64
    /// The owner's own meaning, 1 to 255.
    package var kind: UInt8
    package var flags: UInt8
    /// Which of several streams kept in one log; 0 where there is one.
    package var stream: UInt32
    /// What the log is searched by, a position of the replication stream for the change log.
    package var key: UInt64
    package var payload: ByteBuffer

    package init(
        offset: UInt64, end: UInt64, kind: UInt8, flags: UInt8, stream: UInt32, key: UInt64, payload: ByteBuffer
    ) {
        self.offset = offset
        self.end = end
        self.kind = kind
        self.flags = flags
        self.stream = stream
        self.key = key
        self.payload = payload
    }
}

/// The 32 bytes before each payload. All integers are little-endian.
///
/// | at | size | |
/// |---|---|---|
/// | 0 | 4 | payload length |
/// | 4 | 4 | CRC-32C of: the log's salt (8), record's offset in the log (8), bytes 0..<4, bytes 8..<32 |
/// | 8 | 4 | CRC-32C of the payload |
/// | 12 | 1 | kind, never 0, so that a run of zeros is no record |
/// | 13 | 1 | flags |
/// | 14 | 2 | reserved, 0 |
/// | 16 | 4 | stream |
/// | 20 | 4 | distance back to the first record of the same write |
/// | 24 | 8 | key |
///
/// Two things follow from what the first checksum covers: a header found anywhere else than where it was written is
/// invalid, and payload bytes cannot imitate one. From the distance follows a proof: a write begins only after the one
/// before it is durable, so a valid header shows that everything before `offset - distance` had been durable. Recovery
/// tells damage from a write that power cut short by it.
struct RecordHeader {
    static let byteCount = 32

    var payloadCount: UInt32
    var payloadChecksum: UInt32
    var kind: UInt8
    var flags: UInt8
    var stream: UInt32
    var distance: UInt32
    var key: UInt64

    var recordCount: Int { Self.byteCount + Int(self.payloadCount) }

    /// Writes the header to the first bytes of `bytes`.
    func encode(to bytes: UnsafeMutableRawBufferPointer, salt: UInt64, offset: UInt64) {
        bytes.storeBytes(of: self.payloadCount.littleEndian, toByteOffset: 0, as: UInt32.self)
        bytes.storeBytes(of: self.payloadChecksum.littleEndian, toByteOffset: 8, as: UInt32.self)
        bytes.storeBytes(of: self.kind, toByteOffset: 12, as: UInt8.self)
        bytes.storeBytes(of: self.flags, toByteOffset: 13, as: UInt8.self)
        bytes.storeBytes(of: 0, toByteOffset: 14, as: UInt16.self)
        bytes.storeBytes(of: self.stream.littleEndian, toByteOffset: 16, as: UInt32.self)
        bytes.storeBytes(of: self.distance.littleEndian, toByteOffset: 20, as: UInt32.self)
        bytes.storeBytes(of: self.key.littleEndian, toByteOffset: 24, as: UInt64.self)
        let checksum = Self.checksum(UnsafeRawBufferPointer(bytes), salt: salt, offset: offset)
        bytes.storeBytes(of: checksum.littleEndian, toByteOffset: 4, as: UInt32.self)
    }

    /// The header at the start of `bytes`, or nil when it is not one that was written at this offset.
    static func decode(_ bytes: UnsafeRawBufferPointer, salt: UInt64, offset: UInt64) -> RecordHeader? {
        guard bytes.count >= Self.byteCount, bytes[12] != 0, bytes[14] == 0, bytes[15] == 0 else { return nil }
        let checksum = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        guard checksum == Self.checksum(bytes, salt: salt, offset: offset) else { return nil }
        return RecordHeader(
            payloadCount: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt32.self)),
            payloadChecksum: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)),
            kind: bytes[12],
            flags: bytes[13],
            stream: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt32.self)),
            distance: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 20, as: UInt32.self)),
            key: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self)))
    }

    private static func checksum(_ bytes: UnsafeRawBufferPointer, salt: UInt64, offset: UInt64) -> UInt32 {
        var crc = CRC32C()
        withUnsafeBytes(of: (salt.littleEndian, offset.littleEndian)) { crc.update($0) }
        crc.update(UnsafeRawBufferPointer(rebasing: bytes[0..<4]))
        crc.update(UnsafeRawBufferPointer(rebasing: bytes[8..<Self.byteCount]))
        return crc.value
    }
}
