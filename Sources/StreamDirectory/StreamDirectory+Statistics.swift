import DurableStreams
import StreamStore
import Synchronization

/// What a directory holds, and what it has done since it was opened.
package struct StreamDirectoryStatistics: Sendable {
    /// Streams that take appends.
    package var open = 0
    package var closed = 0
    /// Deleted streams whose data forks still need.
    package var deletedForForks = 0

    package var created: UInt64 = 0
    package var deleted: UInt64 = 0
    package var expired: UInt64 = 0
    /// Appends with data; what a new stream was made with is none.
    package var appends: UInt64 = 0
    package var appendedMessages: UInt64 = 0
    package var appendedBytes: UInt64 = 0

    /// What retentions have dropped; of forks with what they inherit.
    package var trimmedBytes: UInt64 = 0

    package var payloadBytes: UInt64 = 0
    /// Bytes that no checkpoint has put into files yet.
    package var tailBytes = 0
    package var waitingChanges = 0
    package var waitingBytes = 0
    /// Changes that were turned away because too many were waiting.
    package var refusedChanges: UInt64 = 0
    package var logBytes: UInt64 = 0
    package var commits = CommitStatistics()
}

/// What went to the disk together.
package struct CommitStatistics: Sendable {
    package var batches: UInt64 = 0
    package var changes: UInt64 = 0
    /// Of `acid`, whole transactions.
    package var syncs = SyncTimes()
}

/// What a shard counts under its own lock, so that counting costs a change nothing that others would notice.
struct ShardStatistics {
    var closed = 0
    var deletedForForks = 0
    var created: UInt64 = 0
    var deleted: UInt64 = 0
    var expired: UInt64 = 0
    var appends: UInt64 = 0
    var appendedMessages: UInt64 = 0
    var appendedBytes: UInt64 = 0
    var trimmedBytes: UInt64 = 0

    /// A stream that the last process left.
    mutating func recovered(_ entry: StreamEntry) {
        if entry.state.isSoftDeleted {
            self.deletedForForks += 1
        } else if entry.flags.contains(.isDurablyClosed) {
            self.closed += 1
        }
    }

    /// A change that became durable.
    mutating func settled(_ change: Change, wasClosed: Bool) {
        let entry = change.entry
        switch change.kind {
        case .create: self.created += 1
        case .append where change.payloadCount > 0:
            self.appends += 1
            self.appendedMessages += UInt64(change.messageCount)
            self.appendedBytes += UInt64(change.payloadCount)
        case .append, .trim: break
        case .delete: if change.isExpiry { self.expired += 1 } else { self.deleted += 1 }
        }
        if change.kind == .create || change.kind == .append, change.isClosed, !wasClosed, !entry.isRemoved,
            !entry.state.isSoftDeleted
        {
            self.closed += 1
        }
    }

    /// Before the stream is hidden or removed.
    mutating func leaves(_ entry: StreamEntry, by step: DeletionStep) {
        guard step != .release else { return }
        if entry.state.isSoftDeleted {
            self.deletedForForks -= 1
        } else if entry.flags.contains(.isDurablyClosed) {
            self.closed -= 1
        }
        if step == .softDelete { self.deletedForForks += 1 }
    }
}

extension StreamDirectory {
    /// Adds up what there is. Takes each lock for a moment.
    package var statistics: StreamDirectoryStatistics {
        var all = StreamDirectoryStatistics()
        for shard in self.shards {
            let (count, part) = shard.withLock { (shard.table.count, shard.statistics) }
            all.open += count - part.closed - part.deletedForForks
            all.closed += part.closed
            all.deletedForForks += part.deletedForForks
            all.created += part.created
            all.deleted += part.deleted
            all.expired += part.expired
            all.appends += part.appends
            all.appendedMessages += part.appendedMessages
            all.appendedBytes += part.appendedBytes
            all.trimmedBytes += part.trimmedBytes
        }
        all.payloadBytes = self.totalBytes.load(ordering: .relaxed)
        all.tailBytes = self.tailBytes.load(ordering: .relaxed)
        all.waitingChanges = self.waitingChanges.load(ordering: .relaxed)
        all.waitingBytes = self.waitingBytes.load(ordering: .relaxed)
        all.refusedChanges = self.refusedCount.load(ordering: .relaxed)
        switch self.engine {
        case .memory: break
        case .files(let engine):
            let log = engine.log.metrics
            all.logBytes = log.totalBytes + engine.metadata.metrics.totalBytes
            all.commits = CommitStatistics(batches: log.batchCount, changes: log.recordsAppended, syncs: log.syncs)
        case .acid(let engine):
            for shard in engine.shards {
                let part = shard.commits
                all.commits.batches += part.batches
                all.commits.changes += part.changes
                all.commits.syncs.add(part.syncs)
            }
        }
        return all
    }
}
