internal import PostgresWire

/// The stream to the client: where it stands, and what the client has not acknowledged.
struct StreamState: Sendable {
    /// The client has been served up to here.
    var position = LSN.zero
    /// Ids of sent transactions, oldest first. A mixed transaction has two entries: migration and rows.
    var unacknowledged: [UInt64] = []
    /// Whether `needTransactions` is unanswered.
    var isWaiting = false
    /// The transaction whose migration has been sent, but not yet its rows.
    var halfSent: UInt64?
    /// Migrations of the initial sync that have not been sent yet.
    var history: MigrationHistory?
    var nextMigration = 0
    /// The transaction whose operations are read piece by piece.
    var large: LargeProgress?
    /// Definitions that the client knows, by relation id.
    var announced: [UInt32: SatelliteTable] = [:]

    /// The stored checkpoint, as far as it was asked for.
    var checkpoint = LSN.zero
    var isSavingCheckpoint = false
    /// A newer checkpoint, to be stored when the one under way is done.
    var nextCheckpoint: LSN?

    struct LargeProgress: Sendable {
        var transaction: SatelliteTransaction
        var selection: TableSelection
    }
}

/// What an initial delivery already showed of tables: transactions that its snapshot sees are not sent for them.
struct SnapshotFilter: Sendable {
    var tables: Set<UInt32>
    var snapshot: TransactionSnapshot
    /// The filter is of no use behind this position.
    var end: LSN

    func hides(_ table: UInt32, of xid: UInt64) -> Bool {
        self.tables.contains(table) && self.snapshot.sees(xid)
    }
}
