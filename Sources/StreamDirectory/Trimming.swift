import DurableStreams
import StreamStore
import Synchronization

/// What a stream with a retention has besides. Guarded by the lock of its shard, but for the leases.
final class Trimming: @unchecked Sendable {
    // Why unchecked: guarded by the lock of the shard, see above.

    /// The first position that readers find: of what was decided, what is durable.
    var earliest: UInt64
    /// Nobody reads the stream's own bytes before this any more, no fork either: they may be gone already.
    ///
    /// Lags behind `earliest` as long as forks or readings under way need what is before. Never before the stream's base.
    var floor: UInt64
    /// Files: the data before this was given back by this process.
    var freed: UInt64
    /// It is in its shard's list of what is over its bound.
    var isQueued = false
    /// It is in the heap of ages.
    var isScheduled = false
    let leases = ReadLeases()

    init(state: StreamState) {
        self.earliest = state.earliest
        self.floor = state.configuration.fork?.position ?? 0
        self.freed = self.floor
    }
}

/// Which readings of a stream's stored bytes are under way, and from where on.
final class ReadLeases: Sendable {
    private let starts = Mutex<[UInt64]>([])

    /// The shard is locked, so that what is looked up is still there.
    func begin(at position: UInt64) -> ReadLease {
        self.starts.withLock { $0.append(position) }
        return ReadLease(self, start: position)
    }

    fileprivate func end(_ position: UInt64) {
        self.starts.withLock { starts in
            if let index = starts.firstIndex(of: position) { starts.remove(at: index) }
        }
    }

    func hasAny(before position: UInt64) -> Bool { self.starts.withLock { $0.contains { $0 < position } } }
}

/// As long as this is there, the bytes from its start on stay.
final class ReadLease: Sendable {
    private let leases: ReadLeases
    private let start: UInt64

    init(_ leases: ReadLeases, start: UInt64) {
        self.leases = leases
        self.start = start
    }

    deinit { self.leases.end(self.start) }
}

/// A file that is read under a lease.
final class LeasedFile: StoreFile {
    private let file: any StoreFile
    private let lease: ReadLease

    init(_ file: any StoreFile, _ lease: ReadLease) {
        self.file = file
        self.lease = lease
    }

    var path: String { self.file.path }
    var descriptor: Int32? { self.file.descriptor }

    func read(into bytes: UnsafeMutableRawBufferPointer, at position: UInt64) throws(FileError) -> Int {
        try self.file.read(into: bytes, at: position)
    }
    func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(FileError) -> Int {
        try self.file.write(bytes, at: position)
    }
    func sync() throws(FileError) { try self.file.sync() }
    func syncAll() throws(FileError) { try self.file.syncAll() }
    func truncate(to size: UInt64) throws(FileError) { try self.file.truncate(to: size) }
    func size() throws(FileError) -> UInt64 { try self.file.size() }
    func free(upTo end: UInt64) throws(FileError) { try self.file.free(upTo: end) }
}
