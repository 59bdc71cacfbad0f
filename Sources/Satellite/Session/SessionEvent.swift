package import NIOCore
package import PostgresWire

/// What a session is told. Events are delivered in the order in which they happened, on the session's own thread.
package enum SessionEvent: Sendable {
    // MARK: The socket

    /// One whole binary WebSocket message.
    case messageReceived(ByteBuffer)
    /// A text message, which the protocol does not have.
    case textReceived
    /// A ping or pong frame.
    case controlFrameReceived
    /// Every ping interval (20 s).
    case tick
    /// The socket is gone.
    case disconnected

    // MARK: Who the client is; answers to `authenticate`

    case authenticated(Authentication)
    case authenticationFailed(AuthenticationFailure)
    /// The time given by `scheduleExpiry` has come.
    case tokenExpired
    /// Another connection with the same client id has authenticated.
    case superseded

    // MARK: Client writes

    /// Answer to `lookUpClientPosition`: what is committed in Postgres for this client; nil if nothing is.
    case clientPositionLoaded(ByteBuffer?)
    case clientPositionFailed
    /// A transaction of `apply` is committed, with all before it.
    case writeApplied(clientLSN: ByteBuffer)
    /// Postgres refuses the transaction for good.
    case writeRejected(clientLSN: ByteBuffer, message: String)
    /// Writes cannot be taken for now.
    case writesSuspended
    /// Writes can be taken again.
    case writesResumed

    // MARK: The stream

    /// Answer to `loadHistory`.
    case historyLoaded(MigrationHistory)
    /// Answer to `loadClientState`.
    case clientStateLoaded(ResumeState)
    /// `loadHistory` or `loadClientState` failed for a reason that may pass.
    case startFailed
    /// Answer to `needTransactions`.
    case transactionsAvailable(TransactionDelivery)
    /// The log no longer holds the transactions after the position that was asked for.
    case positionLost
    /// Answer to `needOperations`: the next operations of the large transaction.
    case operationsAvailable(OperationBlock)
    /// Answer to `needOperations`: there are no more.
    case operationsFinished
    /// The operations cannot be read, or the encoder reports tables to be synced anew.
    case operationsFailed
    case checkpointSaved
    /// The schema changed while no stream runs that would bring the change.
    case schemaReplaced(SatelliteSchema)

    // MARK: Deliveries; answers to `fetchSnapshot` and `fetchKeys`, by the number of the request

    /// The snapshot is taken. `end` is a WAL position that no transaction visible in it lies behind, such as
    /// `pg_current_wal_insert_lsn()` read after the snapshot.
    case snapshotStarted(Int, TransactionSnapshot, end: LSN)
    /// Op log frames as ``RowFrameEncoder`` makes them: inserts for a snapshot, removals for keys.
    case rowsAvailable(Int, FrameBatch)
    case fetchFinished(Int)
    case fetchFailed(Int, FetchFailure)

    /// The server is going down.
    case serverStopping

    package struct Authentication: Hashable, Sendable {
        package var userID: String
        /// Seconds since the Unix epoch.
        package var expiresAt: Int64?

        package init(userID: String, expiresAt: Int64? = nil) {
            self.userID = userID
            self.expiresAt = expiresAt
        }
    }

    package enum AuthenticationFailure: Hashable, Sendable {
        case invalidToken
        /// The keys could not be fetched, or the like: the client should try again.
        case unavailable
    }

    package enum FetchFailure: Hashable, Sendable {
        /// The client is disconnected and will ask again.
        case transient
        /// The same, for a reason that lasts until somebody mends it. The text goes to the client.
        case lasting(String)
        /// The subscription cannot be delivered at all. The text goes to the client.
        case permanent(String)
    }
}

/// A batch of the stream.
package struct TransactionDelivery: Sendable {
    /// The position asked for. A delivery for another position than the session's is dropped.
    package var after: LSN
    /// In commit order, all behind `after`.
    package var transactions: [SatelliteTransaction]
    /// The stream is known to hold nothing else up to here. At least the position of the last transaction.
    package var upTo: LSN

    package init(after: LSN, transactions: [SatelliteTransaction], upTo: LSN? = nil) {
        self.after = after
        self.transactions = transactions
        let last = transactions.last?.position ?? after
        self.upTo = max(upTo ?? last, last)
    }
}

/// What is stored about a client, and what the log holds.
package struct ResumeState: Sendable {
    /// Positions after which the log is complete; nil if it holds none.
    package var window: ClosedRange<LSN>?
    package var checkpoint: LSN?
    package var subscriptions: [StoredSubscription]
    package var unsubscriptions: [StoredUnsubscription]
    package var schema: SatelliteSchema

    package init(
        window: ClosedRange<LSN>?, checkpoint: LSN?, subscriptions: [StoredSubscription] = [],
        unsubscriptions: [StoredUnsubscription] = [], schema: SatelliteSchema
    ) {
        self.window = window
        self.checkpoint = checkpoint
        self.subscriptions = subscriptions
        self.unsubscriptions = unsubscriptions
        self.schema = schema
    }
}

/// A subscription as it survives the connection.
package struct StoredSubscription: Hashable, Sendable {
    package var id: String
    /// The encoded `SatSubsReq`.
    package var request: ByteBuffer
    /// What the initial data showed, so that it is not sent again; nil if there was nothing to fetch.
    package var snapshot: TransactionSnapshot?
    package var snapshotEnd: LSN
    /// The tables whose rows the snapshot brought.
    package var snapshotTables: [UInt32]

    package init(
        id: String, request: ByteBuffer, snapshot: TransactionSnapshot?, snapshotEnd: LSN, snapshotTables: [UInt32]
    ) {
        self.id = id
        self.request = request
        self.snapshot = snapshot
        self.snapshotEnd = snapshotEnd
        self.snapshotTables = snapshotTables
    }
}

/// A subscription that was ended at a position. Its ``StoredSubscription`` stays until the client has passed the point.
package struct StoredUnsubscription: Hashable, Sendable {
    package var id: String
    package var position: LSN

    /// Stands for the position as long as the client has not been sent the removal of the rows. Fits a signed integer.
    package static let notSent = LSN(rawValue: UInt64(Int64.max))

    package init(id: String, position: LSN) {
        self.id = id
        self.position = position
    }
}
