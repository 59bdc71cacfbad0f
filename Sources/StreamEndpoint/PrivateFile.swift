import NIOCore
import StreamStore

/// A small file that only its owner may read, replaced as a whole: after a crash it is the old one or the new one.
package struct PrivateFile: Sendable {
    private let directory: String
    private let name: String
    private let fileSystem: any FileSystem

    package init(directory: String, name: String, fileSystem: any FileSystem) {
        self.directory = directory
        self.name = name
        self.fileSystem = fileSystem
    }

    package var path: String { self.directory + "/" + self.name }

    /// More than this is not one of ours.
    private static let maximumBytes: UInt64 = 1 << 30

    /// Nil when there is none. Blocks.
    package func read() throws(FileError) -> ByteBuffer? {
        guard try self.fileSystem.list(self.directory).contains(self.name) else { return nil }
        let file = try self.fileSystem.open(self.path, .readOnly)
        let count = Int(min(try file.size(), Self.maximumBytes))
        var bytes = [UInt8](repeating: 0, count: count)
        let result = bytes.withUnsafeMutableBytes { target -> Result<Int, FileError> in
            do throws(FileError) {
                return .success(try file.readAll(into: target, at: 0))
            } catch {
                return .failure(error)
            }
        }
        return ByteBuffer(bytes: bytes.prefix(try result.get()))
    }

    /// Durable when it returns. Blocks.
    package func replace(with bytes: ByteBuffer) throws(FileError) {
        let temporary = self.path + ".new"
        do throws(FileError) {
            try self.fileSystem.unlink(temporary)
        } catch {
            // Usually there is none; what cannot be removed shows in the next step.
        }
        let file = try self.fileSystem.open(temporary, .createNew)
        let result = bytes.withUnsafeReadableBytes { source -> Result<Void, FileError> in
            do throws(FileError) {
                return .success(try file.writeAll(source, at: 0))
            } catch {
                return .failure(error)
            }
        }
        try result.get()
        try file.syncAll()
        try self.fileSystem.rename(temporary, to: self.path, replacing: true)
        try self.fileSystem.syncDirectory(self.directory)
    }
}
