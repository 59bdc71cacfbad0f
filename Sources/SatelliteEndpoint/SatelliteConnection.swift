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
    let socket: WebSocket
    let shared: SharedSatelliteServices
    var services: SatelliteServices { self.shared.value }
    let fanout: LoopFanout
    let baseLogger: Logger
    var session: SatelliteSession
    var reference: ConnectionReference?

    /// Events that came while another was handled.
    var queue: [SessionEvent] = []
    var isHandling = false
    var isEnded = false
    /// Where the session waits for transactions; nil while it does not.
    var waitingPosition: LSN?
    var waitingIndex: Int?
    /// Deliveries from memory since the loop was last let go of.
    var servedInTurn = 0
    /// What the session asked for while the socket was not writable.
    var postponed: [SessionAction] = []
    var wheelPlace: PingWheel.Place?
    var expiry: Scheduled<Void>?
    /// Ends the connection if the client does not say who it is.
    var authenticationTimer: Scheduled<Void>?
    /// Ends the connection if the client does not read.
    var stallTimer: Scheduled<Void>?
    /// Asks again where there was nothing to be had.
    var retryTimer: Scheduled<Void>?
    var isReadingPaused = false
    /// What the socket takes once the client is known.
    var maximumMessageBytes = 0
    var tasks: [Int: Task<Void, Never>] = [:]
    var nextTask = 0
    /// Tasks of fetches, by the number of the request.
    var fetches: [Int: Int] = [:]
    var writableWaiters: [EventLoopPromise<Void>] = []
    var largeReader: LargeTransactionReader?
    var claimedID: String?

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
    var logger: Logger {
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

    func finish() {
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
    func work(_ first: SessionEvent? = nil) {
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
    func serve(_ position: LSN) {
        guard !self.isEnded else { return }
        self.performWhenWritable(.needTransactions(after: position))
        self.socket.flush()
    }

    func perform(_ action: SessionAction) {
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
    func queue(_ event: SessionEvent) {
        if self.isHandling { self.queue.append(event) } else { self.handle(event) }
    }

    /// Runs `work` off the loop and delivers its event. The task ends with the connection.
    @discardableResult
    func answer(_ work: @escaping @Sendable () async -> SessionEvent?) -> Int {
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
    func forgetTask(_ number: Int) {
        self.tasks[number] = nil
        if self.tasks.isEmpty { self.tasks = [:] }
    }

    func forgetFetch(_ number: Int) {
        self.fetches[number] = nil
        if self.fetches.isEmpty { self.fetches = [:] }
    }

    // MARK: Who the client is

    func claim(_ clientID: String) {
        guard let reference = self.reference else { return }
        self.authenticationTimer?.cancel()
        self.authenticationTimer = nil
        self.socket.maximumMessageBytes = self.maximumMessageBytes
        self.claimedID = clientID
        if let older = self.services.hub.claim(clientID, reference), older.id != reference.id {
            older.send(.superseded)
        }
    }

    func scheduleExpiry(at time: Int64) {
        self.expiry?.cancel()
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        // A token that lives for a century needs no timer, and its time may not overflow the loop's.
        let seconds = min(max(time, 0), 1 << 40) - WallClock.seconds
        guard seconds < 3_000_000_000 else { return }
        self.expiry = self.socket.eventLoop.scheduleTask(in: .seconds(max(0, seconds))) {
            bound.value.handle(.tokenExpired)
        }
    }
}
