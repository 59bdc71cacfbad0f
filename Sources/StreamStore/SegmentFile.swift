import NIOCore

/// One file of a log: a header, then records. The offset in the log of the first record names the file.
final class SegmentFile: Sendable {
    /// Offset in the log of the first record.
    let base: UInt64
    /// Goes into every record's checksum. Drawn by lot for each log, the same in all its segments.
    let salt: UInt64
    /// Its lasting name; the open file may still know its unfinished one.
    let path: String
    let file: any StoreFile

    init(base: UInt64, salt: UInt64, path: String, file: any StoreFile) {
        self.path = path
        self.base = base
        self.salt = salt
        self.file = file
    }

    /// Where an offset of the log lies in the file.
    func position(of offset: UInt64) -> UInt64 {
        UInt64(SegmentHeader.byteCount) + (offset - self.base)
    }

    static let suffix = ".seg"
    /// Files being made; never holding a record, removed at open.
    static let unfinishedSuffix = ".new"

    static func name(base: UInt64) -> String {
        let digits = String(base)
        return String(repeating: "0", count: 20 - digits.count) + digits + Self.suffix
    }

    static func base(name: String) -> UInt64? {
        guard name.utf8.count == 20 + Self.suffix.utf8.count, name.hasSuffix(Self.suffix) else { return nil }
        let digits = name.utf8.prefix(20)
        guard digits.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }) else { return nil }
        // Why a bound: room for sums with file sizes, and file positions are signed.
        return UInt64(name.prefix(20)).flatMap { $0 <= UInt64(Int64.max) / 2 ? $0 : nil }
    }

    /// Makes a segment: complete and durable under its unfinished name first, then under its own.
    ///
    /// A crash leaves nothing, an unfinished name, or a whole and empty segment.
    static func create(
        base: UInt64, salt: UInt64, in directory: String, fileSystem: any FileSystem
    ) throws(FileError) -> SegmentFile {
        let name = directory + "/" + Self.name(base: base)
        let unfinished = name + Self.unfinishedSuffix
        let header = SegmentHeader(base: base, salt: salt)
        let file = try fileSystem.open(unfinished, .createNew)
        do throws(FileError) {
            let bytes = header.encoded()
            try bytes.writingAll(to: file, at: 0)
            try file.sync()
            try fileSystem.rename(unfinished, to: name, replacing: false)
        } catch {
            // Why: a retry after the disk was full makes the same name again. If this fails too, that try reports it.
            try? fileSystem.unlink(unfinished)
            throw error
        }
        try fileSystem.syncDirectory(directory)
        return SegmentFile(base: base, salt: salt, path: name, file: file)
    }

    /// Opens an existing segment and checks its header.
    static func open(
        name: String, base: UInt64, in directory: String, fileSystem: any FileSystem
    ) throws(StoreError) -> SegmentFile {
        let path = directory + "/" + name
        let file = try storing { () throws(FileError) in try fileSystem.open(path, .readWrite) }
        let bytes = try storing { () throws(FileError) in
            try ByteBuffer(reading: SegmentHeader.byteCount, of: file, at: 0)
        }
        let header = try SegmentHeader.decode(bytes, file: path)
        guard header.base == base else {
            throw .corrupt(file: path, offset: 16, "the file's header says it begins at \(header.base)")
        }
        return SegmentFile(base: base, salt: header.salt, path: path, file: file)
    }
}

/// The first 64 bytes of a segment. All integers are little-endian.
///
/// | at | size | |
/// |---|---|---|
/// | 0 | 8 | magic |
/// | 8 | 4 | format version |
/// | 12 | 4 | CRC-32C of the other 60 bytes |
/// | 16 | 8 | offset of the first record |
/// | 24 | 8 | salt of the records' checksums |
/// | 32 | 32 | reserved, 0 |
struct SegmentHeader {
    static let byteCount = 64
    static let version: UInt32 = 1
    private static let magic: StaticString = "PENSTOCK"

    var base: UInt64
    var salt: UInt64

    func encoded(version: UInt32 = SegmentHeader.version) -> ByteBuffer {
        var bytes = ByteBuffer()
        bytes.writeStaticString(Self.magic)
        bytes.writeInteger(version, endianness: .little)
        bytes.writeInteger(UInt32(0))
        bytes.writeInteger(self.base, endianness: .little)
        bytes.writeInteger(self.salt, endianness: .little)
        bytes.writeRepeatingByte(0, count: Self.byteCount - bytes.readableBytes)
        bytes.setInteger(Self.checksum(bytes), at: 12, endianness: .little)
        return bytes
    }

    static func decode(_ bytes: ByteBuffer, file: String) throws(StoreError) -> SegmentHeader {
        guard bytes.readableBytes == Self.byteCount,
            bytes.getSlice(at: 0, length: 8)?.readableBytesView.elementsEqual(self.magicBytes) == true,
            let version = bytes.getInteger(at: 8, endianness: .little, as: UInt32.self),
            let checksum = bytes.getInteger(at: 12, endianness: .little, as: UInt32.self),
            let base = bytes.getInteger(at: 16, endianness: .little, as: UInt64.self),
            let salt = bytes.getInteger(at: 24, endianness: .little, as: UInt64.self)
        else { throw .corrupt(file: file, offset: 0, "the file's header is missing or not ours") }
        // Why: the checksum comes first. All versions keep these 16 bytes, so that damage is not reported as a version.
        guard checksum == Self.checksum(bytes) else {
            throw .corrupt(file: file, offset: 0, "the file's header fails its checksum")
        }
        guard version <= Self.version else {
            throw StoreError(
                .newerFormat, "format version \(version) is newer than \(Self.version), the latest known here",
                file: file)
        }
        guard version == Self.version else {
            throw StoreError(.unsupportedFormat, "format version \(version) cannot be upgraded", file: file)
        }
        return SegmentHeader(base: base, salt: salt)
    }

    private static var magicBytes: UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(start: self.magic.utf8Start, count: self.magic.utf8CodeUnitCount)
    }

    private static func checksum(_ bytes: ByteBuffer) -> UInt32 {
        var crc = CRC32C()
        bytes.withUnsafeReadableBytes { all in
            crc.update(UnsafeRawBufferPointer(rebasing: all[0..<12]))
            crc.update(UnsafeRawBufferPointer(rebasing: all[16..<Self.byteCount]))
        }
        return crc.value
    }
}

extension ByteBuffer {
    /// Reads up to `count` bytes of a file.
    init(reading count: Int, of file: any StoreFile, at position: UInt64) throws(FileError) {
        self = ByteBufferAllocator().buffer(capacity: count)
        try self.append(reading: count, of: file, at: position)
    }

    /// Reads up to `count` bytes of a file after what is there.
    mutating func append(reading count: Int, of file: any StoreFile, at position: UInt64) throws(FileError) {
        var failure: FileError?
        self.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { bytes in
            do throws(FileError) {
                return try file.readAll(into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<count]), at: position)
            } catch {
                failure = error
                return 0
            }
        }
        if let failure { throw failure }
    }

    /// Writes all readable bytes to a file.
    func writingAll(to file: any StoreFile, at position: UInt64) throws(FileError) {
        let result = self.withUnsafeReadableBytes { bytes -> Result<Void, FileError> in
            do throws(FileError) {
                return .success(try file.writeAll(bytes, at: position))
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }
}
