import DurableStreams
import NIOCore
import StreamStore

extension FileEngine {
    private static let layoutVersion: UInt32 = 1
    private static let layoutKind = "files"

    /// Opens the store and brings it to where the write-ahead log ends. Blocks.
    static func open(
        _ configuration: StreamDirectoryConfiguration, fileSystem: any FileSystem
    ) throws -> (FileEngine, RecoveredStreams) {
        let root = configuration.directory
        do throws(FileError) {
            try fileSystem.makeDirectoryPath(root)
            if try fileSystem.makeDirectory(root + "/data") { try fileSystem.syncDirectory(root) }
        } catch {
            throw StoreError(error)
        }
        try Self.checkLayout(root, fileSystem)

        var recovery = FileRecovery()
        let metadataFlusher = StoreFlusher(startsThread: false)
        let metadata = try SegmentedLog.open(
            directory: root + "/metadata", fileSystem: fileSystem, flusher: metadataFlusher,
            configuration: LogConfiguration(
                segmentByteCount: configuration.metadataSegmentBytes, pendingByteLimit: 16 << 20)
        ) { try recovery.metadataRecord($0) }
        let flusher = StoreFlusher(startsThread: configuration.runsThreads)
        do {
            recovery.linkSources()
            let log = try SegmentedLog.open(
                directory: root + "/wal", fileSystem: fileSystem, flusher: flusher,
                configuration: LogConfiguration(
                    segmentByteCount: configuration.logSegmentBytes,
                    pendingByteLimit: UInt64(configuration.limits.waitingBytes) * 2 + (4 << 20),
                    syncPolicy: configuration.mode == .fileFast ? .deferred : .everyFlush,
                    roomByteLimit: configuration.logRoomBytes)
            ) { try recovery.logRecord($0) }
            do {
                let recovered = try recovery.finished(log: log)
                let engine = FileEngine(
                    configuration: configuration, fileSystem: fileSystem, flusher: flusher, log: log,
                    metadataFlusher: metadataFlusher, metadata: metadata,
                    state: CheckpointState(metadataRecords: metadata.recovery.recordCount, mark: recovery.mark))
                return (engine, recovered)
            } catch {
                try? log.close()
                throw error
            }
        } catch {
            try? metadata.close()
            flusher.stop()
            throw error
        }
    }

    private static func checkLayout(_ root: String, _ fileSystem: any FileSystem) throws(StoreError) {
        let file = MetaFile(path: root + "/layout", version: Self.layoutVersion, fileSystem: fileSystem)
        if var contents = try file.read()?.contents {
            guard contents.readString(length: contents.readableBytes) == Self.layoutKind else {
                throw StoreError(.unsupportedFormat, "the directory holds streams of another kind", file: file.path)
            }
            return
        }
        do throws(FileError) {
            guard try !fileSystem.list(root).contains("acid") else {
                throw FileError(.open, root + "/acid", number: SystemError.exists)
            }
        } catch {
            if error.number == SystemError.exists {
                throw StoreError(
                    .unsupportedFormat, "the directory holds streams of the storage mode acid", file: root + "/acid")
            }
            throw StoreError(error)
        }
        try file.replace(with: ByteBuffer(string: Self.layoutKind))
    }
}

/// Builds the streams up from snapshots and records.
struct FileRecovery {
    private var entries: [UInt64: StreamEntry] = [:]
    /// Streams that are gone, and up to where in the write-ahead log that is known.
    private var removed: [UInt64: UInt64] = [:]
    private var dirty: [StreamEntry] = []
    private(set) var mark: UInt64 = 0
    private var nextIdentity: UInt64 = 1
    private var largestRecordEnd: UInt64 = 0

    mutating func metadataRecord(_ record: LogRecord) throws {
        switch MetadataKind(rawValue: record.kind) {
        case .snapshot:
            guard let snapshot = SnapshotRecord(decoding: record.payload),
                snapshot.state.identity.rawValue == record.key
            else { throw Self.corrupt("a snapshot cannot be read", record) }
            self.take(snapshot, at: record.offset)
        case .tombstone:
            guard
                let end = record.payload.getInteger(
                    at: record.payload.readerIndex, endianness: .little, as: UInt64.self)
            else { throw Self.corrupt("a tombstone cannot be read", record) }
            self.entries[record.key] = nil
            self.removed[record.key] = end
            self.largestRecordEnd = max(self.largestRecordEnd, end)
            self.nextIdentity = max(self.nextIdentity, record.key + 1)
        case .mark:
            guard let mark = MarkRecord(decoding: record.payload) else {
                throw Self.corrupt("a mark cannot be read", record)
            }
            self.mark = max(self.mark, mark.logOffset)
            self.nextIdentity = max(self.nextIdentity, mark.nextIdentity)
        case nil: throw Self.corrupt("a record of unknown kind", record)
        }
    }

    private mutating func take(_ snapshot: SnapshotRecord, at offset: UInt64) {
        let identity = snapshot.state.identity.rawValue
        // A copy of an older snapshot never comes after a newer one or a tombstone; equal ends: the later is newer.
        guard self.removed[identity] == nil, self.entries[identity]?.lastRecordEnd ?? 0 <= snapshot.lastRecordEnd else {
            return
        }
        let entry = self.entry(snapshot.state)
        entry.lastRecordEnd = snapshot.lastRecordEnd
        entry.placement = snapshot.placement
        entry.indexCount = snapshot.indexCount
        entry.snapshotOffset = offset
        entry.checkpointedTail = snapshot.state.tail
        if snapshot.start > 0 { entry.trimming?.floor = snapshot.start }
        self.entries[identity] = entry
        self.nextIdentity = max(self.nextIdentity, identity + 1)
        self.largestRecordEnd = max(self.largestRecordEnd, snapshot.lastRecordEnd)
    }

    private func entry(_ state: StreamState) -> StreamEntry {
        StreamEntry(state: state, hash: StreamDirectory.hash(state.name), source: nil)
    }

    /// Between the two logs.
    mutating func linkSources() {
        for entry in self.entries.values {
            if let source = entry.state.configuration.fork?.source { entry.source = self.entries[source.rawValue] }
        }
    }

    mutating func logRecord(_ record: LogRecord) throws {
        guard record.end > self.mark else { return }
        switch Change.Kind(rawValue: record.kind) {
        case .create: try self.create(record)
        case .append: try self.append(record)
        case .delete: try self.delete(record)
        case .trim: try self.trim(record)
        case nil: throw Self.corrupt("a record of unknown kind", record)
        }
    }

    /// Whether a stream lacks a record.
    private func needs(_ record: LogRecord, _ entry: StreamEntry) -> Bool { entry.lastRecordEnd < record.end }

    private mutating func contains(_ record: LogRecord, _ entry: StreamEntry) {
        entry.lastRecordEnd = record.end
        // Files of it may have been written by a checkpoint that the crash cut off.
        entry.flags.insert(.mayHaveFiles)
        guard !entry.flags.contains(.isDirty) else { return }
        entry.flags.insert(.isDirty)
        self.dirty.append(entry)
    }

    private mutating func create(_ record: LogRecord) throws {
        var payload = record.payload
        guard let head = CreateRecord(decoding: &payload), head.state.identity.rawValue == record.key else {
            throw Self.corrupt("a creation cannot be read", record)
        }
        self.nextIdentity = max(self.nextIdentity, record.key + 1)
        let source = head.state.configuration.fork.flatMap { self.entries[$0.source.rawValue] }
        if let source, self.needs(record, source) {
            source.state.forkCount += 1
            self.contains(record, source)
        }
        guard self.removed[record.key] == nil, self.entries[record.key] == nil else { return }
        let entry = self.entry(head.state)
        entry.source = source
        entry.checkpointedTail = entry.base
        self.keep(payload, head.messageCount, in: entry)
        self.entries[record.key] = entry
        self.contains(record, entry)
    }

    private mutating func append(_ record: LogRecord) throws {
        guard self.removed[record.key] == nil else { return }
        guard let entry = self.entries[record.key] else {
            throw Self.corrupt("an append to a stream that is not there", record)
        }
        guard self.needs(record, entry) else { return }
        var payload = record.payload
        guard let effect = AppendEffect(decoding: &payload), effect.payloadCount == payload.readableBytes else {
            throw Self.corrupt("an append cannot be read", record)
        }
        entry.state.apply(effect)
        self.keep(payload, effect.messageCount, in: entry)
        self.contains(record, entry)
    }

    private mutating func trim(_ record: LogRecord) throws {
        guard self.removed[record.key] == nil else { return }
        guard let entry = self.entries[record.key], let trimming = TrimRecord(decoding: record.payload) else {
            throw Self.corrupt("a trimming cannot be read, or its stream is not there", record)
        }
        guard self.needs(record, entry) else { return }
        entry.state.trim(to: trimming.earliest)
        self.contains(record, entry)
    }

    private func keep(_ bytes: ByteBuffer, _ messageCount: Int, in entry: StreamEntry) {
        guard bytes.readableBytes > 0 else { return }
        entry.inUse.tail.append(
            TailBuffer.Item(end: entry.state.tail, messageCount: UInt32(clamping: messageCount), bytes: bytes))
    }

    private mutating func delete(_ record: LogRecord) throws {
        var payload = record.payload
        guard let deletion = DeleteRecord(decoding: &payload) else {
            throw Self.corrupt("a deletion cannot be read", record)
        }
        for (identity, step) in deletion.steps {
            // One that is not there was removed by a later record that a checkpoint knows.
            guard let entry = self.entries[identity.rawValue], self.needs(record, entry) else { continue }
            self.contains(record, entry)
            switch step {
            case .softDelete: entry.state.isSoftDeleted = true
            case .release: entry.state.forkCount -= entry.state.forkCount > 0 ? 1 : 0
            case .remove:
                entry.flags.insert(.isRemoved)
                entry.live = nil
                self.entries[identity.rawValue] = nil
                self.removed[identity.rawValue] = record.end
            }
        }
    }

    /// The streams, once both logs were read.
    func finished(log: SegmentedLog) throws(StoreError) -> RecoveredStreams {
        guard log.firstOffset <= self.mark else {
            throw StoreError(
                .corrupt, "records are missing between the last checkpoint at \(self.mark) and \(log.firstOffset)",
                file: log.directory)
        }
        guard max(self.mark, self.largestRecordEnd) <= log.durableEnd else {
            throw StoreError(
                .corrupt, "the log ends at \(log.durableEnd), before what a checkpoint has seen of it",
                file: log.directory)
        }
        // Why only now: a fork that a later record removes may have lost its source to a checkpoint already.
        for entry in self.entries.values where entry.state.configuration.fork != nil && entry.source == nil {
            throw StoreError(.corrupt, "the source of a fork is missing", file: log.directory)
        }
        for entry in self.dirty { entry.flags.remove(.isDirty) }
        return RecoveredStreams(
            entries: Array(self.entries.values), dirty: self.dirty, nextIdentity: self.nextIdentity)
    }

    private static func corrupt(_ reason: String, _ record: LogRecord) -> StoreError {
        StoreError(.corrupt, reason, offset: record.offset)
    }
}
