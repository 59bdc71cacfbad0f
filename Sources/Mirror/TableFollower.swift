import ChangeFeed
import DurableStreams
import ExactText
import Logging
import NIOCore
import PostgresClient
import PostgresWire
import StreamDirectory
import Synchronization

/// Brings one table into a stream: first as it is, then every change in the order of commits.
///
/// Where it is, the stream itself says (``MirrorSequence``, ``SourceDescription``); nothing else has to be kept.
final class TableFollower: Sendable {
    struct State {
        var status: MirrorStreamStatus
        var isDraining = false
        /// Where the follower is in the feed.
        var position: LSN?
        var behindSince: ContinuousClock.Instant?
    }

    /// The stream has to begin anew: what is in it is true no longer, or the feed does not continue it.
    struct Refetch: Error {
        var reason: String
    }

    let flow: TableToStreamFlow
    let calls: StreamCalls
    let pool: PostgresPool
    let feed: ChangeFeed
    let publication: String
    let options: MirrorOptions
    let logger: Logger
    let probe: MirrorProbe
    let state: Mutex<State>
    let wakeup = Wakeup()

    init(
        _ flow: TableToStreamFlow, calls: StreamCalls, pool: PostgresPool, feed: ChangeFeed, publication: String,
        options: MirrorOptions, logger: Logger, probe: MirrorProbe
    ) {
        self.flow = flow
        self.calls = calls
        self.pool = pool
        self.feed = feed
        self.publication = publication
        self.options = options
        self.logger = logger
        self.probe = probe
        self.state = Mutex(State(status: MirrorStreamStatus(stream: flow.target, state: .starting)))
    }

    var status: MirrorFlowStatus {
        let newest = self.feed.position
        return self.state.withLock { state in
            var status = state.status
            if let position = state.position, let newest { status.lagBytes = newest.distance(from: position) }
            status.lagSeconds = state.behindSince.map { StreamFollower.seconds(.now - $0) } ?? 0
            return MirrorFlowStatus(
                name: self.flow.name, direction: .tableToStream, problem: status.problem, streams: [status])
        }
    }

    func drain() {
        self.state.withLock { $0.isDraining = true }
        self.wakeup.set()
    }

    var isDraining: Bool { self.state.withLock { $0.isDraining } }

    func change(_ body: (inout MirrorStreamStatus) -> Void) {
        self.state.withLock { body(&$0.status) }
    }

    // MARK: Running

    /// Runs until drained or cancelled. Throws only what a test's probe threw.
    func run() async throws {
        var backoff = Backoff(self.options)
        var reason: String?
        var hasCleaned = false
        while !Task.isCancelled, !self.isDraining {
            do {
                if !hasCleaned {
                    try await MirrorSchema.prepare(
                        self.pool,
                        [(MirrorTableName(schema: "penstock", name: "mirror_checkpoints"), MirrorSchema.script)])
                    try await self.removeTemporaries()
                    hasCleaned = true
                }
                var place = try await self.open(refetchBecause: reason)
                reason = nil
                self.change {
                    $0.state = .following
                    $0.problem = nil
                }
                try await self.follow(&place) { backoff.reset() }
            } catch let crash as MirrorCrash {
                throw crash
            } catch let refetch as Refetch {
                reason = refetch.reason
                self.logger.warning(
                    "the table is read anew",
                    metadata: [
                        "flow": "\(self.flow.name)", "stream": "\(self.flow.target)", "reason": "\(refetch.reason)",
                    ])
            } catch {
                if Task.isCancelled || (error is CancellationError && self.isDraining) { return }
                let fault = MirrorFault(error)
                let isNew = self.state.withLock { state -> Bool in
                    defer { state.status.problem = fault.reason }
                    state.status.state = fault.isFatal ? .failed : .retrying
                    state.status.retries += 1
                    return state.status.problem != fault.reason
                }
                if isNew {
                    self.logger.log(
                        level: fault.isFatal ? .error : .warning, "the table cannot be followed",
                        metadata: [
                            "flow": "\(self.flow.name)", "stream": "\(self.flow.target)", "reason": "\(fault.reason)",
                        ])
                }
                await self.wakeup.wait(for: fault.isFatal ? self.options.fatalRetry : backoff.next())
            }
        }
    }

    // MARK: Where to go on

    /// Where the follower is.
    struct Place {
        var table: SourceTable
        var identity: DurableStreams.StreamIdentity
        var description: SourceDescription
        var anchor: UInt64
        /// Everything up to here has been handed to the stream.
        var position: LSN
        /// A transaction of which only the first messages have been stored.
        var partial: (position: LSN, count: UInt64)?
        var target: TargetStream
    }

    /// What is known of the target before anything is done.
    private enum Target {
        case absent
        /// Nothing in it.
        case empty(StreamView)
        /// A snapshot was being written when the process ended, or the stream ends with what is true no longer.
        case stale(StreamView, generation: UInt32, reason: String)
        case current(StreamView, MirrorSequence?, SourceDescription, anchor: UInt64)
    }

    private func examine() async throws -> Target {
        let view: StreamView
        do throws(StreamError) {
            view = try self.calls.lookup(self.flow.target)
        } catch {
            guard error.code == .notFound else {
                throw MirrorError.fatal("the stream \(self.flow.target) was deleted while forks still use it: \(error)")
            }
            return .absent
        }
        guard view.contentType.isJSON else {
            throw MirrorError.fatal("the stream \(self.flow.target) holds \(view.contentType.text), not JSON")
        }
        guard !view.isClosed else {
            throw MirrorError.fatal("the stream \(self.flow.target) is closed; delete it to have it made anew")
        }
        let last = try self.calls.directory.lastSequence(
            of: view.name, identity: view.identity, now: self.calls.now
        ).get()
        let sequence = last.flatMap { MirrorSequence($0) }
        let anchor: UInt64
        if let sequence {
            guard sequence.anchor > 0 || sequence.position > .zero || sequence.isWhole else {
                return .stale(view, generation: sequence.generation, reason: "the table had not been read to its end")
            }
            anchor = sequence.anchor
        } else if last == nil, let fork = view.configuration.fork, fork.sourceName.hasExactPrefix(self.temporaryPrefix)
        {
            anchor = fork.position
        } else if last == nil, view.tail == 0 {
            return .empty(view)
        } else {
            throw MirrorError.fatal(
                "the stream \(self.flow.target) is there and was not made by this flow; delete it or choose another")
        }
        guard anchor >= view.earliest else {
            return .stale(
                view, generation: sequence?.generation ?? 0, reason: "the stream's retention has dropped its beginning")
        }
        guard let append = try await self.calls.append(of: view.name, identity: view.identity, at: anchor),
            let description = SourceDescription(storedAppend: append.bytes)
        else {
            throw MirrorError.fatal("the stream \(self.flow.target) does not say how it is to be continued; delete it")
        }
        return .current(view, sequence, description, anchor: anchor)
    }

    /// Makes the target if need be and finds out where to go on.
    private func open(refetchBecause reason: String?) async throws -> Place {
        let epoch = try await self.waitForFeed()
        var target = try await self.examine()
        if case .current(let view, let sequence, let description, _) = target {
            var problem = reason
            if problem == nil { problem = try await self.problem(with: description, sequence, epoch: epoch) }
            if let problem { target = .stale(view, generation: description.generation, reason: problem) }
        }
        switch target {
        case .absent: try await self.createTarget(epoch: epoch)
        case .empty(let view): try await self.fill(view, generation: 1, reason: nil, epoch: epoch)
        case .stale(let view, let generation, let reason):
            try await self.fill(view, generation: generation &+ 1, reason: reason, epoch: epoch)
            self.change { $0.restarts += 1 }
        case .current: break
        }
        if case .current = target {} else { target = try await self.examine() }
        guard case .current(let view, let sequence, let description, let anchor) = target else {
            throw MirrorError.transient("the stream \(self.flow.target) was changed by somebody else")
        }
        let table = try await self.pool.withConnection { connection in
            try await SourceTable.load(self.flow.source, publication: self.publication, connection)
        }
        var position = max(description.position, try await self.savedProgress(view, description))
        var partial: (position: LSN, count: UInt64)?
        if let sequence, sequence.position > .zero, sequence.position > position || !sequence.isWhole {
            if sequence.isWhole {
                position = sequence.position
            } else {
                position = LSN(rawValue: sequence.position.rawValue - 1)
                partial = (sequence.position, sequence.part)
            }
        }
        self.state.withLock { $0.position = position }
        return Place(
            table: table, identity: view.identity, description: description, anchor: anchor, position: position,
            partial: partial,
            target: TargetStream(
                self.flow.target, tail: view.tail, calls: self.calls, limit: self.options.inFlightBytes))
    }

    /// Waits until the feed has a log, and returns which beginning of it this is.
    func waitForFeed() async throws -> UInt64 {
        while true {
            if let epoch = self.feed.health.epoch, self.feed.position != nil { return epoch }
            guard !self.isDraining else { throw CancellationError() }
            try Task.checkCancellation()
            await self.wakeup.wait(for: .milliseconds(200))
        }
    }

    /// Why a stream can not be continued; nil if it can.
    private func problem(
        with description: SourceDescription, _ sequence: MirrorSequence?, epoch: UInt64
    ) async throws -> String? {
        guard description.epoch == epoch else { return "the change feed has begun anew" }
        let reached = max(description.position, sequence?.position ?? .zero)
        let facts = try await self.pool.query(
            """
            SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()), pg_catalog.pg_current_wal_insert_lsn()
            """)
        guard facts[0, 0] == description.systemIdentifier else { return "the database is another one" }
        guard let end = facts[0, 1].flatMap({ LSN($0) }), end >= reached else {
            return "the database has gone back in time"
        }
        guard description.schema.isExactly(self.flow.source.schema),
            description.table.isExactly(self.flow.source.name)
        else {
            return "the table is another one"
        }
        switch try await self.verdict(on: description) {
        case .fine: return nil
        case .refetch(let reason): return reason
        case .problem(let problem): throw MirrorError.fatal(problem)
        }
    }

    private func verdict(on description: SourceDescription) async throws -> SourcePresence.Verdict {
        let presence = try await self.pool.withConnection { connection in
            try await SourcePresence.load(self.flow.source, publication: self.publication, connection)
        }
        return presence.verdict(on: description, self.flow.source, publication: self.publication)
    }

    /// Looks whether the table is there and published. What is wrong is said, and following goes on: what was written
    /// before may still be on its way. Throws `Refetch` when the table that is there cannot continue the stream.
    func checkSource(_ place: Place) async throws {
        // A database that cannot be asked is noticed by the feed.
        guard let verdict = try? await self.verdict(on: place.description) else { return }
        var problem: String?
        switch verdict {
        case .fine: break
        case .problem(let text): problem = text
        case .refetch(let reason): throw Refetch(reason: reason)
        }
        let isNew = self.state.withLock { state -> Bool in
            defer { state.status.problem = problem }
            state.status.state = problem == nil ? .following : .failed
            return state.status.problem != problem
        }
        guard isNew, let problem else { return }
        self.logger.error(
            "the table cannot be followed",
            metadata: ["flow": "\(self.flow.name)", "stream": "\(self.flow.target)", "reason": "\(problem)"])
    }

    // MARK: Progress of quiet tables

    private func savedProgress(_ view: StreamView, _ description: SourceDescription) async throws -> LSN {
        let result = try await self.pool.query(
            """
            SELECT stream_offset FROM \(MirrorSchema.checkpoints)
            WHERE flow = $1 AND stream = $2 AND stream_identity = $3 AND incarnation = $4
            """,
            [
                .text(self.flow.name), .text(self.flow.target), .text(String(view.identity.rawValue)),
                .text(String(description.generation)),
            ])
        return result[0, 0].flatMap { LSN($0) } ?? .zero
    }

    /// Notes how far the feed has been read. Only saves the next start the way through what does not concern the table; without it the
    /// log might have dropped what lies between, and the table would be read anew for nothing.
    func saveProgress(_ place: Place) async throws {
        try await place.target.drain()
        try await self.pool.query(
            """
            INSERT INTO \(MirrorSchema.checkpoints) AS c (flow, stream, stream_identity, incarnation, stream_offset)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (flow, stream) DO UPDATE SET stream_identity = EXCLUDED.stream_identity,
                incarnation = EXCLUDED.incarnation, stream_offset = EXCLUDED.stream_offset, state = 'active',
                updated_at = pg_catalog.now()
            """,
            [
                .text(self.flow.name), .text(self.flow.target), .text(String(place.identity.rawValue)),
                .text(String(place.description.generation)), .text(place.position.description),
            ])
        try await self.probe.reached(.progressSaved)
    }
}
