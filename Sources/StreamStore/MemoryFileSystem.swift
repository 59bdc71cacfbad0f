import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Files in memory, gone with the process: for a log where no disk is wanted. Syncs succeed and do nothing.
package final class MemoryFileSystem: FileSystem, Sendable {
    private struct State {
        var directories: Set<String> = ["/", "."]
        var files: [String: MemoryFile] = [:]
        var locks: Set<String> = []
    }

    private let state = Mutex(State())

    package init() {}

    package func open(_ path: String, _ mode: FileOpenMode) throws(FileError) -> any StoreFile {
        try self.state.withLock { state throws(FileError) -> any StoreFile in
            if case .createNew = mode {
                guard state.directories.contains(parentDirectory(of: path)) else {
                    throw FileError(.open, path, number: ENOENT)
                }
                guard state.files[path] == nil else { throw FileError(.open, path, number: EEXIST) }
                let file = MemoryFile(path: path)
                state.files[path] = file
                return file
            }
            guard let file = state.files[path] else { throw FileError(.open, path, number: ENOENT) }
            return file
        }
    }

    package func list(_ directory: String) throws(FileError) -> [String] {
        try self.state.withLock { state throws(FileError) -> [String] in
            guard state.directories.contains(directory) else { throw FileError(.list, directory, number: ENOENT) }
            return (Array(state.files.keys) + Array(state.directories))
                .filter { $0 != directory && parentDirectory(of: $0) == directory }
                .map { String($0.dropFirst(directory == "/" ? 1 : directory.count + 1)) }
        }
    }

    package func rename(_ path: String, to target: String, replacing: Bool) throws(FileError) {
        try self.state.withLock { state throws(FileError) in
            guard let file = state.files[path] else { throw FileError(.rename, path, number: ENOENT) }
            guard replacing || state.files[target] == nil else { throw FileError(.rename, target, number: EEXIST) }
            state.files[path] = nil
            state.files[target] = file
        }
    }

    package func unlink(_ path: String) throws(FileError) {
        guard self.state.withLock({ $0.files.removeValue(forKey: path) != nil }) else {
            throw FileError(.unlink, path, number: ENOENT)
        }
    }

    package func syncDirectory(_ directory: String) throws(FileError) {}

    package func syncFileSystem(of directory: String) throws(FileError) {}

    package func makeDirectory(_ directory: String) throws(FileError) -> Bool {
        try self.state.withLock { state throws(FileError) in
            guard state.directories.contains(parentDirectory(of: directory)) else {
                throw FileError(.makeDirectory, directory, number: ENOENT)
            }
            return state.directories.insert(directory).inserted
        }
    }

    package func lock(_ path: String) throws(FileError) -> any FileLock {
        guard self.state.withLock({ $0.locks.insert(path).inserted }) else {
            throw FileError(.lock, path, number: EWOULDBLOCK)
        }
        return MemoryLock { [weak self] in self?.state.withLock { _ = $0.locks.remove(path) } }
    }
}

/// One file; it lives on as long as somebody has it open.
private final class MemoryFile: StoreFile {
    let path: String
    var descriptor: Int32? { nil }
    private let contents = Mutex<[UInt8]>([])

    init(path: String) {
        self.path = path
    }

    func read(into bytes: UnsafeMutableRawBufferPointer, at position: UInt64) throws(FileError) -> Int {
        self.contents.withLock { contents in
            guard position < UInt64(contents.count) else { return 0 }
            let start = Int(position)
            let count = min(bytes.count, contents.count - start)
            contents.withUnsafeBytes { source in
                bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[start..<start + count]))
            }
            return count
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(FileError) -> Int {
        self.contents.withLock { contents in
            let start = Int(position)
            if start > contents.count {
                contents.append(contentsOf: repeatElement(0, count: start - contents.count))
            }
            let overlap = min(bytes.count, contents.count - start)
            contents.replaceSubrange(start..<start + overlap, with: bytes[..<overlap])
            contents.append(contentsOf: bytes[overlap...])
            return bytes.count
        }
    }

    func sync() throws(FileError) {}

    func syncAll() throws(FileError) {}

    func truncate(to size: UInt64) throws(FileError) {
        self.contents.withLock { contents in
            if UInt64(contents.count) > size {
                contents.removeLast(contents.count - Int(size))
            } else {
                contents.append(contentsOf: repeatElement(0, count: Int(size) - contents.count))
            }
        }
    }

    /// Zeros take as much room here as anything else.
    func free(upTo end: UInt64) throws(FileError) {
        self.contents.withLock { contents in
            for index in 0..<Int(min(end, UInt64(contents.count))) { contents[index] = 0 }
        }
    }

    func size() throws(FileError) -> UInt64 {
        self.contents.withLock { UInt64($0.count) }
    }
}

private final class MemoryLock: FileLock {
    private let onRelease: Mutex<(@Sendable () -> Void)?>

    init(_ onRelease: @escaping @Sendable () -> Void) {
        self.onRelease = Mutex(onRelease)
    }

    deinit {
        self.release()
    }

    func release() {
        let release = self.onRelease.withLock { body in
            defer { body = nil }
            return body
        }
        release?()
    }
}
