import StreamStore
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A disk in memory that fails and loses power as told, the same way again for the same seed.
///
/// What it models, on the strict side of what file systems allow:
/// - Writes stay in a cache until the file is synced. At a crash each 512-byte sector written since has its old contents or any
///   later ones, each on its own; the file has its old size or any later one.
/// - Creations, renames and removals stay in a cache until the directory is synced. At a crash each of them has happened or not,
///   each on its own. Syncing a file does not make its name durable.
/// - A failed sync loses pages: part of them came to the disk, the others never will, though reads still show them and a later sync
///   succeeds (as Linux does).
/// - Writes may be short; the disk may be full after part of a write.
package final class FaultyFileSystem: FileSystem, Sendable {
    /// What goes wrong. Operations are counted from 1, reads included.
    package struct Faults: Sendable {
        /// The system's error number for an operation.
        package var failures: [Int: Int32] = [:]
        /// The operation at which the power goes: it is done in part, and everything after it fails.
        package var powerLoss: Int?
        /// Chance of each sync to fail.
        package var syncFailureChance = 0.0
        package var shortWriteChance = 0.0
        /// Most bytes in all files together.
        package var quota: Int?
        /// Whether the disk tells how much of the quota is left.
        package var tellsRoom = false

        package init() {}
    }

    let disk: Mutex<SimulatedDisk>

    package convenience init(seed: UInt64, faults: Faults = Faults()) {
        self.init(SimulatedDisk(random: SplitMix(seed: seed), faults: faults))
    }

    init(_ disk: SimulatedDisk) {
        self.disk = Mutex(disk)
    }

    package var faults: Faults {
        get { self.disk.withLock { $0.faults } }
        set { self.disk.withLock { $0.faults = newValue } }
    }

    /// Operations so far.
    package var operationCount: Int { self.disk.withLock { $0.operationCount } }
    /// Whether the power is gone.
    package var isOff: Bool { self.disk.withLock { $0.isOff } }

    /// Ends this disk by power loss and returns what the next start finds, without faults.
    package func crash() -> FaultyFileSystem {
        FaultyFileSystem(self.disk.withLock { $0.afterPowerLoss() })
    }

    /// Ends this disk as far as its process goes and returns what the next process finds: the cache is kept, locks are not.
    package func restart() -> FaultyFileSystem {
        FaultyFileSystem(self.disk.withLock { $0.afterProcessEnd() })
    }

    /// Files and their sizes.
    package var files: [String: Int] {
        self.disk.withLock { disk in disk.entries.mapValues { disk.inodes[$0].contents.count } }
    }

    /// Changes one bit of a file on the disk itself.
    package func flipBit(_ bit: Int, of path: String) {
        self.disk.withLock { disk in
            guard let inode = disk.entries[path] else { return }
            disk.inodes[inode].contents[bit / 8] ^= 1 << UInt8(bit % 8)
            if bit / 8 < disk.inodes[inode].durable.count {
                disk.inodes[inode].durable[bit / 8] ^= 1 << UInt8(bit % 8)
            }
        }
    }

    /// Cuts a file short on the disk itself.
    package func cut(_ path: String, to size: Int) {
        self.disk.withLock { disk in
            guard let inode = disk.entries[path] else { return }
            disk.inodes[inode].contents.removeLast(max(0, disk.inodes[inode].contents.count - size))
            disk.inodes[inode].durable = disk.inodes[inode].contents
        }
    }

    /// Replaces or makes a file on the disk itself.
    package func put(_ contents: [UInt8], at path: String) {
        self.disk.withLock { disk in
            disk.inodes.append(SimulatedDisk.Inode(contents: contents, durable: contents))
            disk.entries[path] = disk.inodes.count - 1
            disk.durableEntries[path] = disk.inodes.count - 1
        }
    }

    package func contents(of path: String) -> [UInt8]? {
        self.disk.withLock { disk in disk.entries[path].map { disk.inodes[$0].contents } }
    }

    // MARK: - FileSystem

    package func open(_ path: String, _ mode: FileOpenMode) throws(FileError) -> any StoreFile {
        let inode = try self.disk.withLock { disk throws(FileError) in
            try disk.step(.open, path)
            if case .createNew = mode { return try disk.create(path) }
            guard let inode = disk.entries[path] else { throw FileError(.open, path, number: ENOENT) }
            return inode
        }
        return FaultyFile(path: path, inode: inode, fileSystem: self)
    }

    package func list(_ directory: String) throws(FileError) -> [String] {
        try self.disk.withLock { disk throws(FileError) in
            try disk.step(.list, directory)
            let prefix = directory + "/"
            // Sorted, so that a seed's run does not hang on the order of a hash table.
            return disk.entries.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }.sorted()
        }
    }

    package func rename(_ path: String, to target: String, replacing: Bool) throws(FileError) {
        try self.disk.withLock { disk throws(FileError) in
            try disk.step(.rename, path)
            guard let inode = disk.entries[path] else { throw FileError(.rename, path, number: ENOENT) }
            guard replacing || disk.entries[target] == nil else { throw FileError(.rename, path, number: EEXIST) }
            disk.apply(.rename(path, target, inode))
        }
    }

    package func unlink(_ path: String) throws(FileError) {
        try self.disk.withLock { disk throws(FileError) in
            try disk.step(.unlink, path)
            guard disk.entries[path] != nil else { throw FileError(.unlink, path, number: ENOENT) }
            disk.apply(.unlink(path))
        }
    }

    package func syncDirectory(_ directory: String) throws(FileError) {
        try self.disk.withLock { disk throws(FileError) in
            try disk.step(.syncDirectory, directory)
            disk.syncDirectory(directory)
        }
    }

    package func syncFileSystem(of directory: String) throws(FileError) {
        try self.disk.withLock { disk throws(FileError) in try disk.syncEverything(directory) }
    }

    package func availableBytes(in directory: String) -> UInt64? {
        let faults = self.faults
        guard faults.tellsRoom, let quota = faults.quota else { return nil }
        return UInt64(max(0, quota - self.files.values.reduce(0, +)))
    }

    package func makeDirectory(_ directory: String) throws(FileError) -> Bool {
        try self.disk.withLock { disk throws(FileError) in
            try disk.step(.makeDirectory, directory)
            return false
        }
    }

    package func lock(_ path: String) throws(FileError) -> any FileLock {
        try self.disk.withLock { disk throws(FileError) in
            try disk.step(.lock, path)
            guard disk.locks.insert(path).inserted else { throw FileError(.lock, path, number: EWOULDBLOCK) }
        }
        return FaultyLock(path: path, fileSystem: self)
    }
}

private final class FaultyFile: StoreFile {
    let path: String
    var descriptor: Int32? { nil }
    private let inode: Int
    private let fileSystem: FaultyFileSystem

    init(path: String, inode: Int, fileSystem: FaultyFileSystem) {
        self.path = path
        self.inode = inode
        self.fileSystem = fileSystem
    }

    func read(into bytes: UnsafeMutableRawBufferPointer, at position: UInt64) throws(FileError) -> Int {
        let contents = try self.fileSystem.disk.withLock { disk throws(FileError) in
            try disk.step(.read, self.path)
            return disk.inodes[self.inode].contents
        }
        guard Int(position) < contents.count else { return 0 }
        let end = min(contents.count, Int(position) + bytes.count)
        contents[Int(position)..<end].withUnsafeBytes { bytes.copyMemory(from: $0) }
        return end - Int(position)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(FileError) -> Int {
        let data = [UInt8](bytes)
        return try self.fileSystem.disk.withLock { disk throws(FileError) in
            try disk.write(data, at: Int(position), to: self.inode, path: self.path)
        }
    }

    func sync() throws(FileError) {
        try self.fileSystem.disk.withLock { disk throws(FileError) in try disk.sync(self.inode, path: self.path) }
    }

    func syncAll() throws(FileError) {
        try self.sync()
    }

    func truncate(to size: UInt64) throws(FileError) {
        try self.fileSystem.disk.withLock { disk throws(FileError) in
            try disk.step(.truncate, self.path)
            disk.inodes[self.inode].resize(to: Int(size))
        }
    }

    func free(upTo end: UInt64) throws(FileError) {
        try self.fileSystem.disk.withLock { disk throws(FileError) in
            try disk.step(.free, self.path)
            disk.inodes[self.inode].free(upTo: Int(end))
        }
    }

    func size() throws(FileError) -> UInt64 {
        try self.fileSystem.disk.withLock { disk throws(FileError) in
            try disk.step(.size, self.path)
            return UInt64(disk.inodes[self.inode].contents.count)
        }
    }
}

private final class FaultyLock: FileLock {
    private let path: String
    private let fileSystem: FaultyFileSystem

    init(path: String, fileSystem: FaultyFileSystem) {
        self.path = path
        self.fileSystem = fileSystem
    }

    deinit { self.release() }

    func release() {
        self.fileSystem.disk.withLock { _ = $0.locks.remove(self.path) }
    }
}
