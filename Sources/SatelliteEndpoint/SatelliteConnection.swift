import ChangeFeed
import HTTPServer
import Logging
import NIOCore
import PostgresClient
import PostgresWire
import Satellite

/// Carries out what a session wants, on the event loop of its socket.
///
/// Confined to the event loop; not `Sendable`. It holds no queue of transactions: while the peer does not read, what the session asks
/// for is not looked up.
final class SatelliteConnection: WebSocketSession, FanoutReceiver, PingWheelClient {
    private let socket: WebSocket
    private let shared: SharedSatelliteServices
    private var services: SatelliteServices { self.shared.value }
    private let fanout: LoopFanout
    private let baseLogger: Logger
    private var session: SatelliteSession
    private var reference: ConnectionReference?

    /// Events that came while another was handled.
    private var queue: [SessionEvent] = []
    private var isHandling = false
    private var isEnded = false
    /// Where the session waits for transactions; nil while it does not.
    private(set) var waitingPosition: LSN?
    var waitingIndex: Int?
    /// Deliveries from memory since the loop was last let go of.
    private var servedInTurn = 0
    /// What the session asked for while the socket was not writable.
    private var postponed: [SessionAction] = []
    var wheelPlace: PingWheel.Place?
    private var expiry: Scheduled<Void>?
    /// Ends the connection if the client does not say who it is.
    private var authenticationTimer: Scheduled<Void>?
    /// Ends the connection if the client does not read.
    private var stallTimer: Scheduled<Void>?
    /// Asks again where there was nothing to be had.
    private var retryTimer: Scheduled<Void>?
    private var isReadingPaused = false
    /// What the socket takes once the client is known.
    private var maximumMessageBytes = 0
    private var tasks: [Int: Task<Void, Never>] = [:]
    private var nextTask = 0
    /// Tasks of fetches, by the number of the request.
    private var fetches: [Int: Int] = [:]
    private var writableWaiters: [EventLoopPromise<Void>] = []
    private var largeReader: LargeTransactionReader?
    private var claimedID: String?

    init(socket: WebSocket, services shared: SharedSatelliteServices, logger: Logger) {
        let services = shared.value
        self.socket = socket
        self.shared = shared
        self.fanout = services.hub.fanout(for: socket.eventLoop)
        self.baseLogger = logger
        self.session = SatelliteSession(
            instanceID: services.instanceID, schema: services.hub.schema, limits: services.limits)
    }

    /// Names the client. Made when it is needed: thousands of connections that have nothing to say hold no metadata.
    private var logger: Logger {
        guard let id = self.claimedID else { return self.baseLogger }
        var logger = self.baseLogger
        logger[metadataKey: "client_id"] = "\(id)"
        return logger
    }

    // MARK: The socket

    func opened() {
        self.reference = ConnectionReference(self, eventLoop: self.socket.eventLoop)
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        self.services.hub.wheel(for: self.socket.eventLoop, interval: self.services.pingInterval).add(self)
        self.authenticationTimer = self.socket.eventLoop.scheduleTask(in: .seconds(self.services.authenticationLimit)) {
            bound.value.end(code: 1008, reason: "Not authenticated in time", cause: "not authenticated in time")
        }
        self.maximumMessageBytes = self.socket.maximumMessageBytes
        self.socket.maximumMessageBytes = min(self.maximumMessageBytes, self.services.unauthenticatedMessageBytes)
    }

    func ticked() {
        // Why: while we do not read, the client's answers cannot arrive; it is our doing that nothing comes.
        self.handle(self.isReadingPaused ? .controlFrameReceived : .tick)
    }

    func binaryReceived(_ message: ByteBuffer) { self.handle(.messageReceived(message)) }
    func textReceived(_ message: ByteBuffer) { self.handle(.textReceived) }
    func activitySeen() { self.handle(.controlFrameReceived) }
    func draining() { self.handle(.serverStopping) }

    func writabilityChanged(_ isWritable: Bool) {
        guard !self.isEnded else { return }
        self.stallTimer?.cancel()
        self.stallTimer = nil
        guard isWritable else {
            let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
            self.stallTimer = self.socket.eventLoop.scheduleTask(in: .seconds(self.services.stallLimit)) {
                bound.value.end(code: 1008, reason: "Client does not read", cause: "the client does not read")
            }
            return
        }
        let waiters = self.writableWaiters
        self.writableWaiters = []
        for waiter in waiters { waiter.succeed() }
        self.work()
    }

    func closed() {
        self.handle(.disconnected)
        self.finish()
    }

    /// Ends the connection for a reason of ours.
    func end(code: UInt16, reason: String, cause: String) {
        guard !self.isEnded else { return }
        self.perform(.close(code: code, reason: reason, cause: cause))
    }

    private func finish() {
        self.isEnded = true
        self.waitingPosition = nil
        self.fanout.remove(self)
        self.services.hub.wheel(for: self.socket.eventLoop, interval: self.services.pingInterval).remove(self)
        for timer in [self.expiry, self.authenticationTimer, self.stallTimer, self.retryTimer] { timer?.cancel() }
        self.queue = []
        self.fetches = [:]
        self.largeReader = nil
        for task in self.tasks.values { task.cancel() }
        self.tasks = [:]
        for waiter in self.writableWaiters { waiter.fail(ChannelError.ioOnClosedChannel) }
        self.writableWaiters = []
        self.postponed = []
        if let id = self.claimedID, let reference = self.reference { self.services.hub.release(id, reference) }
        self.claimedID = nil
        // It refers to us.
        self.reference = nil
    }

    // MARK: Events and actions

    func handle(_ event: SessionEvent) {
        guard !self.isEnded else { return }
        if self.isHandling { self.queue.append(event) } else { self.work(event) }
    }

    /// Handles an event, then what is queued, then what was postponed and can be done now, until nothing is left.
    ///
    /// Why a loop and not calls: an action may have its answer at once, and a flush may make the socket writable at once; the session
    /// must not be entered twice, and the stack must not grow with every batch that a fast peer takes.
    private func work(_ first: SessionEvent? = nil) {
        guard !self.isHandling, !self.isEnded else { return }
        self.isHandling = true
        self.servedInTurn = 0
        if let first { for action in self.session.receive(first) { self.perform(action) } }
        repeat {
            var next = 0
            while next < self.queue.count {
                let event = self.queue[next]
                next += 1
                for action in self.session.receive(event) { self.perform(action) }
            }
            // Not kept: an idle connection holds no room for events.
            if next > 0 { self.queue = [] }
            if self.isEnded { break }
            self.socket.flush()
            if self.socket.isWritable, !self.postponed.isEmpty {
                let postponed = self.postponed
                self.postponed = []
                for action in postponed { self.perform(action) }
            }
        } while !self.queue.isEmpty
        self.isHandling = false
    }

    func deliver(_ delivery: TransactionDelivery) {
        self.waitingPosition = nil
        self.handle(.transactionsAvailable(delivery))
    }

    func askAgain() {
        guard let position = self.waitingPosition else { return }
        self.waitingPosition = nil
        self.serve(position)
    }

    /// Looks for transactions outside of an event.
    private func serve(_ position: LSN) {
        guard !self.isEnded else { return }
        self.performWhenWritable(.needTransactions(after: position))
        self.socket.flush()
    }

    private func perform(_ action: SessionAction) {
        guard !self.isEnded else { return }
        switch action {
        case .send(let frames): self.socket.sendFramed(frames.webSocket)
        case .ping: self.socket.ping()
        case .close(let code, let reason, let cause):
            self.logger.debug("session ends", metadata: ["cause": "\(cause)"])
            self.socket.flush()
            self.socket.close(code: code, reason: reason)
            self.finish()
        case .pauseReading:
            self.isReadingPaused = true
            self.socket.channel.setOption(.autoRead, value: false).whenFailure { _ in }
        case .resumeReading:
            self.isReadingPaused = false
            // This reads at once.
            self.socket.channel.setOption(.autoRead, value: true).whenFailure { _ in }
        case .authenticate(_, let token):
            let authenticate = self.services.authenticate
            self.answer { await authenticate(token) }
        case .claim(let clientID): self.claim(clientID)
        case .scheduleExpiry(let time): self.scheduleExpiry(at: time)
        case .lookUpClientPosition(let clientID):
            let store = self.services.clientState
            self.answer {
                do {
                    return .clientPositionLoaded(try await store.clientPosition(of: clientID))
                } catch {
                    return .clientPositionFailed
                }
            }
        case .apply(let transaction): self.apply(transaction)
        case .loadHistory:
            let hub = self.services.hub
            self.queue(hub.isLoaded ? .historyLoaded(hub.history) : .startFailed)
        case .loadClientState(let clientID): self.loadClientState(clientID)
        case .needTransactions, .needOperations: self.performWhenWritable(action)
        case .deleteClientState: self.store(.deleteState)
        case .saveCheckpoint(let position): self.saveCheckpoint(position)
        case .saveSubscription(let subscription): self.store(.saveSubscription(subscription))
        case .saveUnsubscriptions(let list): self.store(.saveUnsubscriptions(list))
        case .forgetUnsubscriptions(let ids): self.store(.forgetUnsubscriptions(ids))
        case .removeSubscriptions(let ids): self.store(.removeSubscriptions(ids))
        case .fetchSnapshot(let request): self.fetchSnapshot(request)
        case .fetchKeys(let request): self.fetchKeys(request)
        case .cancelFetch(let number):
            if let task = self.fetches.removeValue(forKey: number) { self.tasks[task]?.cancel() }
        }
    }

    /// An answer that is known at once.
    private func queue(_ event: SessionEvent) {
        if self.isHandling { self.queue.append(event) } else { self.handle(event) }
    }

    /// Runs `work` off the loop and delivers its event. The task ends with the connection.
    @discardableResult
    private func answer(_ work: @escaping @Sendable () async -> SessionEvent?) -> Int {
        let number = self.nextTask
        self.nextTask += 1
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        self.tasks[number] = Task {
            let event = await work()
            bound.eventLoop.execute {
                bound.value.forgetTask(number)
                if let event { bound.value.handle(event) }
            }
        }
        return number
    }

    /// Lets go of the room as well when it was the last one.
    private func forgetTask(_ number: Int) {
        self.tasks[number] = nil
        if self.tasks.isEmpty { self.tasks = [:] }
    }

    private func forgetFetch(_ number: Int) {
        self.fetches[number] = nil
        if self.fetches.isEmpty { self.fetches = [:] }
    }

    // MARK: Who the client is

    private func claim(_ clientID: String) {
        guard let reference = self.reference else { return }
        self.authenticationTimer?.cancel()
        self.authenticationTimer = nil
        self.socket.maximumMessageBytes = self.maximumMessageBytes
        self.claimedID = clientID
        if let older = self.services.hub.claim(clientID, reference), older.id != reference.id {
            older.send(.superseded)
        }
    }

    private func scheduleExpiry(at time: Int64) {
        self.expiry?.cancel()
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        // A token that lives for a century needs no timer, and its time may not overflow the loop's.
        let seconds = min(max(time, 0), 1 << 40) - WallClock.seconds
        guard seconds < 3_000_000_000 else { return }
        self.expiry = self.socket.eventLoop.scheduleTask(in: .seconds(max(0, seconds))) {
            bound.value.handle(.tokenExpired)
        }
    }

    // MARK: The stream

    /// A slow socket slows its own session: what it asks for is answered when the peer reads again.
    private func performWhenWritable(_ action: SessionAction) {
        guard self.socket.isWritable else {
            self.postponed.append(action)
            return
        }
        switch action {
        case .needTransactions(let position): self.serveTransactions(after: position)
        case .needOperations(let position, let isFirst): self.serveOperations(of: position, isFirst: isFirst)
        default: break
        }
    }

    private func serveTransactions(after position: LSN) {
        guard let recent = self.services.hub.recent(after: position) else {
            self.catchUp(after: position)
            return
        }
        guard recent.upTo > position else {
            self.waitingPosition = position
            self.fanout.wait(self)
            return
        }
        self.servedInTurn += 1
        guard self.servedInTurn > Self.deliveriesInTurn else {
            self.queue(.transactionsAvailable(recent))
            return
        }
        // Others on this loop have their turn before we go on.
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        self.socket.eventLoop.execute { bound.value.serve(position) }
    }

    private static let deliveriesInTurn = 8

    /// The position lies before what is in memory: read from the log.
    /// Why so little: a session takes what its client's window holds, and what is more is read again.
    private static let catchUpBytes = 16 * 1_024

    private func catchUp(after position: LSN) {
        let hub = self.services.hub
        guard hub.isLoaded else {
            self.end(code: 1012, reason: "Service restarting", cause: "the change log began anew")
            return
        }
        let logger = self.logger
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        self.answer {
            do {
                let result = try await hub.catchUps.run { () async throws -> SessionEvent? in
                    switch try await hub.feed.read(after: position, maximumBytes: Self.catchUpBytes) {
                    case .behindWindow: return .positionLost
                    case .entries(let entries):
                        // Why nothing: an answer without progress would be asked for again at once.
                        guard let last = entries.last else { return nil }
                        var enricher = TransactionEnricher(schema: hub.schema)
                        let transactions = try await hub.enrich(entries, with: &enricher)
                        return .transactionsAvailable(
                            TransactionDelivery(after: position, transactions: transactions, upTo: last.header.endLSN))
                    }
                }
                if result == nil { bound.eventLoop.execute { bound.value.retryLater(position) } }
                return result
            } catch is CancellationError {
                return nil
            } catch {
                logger.warning("cannot read the change log", metadata: ["error": "\(error)"])
                // Why the end: a session that is not answered would wait for ever; the client comes back by itself.
                bound.eventLoop.execute {
                    bound.value.end(code: 1013, reason: "Try again later", cause: "the change log cannot be read")
                }
                return nil
            }
        }
    }

    private func retryLater(_ position: LSN) {
        guard !self.isEnded else { return }
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        self.retryTimer = self.socket.eventLoop.scheduleTask(in: .milliseconds(200)) { bound.value.serve(position) }
    }

    private func serveOperations(of position: LSN, isFirst: Bool) {
        let hub = self.services.hub
        let known = isFirst ? nil : self.largeReader
        let logger = self.logger
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        self.answer {
            do {
                var reader: LargeTransactionReader
                if let known { reader = known } else { reader = try await hub.largeReader(at: position) }
                let block = try await reader.next(hub.feed)
                if !reader.resyncTables.isEmpty { return .operationsFailed }
                let advanced = reader
                bound.eventLoop.execute { bound.value.largeReader = block == nil ? nil : advanced }
                return block.map { .operationsAvailable($0) } ?? .operationsFinished
            } catch {
                logger.warning("cannot read a large transaction", metadata: ["error": "\(error)"])
                return .operationsFailed
            }
        }
    }

    private func loadClientState(_ clientID: String) {
        let hub = self.services.hub
        let store = self.services.clientState
        self.answer {
            do {
                let stored = try await store.load(clientID)
                guard hub.isLoaded, let oldest = hub.feed.oldestPosition else { return .startFailed }
                return .clientStateLoaded(
                    ResumeState(
                        window: oldest...max(oldest, hub.position, hub.feed.position ?? .zero),
                        checkpoint: stored.checkpoint,
                        subscriptions: stored.subscriptions, unsubscriptions: stored.unsubscriptions,
                        schema: hub.schema))
            } catch {
                return .startFailed
            }
        }
    }

    // MARK: State that survives

    private func store(_ change: ClientStateChange) {
        guard let clientID = self.claimedID, let reference = self.reference,
            self.services.hub.isCurrent(clientID, reference)
        else { return }
        self.services.clientState.submit(change, for: clientID)
    }

    private func saveCheckpoint(_ position: LSN) {
        guard let clientID = self.claimedID, let reference = self.reference,
            self.services.hub.isCurrent(clientID, reference)
        else { return }
        self.services.clientState.submit(.checkpoint(position), for: clientID) { reference.send(.checkpointSaved) }
    }

    // MARK: Writes

    private func apply(_ transaction: ClientTransaction) {
        guard let reference = self.reference else { return }
        let lsn = transaction.clientLSN
        let isTaken = self.services.writer.apply(transaction) { outcome in
            switch outcome {
            case .applied: reference.send(.writeApplied(clientLSN: lsn))
            case .rejected(let message): reference.send(.writeRejected(clientLSN: lsn, message: message))
            case .abandoned: reference.send(.serverStopping)
            }
        }
        if !isTaken {
            self.end(code: 1013, reason: "Too many writes are waiting", cause: "the write queue is full")
        }
    }

    // MARK: Deliveries

    private func fetchSnapshot(_ request: SnapshotRequest) {
        let fetcher = self.services.snapshots
        self.fetch(request.number) { deliver in try await fetcher.fetch(request, deliver: deliver) }
    }

    private func fetchKeys(_ request: KeysRequest) {
        let fetcher = self.services.snapshots
        self.fetch(request.number) { deliver in try await fetcher.fetch(request, deliver: deliver) }
    }

    private func fetch(
        _ number: Int, _ work: @escaping @Sendable (@escaping SnapshotFetcher.Delivery) async throws -> Void
    ) {
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        let logger = self.logger
        let deliver: SnapshotFetcher.Delivery = { event in
            try await bound.eventLoop.flatSubmit {
                // A fetch that was given up must not come back with its number.
                guard bound.value.fetches[number] != nil else {
                    return bound.eventLoop.makeFailedFuture(CancellationError())
                }
                bound.value.handle(event)
                return bound.value.whenWritable()
            }.get()
        }
        self.fetches[number] = self.answer {
            defer { bound.eventLoop.execute { bound.value.forgetFetch(number) } }
            do {
                try await work(deliver)
                return .fetchFinished(number)
            } catch is CancellationError {
                return nil
            } catch {
                guard let error = error as? PostgresError, SchemaMisfit.isSign(error) else {
                    logger.warning("cannot fetch rows for a subscription", metadata: ["error": "\(error)"])
                    return .fetchFailed(number, .transient)
                }
                logger.error(
                    "a table has changed without a captured migration: its rows cannot be fetched",
                    metadata: ["error": "\(error)", "remedy": "\(SchemaMisfit.remedy("<table>"))"])
                return .fetchFailed(number, .lasting(SchemaMisfit.clientText))
            }
        }
    }

    /// Completes when the peer takes more; fails when the connection has ended.
    private func whenWritable() -> EventLoopFuture<Void> {
        let eventLoop = self.socket.eventLoop
        if self.isEnded { return eventLoop.makeFailedFuture(CancellationError()) }
        if self.socket.isWritable { return eventLoop.makeSucceededVoidFuture() }
        let promise = eventLoop.makePromise(of: Void.self)
        self.writableWaiters.append(promise)
        return promise.futureResult
    }
}
