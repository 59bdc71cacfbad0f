import DurableStreams
import NIOCore
import StreamStore
import Synchronization

/// The storage of both file modes.
///
/// A change is one record of the write-ahead log; it is durable, and told, when that record is. Its bytes stay in
/// memory, as slices of what was written, until a checkpoint puts them away: into the stream's own files, or, for small
/// streams, into the stream's snapshot in the log of the metadata. A checkpoint writes snapshots of the streams that
/// changed since the last one, nothing of the others, and then cuts the write-ahead log.
///
/// - `wal/`: the write-ahead log. Two streams' changes in one record, those of a fork and its source, are both there or
///   both not.
/// - `metadata/`: snapshots, the latest one of a stream counts; what is outdated at the front is copied forward and cut
///   off.
/// - `data/xx/`: the bytes of larger streams, and where their appends end.
///
/// After a crash each stream is its latest snapshot and the records after it. Each snapshot says up to where in the
/// write-ahead log it goes, so a checkpoint that was cut off by the crash does no harm.
final class FileEngine: Sendable {
    let configuration: StreamDirectoryConfiguration
    let fileSystem: any FileSystem
    let flusher: StoreFlusher
    let log: SegmentedLog
    /// Has no thread: checkpoints flush it.
    let metadataFlusher: StoreFlusher
    let metadata: SegmentedLog
    let pool: StreamFilePool
    let room: DiskRoom
    /// Held during a checkpoint.
    let checkpointing: Mutex<CheckpointState>
    private let fullness = Mutex(Fullness())

    struct CheckpointState {
        /// Records in the log of the metadata.
        var metadataRecords: UInt64 = 0
        /// What the last mark says.
        var mark: UInt64 = 0
    }

    /// What has found the disk full.
    private struct Fullness {
        var log = false
        var checkpoint = false
    }

    init(
        configuration: StreamDirectoryConfiguration, fileSystem: any FileSystem, flusher: StoreFlusher,
        log: SegmentedLog, metadataFlusher: StoreFlusher, metadata: SegmentedLog, state: CheckpointState
    ) {
        self.configuration = configuration
        self.fileSystem = fileSystem
        self.flusher = flusher
        self.log = log
        self.metadataFlusher = metadataFlusher
        self.metadata = metadata
        self.checkpointing = Mutex(state)
        self.room = DiskRoom(
            directory: configuration.directory, reserve: configuration.reservedBytes, fileSystem: fileSystem)
        self.pool = StreamFilePool(
            directory: configuration.directory + "/data", fileSystem: fileSystem,
            limit: configuration.limits.openStreams)
    }

    // MARK: - Changes

    func start(_ directory: StreamDirectory) {
        self.log.onDelivery { [weak directory] delivery in
            guard let directory else { return }
            directory.settle(delivery)
            let limit = directory.configuration.limits.tailBytes
            if directory.tailBytes.load(ordering: .relaxed) > limit / 2 { directory.maintenance.requestCheckpoint() }
        }
        self.log.onDrop { [weak directory] attachments, error in
            directory?.drop(attachments.compactMap { $0 as? Change }, .storageFailed(error))
        }
        self.log.onCondition { [weak self, weak directory] condition in
            guard let self, let directory else { return }
            switch condition {
            case .failed(let error): directory.changeCondition(to: .failed(error))
            case .closed: break
            case .healthy: self.foundFull(directory) { $0.log = false }
            case .diskFull:
                self.foundFull(directory) { $0.log = true }
                // Why all of it: from here on the log takes no more until there is room.
                directory.answerStalled(self.log.waitingAttachments.compactMap { $0 as? Change })
            }
        }
        guard self.configuration.runsThreads else { return }
        self.flusher.onPass { [weak directory] in
            // Holds writers back while checkpoints do not keep up; not for ever, since one may have failed.
            guard let directory else { return }
            for _ in 0..<200
            where directory.tailBytes.load(ordering: .relaxed) > directory.configuration.limits.tailBytes {
                directory.maintenance.requestCheckpoint()
                sleepMilliseconds(5)
            }
        }
    }

    private func foundFull(_ directory: StreamDirectory, _ change: (inout Fullness) -> Void) {
        let isFull = self.fullness.withLock { fullness -> Bool in
            change(&fullness)
            return fullness.log || fullness.checkpoint
        }
        directory.changeCondition(to: isFull ? .diskFull : .healthy)
    }

    /// Hands a change to the log; returns where its record ends. The shards of its streams are locked.
    func append(_ change: Change, head: ByteBuffer, body: ByteBuffer?) throws(StreamError) -> UInt64 {
        do throws(StoreError) {
            switch try self.log.append(
                kind: change.kind.rawValue, key: change.entry.state.identity.rawValue, head: head, body: body,
                attachment: change)
            {
            case .appended(let span): return span.end
            case .full: break
            }
        } catch {
            throw StreamError(error)
        }
        throw StreamError(.unavailable, "Too many changes are waiting for the disk.", retryAfterSeconds: 1)
    }

    func flush() {
        self.flusher.flushPending()
    }

    func syncQuietly() {
        // A failure is told by the log's condition.
        try? self.log.syncNow()
    }

    // MARK: - Checkpoints by themselves, closing

    func checkpointQuietly(_ directory: StreamDirectory) {
        do throws(StoreError) {
            try self.checkpoint(directory)
        } catch {
            // Told by the condition.
        }
    }

    /// Writes a checkpoint. A full disk puts it off; another fault of the disk fails the directory.
    func checkpoint(_ directory: StreamDirectory) throws(StoreError) {
        do throws(StoreError) {
            try self.checkpointing.withLock { state throws(StoreError) in
                try self.checkpoint(directory, &state)
            }
            self.foundFull(directory) { $0.checkpoint = false }
        } catch {
            switch error.code {
            case .diskFull: self.foundFull(directory) { $0.checkpoint = true }
            case .closed: break
            case .io where SystemError.tooManyFiles.contains(error.systemError ?? 0):
                // To be tried again with fewer files open.
                self.pool.removeAll()
            default: directory.changeCondition(to: .failed(error))
            }
            throw error
        }
    }

    func close(_ directory: StreamDirectory) throws(StoreError) {
        self.flusher.onPass(nil)
        self.flusher.flushPending()
        var failure: StoreError?
        do throws(StoreError) { try self.checkpoint(directory) } catch {
            failure = error.code == .diskFull ? nil : error
        }
        for log in [self.log, self.metadata] {
            do throws(StoreError) { try log.close() } catch { failure = failure ?? error }
        }
        self.flusher.stop()
        self.metadataFlusher.stop()
        self.pool.removeAll()
        if let failure { throw failure }
    }
}
