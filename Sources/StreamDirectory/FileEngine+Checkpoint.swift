import DurableStreams
import NIOCore
import StreamStore
import Synchronization

extension FileEngine {
    /// One stream in a checkpoint.
    private struct Job {
        let entry: StreamEntry
        var isRemoved: Bool
        /// As it goes into the snapshot; all of it is durable before the snapshot is written.
        var state: StreamState
        var lastRecordEnd: UInt64
        var checkpointedTail: UInt64
        var placement: StreamEntry.Placement
        var indexCount: UInt64
        var snapshotOffset: UInt64
        var mayHaveFiles: Bool
        var newSnapshotOffset = StreamEntry.noSnapshot
        /// What is before this leaves.
        var floor: UInt64
        let base: UInt64
        var appends: [StreamFiles.Entry] = []
        var bytes = ByteBuffer()
    }

    /// What has to be synced before snapshots may speak of it.
    private struct Unsynced {
        var files: [any StoreFile] = []
        var folders: Set<String> = []
        var madeFolder = false
    }

    /// Streams that go through a checkpoint together.
    private static let batchCount = 2048
    private static let writeCount = 1 << 20

    func checkpoint(_ directory: StreamDirectory, _ state: inout CheckpointState) throws(StoreError) {
        // Why first: all records before this belong to streams that are in the lists by now.
        let mark = self.log.durableEnd
        let metadataEnd = self.metadata.durableEnd
        var dirty: [StreamEntry] = []
        var removed: [StreamEntry] = []
        for shard in directory.shards {
            shard.withLock {
                for entry in shard.dirty {
                    if entry.isRemoved { removed.append(entry) } else { dirty.append(entry) }
                }
                shard.dirty = []
            }
        }
        guard !dirty.isEmpty || !removed.isEmpty || mark > state.mark else { return }
        // By name of the files, so that writes to a folder come together; first those that give room back.
        removed.sort { $0.state.identity < $1.state.identity }
        dirty.sort { $0.state.identity < $1.state.identity }
        dirty = removed + dirty
        var done = 0
        do throws(StoreError) {
            while done < dirty.count {
                let batch = dirty[done..<min(dirty.count, done + Self.batchCount)]
                try self.checkpoint(batch, directory, &state)
                done += batch.count
            }
            try self.writeMark(mark, directory, &state)
        } catch {
            // What was not done is for the next one. Those of the batch that failed may be in a list again already; the
            // rest cannot be, since their mark still stands.
            let failed = done + Self.batchCount
            for (index, entry) in dirty.enumerated().dropFirst(done) {
                let shard = directory.shard(of: entry)
                shard.withLock {
                    if index >= failed { entry.flags.remove(.isDirty) }
                    shard.markDirty(entry)
                }
            }
            throw error
        }
        try self.log.trim(before: mark)
        try self.compact(directory, &state, before: metadataEnd)
    }

    private func checkpoint(
        _ batch: ArraySlice<StreamEntry>, _ directory: StreamDirectory, _ state: inout CheckpointState
    ) throws(StoreError) {
        var jobs = batch.map { entry in directory.shard(of: entry).withLock { Self.job(entry, directory) } }
        try self.makeDurable(jobs.reduce(0) { max($0, $1.lastRecordEnd) })
        var unsynced = Unsynced()
        var kept: [Job] = []
        for index in jobs.indices {
            if try self.putAway(&jobs[index], directory, &unsynced) { kept.append(jobs[index]) }
        }
        try self.sync(unsynced)
        for index in kept.indices { try self.writeSnapshot(&kept[index], &state) }
        try self.flushMetadata()
        for job in kept where !job.isRemoved {
            Self.install(job, directory)
            if job.placement == .files, job.floor > job.base { self.free(job, directory) }
        }
    }

    private static func job(_ entry: StreamEntry, _ directory: StreamDirectory) -> Job {
        entry.flags.remove(.isDirty)
        // Why already here: who reads from now on needs none of it, and the snapshot has to say so before it goes.
        directory.raiseFloor(of: entry)
        return Job(
            entry: entry, isRemoved: entry.isRemoved, state: entry.stateToStore, lastRecordEnd: entry.lastRecordEnd,
            checkpointedTail: entry.checkpointedTail, placement: entry.placement, indexCount: entry.indexCount,
            snapshotOffset: entry.snapshotOffset, mayHaveFiles: entry.flags.contains(.mayHaveFiles), floor: entry.floor,
            base: entry.base)
    }

    /// Waits until the write-ahead log is on the disk up to `end`, by writing it if need be, and until what became durable is settled.
    private func makeDurable(_ end: UInt64) throws(StoreError) {
        if self.log.durableEnd < end {
            self.flusher.flushPending()
        } else {
            // Why: the log's end is published a moment before the streams get their bytes, in the same pass.
            self.flusher.exclusively { () throws(Never) in }
        }
        switch self.log.condition {
        case .healthy: break
        case .diskFull: throw StoreError(.diskFull, "the disk is full")
        case .failed(let error): throw error
        case .closed: throw StoreError(.closed, "the log is closed")
        }
        guard self.log.durableEnd >= end else { throw StoreError(.diskFull, "records could not be written") }
        // Why also here: the snapshot must not know more than the log can have after a power loss.
        if self.configuration.mode == .fileFast { try self.log.syncNow() }
    }

    /// Brings a stream's bytes, or the end of its files, to the disk. False: leave it to the next checkpoint.
    private func putAway(
        _ job: inout Job, _ directory: StreamDirectory, _ unsynced: inout Unsynced
    ) throws(StoreError) -> Bool {
        let identity = job.state.identity
        if job.isRemoved {
            if job.placement == .files || job.mayHaveFiles, try self.pool.remove(identity) {
                unsynced.folders.insert(self.pool.folder(of: identity))
            }
            return true
        }
        let base = job.base
        let end = job.state.tail
        // Everything up to the state's tail is durable and therefore in memory.
        let items = directory.shard(of: job.entry).withLock { () -> [TailBuffer.Item]? in
            guard !job.entry.isRemoved else { return nil }
            return job.entry.live.map { live in
                live.tail.live.filter { $0.end > job.checkpointedTail && $0.end <= end }
            } ?? []
        }
        guard let items else { return false }
        guard items.reduce(job.checkpointedTail, { $0 + UInt64($1.bytes.readableBytes) }) == end else {
            throw StoreError(.invalidState, "bytes before a checkpoint are missing in memory")
        }
        if job.placement != .files, end - job.floor <= UInt64(self.configuration.inlineByteLimit) {
            try self.collectInline(&job, items)
            return true
        }
        try self.writeFiles(&job, base: base, items: items, directory, &unsynced)
        return true
    }

    private func collectInline(_ job: inout Job, _ items: [TailBuffer.Item]) throws(StoreError) {
        var start = job.checkpointedTail
        if job.placement == .inline, job.checkpointedTail > job.base {
            let before = try self.snapshot(at: job.snapshotOffset)
            job.appends = before.appends
            job.bytes = before.bytes
            start = max(job.base, before.start)
        }
        for item in items {
            job.appends.append(
                StreamFiles.Entry(
                    end: item.end, checksum: appendChecksum(item.bytes), messageCount: item.messageCount))
            job.bytes.writeImmutableBuffer(item.bytes)
        }
        if job.floor > start {
            job.appends.removeAll { $0.end <= job.floor }
            let count = Int(job.floor - start)
            guard
                let rest = job.bytes.getSlice(
                    at: job.bytes.readerIndex + count, length: job.bytes.readableBytes - count)
            else { throw StoreError(.corrupt, "a snapshot does not fit its stream", offset: job.snapshotOffset) }
            job.bytes = rest
        }
        job.placement = job.appends.isEmpty ? .none : .inline
    }

    private func writeFiles(
        _ job: inout Job, base: UInt64, items: [TailBuffer.Item], _ directory: StreamDirectory,
        _ unsynced: inout Unsynced
    ) throws(StoreError) {
        let identity = job.state.identity
        var entries: [StreamFiles.Entry] = []
        var parts: [ByteBuffer] = []
        var position = job.checkpointedTail
        let files: StreamFiles
        if job.placement == .files {
            files = try self.pool.files(of: identity)
        } else {
            // Why before they are there: a deletion from now on has to remove them.
            let entry = job.entry
            directory.shard(of: entry).withLock { _ = entry.flags.insert(.mayHaveFiles) }
            let made = try self.pool.makeFiles(of: identity)
            files = made.files
            unsynced.folders.insert(self.pool.folder(of: identity))
            if made.madeFolder { unsynced.madeFolder = true }
            if job.placement == .inline, job.checkpointedTail > base {
                let before = try self.snapshot(at: job.snapshotOffset)
                entries = before.appends
                parts = [before.bytes]
                position = max(base, before.start)
            }
            job.indexCount = 0
        }
        for item in items {
            entries.append(
                StreamFiles.Entry(
                    end: item.end, checksum: appendChecksum(item.bytes), messageCount: item.messageCount))
            parts.append(item.bytes)
        }
        job.placement = .files
        guard !entries.isEmpty else { return }
        try StreamFiles.write(parts, to: files.data, at: position - base)
        var index = ByteBuffer()
        for entry in entries { entry.encode(into: &index) }
        try StreamFiles.write([index], to: files.index, at: job.indexCount * UInt64(StreamFiles.entryCount))
        job.indexCount += UInt64(entries.count)
        unsynced.files += [files.data, files.index]
    }

    private func sync(_ unsynced: Unsynced) throws(StoreError) {
        do throws(FileError) {
            if unsynced.files.count + unsynced.folders.count > self.configuration.fileSyncLimit {
                try self.fileSystem.syncFileSystem(of: self.pool.directory)
                return
            }
            for file in unsynced.files { try file.sync() }
            for folder in unsynced.folders { try self.fileSystem.syncDirectory(folder) }
            if unsynced.madeFolder { try self.fileSystem.syncDirectory(self.pool.directory) }
        } catch {
            throw StoreError(error)
        }
    }

    private func writeSnapshot(_ job: inout Job, _ state: inout CheckpointState) throws(StoreError) {
        var payload = ByteBuffer()
        if job.isRemoved {
            payload.writeInteger(job.lastRecordEnd, endianness: .little)
        } else {
            SnapshotRecord(
                state: job.state, lastRecordEnd: job.lastRecordEnd, placement: job.placement,
                indexCount: job.indexCount, start: job.floor > job.base ? job.floor : 0, appends: job.appends,
                bytes: job.bytes
            ).encode(into: &payload)
            job.appends = []
            job.bytes = ByteBuffer()
        }
        job.newSnapshotOffset = try self.appendMetadata(
            job.isRemoved ? .tombstone : .snapshot, key: job.state.identity.rawValue, payload, &state)
    }

    /// The snapshot is durable: readers find the bytes there from now on, and they leave memory.
    private static func install(_ job: Job, _ directory: StreamDirectory) {
        let entry = job.entry
        directory.shard(of: entry).withLock {
            entry.checkpointedTail = job.state.tail
            entry.placement = job.placement
            entry.indexCount = job.indexCount
            entry.snapshotOffset = job.newSnapshotOffset
            // Readings were under way below what may go: a later checkpoint lets it go.
            if let trimming = entry.trimming, trimming.earliest > trimming.floor, entry.state.forkCount == 0,
                !entry.isRemoved
            {
                directory.shard(of: entry).markDirty(entry)
            }
            // A removed one has let go of its bytes.
            guard !entry.isRemoved, let live = entry.live else { return }
            let count = live.tail.removeAll(endingAtOrBefore: job.state.tail)
            directory.tailBytes.wrappingSubtract(count, ordering: .relaxed)
            entry.rest()
        }
    }

    /// Gives the disk back what the snapshot, now durable, says is not there any more.
    private func free(_ job: Job, _ directory: StreamDirectory) {
        let isNews = directory.shard(of: job.entry).withLock { () -> Bool in
            guard let trimming = job.entry.trimming, trimming.freed < job.floor, !job.entry.isRemoved else {
                return false
            }
            trimming.freed = job.floor
            return true
        }
        guard isNews else { return }
        self.free(job.state.identity, base: job.base, indexCount: job.indexCount, upTo: job.floor)
    }

    private func appendMetadata(
        _ kind: MetadataKind, key: UInt64, _ payload: ByteBuffer, _ state: inout CheckpointState
    ) throws(StoreError) -> UInt64 {
        for _ in 0..<2 {
            if case .appended(let span) = try self.metadata.append(kind: kind.rawValue, key: key, payload: payload) {
                state.metadataRecords += 1
                return span.offset
            }
            try self.flushMetadata()
        }
        throw StoreError(.diskFull, "the log of the metadata takes no records")
    }

    private func flushMetadata() throws(StoreError) {
        self.metadataFlusher.flushPending()
        switch self.metadata.condition {
        case .healthy: return
        case .diskFull: throw StoreError(.diskFull, "the disk is full")
        case .failed(let error): throw error
        case .closed: throw StoreError(.closed, "the log is closed")
        }
    }

    private func writeMark(
        _ mark: UInt64, _ directory: StreamDirectory, _ state: inout CheckpointState
    ) throws(StoreError) {
        var payload = ByteBuffer()
        MarkRecord(logOffset: mark, nextIdentity: directory.nextIdentity.load(ordering: .relaxed)).encode(
            into: &payload)
        _ = try self.appendMetadata(.mark, key: 0, payload, &state)
        try self.flushMetadata()
        state.mark = mark
    }

    // MARK: - Compaction

    /// Copies what is not outdated out of the front of the log of the metadata, and cuts the front off, while more than
    /// half of its records are outdated.
    ///
    /// - Parameter limit: Where the log ended when this checkpoint began; what is before has a mark behind it.
    private func compact(
        _ directory: StreamDirectory, _ state: inout CheckpointState, before limit: UInt64
    ) throws(StoreError) {
        for _ in 0..<8 {
            let streams = directory.shards.reduce(0) { count, shard in count + shard.withLock { shard.table.count } }
            guard state.metadataRecords > 2 * UInt64(streams) + UInt64(self.configuration.metadataSlack) else { return }
            let first = self.metadata.firstOffset
            guard let last = self.metadata.segmentStart(atOrBefore: limit), last > first else { return }
            var moved: [(entry: StreamEntry, from: UInt64, to: UInt64)] = []
            var offset = first
            var count: UInt64 = 0
            while self.metadata.segmentStart(atOrBefore: offset) == first {
                let batch = try self.metadata.read(from: offset, maxBytes: Self.writeCount)
                guard !batch.records.isEmpty else { break }
                offset = batch.nextOffset
                count += UInt64(batch.records.count)
                for record in batch.records {
                    guard let entry = self.current(record, directory) else { continue }
                    let to = try self.appendMetadata(.snapshot, key: record.key, record.payload, &state)
                    moved.append((entry, record.offset, to))
                }
            }
            try self.flushMetadata()
            for (entry, from, to) in moved {
                directory.shard(of: entry).withLock {
                    if entry.snapshotOffset == from { entry.snapshotOffset = to }
                }
            }
            try self.metadata.trim(before: offset)
            state.metadataRecords -= min(count, state.metadataRecords)
        }
    }

    /// The stream whose latest snapshot a record is.
    private func current(_ record: LogRecord, _ directory: StreamDirectory) -> StreamEntry? {
        guard record.kind == MetadataKind.snapshot.rawValue, let snapshot = SnapshotRecord(decoding: record.payload)
        else { return nil }
        let hash = StreamDirectory.hash(snapshot.state.name)
        let shard = directory.shards[directory.shardIndex(hash)]
        return shard.withLock {
            guard let entry = shard.table[snapshot.state.name, hash], entry.state.identity.rawValue == record.key,
                entry.snapshotOffset == record.offset
            else { return nil }
            return entry
        }
    }
}
