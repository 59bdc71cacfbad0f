import NIOCore

/// A small value on disk that is replaced as a whole: after a crash there is the old one or the new one.
///
/// Not synchronised: one caller at a time.
package struct MetaFile: Sendable {
    package let path: String
    /// Version of the contents that this program writes; a later one is refused, earlier ones are returned with their
    /// number.
    package let version: UInt32
    private let fileSystem: any FileSystem

    private static let magic: UInt64 = 0x4154_454d_4b54_5350
    private static let headerCount = 24
    /// Small by intention; also what a damaged length can make us read.
    package static let maximumByteCount = 1 << 20

    package init(path: String, version: UInt32, fileSystem: any FileSystem) {
        self.path = path
        self.version = version
        self.fileSystem = fileSystem
    }

    /// The contents and the version they were written with, or nil if there is no file.
    package func read() throws(StoreError) -> (version: UInt32, contents: ByteBuffer)? {
        let directory = parentDirectory(of: self.path)
        let name = String(self.path.dropFirst(directory == "." ? 0 : directory.count + (directory == "/" ? 0 : 1)))
        guard try storing({ () throws(FileError) in try self.fileSystem.list(directory) }).contains(name) else {
            return nil
        }
        var bytes = try storing { () throws(FileError) in
            let file = try self.fileSystem.open(self.path, .readOnly)
            return try ByteBuffer(reading: Self.maximumByteCount + Self.headerCount + 1, of: file, at: 0)
        }
        guard let magic = bytes.readInteger(endianness: .little, as: UInt64.self),
            let checksum = bytes.readInteger(endianness: .little, as: UInt32.self),
            magic == Self.magic, checksum == Self.checksum(bytes),
            let version = bytes.readInteger(endianness: .little, as: UInt32.self),
            let count = bytes.readInteger(endianness: .little, as: UInt32.self),
            bytes.readInteger(as: UInt32.self) != nil, bytes.readableBytes == Int(count)
        else { throw .corrupt(file: self.path, offset: 0, "the file is damaged") }
        guard version <= self.version else {
            throw StoreError(
                .newerFormat, "format version \(version) is newer than \(self.version), the latest known here",
                file: self.path)
        }
        return (version, bytes)
    }

    /// Replaces the contents; durable on return. If it throws, either the old or the new contents are there.
    package func replace(with contents: ByteBuffer) throws(StoreError) {
        guard contents.readableBytes <= Self.maximumByteCount else {
            throw StoreError(.recordTooLarge, "\(contents.readableBytes) bytes are too many", file: self.path)
        }
        var rest = ByteBuffer()
        rest.writeInteger(self.version, endianness: .little)
        rest.writeInteger(UInt32(contents.readableBytes), endianness: .little)
        rest.writeInteger(UInt32(0))
        rest.writeImmutableBuffer(contents)
        var bytes = ByteBuffer()
        bytes.writeInteger(Self.magic, endianness: .little)
        bytes.writeInteger(Self.checksum(rest), endianness: .little)
        bytes.writeImmutableBuffer(rest)

        let temporary = self.path + Self.temporarySuffix
        // One left by a crash.
        try? self.fileSystem.unlink(temporary)
        try storing { () throws(FileError) in
            do throws(FileError) {
                let file = try self.fileSystem.open(temporary, .createNew)
                try bytes.writingAll(to: file, at: 0)
                try file.sync()
            } catch {
                try? self.fileSystem.unlink(temporary)
                throw error
            }
            try self.fileSystem.rename(temporary, to: self.path, replacing: true)
            try self.fileSystem.syncDirectory(parentDirectory(of: self.path))
        }
    }

    static let temporarySuffix = ".tmp"

    private static func checksum(_ bytes: ByteBuffer) -> UInt32 {
        var crc = CRC32C()
        crc.update(bytes)
        return crc.value
    }
}
