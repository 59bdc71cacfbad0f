import CZlib
import NIOCore

/// Writes a zip archive into memory: deflated members with their times unset, so that the same input gives the same
/// bytes.
///
/// Without the extensions for large archives: at most 65,535 members and 4 GiB.
struct ZipArchive {
    private struct Member {
        var name: [UInt8]
        var checksum: UInt32
        var compressedSize: UInt32
        var size: UInt32
        var offset: UInt32
    }

    private enum Format {
        static let localHeader: UInt32 = 0x0403_4B50
        static let directoryHeader: UInt32 = 0x0201_4B50
        static let directoryEnd: UInt32 = 0x0605_4B50
        /// 2.0: folders and deflate.
        static let versionNeeded: UInt16 = 20
        /// Made by 2.0 on Unix, so that the permissions below hold.
        static let versionMadeBy: UInt16 = 3 << 8 | 20
        /// Names are UTF-8.
        static let flags: UInt16 = 1 << 11
        static let deflate: UInt16 = 8
        /// 1 January 1980, the earliest there is.
        static let date: UInt16 = 1 << 5 | 1
        /// A regular file, readable by all.
        static let attributes: UInt32 = 0o100644 << 16
    }

    private var buffer = ByteBuffer()
    private var members: [Member] = []

    mutating func add(name: String, content: [UInt8]) throws(MigrationsError) {
        let name = Array(name.utf8)
        let compressed = try Self.deflated(content)
        guard self.members.count < UInt16.max, name.count <= UInt16.max,
            let size = UInt32(exactly: content.count), let compressedSize = UInt32(exactly: compressed.count),
            let offset = UInt32(exactly: self.buffer.writerIndex)
        else { throw MigrationsError(code: .tooLarge, message: "The migrations do not fit into a zip archive") }
        let member = Member(
            name: name, checksum: Self.checksum(of: content), compressedSize: compressedSize, size: size,
            offset: offset)
        self.write(Format.localHeader)
        self.write(Format.versionNeeded)
        self.writeDescription(of: member)
        self.buffer.writeBytes(name)
        self.buffer.writeBytes(compressed)
        self.members.append(member)
    }

    /// The whole archive. Nothing can be added after it.
    consuming func finish() throws(MigrationsError) -> ByteBuffer {
        let start = self.buffer.writerIndex
        for member in self.members {
            self.write(Format.directoryHeader)
            self.write(Format.versionMadeBy)
            self.write(Format.versionNeeded)
            self.writeDescription(of: member)
            self.write(UInt16(0))  // length of the comment
            self.write(UInt16(0))  // number of the disk
            self.write(UInt16(0))  // internal attributes
            self.write(Format.attributes)
            self.write(member.offset)
            self.buffer.writeBytes(member.name)
        }
        guard let offset = UInt32(exactly: start), let size = UInt32(exactly: self.buffer.writerIndex - start),
            let count = UInt16(exactly: self.members.count)
        else { throw MigrationsError(code: .tooLarge, message: "The migrations do not fit into a zip archive") }
        self.write(Format.directoryEnd)
        self.write(UInt16(0))  // number of this disk
        self.write(UInt16(0))  // and of the one with the directory
        self.write(count)
        self.write(count)
        self.write(size)
        self.write(offset)
        self.write(UInt16(0))  // length of the comment
        return self.buffer
    }

    /// What the local header and the directory have in common: from the flags to the length of the extra field.
    private mutating func writeDescription(of member: Member) {
        self.write(Format.flags)
        self.write(Format.deflate)
        self.write(UInt16(0))  // time
        self.write(Format.date)
        self.write(member.checksum)
        self.write(member.compressedSize)
        self.write(member.size)
        self.write(UInt16(truncatingIfNeeded: member.name.count))
        self.write(UInt16(0))  // length of the extra field
    }

    private mutating func write(_ value: some FixedWidthInteger) {
        self.buffer.writeInteger(value, endianness: .little)
    }

    // MARK: - Compression

    private static func checksum(of content: [UInt8]) -> UInt32 {
        content.withUnsafeBufferPointer { bytes in
            UInt32(truncatingIfNeeded: crc32_z(0, bytes.baseAddress, bytes.count))
        }
    }

    private static func deflated(_ content: [UInt8]) throws(MigrationsError) -> [UInt8] {
        let failure = MigrationsError(code: .compression, message: "The migrations could not be compressed")
        guard content.count <= Int(UInt32.max) / 2 else {
            throw MigrationsError(code: .tooLarge, message: "A migration does not fit into a zip archive")
        }
        var stream = z_stream()
        guard penstock_raw_deflate_init(&stream, Z_DEFAULT_COMPRESSION) == Z_OK else { throw failure }
        defer { deflateEnd(&stream) }
        // Why: with this much room, one call compresses everything.
        let bound = Int(deflateBound(&stream, UInt(content.count)))
        var content = content
        var isComplete = false
        let compressed = [UInt8](unsafeUninitializedCapacity: bound) { output, count in
            content.withUnsafeMutableBufferPointer { input in
                stream.next_in = input.baseAddress
                stream.avail_in = UInt32(truncatingIfNeeded: input.count)
                stream.next_out = output.baseAddress
                stream.avail_out = UInt32(truncatingIfNeeded: bound)
                isComplete = deflate(&stream, Z_FINISH) == Z_STREAM_END
            }
            count = isComplete ? Int(stream.total_out) : 0
        }
        guard isComplete else { throw failure }
        return compressed
    }
}
