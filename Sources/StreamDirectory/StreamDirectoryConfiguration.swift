import StreamStore

/// How a directory keeps streams, and what an answer to a change means.
package enum StorageMode: Hashable, Sendable {
    /// In memory: gone with the process.
    case memory
    /// In files. Answered when the system has the change: it survives the end of the process; a power loss may take
    /// what was answered in the last moments, and leaves a whole prefix.
    case fileFast
    /// In files. Answered when the change is on the disk.
    case fileDurable
    /// In LMDB environments, one transaction for each group of changes. Answered when it is committed.
    case acid(shards: Int)
    /// What `acid` is without a disk: kept as in `memory`, every change at once or not at all.
    case acidInMemory

    package var isDurable: Bool {
        switch self {
        case .memory, .acidInMemory: false
        case .fileFast, .fileDurable, .acid: true
        }
    }
}

/// Bounds. Reaching one refuses the request at hand and nothing else.
package struct StreamDirectoryLimits: Sendable {
    /// Most payload bytes over all streams, with what their producers take (413); nil for no bound. Meant for streams in
    /// memory.
    package var totalBytes: UInt64?
    /// Most payload bytes of one stream (413); nil for no bound.
    package var streamBytes: UInt64?
    /// Changes that may wait for the disk (503).
    package var waitingChanges: Int
    /// Payload bytes that may wait for the disk (503).
    package var waitingBytes: Int
    /// Payload bytes that may be in memory because no checkpoint has put them in their files yet. Writers wait when
    /// they are more.
    package var tailBytes: Int
    /// Open stream files; more are opened and closed as needed.
    package var openStreams: Int
    /// Producers remembered for one stream (429).
    package var producers: Int

    package init(
        totalBytes: UInt64? = nil, streamBytes: UInt64? = nil, waitingChanges: Int = 65_536,
        waitingBytes: Int = 64 << 20, tailBytes: Int = 256 << 20, openStreams: Int = 512,
        producers: Int = 10_000
    ) {
        self.totalBytes = totalBytes
        self.streamBytes = streamBytes
        self.waitingChanges = waitingChanges
        self.waitingBytes = waitingBytes
        self.tailBytes = tailBytes
        self.openStreams = openStreams
        self.producers = producers
    }
}

/// Settings of a directory.
package struct StreamDirectoryConfiguration: Sendable {
    package var mode: StorageMode
    /// Where files are; not used in memory.
    package var directory: String
    package var limits: StreamDirectoryLimits
    /// Locks that streams are spread over.
    package var lockCount = 64
    /// Longest time between a change and its checkpoint.
    package var checkpointInterval: Duration = .seconds(5)
    /// `fileFast`: longest time between a change and its sync.
    package var syncInterval: Duration = .milliseconds(200)
    /// A stream of at most this many bytes has no file of its own: it lies in the log of the metadata.
    package var inlineByteLimit = 4096
    /// Readings from files of at most this many bytes are checked against their checksums and given as bytes; larger
    /// ones are given as ranges of files, which are checked by `verify` alone.
    package var verifiedReadLimit = 64 << 10
    package var logSegmentBytes: UInt64 = 64 << 20
    /// Most zeros that are written ahead in the log.
    package var logRoomBytes: UInt64 = 1 << 20
    package var metadataSegmentBytes: UInt64 = 32 << 20
    /// Outdated records that the log of the metadata may have beside as many as there are streams.
    package var metadataSlack = 16_384
    /// A checkpoint that wrote more files than this syncs the file system once instead of each of them.
    package var fileSyncLimit = 32
    /// Most size of one LMDB environment it may grow to.
    package var acidMapLimit = 1 << 40
    /// First size of one LMDB environment.
    package var acidMapBytes = 16 << 20
    /// Whether the directory's thread trims streams that have a retention.
    package var appliesRetention = true
    /// Free bytes of the disk that deletions and checkpoints alone may use.
    package var reservedBytes = 2 << 20
    /// False for tests that call `flush()`, `checkpoint()` and `sweep(now:)` themselves.
    package var runsThreads = true

    package init(mode: StorageMode, directory: String = "", limits: StreamDirectoryLimits = StreamDirectoryLimits()) {
        self.mode = mode
        self.directory = directory
        self.limits = limits
    }
}

/// How a directory does.
package enum StreamDirectoryCondition: Hashable, Sendable {
    case healthy
    /// Changes are refused (507) until there is room; what was accepted before waits.
    case diskFull
    /// A write or sync failed: changes are refused until the next start. Readings of what is durable go on.
    case failed(StoreError)
    case closed
}
