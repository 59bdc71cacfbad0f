internal import NIOCore
package import PostgresWire

/// The server's side of one Satellite connection.
///
/// A value without sockets, clocks and tasks: it is told what happened and says what to do (``SessionEvent``,
/// ``SessionAction``). The two streams of the protocol, changes to the client and writes from it, are independent; each
/// subject has its own file.
///
/// It holds no queue of transactions. While it can send, it asks for what follows its position; when the client's
/// window is full or a delivery is under way, it does not ask, and what arrives meanwhile is dropped and asked for
/// again.
package struct SatelliteSession: Sendable {
    /// Where the connection is in its life.
    enum Phase: Hashable {
        /// Exits: `authenticating`, `closed`.
        case unauthenticated
        /// Exits: `ready`, `closed`.
        case authenticating(clientID: String, requestID: UInt32)
        /// Exits: `closed`.
        case ready
        case closed
    }

    /// The stream to the client.
    enum Outgoing: Hashable {
        /// Exits: `starting`.
        case stopped
        /// The client's request waits for what is stored. Exits: `active`, `stopped`.
        case starting(StartRequest)
        /// Exits: `stopped`.
        case active
    }

    /// The stream from the client.
    enum Incoming: Hashable {
        /// Exits: `lookingUp`.
        case stopped
        /// Exits: `requested`.
        case lookingUp
        /// Exits: `active`, `stopped`.
        case requested(id: UInt32)
        /// Exits: `stopped`.
        case active
    }

    /// A request of the client to start the stream to it.
    struct StartRequest: Hashable {
        var requestID: UInt32
        /// Nil: from scratch.
        var position: LSN?
        var subscriptionIDs: [String]
        var schemaVersion: String?
        var observedGone: [String]
    }

    let limits: SatelliteLimits
    let instanceID: String
    var phase = Phase.unauthenticated
    var clientID = ""
    var userID = ""
    /// The request that renews the token, while it is checked.
    var renewalRequestID: UInt32?
    var schema: SatelliteSchema
    var dialect = SQLDialect.sqlite

    // Keep-alive.
    var sawTraffic = false
    var missedTick = false

    // Requests of the server.
    var nextRequestID: UInt32 = 0

    var outgoing = Outgoing.stopped
    var stream = StreamState()
    var subscriptions = SubscriptionState()

    var incoming = Incoming.stopped
    var writes: WriteState

    /// The actions of the event that is being handled.
    var actions: [SessionAction] = []

    /// - Parameters:
    ///   - instanceID: names this server in answers to `authenticate`.
    ///   - schema: the present schema; it is replaced as soon as the stream starts.
    package init(instanceID: String, schema: SatelliteSchema, limits: SatelliteLimits = SatelliteLimits()) {
        self.instanceID = instanceID
        self.schema = schema
        self.limits = limits
        self.writes = WriteState()
    }

    package var isClosed: Bool { self.phase == .closed }
    /// The client's id, once it is authenticated.
    package var authenticatedClientID: String? { self.phase == .ready ? self.clientID : nil }
    /// Transactions sent and not acknowledged.
    package var unacknowledgedCount: Int { self.stream.unacknowledged.count }
    /// The position up to which the client has been served.
    package var position: LSN { self.stream.position }

    /// Handles one event.
    package mutating func receive(_ event: SessionEvent) -> [SessionAction] {
        guard self.phase != .closed else { return [] }
        self.actions = []
        self.handle(event)
        if self.phase == .ready { self.advanceStream() }
        let actions = self.actions
        self.actions = []
        return actions
    }

    private mutating func handle(_ event: SessionEvent) {
        switch event {
        case .messageReceived(let bytes): self.messageReceived(bytes)
        case .textReceived: self.protocolViolated("text message")
        case .controlFrameReceived: self.sawTraffic = true
        case .tick: self.ticked()
        case .disconnected: self.phase = .closed
        case .authenticated(let authentication): self.authenticated(authentication)
        case .authenticationFailed(let failure): self.authenticationFailed(failure)
        case .tokenExpired: self.tokenExpired()
        case .superseded:
            self.close(CloseCode.superseded, "Superseded by a newer connection", cause: "superseded")
        case .clientPositionLoaded(let position): self.clientPositionLoaded(position)
        case .clientPositionFailed:
            // Why no error frame: INTERNAL would stop the client for good; a bare close makes it try again.
            self.close(CloseCode.tryAgainLater, "Postgres is unavailable", cause: "client position not available")
        case .writeApplied(let lsn): self.writeApplied(lsn)
        case .writeRejected(let lsn, let message): self.writeRejected(lsn, message)
        case .writesSuspended: self.writesSuspended()
        case .writesResumed: self.writesResumed()
        case .historyLoaded(let history): self.historyLoaded(history)
        case .clientStateLoaded(let state): self.clientStateLoaded(state)
        case .startFailed: self.startFailed()
        case .transactionsAvailable(let delivery): self.transactionsAvailable(delivery)
        case .positionLost: self.positionLost()
        case .operationsAvailable(let block): self.operationsAvailable(block)
        case .operationsFinished: self.operationsFinished()
        case .operationsFailed: self.operationsFailed()
        case .checkpointSaved: self.checkpointSaved()
        case .schemaReplaced(let schema): if self.outgoing != .active { self.schema = schema }
        case .snapshotStarted(let number, let snapshot, let end): self.snapshotStarted(number, snapshot, end: end)
        case .rowsAvailable(let number, let rows): self.rowsAvailable(number, rows)
        case .fetchFinished(let number): self.fetchFinished(number)
        case .fetchFailed(let number, let failure): self.fetchFailed(number, failure)
        case .serverStopping:
            self.close(CloseCode.goingAway, "Server is stopping", cause: "server stopping")
        }
    }

    // MARK: Keep-alive

    private mutating func ticked() {
        if self.sawTraffic {
            self.sawTraffic = false
            self.missedTick = false
        } else if self.missedTick {
            self.close(nil, "", cause: "client does not answer pings")
        } else {
            self.missedTick = true
            self.actions.append(.ping)
        }
    }

    // MARK: Output

    mutating func send(_ message: SatelliteMessage) { self.actions.append(.send(FrameBatch(message))) }

    mutating func send(_ frames: FrameBatch) {
        guard !frames.isEmpty else { return }
        self.actions.append(.send(frames))
    }

    mutating func close(_ code: UInt16?, _ reason: String, cause: String) {
        guard self.phase != .closed else { return }
        self.phase = .closed
        self.actions.append(.close(code: code, reason: reason, cause: cause))
    }

    /// Sends an error and ends the connection.
    mutating func fail(
        _ type: Electric_Satellite_SatErrorResp.ErrorCode, _ message: String? = nil, lsn: ByteBuffer? = nil,
        cause: String
    ) {
        self.send(.error(.init(type, message, lsn: lsn)))
        self.close(CloseCode.protocolError, "", cause: cause)
    }

    mutating func failCall(
        _ method: String, _ id: UInt32, _ type: Electric_Satellite_SatErrorResp.ErrorCode, _ message: String? = nil,
        cause: String
    ) {
        self.send(.failure(method, id: id, .init(type, message)))
        self.close(CloseCode.protocolError, "", cause: cause)
    }

    mutating func protocolViolated(_ cause: String) {
        self.send(.error(.init()))
        self.close(CloseCode.protocolError, "Message not formatted according to Electric protocol", cause: cause)
    }

    /// Our own side broke its contract with this session. The connection ends; the client comes back.
    mutating func invariantBroken(_ cause: String) {
        self.close(CloseCode.internalError, "Internal server error while sending data", cause: "invariant: \(cause)")
    }
}
