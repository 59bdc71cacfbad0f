import CLMDB
import DurableStreams
import NIOCore
import StreamStore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// One LMDB file with its tables.
///
/// - `streams`: identity → state; 0 → the next identity.
/// - `records`: identity, end position → CRC-32C (4), messages (4), bytes of the append.
/// - `producers`: identity, hash of a producer's name → producers (see ``AcidProducers``).
/// - `garbage`: identities whose records are still to be removed.
///
/// Keys are big-endian, so that they sort as numbers; the numbers in values are little-endian.
final class LMDBEnvironment: @unchecked Sendable {
    // Why unchecked: LMDB allows one writer and many readers at a time; the map grows under the exclusive lock.

    /// A return code of LMDB: negative ones are its own, others the system's.
    struct Fault: Error {
        var code: Int32

        var isMapFull: Bool { self.code == MDB_MAP_FULL }
        var isDiskFull: Bool { SystemError.full.contains(self.code) }

        /// Whether the file does not hold what LMDB writes. A page that is no page spoils the transaction that met it.
        private var isDamage: Bool {
            [MDB_PAGE_NOTFOUND, MDB_CORRUPTED, MDB_VERSION_MISMATCH, MDB_INVALID, MDB_CURSOR_FULL, MDB_BAD_TXN]
                .contains(self.code)
        }

        func storeError(_ path: String) -> StoreError {
            let code: StoreError.Code = self.isDiskFull ? .diskFull : self.isDamage ? .corrupt : .io
            return StoreError(
                code, String(cString: mdb_strerror(self.code)), file: path,
                systemError: self.code > 0 ? self.code : nil)
        }
    }

    let path: String
    private let environment: OpaquePointer
    private(set) var streams: MDB_dbi = 0
    private(set) var records: MDB_dbi = 0
    private(set) var garbage: MDB_dbi = 0
    private(set) var producers: MDB_dbi = 0
    /// Shared by transactions, exclusive for a change of the map's size.
    private let mapLock = UnsafeMutablePointer<pthread_rwlock_t>.allocate(capacity: 1)
    private var mapBytes: Int
    private let mapLimit: Int

    init(path: String, mapBytes: Int, mapLimit: Int) throws(StoreError) {
        var environment: OpaquePointer?
        guard mdb_env_create(&environment) == 0, let environment else {
            throw StoreError(.io, "no LMDB environment", file: path)
        }
        self.path = path
        self.environment = environment
        self.mapBytes = mapBytes
        self.mapLimit = mapLimit
        self.mapLock.initialize(to: pthread_rwlock_t())
        pthread_rwlock_init(self.mapLock, nil)
        do throws(Fault) {
            try Self.check(mdb_env_set_maxdbs(environment, 8))
            try Self.check(mdb_env_set_maxreaders(environment, 1024))
            try Self.check(mdb_env_set_mapsize(environment, mapBytes))
            try Self.check(mdb_env_open(environment, path, UInt32(MDB_NOSUBDIR | MDB_NOTLS), 0o600))
            var info = MDB_envinfo()
            try Self.check(mdb_env_info(environment, &info))
            self.mapBytes = info.me_mapsize
            var tables: [MDB_dbi] = []
            try self.write { transaction throws(Fault) in
                for name in ["streams", "records", "garbage", "producers"] {
                    var table: MDB_dbi = 0
                    try Self.check(mdb_dbi_open(transaction, name, UInt32(MDB_CREATE), &table))
                    tables.append(table)
                }
            }
            (self.streams, self.records, self.garbage, self.producers) = (tables[0], tables[1], tables[2], tables[3])
            try self.commitAnew()
        } catch {
            throw error.storeError(path)
        }
    }

    deinit {
        mdb_env_close(self.environment)
        pthread_rwlock_destroy(self.mapLock)
        self.mapLock.deallocate()
    }

    /// Makes durable what was found, by one more commit.
    ///
    /// Why: a process that ended inside a commit may have left the page that makes it valid in the system's cache alone.
    /// From here on readers see that commit, so it has to stay. A sync is not enough: after one that failed, the cache
    /// holds pages that no later sync will write. A new commit writes such a page of its own.
    private func commitAnew() throws(Fault) {
        do throws(Fault) {
            try self.commitNothing()
        } catch {
            guard error.isDiskFull || error.isMapFull else { throw error }
            try self.rewriteRoots(afterwards: error)
        }
    }

    /// On a full disk: writes the pages that make commits valid again as they are, which takes no room.
    ///
    /// All other pages of a commit were on the disk before such a page was written.
    private func rewriteRoots(afterwards fault: Fault) throws(Fault) {
        var statistics = MDB_stat()
        try Self.check(mdb_env_stat(self.environment, &statistics))
        var descriptor: Int32 = -1
        try Self.check(mdb_env_get_fd(self.environment, &descriptor))
        let count = 2 * Int(statistics.ms_psize)
        let bytes = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 16)
        defer { bytes.deallocate() }
        guard pread(descriptor, bytes, count, 0) == count, pwrite(descriptor, bytes, count, 0) == count,
            fsync(descriptor) == 0
        else { throw fault }
    }

    private func commitNothing() throws(Fault) {
        let key = Self.key(0)
        try self.write { transaction throws(Fault) in
            let next = try self.get(self.streams, key, in: transaction)
            try self.put(
                self.streams, key, next ?? ByteBuffer(integer: 1, endianness: .little, as: UInt64.self), in: transaction
            )
        }
    }

    /// Makes an empty one, durably but for its name.
    static func make(path: String, mapBytes: Int) throws(StoreError) {
        _ = try LMDBEnvironment(path: path, mapBytes: mapBytes, mapLimit: mapBytes)
    }

    static func check(_ code: Int32) throws(Fault) {
        guard code == 0 else { throw Fault(code: code) }
    }

    /// Runs one transaction; durable on return. One thread at a time. The map grows as needed, and then `body` runs
    /// again.
    func write(_ body: (OpaquePointer) throws(Fault) -> Void) throws(Fault) {
        while true {
            do throws(Fault) {
                pthread_rwlock_rdlock(self.mapLock)
                defer { pthread_rwlock_unlock(self.mapLock) }
                var transaction: OpaquePointer?
                try Self.check(mdb_txn_begin(self.environment, nil, 0, &transaction))
                guard let transaction else { throw Fault(code: EINVAL) }
                do throws(Fault) {
                    try body(transaction)
                } catch {
                    mdb_txn_abort(transaction)
                    throw error
                }
                try Self.check(mdb_txn_commit(transaction))
                return
            } catch {
                guard error.isMapFull, self.mapBytes < self.mapLimit else {
                    // Why: where a write comes short for want of room, LMDB says that the disk has failed. The
                    // transaction is undone either way, and writes all of its pages again when it is tried again.
                    guard error.isDiskFull || (error.code == EIO && self.hasNoRoom) else { throw error }
                    throw Fault(code: self.isUsable ? ENOSPC : EIO)
                }
                try self.grow()
            }
        }
    }

    /// False after a fault in the last step of a commit, from which LMDB does not go on.
    private var isUsable: Bool {
        var transaction: OpaquePointer?
        guard mdb_txn_begin(self.environment, nil, UInt32(MDB_RDONLY), &transaction) == 0 else { return false }
        mdb_txn_abort(transaction)
        return true
    }

    private var hasNoRoom: Bool {
        var status = statvfs()
        guard statvfs(self.path, &status) == 0 else { return false }
        return UInt64(status.f_bavail) * UInt64(status.f_frsize) < 1 << 20
    }

    /// Bytes of pages that are free inside the file.
    var reusableBytes: Int {
        var statistics = MDB_stat()
        guard mdb_env_stat(self.environment, &statistics) == 0 else { return 0 }
        let pageSize = Int(statistics.ms_psize)
        var pages = 0
        do throws(Fault) {
            try self.read { transaction throws(Fault) in
                var cursor: OpaquePointer?
                // LMDB's own table of free pages: transaction → count, pages.
                try Self.check(mdb_cursor_open(transaction, 0, &cursor))
                guard let cursor else { return }
                defer { mdb_cursor_close(cursor) }
                var key = MDB_val()
                var value = MDB_val()
                while mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0 {
                    guard let list = value.mv_data, value.mv_size >= MemoryLayout<Int>.size else { continue }
                    pages += list.loadUnaligned(as: Int.self)
                }
            }
        } catch {
            return 0
        }
        return pages * pageSize
    }

    private func grow() throws(Fault) {
        pthread_rwlock_wrlock(self.mapLock)
        defer { pthread_rwlock_unlock(self.mapLock) }
        let bytes = min(self.mapBytes * 2, self.mapLimit)
        try Self.check(mdb_env_set_mapsize(self.environment, bytes))
        self.mapBytes = bytes
    }

    /// Runs a reading transaction.
    func read<Result>(_ body: (OpaquePointer) throws(Fault) -> Result) throws(Fault) -> Result {
        pthread_rwlock_rdlock(self.mapLock)
        defer { pthread_rwlock_unlock(self.mapLock) }
        var transaction: OpaquePointer?
        try Self.check(mdb_txn_begin(self.environment, nil, UInt32(MDB_RDONLY), &transaction))
        guard let transaction else { throw Fault(code: EINVAL) }
        defer { mdb_txn_abort(transaction) }
        return try body(transaction)
    }

    // MARK: - Values

    func put(_ table: MDB_dbi, _ key: ByteBuffer, _ value: ByteBuffer, in transaction: OpaquePointer) throws(Fault) {
        try self.put(table, key, count: value.readableBytes, in: transaction) { target in
            value.withUnsafeReadableBytes { target.copyMemory(from: $0) }
        }
    }

    /// Puts a value that `fill` writes straight into the page.
    func put(
        _ table: MDB_dbi, _ key: ByteBuffer, count: Int, in transaction: OpaquePointer,
        _ fill: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(Fault) {
        let code = key.withUnsafeReadableBytes { bytes -> Int32 in
            var keyValue = MDB_val(mv_size: bytes.count, mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
            var value = MDB_val(mv_size: count, mv_data: nil)
            let code = mdb_put(transaction, table, &keyValue, &value, UInt32(MDB_RESERVE))
            if code == 0 { fill(UnsafeMutableRawBufferPointer(start: value.mv_data, count: count)) }
            return code
        }
        try Self.check(code)
    }

    func get(
        _ table: MDB_dbi, _ key: ByteBuffer, in transaction: OpaquePointer
    ) throws(Fault) -> ByteBuffer? {
        var result: ByteBuffer?
        let code = key.withUnsafeReadableBytes { bytes -> Int32 in
            var keyValue = MDB_val(mv_size: bytes.count, mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
            var value = MDB_val()
            let code = mdb_get(transaction, table, &keyValue, &value)
            if code == 0 {
                result = ByteBuffer(bytes: UnsafeRawBufferPointer(start: value.mv_data, count: value.mv_size))
            }
            return code
        }
        if code != MDB_NOTFOUND { try Self.check(code) }
        return result
    }

    /// Missing ones are no error.
    func delete(_ table: MDB_dbi, _ key: ByteBuffer, in transaction: OpaquePointer) throws(Fault) {
        let code = key.withUnsafeReadableBytes { bytes -> Int32 in
            var keyValue = MDB_val(mv_size: bytes.count, mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
            return mdb_del(transaction, table, &keyValue, nil)
        }
        if code != MDB_NOTFOUND { try Self.check(code) }
    }

    /// Calls `body` with each pair from a key on, until it returns false. The bytes are valid inside the call.
    func forEach(
        _ table: MDB_dbi, from key: ByteBuffer, in transaction: OpaquePointer,
        _ body: (_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ cursor: OpaquePointer) throws(Fault)
            -> Bool
    ) throws(Fault) {
        var cursor: OpaquePointer?
        try Self.check(mdb_cursor_open(transaction, table, &cursor))
        guard let cursor else { throw Fault(code: EINVAL) }
        defer { mdb_cursor_close(cursor) }
        var keyValue = MDB_val()
        var value = MDB_val()
        var code = key.withUnsafeReadableBytes { bytes -> Int32 in
            keyValue = MDB_val(mv_size: bytes.count, mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
            return mdb_cursor_get(cursor, &keyValue, &value, MDB_SET_RANGE)
        }
        while code == 0 {
            guard
                try body(
                    UnsafeRawBufferPointer(start: keyValue.mv_data, count: keyValue.mv_size),
                    UnsafeRawBufferPointer(start: value.mv_data, count: value.mv_size), cursor)
            else { return }
            code = mdb_cursor_get(cursor, &keyValue, &value, MDB_NEXT)
        }
        if code != MDB_NOTFOUND { try Self.check(code) }
    }

    /// The numbers of the last key that is not after `key`; nil if there is none.
    func lastKey(
        _ table: MDB_dbi, upTo key: ByteBuffer, in transaction: OpaquePointer
    ) throws(Fault) -> (UInt64, UInt64)? {
        var cursor: OpaquePointer?
        try Self.check(mdb_cursor_open(transaction, table, &cursor))
        guard let cursor else { throw Fault(code: EINVAL) }
        defer { mdb_cursor_close(cursor) }
        var keyValue = MDB_val()
        var value = MDB_val()
        var isExact = false
        var code = key.withUnsafeReadableBytes { bytes -> Int32 in
            keyValue = MDB_val(mv_size: bytes.count, mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
            let code = mdb_cursor_get(cursor, &keyValue, &value, MDB_SET_RANGE)
            if code == 0 {
                isExact = UnsafeRawBufferPointer(start: keyValue.mv_data, count: keyValue.mv_size).elementsEqual(bytes)
            }
            return code
        }
        if code == MDB_NOTFOUND {
            code = mdb_cursor_get(cursor, &keyValue, &value, MDB_LAST)
        } else if code == 0, !isExact {
            code = mdb_cursor_get(cursor, &keyValue, &value, MDB_PREV)
        }
        if code == MDB_NOTFOUND { return nil }
        try Self.check(code)
        let found = UnsafeRawBufferPointer(start: keyValue.mv_data, count: keyValue.mv_size)
        return (Self.number(found, at: 0), Self.number(found, at: 1))
    }

    static func key(_ numbers: UInt64...) -> ByteBuffer {
        var key = ByteBuffer()
        for number in numbers { key.writeInteger(number) }
        return key
    }

    static func number(_ bytes: UnsafeRawBufferPointer, at index: Int) -> UInt64 {
        guard bytes.count >= (index + 1) * 8 else { return 0 }
        return UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
    }
}
