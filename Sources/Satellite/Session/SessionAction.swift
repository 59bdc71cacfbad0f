package import PostgresWire

/// What a session wants done, in this order. Answers come as ``SessionEvent``s.
package enum SessionAction: Hashable, Sendable {
    // MARK: The socket

    /// Write the frames as they are.
    case send(FrameBatch)
    case ping
    /// Send what is queued, then a close frame (without a status if `code` is nil), and drop everything the session
    /// asked for: fetches, reads, timers. No action follows. `cause` is for the log.
    case close(code: UInt16?, reason: String, cause: String)
    /// Stop reading from the socket.
    case pauseReading
    case resumeReading

    // MARK: Who the client is

    /// Check the token. Answer: `authenticated` or `authenticationFailed`.
    case authenticate(clientID: String, token: String)
    /// The client is known from here on: end an older connection with the same id by `superseded`.
    case claim(clientID: String)
    /// Answer with `tokenExpired` at this time (seconds since the Unix epoch). Replaces an earlier request.
    case scheduleExpiry(at: Int64)

    // MARK: Client writes

    /// Answer: `clientPositionLoaded` or `clientPositionFailed`.
    case lookUpClientPosition(clientID: String)
    /// Apply after all earlier ones of this client. Answer: `writeApplied` or `writeRejected`.
    case apply(ClientTransaction)

    // MARK: The stream

    /// Answer: `historyLoaded` or `startFailed`.
    case loadHistory
    /// Answer: `clientStateLoaded` or `startFailed`.
    case loadClientState(clientID: String)
    /// Answer with `transactionsAvailable` as soon as there are transactions after this position, with at most as many
    /// as suit; or with `positionLost`. One request is open at a time. Not answering while the socket is not writable
    /// is what slows a session down to its client's speed.
    case needTransactions(after: LSN)
    /// Answer with the next operations of the large transaction at this position: `operationsAvailable`, at the end
    /// `operationsFinished`. `isFirst` begins it.
    case needOperations(of: LSN, isFirst: Bool)

    // MARK: What survives the connection; to be carried out in order for each client

    /// Forget checkpoint, subscriptions and unsubscriptions.
    case deleteClientState
    /// Answer: `checkpointSaved`, whether it succeeded or not.
    case saveCheckpoint(LSN)
    case saveSubscription(StoredSubscription)
    case saveUnsubscriptions([StoredUnsubscription])
    /// The subscriptions go on after all.
    case forgetUnsubscriptions([String])
    /// Remove subscriptions together with their unsubscriptions.
    case removeSubscriptions([String])

    // MARK: Deliveries

    /// Answer: `snapshotStarted`, `rowsAvailable`..., `fetchFinished`; or `fetchFailed` at any time.
    case fetchSnapshot(SnapshotRequest)
    /// Answer: `rowsAvailable`..., `fetchFinished`; or `fetchFailed` at any time.
    case fetchKeys(KeysRequest)
    /// The answers to a request are no longer wanted.
    case cancelFetch(Int)
}

/// The rows of whole tables, for the start of a subscription.
package struct SnapshotRequest: Hashable, Sendable {
    /// Names the request in its answers.
    package var number: Int
    package var subscriptionID: String
    /// Exactly these columns, by name, in this order; a newer schema may have more.
    package var tables: [SatelliteTable]
    /// In tables with an owner column: only rows of this user, and rows whose owner is NULL or empty.
    package var userID: String
    /// The snapshot must see every transaction of the stream up to here. A commit can be in the stream a moment before
    /// other connections see it: compare the xids of the last transactions with the snapshot and take a new one if need
    /// be.
    package var after: LSN
}

/// The primary keys of every row that a client may have of some tables.
package struct KeysRequest: Hashable, Sendable {
    package var number: Int
    /// Deliver for each table the keys of its rows **and** those in its shadow table, where deleted rows stay: so rows
    /// that were deleted after the client's position are among them.
    package var tables: [SatelliteTable]
    /// As in ``SnapshotRequest/after``.
    package var after: LSN
}

/// The close codes of the protocol, and when they are used. Clients look at the reason only.
enum CloseCode {
    static let normal: UInt16 = 1_000
    static let goingAway: UInt16 = 1_001
    static let protocolError: UInt16 = 1_007
    static let internalError: UInt16 = 1_011
    static let tryAgainLater: UInt16 = 1_013
    static let tokenExpired: UInt16 = 4_000
    static let superseded: UInt16 = 4_001
}
