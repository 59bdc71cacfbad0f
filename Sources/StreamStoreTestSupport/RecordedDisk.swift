import CFileTrap
import StreamStore
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A folder whose writes and syncs are recorded, also those of LMDB, and fail and get lost as told: the faults of
/// ``FaultyFileSystem`` for a library that does its own work on files.
///
/// Calls of `pwrite`, `writev`, `fdatasync`, `fsync`, `ftruncate` and `statvfs` on files below the folder come here first (see
/// `CFileTrap`). Each goes through a ``SimulatedDisk``, which decides its fate, and then to the real file, so that the
/// library's memory map shows what a kernel's cache would. Nothing is really synced. After a crash the simulated disk
/// says what is left, and that is written into a new folder for the next start.
///
/// - A write through a descriptor with `O_DSYNC` is on the disk when it returns, and nothing else with it.
/// - The names are those that came through this object, and of files first written to by the library.
/// - Not modelled: damage that the kernel or disk does to synced bytes, and writes into a writable map (LMDB is not used
///   with one here).
package final class RecordedDisk: SimulatedStorage, Sendable {
    private let disk: Mutex<SimulatedDisk>
    private let folder: String
    private let base = PosixFileSystem()

    private static let folders = Mutex<[String: RecordedDisk]>([:])
    private static let marker = "/penstock-recorded-"

    /// Whether this machine can do it.
    package static var isAvailable: Bool { penstock_trap_is_available() == 1 }

    package convenience init(seed: UInt64, faults: FaultyFileSystem.Faults = FaultyFileSystem.Faults()) throws {
        var disk = SimulatedDisk(random: SplitMix(seed: seed), faults: faults)
        // LMDB counts on it: what makes a commit valid lies in one sector.
        disk.keepsSectorsWhole = true
        try self.init(disk)
    }

    private init(_ disk: SimulatedDisk) throws {
        // In memory if possible: what is recorded needs no disk.
        let parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        self.folder = parent + Self.marker + String(UInt64.random(in: 0 ... .max))
        self.disk = Mutex(disk)
        _ = try self.base.makeDirectory(self.folder)
        for (path, inode) in disk.entries {
            try self.base.makeDirectoryPath(parentDirectory(of: self.folder + path))
            let file = try self.base.open(self.folder + path, .createNew)
            try disk.inodes[inode].contents.withUnsafeBytes { try file.writeAll($0, at: 0) }
        }
        // Why only now: what is written above is on the disk already.
        Self.folders.withLock { folders in
            if folders.isEmpty { penstock_trap_install(Self.hook) }
            folders[self.folder] = self
        }
    }

    package func dispose() {
        Self.folders.withLock { folders in
            folders[self.folder] = nil
            if folders.isEmpty { penstock_trap_install(nil) }
        }
        Self.remove(self.folder)
    }

    private static func remove(_ folder: String) {
        let system = PosixFileSystem()
        for name in (try? system.list(folder)) ?? [] {
            let path = folder + "/" + name
            if (try? system.unlink(path)) == nil { Self.remove(path) }
        }
        rmdir(folder)
    }

    package var root: String { self.folder + "/streams" }

    package var faults: FaultyFileSystem.Faults {
        get { self.disk.withLock { $0.faults } }
        set { self.disk.withLock { $0.faults = newValue } }
    }

    package var operationCount: Int { self.disk.withLock { $0.operationCount } }
    package var usedBytes: Int {
        self.disk.withLock { disk in disk.entries.values.reduce(0) { $0 + disk.inodes[$1].contents.count } }
    }

    package func cutOff() { self.disk.withLock { $0.isOff = true } }

    package func afterCrash() throws -> any SimulatedStorage {
        try RecordedDisk(self.disk.withLock { $0.afterPowerLoss() })
    }

    package func afterRestart() throws -> any SimulatedStorage {
        try RecordedDisk(self.disk.withLock { $0.afterProcessEnd() })
    }

    // MARK: - Calls of the library

    private static let hook: penstock_trap_hook = { operation, descriptor, bytes, count, offset in
        if UInt32(operation) == PENSTOCK_TRAP_ROOM.rawValue {
            let path = String(decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self)
            return RecordedDisk.owner(of: path).map { $0.0.hasRoom ? 1 : 0 } ?? RecordedDisk.pass
        }
        guard let (disk, path) = RecordedDisk.owner(of: descriptor) else { return RecordedDisk.pass }
        switch UInt32(operation) {
        case PENSTOCK_TRAP_ASK.rawValue: return 0
        case PENSTOCK_TRAP_WRITE.rawValue:
            return disk.write(UnsafeRawBufferPointer(start: bytes, count: count), at: Int(offset), path, descriptor)
        case PENSTOCK_TRAP_SYNC.rawValue: return disk.sync(path)
        case PENSTOCK_TRAP_TRUNCATE.rawValue: return disk.truncate(path, to: Int(offset), descriptor)
        default: return RecordedDisk.pass
        }
    }

    private static var pass: Int64 { .min }

    /// The disk that a descriptor's file lies on, and its path there; nil for all others and for files of locks.
    private static func owner(of descriptor: Int32) -> (RecordedDisk, String)? {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        var bytes = [CChar](repeating: 0, count: 512)
        let count = readlink("/proc/self/fd/\(descriptor)", &bytes, bytes.count)
        guard count > 0 else { return nil }
        return Self.owner(of: String(decoding: bytes[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    private static func owner(of path: String) -> (RecordedDisk, String)? {
        guard path.contains(Self.marker), !path.hasSuffix("-lock"), !path.hasSuffix("LOCK"),
            !path.hasSuffix(" (deleted)")
        else { return nil }
        let disk = Self.folders.withLock { folders in folders.first { path.hasPrefix($0.key + "/") }?.value }
        return disk.map { ($0, String(path.dropFirst($0.folder.count))) }
    }

    private func write(_ bytes: UnsafeRawBufferPointer, at position: Int, _ path: String, _ descriptor: Int32) -> Int64
    {
        let isSynced = fcntl(descriptor, F_GETFL) & O_DSYNC != 0
        return self.disk.withLock { disk in
            let inode = disk.inode(at: path)
            var result: Int64
            do throws(FileError) {
                let count = try disk.write(Array(bytes), at: position, to: inode, path: path)
                result = Int64(count)
                if isSynced { disk.inodes[inode].persist(position..<position + count) }
            } catch {
                result = -Int64(error.number)
            }
            // Also what a failed write has done.
            let contents = disk.inodes[inode].contents
            guard position < contents.count else { return result }
            let written = contents[position..<min(contents.count, position + bytes.count)].withUnsafeBytes {
                penstock_trap_system_write(descriptor, $0.baseAddress, $0.count, Int64(position))
            }
            if written < 0 { result = written }
            return result
        }
    }

    /// As a program would find out: nothing is left, give or take what a write may need.
    private var hasRoom: Bool {
        guard let quota = self.faults.quota else { return true }
        return self.usedBytes + (1 << 20) < quota
    }

    private func sync(_ path: String) -> Int64 {
        self.disk.withLock { disk in
            do throws(FileError) {
                try disk.sync(disk.inode(at: path), path: path)
                return 0
            } catch {
                return -Int64(error.number)
            }
        }
    }

    private func truncate(_ path: String, to size: Int, _ descriptor: Int32) -> Int64 {
        self.disk.withLock { disk in
            do throws(FileError) {
                try disk.step(.truncate, path)
            } catch {
                return -Int64(error.number)
            }
            disk.inodes[disk.inode(at: path)].resize(to: size)
            return penstock_trap_system_truncate(descriptor, Int64(size))
        }
    }

    // MARK: - FileSystem

    /// The path on the simulated disk.
    private func inner(_ path: String) -> String { String(path.dropFirst(self.folder.count)) }

    private func step(_ operation: FileError.Operation, _ path: String) throws(FileError) {
        try self.disk.withLock { disk throws(FileError) in try disk.step(operation, path) }
    }

    package func open(_ path: String, _ mode: FileOpenMode) throws(FileError) -> any StoreFile {
        try self.step(.open, path)
        let file = try self.base.open(path, mode)
        if case .createNew = mode {
            _ = try self.disk.withLock { disk throws(FileError) in try disk.create(self.inner(path)) }
        }
        return file
    }

    package func list(_ directory: String) throws(FileError) -> [String] {
        try self.step(.list, directory)
        return try self.base.list(directory).sorted()
    }

    package func rename(_ path: String, to target: String, replacing: Bool) throws(FileError) {
        try self.step(.rename, path)
        try self.base.rename(path, to: target, replacing: replacing)
        self.disk.withLock { disk in
            guard let inode = disk.entries[self.inner(path)] else { return }
            disk.apply(.rename(self.inner(path), self.inner(target), inode))
        }
    }

    package func unlink(_ path: String) throws(FileError) {
        try self.step(.unlink, path)
        try self.base.unlink(path)
        self.disk.withLock { disk in
            if disk.entries[self.inner(path)] != nil { disk.apply(.unlink(self.inner(path))) }
        }
    }

    package func syncDirectory(_ directory: String) throws(FileError) {
        try self.step(.syncDirectory, directory)
        self.disk.withLock { $0.syncDirectory(self.inner(directory)) }
    }

    package func syncFileSystem(of directory: String) throws(FileError) {
        try self.disk.withLock { disk throws(FileError) in try disk.syncEverything(directory) }
    }

    package func makeDirectory(_ directory: String) throws(FileError) -> Bool {
        try self.step(.makeDirectory, directory)
        return try self.base.makeDirectory(directory)
    }

    package func lock(_ path: String) throws(FileError) -> any FileLock {
        try self.step(.lock, path)
        return try self.base.lock(path)
    }
}
