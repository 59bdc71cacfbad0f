import StreamStore

/// How the feed gets its changes.
package enum FeedTransportChoice: String, Sendable, CaseIterable {
    /// The extension's worker when there is one, a replication connection otherwise.
    case auto
    case `extension`
    case replication
}

package struct FeedOptions: Sendable {
    package var database: String
    package var slotName: String
    package var publication: String
    package var transport: FeedTransportChoice
    /// Unix socket for the extension's worker.
    package var socketPath: String
    /// Uids that may connect there, besides our own and root.
    package var socketPeers: Set<UInt32>
    /// Directory of the change log.
    package var logDirectory: String
    /// Bytes of log kept for clients that were away (`ELECTRIC_RESUMABLE_WAL_WINDOW`).
    package var retentionBytes: UInt64
    /// Bytes of transactions held in memory (`ELECTRIC_TXN_CACHE_SIZE`).
    package var cacheBytes: Int
    /// Bytes of WAL by which the slot is held back, so that a process that begins with an empty log gets them again; nil
    /// where the log outlives the process. The log is in memory then, and a replication connection is used.
    package var heldBackBytes: UInt64?
    /// Bytes of one transaction that are held before it is written out in pieces.
    package var pieceBytes = 1024 * 1024

    package init(
        database: String, transport: FeedTransportChoice, socketPath: String, socketPeers: Set<UInt32>,
        logDirectory: String, retentionBytes: UInt64, cacheBytes: Int
    ) {
        self.database = database
        self.slotName = SlotName.main(database: database)
        self.publication = SlotName.publication
        self.transport = transport
        self.socketPath = socketPath
        self.socketPeers = socketPeers
        self.logDirectory = logDirectory
        self.retentionBytes = retentionBytes
        self.cacheBytes = cacheBytes
    }

    /// The same without a disk: what was to be kept on it is what the slot is held back by, and the log shares the memory for
    /// transactions with the window before it.
    package func inMemory(flusher: StoreFlusher) -> (options: FeedOptions, store: LogStore) {
        var options = self
        options.transport = .replication
        options.heldBackBytes = self.retentionBytes
        let window = self.cacheBytes / 4
        options.cacheBytes = window
        options.retentionBytes = UInt64(self.cacheBytes - window)
        let configuration = LogConfiguration(
            segmentByteCount: min(max(options.retentionBytes / 16, 64 << 10), 64 << 20),
            pendingByteLimit: min(max(UInt64(window), 1 << 20), 32 << 20))
        return (options, LogStore(fileSystem: MemoryFileSystem(), flusher: flusher, configuration: configuration))
    }
}
