import NIOCore

/// An offset up to which a log is known to be durable, kept in a file of its own.
///
/// Recovery cuts a damaged end off only above it. Renewed when the log is opened and closed; in between the records'
/// own distances prove the same for all but the last write.
struct DurableFloor: Sendable {
    private let file: MetaFile

    static let name = "durable"

    init(directory: String, fileSystem: any FileSystem) {
        self.file = MetaFile(path: directory + "/" + Self.name, version: 1, fileSystem: fileSystem)
    }

    func read() throws(StoreError) -> UInt64? {
        guard var contents = try self.file.read()?.contents else { return nil }
        guard let offset = contents.readInteger(endianness: .little, as: UInt64.self), contents.readableBytes == 0
        else {
            throw .corrupt(file: self.file.path, offset: 0, "the file is damaged")
        }
        return offset
    }

    func write(_ offset: UInt64) throws(StoreError) {
        var contents = ByteBuffer()
        contents.writeInteger(offset, endianness: .little)
        try self.file.replace(with: contents)
    }
}
