import Logging
import NIOCore
import NIOPosix
import PostgresClient
import PostgresWire
import StreamStore
import Synchronization

/// Why one run of a transport ended.
private enum RunEnding: Sendable {
    /// The worker has appeared: go over to it.
    case workerConnected
    /// The stream broke; try again after a while.
    case broken(String)
    /// The slot has to be looked at again.
    case slotTrouble(String)
    case cancelled
}

extension ChangeFeed {
    /// Follows the database until cancelled: finds out what the slot is, chooses a transport, streams, begins again.
    ///
    /// - Throws: only if the log itself has failed. What was acknowledged is safe; the process must not go on.
    package func run() async throws {
        let workers = WorkerRegistry()
        let listener = try await self.listen(workers)
        let outcome: Result<Void, any Error>
        do {
            outcome = .success(try await self.follow(workers))
        } catch {
            outcome = .failure(error)
        }
        await listener?.close()
        workers.shutDown()
        try outcome.get()
    }

    private func follow(_ workers: WorkerRegistry) async throws {
        var backoff = Duration.seconds(1)
        while !Task.isCancelled {
            try self.checkLog()
            guard await self.waitUntilSlotIsFree() else { break }
            let began = self.clock.now
            guard try await self.openLog() else {
                // The process that is being replaced has a moment to go.
                try? await Task.sleep(for: .milliseconds(200))
                continue
            }
            do {
                try await self.prepareSlot()
                let ending = try await self.streamOnce(workers)
                switch ending {
                case .workerConnected, .cancelled:
                    backoff = .zero
                case .broken(let reason), .slotTrouble(let reason):
                    self.slot.withLock { $0.databaseLost(reason) }
                    self.logger.warning("the stream ended", metadata: ["reason": "\(reason)"])
                }
            } catch is CancellationError {
                break
            } catch let error as PostgresError where error.sqlState == "55006" {
                // Somebody was quicker: the next look names the process.
                self.slot.withLock { $0.databaseLost("another process holds the replication slot") }
            } catch {
                try self.checkLog()
                self.slot.withLock { $0.databaseLost("\(error)") }
                self.logger.warning("the database cannot be followed", metadata: ["error": "\(error)"])
            }
            // A run that lasted begins the series of pauses anew: 1 s, doubled up to 10 s.
            if self.clock.now - began > .seconds(30) { backoff = .seconds(1) }
            if backoff > .zero { try? await Task.sleep(for: backoff) }
            backoff = min(max(backoff * 2, .seconds(1)), .seconds(10))
        }
        try await self.closeLog()
    }

    /// Takes up the log that is on disk, if there is one and it is not in use already (an epoch that could not begin has left
    /// the old one closed).
    ///
    /// - Returns: false if another process holds it.
    private func openLog() async throws -> Bool {
        guard self.core.withLock({ $0 == nil }) else { return true }
        let found: ChangeLog?
        do {
            found = try await NIOThreadPool.singleton.runIfActive { [options, store] in
                try ChangeLog.open(directory: options.logDirectory, store: store)
            }
        } catch let error as StoreError where error.code == .locked {
            self.slot.withLock { $0.databaseLost("another process is using \(self.options.logDirectory)") }
            return false
        }
        guard let log = found else { return true }
        self.adopt(log, referenceXID: 0)
        self.logger.info(
            "change log opened",
            metadata: [
                "position": "\(log.recovered.lastEndLSN)", "base": "\(log.base)",
                "transactions": "\(log.recovered.transactions)", "bytes": "\(log.totalBytes)",
            ])
        return true
    }

    private func listen(_ workers: WorkerRegistry) async throws -> WorkerListener? {
        guard self.options.transport != .replication, !self.options.socketPath.isEmpty else { return nil }
        do {
            return try await WorkerListener.bind(
                path: self.options.socketPath, allowedPeers: self.options.socketPeers, group: self.group,
                logger: self.logger
            ) { [options, logger] link in
                guard link.hello.database == options.database else {
                    logger.warning(
                        "a worker of another database connected", metadata: ["database": "\(link.hello.database)"])
                    link.close()
                    return
                }
                workers.connected(link)
            }
        } catch  where self.options.transport == .auto {
            self.logger.warning(
                "cannot listen for the extension's worker; using a replication connection",
                metadata: ["error": "\(error)"])
            return nil
        }
    }

    private func checkLog() throws {
        guard let log = self.core.withLock({ $0?.log.log }) else { return }
        if case .failed(let error) = log.condition { throw error }
    }

    private func adopt(_ log: ChangeLog, referenceXID: UInt64) {
        self.core.withLock { $0 = FeedCore(log: log, options: self.options, referenceXID: referenceXID) }
        self.notifyObservers()
        // Why weak: the log keeps its observers for ever.
        log.log.onDurable { [weak self, weak log] end in
            guard let self, let log else { return }
            self.logBecameDurable(end, of: log) { position in
                guard let safe = self.acknowledgeable(position) else { return }
                self.currentSink.withLock { $0 }?.transport?.acknowledge(safe)
            }
            if self.options.heldBackBytes != nil { self.trimMemory(of: log) }
        }
    }

    /// How much of what is stored the server may forget; nil for nothing new.
    ///
    /// Why less than all where the log is in memory: the next process begins with none, and clients that resume get from the server
    /// what this one still has.
    private func acknowledgeable(_ position: LSN) -> LSN? {
        guard let heldBack = self.options.heldBackBytes else { return position }
        let safe = LSN(rawValue: position.rawValue - min(heldBack, position.rawValue))
        return self.confirmed.withLock { confirmed in
            guard safe > confirmed else { return nil }
            confirmed = safe
            return safe
        }
    }

    /// Keeps a log in memory within its bounds while much comes.
    private func trimMemory(of log: ChangeLog) {
        let retention = self.options.retentionBytes
        guard log.totalBytes > retention, !self.isTrimming.exchange(true, ordering: .acquiringAndReleasing) else { return }
        // Why elsewhere: this is the flusher's thread, which trimming waits for.
        NIOThreadPool.singleton.submit { [weak self] _ in
            // What goes wrong is told by the next look at the log.
            try? log.trim(toBytes: retention)
            self?.isTrimming.store(false, ordering: .releasing)
        }
    }

    private func closeLog() async throws {
        guard let log = self.core.withLock({ $0?.log.log }) else { return }
        // Why a task of its own: what is pending must be written even though this one has been cancelled.
        try await Task { try await NIOThreadPool.singleton.runIfActive { try log.close() } }.value
    }

    /// Makes the slot and the log agree.
    private func prepareSlot() async throws {
        let facts = try await self.database.facts(slot: self.options.slotName)
        try await self.settle()
        if case .present(let confirmed, _) = facts.presence { self.confirmed.withLock { $0 = confirmed } }
        let (identity, stored) = self.core.withLock { core in (core?.log.identity, core?.log.recovered.stored) }
        let known = max(stored ?? .zero, self.core.withLock { $0?.acknowledged } ?? .zero)
        let decision = SlotDecision.decide(
            facts: facts, identity: identity, stored: known, slotName: self.options.slotName)
        switch decision {
        case .resume:
            if let log = self.core.withLock({ $0?.log }) {
                try await NIOThreadPool.singleton.runIfActive { try log.adopt(timeline: facts.timeline) }
            }
            self.core.withLock { $0?.assembler.transportRestarted(referenceXID: facts.nextXID) }
        case .begin(let create, let dropFirst):
            if create, self.options.heldBackBytes != nil {
                // Why: what a process before this one had is not known, and only the slot could have gone on from there.
                try await self.onStartOver("the replication slot is made anew")
            }
            let base = try await self.slotPosition(facts, create: create, dropFirst: dropFirst)
            try await self.beginEpoch(1, base: base, facts)
        case .startOver(let reason, let create, let dropFirst):
            self.logger.error(
                "the change log cannot be continued: every client has to start over", metadata: ["reason": "\(reason)"])
            self.slot.withLock { $0.slotLost(reason) }
            let base = try await self.slotPosition(facts, create: create, dropFirst: dropFirst)
            // Why before: while clients are being told, none may be given a position of the old history. What could not be written
            // is of no use any more.
            try? await self.closeLog()
            self.core.withLock { $0 = nil }
            try await self.onStartOver(reason)
            try await self.beginEpoch((identity?.epoch ?? 0) + 1, base: base, facts)
            self.slot.withLock { $0.startedOver(reason) }
            self.notifyObservers()
        }
        self.core.withLock { $0?.walFlush = facts.walFlush }
    }

    /// Waits until everything received is durable, so that a stream that begins anew does so where the last one ended.
    ///
    /// Why: an acknowledgement of what an earlier run brought could go out before the new one has got that far; the worker takes
    /// that for an error.
    private func settle() async throws {
        while let log = self.core.withLock({ core in core.flatMap { $0.isSettled ? nil : $0.log } }) {
            try await log.log.waitUntilDurable(log.log.nextOffset)
            // What was deferred is appended, and what is durable is noted, by callbacks that may still be under way.
            if !self.core.withLock({ $0?.isSettled ?? true }) { try await Task.sleep(for: .milliseconds(1)) }
        }
    }

    private func slotPosition(_ facts: SlotFacts, create: Bool, dropFirst: Bool) async throws -> LSN {
        if case .present(let confirmed, _) = facts.presence, !create { return confirmed }
        if dropFirst { try await self.database.dropSlot(self.options.slotName) }
        self.slot.withLock { $0.creationStarted() }
        let position = try await self.database.createSlot(self.options.slotName) { [weak self] pids in
            guard let self else { return }
            self.slot.withLock { $0.creationWaits(for: pids) }
            self.logger.notice(
                "creating the replication slot waits for open transactions",
                metadata: ["pids": "\(pids.map(String.init).joined(separator: ", "))"])
        }
        self.logger.info(
            "replication slot created",
            metadata: ["slot": "\(self.options.slotName)", "lsn": "\(position)"])
        self.confirmed.withLock { $0 = position }
        return position
    }

    private func beginEpoch(_ epoch: UInt64, base: LSN, _ facts: SlotFacts) async throws {
        let identity = StreamIdentity(
            systemIdentifier: facts.systemIdentifier, timeline: facts.timeline, slotName: self.options.slotName,
            epoch: epoch, base: base)
        let log = try await NIOThreadPool.singleton.runIfActive { [options, store] in
            try ChangeLog.create(directory: options.logDirectory, store: store, identity: identity)
        }
        self.adopt(log, referenceXID: facts.nextXID)
    }

    /// Chooses a transport and runs it until it ends.
    private func streamOnce(_ workers: WorkerRegistry) async throws -> RunEnding {
        if self.options.transport != .replication {
            var expected = self.options.transport == .extension
            if !expected { expected = try await self.database.expectsWorker() }
            if expected, workers.current == nil {
                self.slot.withLock { $0.transportChosen("the extension") }
                let patience: Duration = self.options.transport == .extension ? .seconds(3600) : .seconds(5)
                _ = await workers.wait(for: patience)
            }
            if let link = workers.current { return try await self.runWorker(link) }
            if self.options.transport == .extension {
                return .broken("the extension's worker has not connected")
            }
        }
        return try await self.runReplication(workers)
    }

    private func runWorker(_ link: WorkerLink) async throws -> RunEnding {
        let sink = Sink(feed: self)
        sink.attach(link)
        self.currentSink.withLock { $0 = sink }
        defer { sink.close() }
        guard let position = self.core.withLock({ $0?.acknowledged }) else { return .broken("no change log") }
        self.logger.info(
            "streaming from the extension's worker",
            metadata: ["position": "\(position)", "extension": "\(link.hello.extensionVersion)"])
        self.streamBegan("the extension", position: position)
        let ending = try await self.supervise {
            await link.stream(from: position, publication: Self.quoted(self.options.publication), sink: sink)
        }
        switch ending {
        case .failure(let failure):
            return failure.concernsSlot ? .slotTrouble("\(failure)") : .broken("\(failure)")
        case .released: return .broken("the worker released the slot")
        case .disconnected: return Task.isCancelled ? .cancelled : .broken("the worker has disconnected")
        case .broken(let reason): return .broken(reason)
        }
    }

    private func runReplication(_ workers: WorkerRegistry) async throws -> RunEnding {
        let sink = Sink(feed: self)
        self.currentSink.withLock { $0 = sink }
        defer { sink.close() }
        guard let position = self.core.withLock({ $0?.acknowledged }) else { return .broken("no change log") }
        self.slot.withLock { $0.transportChosen("a replication connection") }
        let stopped = Atomic(false)
        let stream = Mutex<(any ReplicationStream)?>(nil)
        let watch = Task {
            guard await workers.wait(for: nil) else { return }
            stopped.store(true, ordering: .releasing)
            stream.withLock { $0 }?.stop()
        }
        defer { watch.cancel() }
        try await self.supervise {
            try await self.database.replicate(
                slot: self.options.slotName, publication: self.options.publication, from: position,
                confirmed: self.options.heldBackBytes == nil ? position : self.confirmed.withLock { $0 }, sink: sink
            ) { started in
                sink.attach(started)
                stream.withLock { $0 = started }
                self.logger.info("streaming over a replication connection", metadata: ["position": "\(position)"])
                self.streamBegan("a replication connection", position: position)
                if stopped.load(ordering: .acquiring) { started.stop() }
            }
        }
        if Task.isCancelled { return .cancelled }
        return stopped.load(ordering: .acquiring) ? .workerConnected : .broken("the server ended the stream")
    }

    private static func quoted(_ name: String) -> String { "\"\(name)\"" }

    private func streamBegan(_ transport: String, position: LSN) {
        let flush = self.core.withLock { core -> LSN in
            core?.assembler.transportRestarted(referenceXID: 0)
            return core?.walFlush ?? .zero
        }
        self.slot.withLock { $0.streamStarted(transport, position: position, walFlush: flush, now: self.now) }
    }

    /// Runs `body` with the periodic work beside it: progress over foreign WAL, lag, retention.
    private func supervise<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value
    {
        try await withThrowingTaskGroup(of: Value?.self) { tasks in
            tasks.addTask { try await body() }
            tasks.addTask {
                try await self.housekeep()
                return nil
            }
            defer { tasks.cancelAll() }
            while let value = try await tasks.next() {
                if let value { return value }
            }
            throw CancellationError()
        }
    }

    private func housekeep() async throws {
        var tick = 0
        while !Task.isCancelled {
            try await Task.sleep(for: .seconds(1))
            tick += 1
            try self.core.withLock { try $0?.recordProgress() }
            try self.checkLog()
            if tick % 5 == 0 {
                // An error here means that the database is away: the run ends, and health says so.
                let flush = try await self.database.walFlush()
                let reached = self.core.withLock { core -> LSN in
                    core?.walFlush = flush
                    return core?.reached ?? .zero
                }
                self.slot.withLock { $0.walObserved(flush: flush, position: reached, now: self.now) }
            }
            if tick % 10 == 0, let log = self.core.withLock({ $0?.log }) {
                let retention = self.options.retentionBytes
                do {
                    try await NIOThreadPool.singleton.runIfActive { try log.trim(toBytes: retention) }
                } catch let error as StoreError {
                    // Too much kept is no reason to stop the stream; a log that has failed is found above.
                    self.logger.warning("the change log cannot be trimmed", metadata: ["error": "\(error)"])
                }
            }
        }
    }
}
