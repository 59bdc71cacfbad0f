import CStoreSupport
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The machine's own file system. Files are made for the owner alone, links are not followed.
package struct PosixFileSystem: FileSystem {
    package init() {}

    package func open(_ path: String, _ mode: FileOpenMode) throws(FileError) -> any StoreFile {
        let flags =
            switch mode {
            case .readOnly: O_RDONLY
            case .readWrite: O_RDWR
            case .createNew: O_RDWR | O_CREAT | O_EXCL
            }
        return PosixFile(path: path, descriptor: try Self.descriptor(path, flags, .open))
    }

    package func list(_ directory: String) throws(FileError) -> [String] {
        guard let stream = opendir(directory) else { throw FileError(.list, directory, number: errno) }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                if errno != 0 { throw FileError(.list, directory, number: errno) }
                return names
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: entry.pointee.d_name)) {
                    String(cString: $0)
                }
            }
            if name != ".", name != ".." { names.append(name) }
        }
    }

    package func rename(_ path: String, to target: String, replacing: Bool) throws(FileError) {
        if replacing {
            let result = path.withCString { from in
                target.withCString { to in renameReplacing(from, to) }
            }
            guard result == 0 else { throw FileError(.rename, path, number: errno) }
        } else {
            let number = penstock_rename_exclusive(path, target)
            guard number == 0 else { throw FileError(.rename, path, number: number) }
        }
    }

    package func unlink(_ path: String) throws(FileError) {
        guard removeName(path) == 0 else { throw FileError(.unlink, path, number: errno) }
    }

    package func syncDirectory(_ directory: String) throws(FileError) {
        let descriptor = try Self.descriptor(directory, O_RDONLY | O_DIRECTORY, .syncDirectory, followsLinks: true)
        defer { closeDescriptor(descriptor) }
        // Why: no second try after EINTR either; a sync that did not succeed is a failed one.
        guard fsync(descriptor) == 0 else { throw FileError(.syncDirectory, directory, number: errno) }
    }

    package func syncFileSystem(of directory: String) throws(FileError) {
        #if os(Linux)
            let descriptor = try Self.descriptor(directory, O_RDONLY | O_DIRECTORY, .sync, followsLinks: true)
            defer { closeDescriptor(descriptor) }
            let number = penstock_sync_file_system(descriptor)
            guard number == 0 else { throw FileError(.sync, directory, number: number) }
        #else
            // No such call: one that has to do without errors being told.
            Darwin.sync()
        #endif
    }

    package func availableBytes(in directory: String) -> UInt64? {
        var status = statvfs()
        guard statvfs(directory, &status) == 0 else { return nil }
        return UInt64(status.f_bavail) * UInt64(status.f_frsize)
    }

    package func makeDirectory(_ directory: String) throws(FileError) -> Bool {
        if mkdir(directory, 0o700) == 0 { return true }
        let number = errno
        guard number == EEXIST else { throw FileError(.makeDirectory, directory, number: number) }
        return false
    }

    package func lock(_ path: String) throws(FileError) -> any FileLock {
        let descriptor = try Self.descriptor(path, O_RDWR | O_CREAT, .lock)
        let number = penstock_lock_exclusive(descriptor)
        guard number == 0 else {
            closeDescriptor(descriptor)
            throw FileError(.lock, path, number: number)
        }
        return PosixLock(descriptor: descriptor)
    }

    private static func descriptor(
        _ path: String, _ flags: Int32, _ operation: FileError.Operation, followsLinks: Bool = false
    ) throws(FileError) -> Int32 {
        while true {
            let descriptor = openDescriptor(path, flags | O_CLOEXEC | (followsLinks ? 0 : O_NOFOLLOW))
            if descriptor >= 0 { return descriptor }
            let number = errno
            if number != EINTR { throw FileError(operation, path, number: number) }
        }
    }
}

// Why: inside the types above these names mean their own methods.
private func renameReplacing(_ from: UnsafePointer<CChar>, _ to: UnsafePointer<CChar>) -> Int32 { rename(from, to) }
private func removeName(_ path: String) -> Int32 { unlink(path) }
private func openDescriptor(_ path: String, _ flags: Int32) -> Int32 { open(path, flags, 0o600) }
private func closeDescriptor(_ descriptor: Int32) { _ = close(descriptor) }

/// An open descriptor.
private final class PosixFile: StoreFile {
    let path: String
    private let number: Int32

    var descriptor: Int32? { self.number }

    init(path: String, descriptor: Int32) {
        self.path = path
        self.number = descriptor
    }

    deinit { closeDescriptor(self.number) }

    func read(into bytes: UnsafeMutableRawBufferPointer, at position: UInt64) throws(FileError) -> Int {
        while true {
            let count = pread(self.number, bytes.baseAddress, bytes.count, off_t(position))
            if count >= 0 { return count }
            let failure = errno
            if failure != EINTR { throw FileError(.read, self.path, number: failure) }
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(FileError) -> Int {
        while true {
            let count = pwrite(self.number, bytes.baseAddress, bytes.count, off_t(position))
            if count > 0 || bytes.isEmpty { return count }
            // Why: a write of nothing without an error happens only where there is no room.
            let failure = count == 0 ? ENOSPC : errno
            if failure != EINTR { throw FileError(.write, self.path, number: failure) }
        }
    }

    func sync() throws(FileError) {
        #if os(Linux)
            let result = fdatasync(self.number)
        #else
            let result = fcntl(self.number, F_FULLFSYNC)
        #endif
        guard result == 0 else { throw FileError(.sync, self.path, number: errno) }
    }

    func syncAll() throws(FileError) {
        #if os(Linux)
            guard fsync(self.number) == 0 else { throw FileError(.sync, self.path, number: errno) }
        #else
            try self.sync()
        #endif
    }

    func truncate(to size: UInt64) throws(FileError) {
        while ftruncate(self.number, off_t(size)) != 0 {
            let failure = errno
            if failure != EINTR { throw FileError(.truncate, self.path, number: failure) }
        }
    }

    func free(upTo end: UInt64) throws(FileError) {
        guard end > 0 else { return }
        let failure = penstock_free_range(self.number, 0, Int64(end))
        if failure != 0, failure != EOPNOTSUPP, failure != ENOSYS {
            throw FileError(.free, self.path, number: failure)
        }
    }

    func size() throws(FileError) -> UInt64 {
        var status = stat()
        guard fstat(self.number, &status) == 0 else { throw FileError(.size, self.path, number: errno) }
        return UInt64(status.st_size)
    }
}

/// A descriptor holding a lock; the lock goes with the descriptor.
private final class PosixLock: FileLock {
    private let descriptor: Mutex<Int32?>

    init(descriptor: Int32) {
        self.descriptor = Mutex(descriptor)
    }

    deinit { self.release() }

    func release() {
        self.descriptor.withLock { held in
            if let descriptor = held { closeDescriptor(descriptor) }
            held = nil
        }
    }
}
