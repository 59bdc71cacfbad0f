import DurableStreams
import ExactText
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
        var records: ExactDictionary<Record> = [:]
        /// Names of records that are due at some time.
        var due: ExactSet = []
        var problem: String?
        var isDraining = false
    }

    /// With more records than this, streams that are gone are not shown any longer.
    static let goneLimit = 10_000

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
    let wakeup = Wakeup()
    /// Made when the database can be reached, and anew after a failure that a person has put right.
    let writer = Mutex<BatchWriter?>(nil)

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
                }.sorted { $0.stream.precedesExactly($1.stream) })
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

    var isDraining: Bool { self.state.withLock { $0.isDraining } }

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

    func forgetObservers() {
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
    func coordinate() async {
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

    func log(_ message: Logger.Message, _ fault: MirrorFault, stream: String? = nil) {
        var metadata: Logger.Metadata = ["flow": "\(self.flow.name)", "reason": "\(fault.reason)"]
        if let stream { metadata["stream"] = "\(stream)" }
        self.logger.log(level: fault.isFatal ? .error : .warning, message, metadata: metadata)
    }

    func prepare() async throws {
        var tables = [
            (MirrorTableName(schema: "penstock", name: "mirror_checkpoints"), MirrorSchema.script),
            (MirrorSchema.formerCheckpoints, MirrorSchema.script), (MirrorSchema.deadLetters, MirrorSchema.script),
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

    func batchWriter() async throws -> BatchWriter {
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
}
