import CStoreSupport
import DurableStreams
import NIOCore
import StreamStore
import Synchronization

/// The two files of one stream: its bytes as they are sent, and where its appends end, with their checksums.
///
/// Bytes lie in the data file from the stream's own base on. An index entry has 16 bytes, little-endian: end (8),
/// CRC-32C of the append (4), messages (4). The last entry may end after where a fork begins; nothing is in either file
/// that no snapshot speaks of, except what a crash left, which is written over.
final class StreamFiles: Sendable {
    let data: any StoreFile
    let index: any StoreFile

    static let entryCount = 16

    struct Entry {
        var end: UInt64
        var checksum: UInt32
        var messageCount: UInt32
    }

    init(data: any StoreFile, index: any StoreFile) {
        self.data = data
        self.index = index
    }

    func entry(_ number: UInt64) throws(StoreError) -> Entry {
        guard let entry = try self.entries(number..<number + 1).first else {
            throw StoreError(.corrupt, "the index is too short", file: self.index.path)
        }
        return entry
    }

    func entries(_ range: Range<UInt64>) throws(StoreError) -> [Entry] {
        let count = range.count * Self.entryCount
        var bytes = [UInt8](repeating: 0, count: count)
        let result = bytes.withUnsafeMutableBytes { target -> Result<Int, FileError> in
            do throws(FileError) {
                return .success(
                    try self.index.readAll(into: target, at: range.lowerBound * UInt64(Self.entryCount)))
            } catch {
                return .failure(error)
            }
        }
        switch result {
        case .failure(let error): throw StoreError(error)
        case .success(let read) where read < count:
            throw StoreError(.corrupt, "the index is too short", file: self.index.path)
        case .success: break
        }
        return bytes.withUnsafeBytes { source in
            range.indices.map { number in
                let position = Int(number - range.lowerBound) * Self.entryCount
                return Entry(
                    end: UInt64(littleEndian: source.loadUnaligned(fromByteOffset: position, as: UInt64.self)),
                    checksum: UInt32(littleEndian: source.loadUnaligned(fromByteOffset: position + 8, as: UInt32.self)),
                    messageCount: UInt32(
                        littleEndian: source.loadUnaligned(fromByteOffset: position + 12, as: UInt32.self)))
            }
        }
    }

    /// Number of the first entry that ends after a position, `count` if there is none.
    func firstEntry(endingAfter position: UInt64, count: UInt64) throws(StoreError) -> UInt64 {
        var low: UInt64 = 0
        var high = count
        // The last step reads a run of entries at once.
        while high - low > 64 {
            let middle = low + (high - low) / 2
            if try self.entry(middle).end > position { high = middle } else { low = middle + 1 }
        }
        guard low < high else { return low }
        let run = try self.entries(low..<high)
        return low + UInt64(run.firstIndex { $0.end > position } ?? run.count)
    }
}

/// Which files are open: a bounded number, least recently used ones are let go of.
final class StreamFilePool: Sendable {
    private struct Slot {
        var files: StreamFiles
        var usedAt: UInt64
    }

    private struct State {
        var slots: [StreamIdentity: Slot] = [:]
        var clock: UInt64 = 0
        var madeDirectories: Set<String> = []
    }

    private let state = Mutex(State())
    let directory: String
    let fileSystem: any FileSystem
    private let limit: Int

    init(directory: String, fileSystem: any FileSystem, limit: Int) {
        self.directory = directory
        self.fileSystem = fileSystem
        self.limit = max(limit, 4)
    }

    /// Directory of a stream's files.
    func folder(of identity: StreamIdentity) -> String {
        let byte = UInt8(truncatingIfNeeded: identity.rawValue)
        return self.directory + "/" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }

    private func path(of identity: StreamIdentity, _ suffix: String) -> String {
        self.folder(of: identity) + "/" + String(identity.rawValue, radix: 16) + suffix
    }

    /// Open files of a stream that has some. Blocks.
    func files(of identity: StreamIdentity) throws(StoreError) -> StreamFiles {
        if let files = self.opened(identity) { return files }
        let (data, index) = (self.path(of: identity, ".data"), self.path(of: identity, ".idx"))
        do throws(FileError) {
            return self.keep(
                StreamFiles(
                    data: try self.fileSystem.open(data, .readWrite), index: try self.fileSystem.open(index, .readWrite)
                ),
                for: identity)
        } catch {
            throw StoreError(error)
        }
    }

    /// Files of a stream that gets its first ones, or finds those that a crash left. The caller makes the names
    /// durable, and for folders returned as made, those of the directory.
    func makeFiles(of identity: StreamIdentity) throws(StoreError) -> (files: StreamFiles, madeFolder: Bool) {
        let folder = self.folder(of: identity)
        do throws(FileError) {
            var madeFolder = false
            if !self.state.withLock({ $0.madeDirectories.contains(folder) }) {
                madeFolder = true
                _ = try self.fileSystem.makeDirectory(folder)
                self.state.withLock { _ = $0.madeDirectories.insert(folder) }
            }
            let data = try self.openOrCreate(self.path(of: identity, ".data"))
            let index = try self.openOrCreate(self.path(of: identity, ".idx"))
            return (self.keep(StreamFiles(data: data, index: index), for: identity), madeFolder)
        } catch {
            throw StoreError(error)
        }
    }

    private func openOrCreate(_ path: String) throws(FileError) -> any StoreFile {
        do throws(FileError) {
            return try self.fileSystem.open(path, .createNew)
        } catch {
            guard error.number == SystemError.exists else { throw error }
            return try self.fileSystem.open(path, .readWrite)
        }
    }

    /// Removes a stream's files; missing ones are no error. Returns whether there were any.
    func remove(_ identity: StreamIdentity) throws(StoreError) -> Bool {
        self.state.withLock { _ = $0.slots.removeValue(forKey: identity) }
        var removed = false
        for suffix in [".data", ".idx"] {
            do throws(FileError) {
                try self.fileSystem.unlink(self.path(of: identity, suffix))
                removed = true
            } catch {
                guard error.number == SystemError.noEntry else { throw StoreError(error) }
            }
        }
        return removed
    }

    private func opened(_ identity: StreamIdentity) -> StreamFiles? {
        self.state.withLock { state in
            state.clock += 1
            state.slots[identity]?.usedAt = state.clock
            return state.slots[identity]?.files
        }
    }

    private func keep(_ files: StreamFiles, for identity: StreamIdentity) -> StreamFiles {
        // Why outside: closing files takes time.
        var evicted: [StreamFiles] = []
        let kept = self.state.withLock { state -> StreamFiles in
            if let slot = state.slots[identity] { return slot.files }
            state.clock += 1
            if state.slots.count >= self.limit {
                // A quarter at once, so that the search is paid for by many.
                let oldest = state.slots.sorted { $0.value.usedAt < $1.value.usedAt }.prefix(max(1, self.limit / 4))
                for (key, slot) in oldest {
                    evicted.append(slot.files)
                    state.slots[key] = nil
                }
            }
            state.slots[identity] = Slot(files: files, usedAt: state.clock)
            return files
        }
        withExtendedLifetime(evicted) {}
        return kept
    }

    /// Lets go of every file; what is in use stays open.
    func removeAll() {
        let all = self.state.withLock { state in
            defer { state.slots = [:] }
            return state.slots
        }
        withExtendedLifetime(all) {}
    }

    var openCount: Int { self.state.withLock { $0.slots.count } }
}

/// Checksum of one append.
func appendChecksum(_ bytes: ByteBuffer) -> UInt32 {
    bytes.withUnsafeReadableBytes { penstock_crc32c(0, $0.baseAddress, $0.count) }
}
