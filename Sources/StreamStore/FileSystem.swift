/// A failed file operation: what was tried, on which file, and the system's error number.
package struct FileError: Error, Hashable, Sendable {
    /// What was tried.
    package enum Operation: String, Sendable {
        case open, read, write, sync, truncate, size, list, rename, unlink, syncDirectory, makeDirectory, lock, free
    }

    package var operation: Operation
    package var path: String
    /// The system's error number.
    package var number: Int32

    package init(_ operation: Operation, _ path: String, number: Int32) {
        self.operation = operation
        self.path = path
        self.number = number
    }
}

/// How a file is opened.
package enum FileOpenMode: Sendable {
    /// An existing file, for reading.
    case readOnly
    /// An existing file, for reading and writing.
    case readWrite
    /// A new file; fails if one of this name exists.
    case createNew
}

/// The part of a file system the store needs. The store touches the disk through this alone, so that tests can put a
/// disk in its place that fails and loses power on purpose.
package protocol FileSystem: Sendable {
    func open(_ path: String, _ mode: FileOpenMode) throws(FileError) -> any StoreFile
    /// Names in a directory, without `.` and `..`, in any order.
    func list(_ directory: String) throws(FileError) -> [String]
    /// With `replacing` false it fails with `EEXIST` when the target exists.
    func rename(_ path: String, to target: String, replacing: Bool) throws(FileError)
    func unlink(_ path: String) throws(FileError)
    /// Makes creations, renames and removals in a directory durable.
    func syncDirectory(_ directory: String) throws(FileError)
    /// Makes everything in the file system that holds a directory durable: contents, sizes and names.
    func syncFileSystem(of directory: String) throws(FileError)
    /// Bytes that may still be written in the file system of a directory; nil where that is not known.
    func availableBytes(in directory: String) -> UInt64?
    /// Makes one directory; an existing one is no error. Returns whether it was made now.
    func makeDirectory(_ directory: String) throws(FileError) -> Bool
    /// Takes an exclusive lock on a file (made if missing), against other processes and this one. Fails with
    /// `EWOULDBLOCK`.
    func lock(_ path: String) throws(FileError) -> any FileLock
}

/// An open file. Closed when the last reference is gone. Reading and writing at positions is allowed from any thread.
package protocol StoreFile: AnyObject, Sendable {
    var path: String { get }
    /// The system's descriptor, for handing contents on without reading them. Nil for files that have none. Valid while
    /// the file is referenced.
    var descriptor: Int32? { get }
    /// Reads up to the size of `bytes`; fewer (0 at the end of the file) are no error.
    func read(into bytes: UnsafeMutableRawBufferPointer, at position: UInt64) throws(FileError) -> Int
    /// Writes up to the size of `bytes` and returns how many were written, at least one.
    func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(FileError) -> Int
    /// Makes the file's bytes, and a size that has grown, durable.
    func sync() throws(FileError)
    /// Makes everything about the file durable, a cut as well.
    func syncAll() throws(FileError)
    func truncate(to size: UInt64) throws(FileError)
    func size() throws(FileError) -> UInt64
    /// Gives back the room of everything before `end`, which reads as zeros then; the file keeps its size. Does nothing
    /// where the file system cannot.
    func free(upTo end: UInt64) throws(FileError)
}

/// A held lock; released by `release` or with the last reference.
package protocol FileLock: AnyObject, Sendable {
    func release()
}

extension FileSystem {
    package func availableBytes(in directory: String) -> UInt64? { nil }

    /// Makes a directory and those above it, durably.
    package func makeDirectoryPath(_ directory: String) throws(FileError) {
        var missing: [String] = []
        var current = directory
        while !current.isEmpty, current != "/", current != "." {
            missing.append(current)
            current = parentDirectory(of: current)
        }
        for path in missing.reversed() where try self.makeDirectory(path) {
            try self.syncDirectory(parentDirectory(of: path))
        }
    }
}

extension StoreFile {
    /// Writes all of `bytes`, in as many steps as it takes.
    package func writeAll(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(FileError) {
        var done = 0
        while done < bytes.count {
            done += try self.write(UnsafeRawBufferPointer(rebasing: bytes[done...]), at: position + UInt64(done))
        }
    }

    /// Reads until `bytes` is full or the file ends; returns how many were read.
    package func readAll(into bytes: UnsafeMutableRawBufferPointer, at position: UInt64) throws(FileError) -> Int {
        var done = 0
        while done < bytes.count {
            let count = try self.read(
                into: UnsafeMutableRawBufferPointer(rebasing: bytes[done...]), at: position + UInt64(done))
            if count == 0 { break }
            done += count
        }
        return done
    }
}

/// The directory part of a path: `.` for a bare name, `/` for an entry of the root.
package func parentDirectory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
}
