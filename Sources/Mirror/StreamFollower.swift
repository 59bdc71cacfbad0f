import DurableStreams
import Logging
import NIOCore
import PostgresClient
import StreamDirectory
import Synchronization

/// Brings streams into a table: finds them, holds their leases, and has them served by a few workers.
///
/// A stream is served by one worker at a time; one that has nothing new costs no more than its record here.
final class StreamFollower: Sendable {
    enum Phase: Sendable {
        /// Waits for the lease.
        case standby
        case idle
        /// Is served from a moment on.
        case due(ContinuousClock.Instant)
        case queued
        case running
        case gone
    }

    struct Record {
        var identity: StreamIdentity
        var observer: TailObserver?
        var phase = Phase.standby
        /// Something has happened since the worker last looked.
        var isDirty = false
        var checkpoint: StreamCheckpoint?
        var backoff: Backoff
        /// Last known, for the lag.
        var tail: UInt64
        /// Since when there has been something to do.
        var behindSince: ContinuousClock.Instant?
        var status: MirrorStreamStatus
    }

    struct State {
        var records: [String: Record] = [:]
        /// Names of records that are due at some time.
        var due: Set<String> = []
        var problem: String?
        var isDraining = false
    }

    /// With more records than this, streams that are gone are not shown any longer.
    private static let goneLimit = 10_000

    let flow: StreamToTableFlow
    let calls: StreamCalls
    let pool: PostgresPool
    let options: MirrorOptions
    let logger: Logger
    let probe: MirrorProbe
    let checkpoints: CheckpointStore
    let leases: LeaseSession
    let queue = ReadyQueue()
    let state = Mutex(State())
    private let wakeup = Wakeup()
    /// Made when the database can be reached, and anew after a failure that a person has put right.
    private let writer = Mutex<BatchWriter?>(nil)

    init(
        _ flow: StreamToTableFlow, calls: StreamCalls, pool: PostgresPool, options: MirrorOptions, logger: Logger,
        probe: MirrorProbe
    ) {
        self.flow = flow
        self.calls = calls
        self.pool = pool
        self.options = options
        self.logger = logger
        self.probe = probe
        self.checkpoints = CheckpointStore(pool: pool, flow: flow.name)
        self.leases = LeaseSession(pool.parameters, logger: logger)
    }

    var status: MirrorFlowStatus {
        let now = ContinuousClock.now
        return self.state.withLock { state in
            MirrorFlowStatus(
                name: self.flow.name, direction: .streamToTable, problem: state.problem,
                streams: state.records.values.map { record in
                    var status = record.status
                    status.lagBytes =
                        record.checkpoint.map { record.tail - min($0.position, record.tail) } ?? record.tail
                    status.lagSeconds = record.behindSince.map { Self.seconds(now - $0) } ?? 0
                    return status
                }.sorted { $0.stream < $1.stream })
        }
    }

    static func seconds(_ duration: Duration) -> Double {
        Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
    }

    /// Finishes what is under way and ends.
    func drain() {
        self.state.withLock { $0.isDraining = true }
        self.queue.close()
        self.wakeup.set()
    }

    private var isDraining: Bool { self.state.withLock { $0.isDraining } }

    // MARK: Running

    /// Runs until drained or cancelled. Throws only what a test's probe threw.
    func run() async throws {
        defer { self.forgetObservers() }
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for _ in 0..<self.flow.workers {
                tasks.addTask {
                    while let name = await self.queue.next(), !Task.isCancelled { try await self.serve(name) }
                }
            }
            tasks.addTask {
                await withTaskCancellationHandler {
                    await self.coordinate()
                } onCancel: {
                    self.drain()
                }
                self.queue.close()
            }
            do {
                while try await tasks.next() != nil {}
            } catch {
                self.drain()
                throw error
            }
        }
        await self.leases.close()
    }

    private func forgetObservers() {
        let observers = self.state.withLock { state -> [TailObserver] in
            defer {
                state.records = state.records.mapValues { record in
                    var record = record
                    record.observer = nil
                    return record
                }
            }
            return state.records.values.compactMap(\.observer)
        }
        for observer in observers { self.calls.directory.cancel(observer, now: self.calls.now) }
    }

    /// Looks for streams, asks for leases and hands out what is due.
    private func coordinate() async {
        var backoff = Backoff(self.options)
        var nextDiscovery = ContinuousClock.now
        var nextLease = ContinuousClock.now
        var isPrepared = false
        while !Task.isCancelled, !self.isDraining {
            do {
                if !isPrepared {
                    try await self.prepare()
                    isPrepared = true
                }
                var foundNew = false
                if ContinuousClock.now >= nextDiscovery {
                    let began = ContinuousClock.now
                    foundNew = try await self.discover()
                    // Why: looking through very many streams must not become all that is done.
                    nextDiscovery = .now + max(self.options.discoveryInterval, (ContinuousClock.now - began) * 20)
                }
                if foundNew || ContinuousClock.now >= nextLease {
                    try await self.lease()
                    nextLease = .now + self.options.leaseInterval
                }
                self.state.withLock { $0.problem = nil }
                backoff.reset()
                let next = min(nextDiscovery, nextLease, self.handOutDue() ?? nextLease)
                await self.wakeup.wait(for: max(next - .now, .milliseconds(1)))
            } catch {
                if Task.isCancelled { return }
                let fault = MirrorFault(error)
                let isNew = self.state.withLock { state in
                    defer { state.problem = fault.reason }
                    return state.problem != fault.reason
                }
                if isNew { self.log("the flow cannot run", fault) }
                _ = self.handOutDue()
                await self.wakeup.wait(for: fault.isFatal ? self.options.fatalRetry : backoff.next())
            }
        }
    }

    private func log(_ message: Logger.Message, _ fault: MirrorFault, stream: String? = nil) {
        var metadata: Logger.Metadata = ["flow": "\(self.flow.name)", "reason": "\(fault.reason)"]
        if let stream { metadata["stream"] = "\(stream)" }
        self.logger.log(level: fault.isFatal ? .error : .warning, message, metadata: metadata)
    }

    private func prepare() async throws {
        var tables = [
            (MirrorTableName(schema: "penstock", name: "mirror_checkpoints"), MirrorSchema.script),
            (MirrorSchema.deadLetters, MirrorSchema.script),
        ]
        if let table = self.flow.deadLetterTable { tables.append((table, MirrorSchema.deadLetterScript(table))) }
        if self.flow.createsTable, self.flow.columns.isEmpty {
            tables.append((self.flow.target, MirrorSchema.eventTableScript(self.flow.target)))
        }
        try await MirrorSchema.prepare(self.pool, tables)
        if self.flow.createsStreams, case .names(let names) = self.flow.source {
            for name in names where (try? self.calls.lookup(name)) == nil {
                _ = try await self.calls.create(name, CreateRequest(contentType: .json))
            }
        }
        // Streams that went while nobody looked.
        for name in try await self.checkpoints.active() where (try? self.calls.lookup(name)) == nil {
            try await self.checkpoints.end(name, identity: nil, state: "missing")
        }
    }

    private func batchWriter() async throws -> BatchWriter {
        if let writer = self.writer.withLock({ $0 }) { return writer }
        let table = try await TargetTable.load(self.flow.target, self.pool)
        let planner: BatchWriter.Planner =
            switch self.flow.mode {
            case .events: .events(try EventPlanner(table, columns: self.flow.columns))
            case .upsert(let key): .upsert(try UpsertPlanner(table, key: key, columns: self.flow.columns))
            }
        let writer = BatchWriter(
            pool: self.pool, checkpoints: self.checkpoints,
            deadLetters: self.flow.deadLetterTable ?? MirrorSchema.deadLetters, planner: planner, probe: self.probe)
        self.writer.withLock { $0 = writer }
        return writer
    }

    // MARK: Streams and leases

    /// Takes up streams that are new or that have come again under an old name. Returns whether there were any.
    private func discover() async throws -> Bool {
        var views: [StreamView] = []
        switch self.flow.source {
        case .names(let names):
            for name in names where self.flow.source.matches(name) {
                if let view = try? self.calls.lookup(name) { views.append(view) }
            }
        case .prefix, .pattern:
            views = try await self.calls.list().filter { !$0.isSoftDeleted && self.flow.source.matches($0.view.name) }
                .map(\.view)
        }
        var foundNew = false
        for view in views {
            let isKnown = self.state.withLock { state -> Bool in
                guard let record = state.records[view.name], record.identity == view.identity else { return false }
                if record.observer == nil {
                    self.noticed(view.name, tail: view.tail, isClosed: view.isClosed, in: &state)
                }
                return true
            }
            if isKnown { continue }
            foundNew = true
            self.takeUp(view)
        }
        return foundNew
    }

    private func takeUp(_ view: StreamView) {
        let stale = self.state.withLock { state -> TailObserver? in
            let old = state.records[view.name]
            var status = old?.status ?? MirrorStreamStatus(stream: view.name, state: .standby)
            if old != nil { status.restarts += 1 }
            status.state = .standby
            var record = Record(
                identity: view.identity, backoff: Backoff(self.options), tail: view.tail, status: status)
            // A worker that still serves the one before finds out by itself and leaves the rest to the next round.
            if case .running? = old?.phase { record.phase = .running }
            record.isDirty = true
            state.records[view.name] = record
            return old?.observer
        }
        if let stale { self.calls.directory.cancel(stale, now: self.calls.now) }
        // Why not for all: a watched stream with a sliding lifetime would never expire. Those are looked at from time to time.
        if case .ttl = view.configuration.lifetime { return }
        let name = view.name
        let identity = view.identity
        let result = self.calls.directory.observe(name, identity: identity, now: self.calls.now) { [weak self] notice in
            self?.received(notice, of: name, identity: identity)
        }
        guard case .success(let watch) = result else { return }
        self.state.withLock { state in
            guard state.records[name]?.identity == identity else { return }
            state.records[name]?.observer = watch.observer
            self.noticed(name, tail: watch.view.tail, isClosed: watch.view.isClosed, in: &state)
        }
    }

    private func received(_ notice: StreamNotice, of name: String, identity: StreamIdentity) {
        self.state.withLock { state in
            guard state.records[name]?.identity == identity else { return }
            if notice.end != nil { state.records[name]?.observer = nil }
            state.records[name]?.isDirty = true
            self.noticed(name, tail: notice.tail, isClosed: notice.isClosed || notice.end != nil, in: &state)
        }
        self.wakeup.set()
    }

    /// Something may have come: a stream that rests is due when its batch has had time to fill.
    private func noticed(_ name: String, tail: UInt64, isClosed: Bool, in state: inout State) {
        guard var record = state.records[name] else { return }
        record.tail = max(record.tail, tail)
        let done = record.checkpoint.map { $0.position >= record.tail && (!isClosed || $0.isFinished) } ?? false
        if !done || record.isDirty {
            if record.behindSince == nil, record.checkpoint.map({ $0.position < record.tail }) ?? true {
                record.behindSince = .now
            }
            switch record.phase {
            case .idle:
                let isFull =
                    record.checkpoint.map { record.tail - $0.position >= UInt64(self.options.readBytes) } ?? true
                record.phase = .due(isFull || isClosed ? .now : .now + self.flow.batchDelay)
                state.due.insert(name)
            case .running: record.isDirty = true
            default: break
            }
        }
        state.records[name] = record
    }

    private func lease() async throws {
        let waiting = self.state.withLock { state in
            state.records.filter { if case .standby = $0.value.phase { true } else { false } }.map(\.key)
        }
        // Also without any that wait: the session is tried, and what it held is asked for again when it was lost.
        let mine = try await self.leases.acquire(flow: self.flow.name, waiting)
        let lost = self.state.withLock { state -> [String] in
            for name in waiting where mine.contains(name) {
                guard case .standby? = state.records[name]?.phase else { continue }
                state.records[name]?.phase = .due(.now)
                state.records[name]?.status.state = .starting
                state.due.insert(name)
            }
            return state.records.filter { name, record in
                if mine.contains(name) { return false }
                switch record.phase {
                case .standby, .gone: return false
                default: return true
                }
            }.map(\.key)
        }
        guard !lost.isEmpty else { return }
        let back = try await self.leases.acquire(flow: self.flow.name, lost)
        self.state.withLock { state in
            for name in lost where !back.contains(name) {
                // A worker at it now is stopped by the checkpoint, if another has moved it.
                if case .running? = state.records[name]?.phase { continue }
                state.records[name]?.phase = .standby
                state.records[name]?.checkpoint = nil
                state.records[name]?.status.state = .standby
                state.due.remove(name)
            }
        }
    }

    /// Gives what is due to the workers; returns when the next will be.
    private func handOutDue() -> ContinuousClock.Instant? {
        let now = ContinuousClock.now
        let (ready, next) = self.state.withLock { state -> ([String], ContinuousClock.Instant?) in
            var ready: [String] = []
            var next: ContinuousClock.Instant?
            for name in state.due {
                guard case .due(let time)? = state.records[name]?.phase else {
                    ready.append(name)
                    continue
                }
                if time <= now { ready.append(name) } else { next = min(next ?? time, time) }
            }
            for name in ready { state.due.remove(name) }
            let due = ready.filter { if case .due? = state.records[$0]?.phase { true } else { false } }
            for name in due { state.records[name]?.phase = .queued }
            return (due, next)
        }
        for name in ready { self.queue.add(name) }
        return next
    }

    // MARK: Serving

    /// Writes what a stream has. Throws only what a test's probe threw.
    private func serve(_ name: String) async throws {
        let identity = self.state.withLock { state -> StreamIdentity? in
            guard state.records[name] != nil else { return nil }
            state.records[name]?.phase = .running
            state.records[name]?.isDirty = false
            return state.records[name]?.identity
        }
        guard let identity else { return }
        do {
            let more = try await self.serveOnce(name, identity)
            self.ended(name, identity, more: more)
        } catch let crash as MirrorCrash {
            throw crash
        } catch is CheckpointMoved {
            self.failed(name, identity, .transient("another worker moved the checkpoint"))
        } catch let error as StreamError where error.code == .notFound || error.code == .gone {
            await self.streamEnded(name, identity)
        } catch {
            if Task.isCancelled { return }
            self.failed(name, identity, MirrorFault(error))
        }
    }

    /// One reading of a stream. Returns whether there is more.
    private func serveOnce(_ name: String, _ identity: StreamIdentity) async throws -> Bool {
        let view = try self.calls.lookup(name)
        guard view.identity == identity else { throw StreamError(.notFound) }
        let writer = try await self.batchWriter()
        var checkpoint: StreamCheckpoint
        if let known = self.state.withLock({ $0.records[name]?.checkpoint }) {
            checkpoint = known
        } else {
            checkpoint = try await self.checkpoints.open(
                name, view: StreamViewFacts(identity: identity.rawValue, tail: view.tail), start: self.flow.start)
            try await self.probe.reached(.checkpointLoaded)
        }
        self.keep(checkpoint, name, identity)
        let origin = StreamOrigin(
            name: name, identity: identity.rawValue, incarnation: checkpoint.incarnation,
            contentType: view.contentType.text, isJSON: view.contentType.isJSON)
        let part = try await self.read(origin, identity, from: checkpoint.position)
        try await self.probe.reached(.batchRead)
        if part.messages.isEmpty {
            if part.isFinal, !checkpoint.isFinished {
                let outcome = try await writer.write([], of: origin, checkpoint: &checkpoint, finishes: true)
                self.keep(checkpoint, name, identity, outcome: outcome)
            }
            return false
        }
        var rest = part.messages[...]
        while !rest.isEmpty {
            let batch = rest.prefix(self.flow.batchSize)
            rest = rest.dropFirst(batch.count)
            let outcome = try await writer.write(
                batch, of: origin, checkpoint: &checkpoint, finishes: part.isFinal && rest.isEmpty)
            self.keep(checkpoint, name, identity, outcome: outcome, messages: batch.count)
            if self.isDraining { return false }
        }
        return !part.isAtTail
    }

    private struct Part {
        var messages: [StreamMessage] = []
        var isAtTail = false
        var isFinal = false
    }

    private func read(_ origin: StreamOrigin, _ identity: StreamIdentity, from position: UInt64) async throws -> Part {
        var part = Part()
        if origin.isJSON {
            let (reading, bytes) = try await self.calls.read(
                origin.name, identity: identity, from: position, limit: self.options.readBytes)
            part.isAtTail = reading.isAtTail
            part.isFinal = reading.isFinal
            var end = position
            let isWhole = StoredMessages.forEach(in: bytes) { message in
                end += UInt64(message.readableBytes) + 1
                part.messages.append(StreamMessage(bytes: message, end: end))
            }
            guard isWhole else { throw MirrorError.fatal("the stream holds something that is no JSON") }
            return part
        }
        // Other types one append at a time: only so is it known where each ends.
        var byteCount = 0
        var end = position
        while byteCount < self.options.readBytes, part.messages.count < self.flow.batchSize {
            guard let append = try await self.calls.append(of: origin.name, identity: identity, at: end) else { break }
            part.messages.append(StreamMessage(bytes: append.bytes, end: append.end))
            byteCount += append.bytes.readableBytes
            end = append.end
        }
        let view = try self.calls.lookup(origin.name)
        part.isAtTail = end >= view.tail
        part.isFinal = part.isAtTail && view.isClosed && view.identity == identity
        return part
    }

    // MARK: What came of it

    private func keep(
        _ checkpoint: StreamCheckpoint, _ name: String, _ identity: StreamIdentity,
        outcome: BatchWriter.Outcome? = nil, messages: Int = 0
    ) {
        self.state.withLock { state in
            guard var record = state.records[name], record.identity == identity else { return }
            record.checkpoint = checkpoint
            if record.status.state != .following, !checkpoint.isFinished { record.status.state = .following }
            if let outcome {
                record.status.batches += outcome.transactions
                record.status.deadLetters += outcome.letters
                record.status.messages += UInt64(messages)
                record.status.problem = nil
                record.backoff.reset()
            }
            if checkpoint.isFinished { record.status.state = .finished }
            state.records[name] = record
        }
    }

    private func ended(_ name: String, _ identity: StreamIdentity, more: Bool) {
        self.state.withLock { state in
            guard var record = state.records[name] else { return }
            // Another stream of the name has come meanwhile: its lease is the same.
            if record.identity != identity {
                record.phase = .due(.now)
                state.due.insert(name)
            } else if more || record.isDirty {
                record.phase = .due(more ? .now : .now + self.flow.batchDelay)
                state.due.insert(name)
            } else {
                record.phase = .idle
                record.behindSince = nil
            }
            if record.identity == identity, record.status.state == .retrying { record.status.state = .following }
            state.records[name] = record
        }
        self.wakeup.set()
    }

    private func failed(_ name: String, _ identity: StreamIdentity, _ fault: MirrorFault) {
        if fault.isFatal { self.writer.withLock { $0 = nil } }
        let isNew = self.state.withLock { state -> Bool in
            guard var record = state.records[name] else { return false }
            let isNew = record.status.problem != fault.reason
            record.checkpoint = nil
            record.status.problem = fault.reason
            record.status.retries += 1
            record.status.state = fault.isFatal ? .failed : .retrying
            let pause = fault.isFatal ? self.options.fatalRetry : record.backoff.next()
            record.phase = .due(.now + (record.identity == identity ? pause : .zero))
            state.due.insert(name)
            state.records[name] = record
            return isNew
        }
        if isNew { self.log("the stream cannot be written to the table", fault, stream: name) }
        self.wakeup.set()
    }

    /// The stream is no longer there.
    private func streamEnded(_ name: String, _ identity: StreamIdentity) async {
        let isCurrent = self.state.withLock { $0.records[name]?.identity == identity }
        guard isCurrent else { return self.ended(name, identity, more: true) }
        do {
            try await self.checkpoints.end(name, identity: identity.rawValue, state: "deleted")
        } catch {
            return self.failed(name, identity, MirrorFault(error))
        }
        let (isGone, observer) = self.state.withLock { state -> (Bool, TailObserver?) in
            guard state.records[name]?.identity == identity else { return (false, nil) }
            state.records[name]?.phase = .gone
            state.records[name]?.status.state = .gone
            state.records[name]?.behindSince = nil
            defer {
                state.records[name]?.observer = nil
                // Why: names that come once and never again must not fill the memory.
                if state.records.count > Self.goneLimit { state.records[name] = nil }
            }
            return (true, state.records[name]?.observer)
        }
        // Another stream of the name has come meanwhile, and waits for this worker.
        guard isGone else { return self.ended(name, identity, more: true) }
        if let observer { self.calls.directory.cancel(observer, now: self.calls.now) }
        self.logger.info("a mirrored stream was deleted", metadata: ["flow": "\(self.flow.name)", "stream": "\(name)"])
        await self.leases.release(flow: self.flow.name, name)
        self.wakeup.set()
    }
}
