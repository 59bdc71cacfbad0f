import ChangeFeed
import ExactText
import Logging
import NIOCore
import PostgresWire
import Satellite
import Synchronization

/// Follows the change feed for all Satellite connections: enriches each transaction once, keeps the newest in memory, and hands them to
/// each event loop once, which fans them out to its own connections.
package final class SatelliteHub: Sendable {
    struct State {
        /// Nil until the schema has been read.
        var window: SatelliteWindow?
        var history = MigrationHistory(position: .zero, schema: .empty, migrations: [])
        var fanouts: [ObjectIdentifier: LoopFanout] = [:]
        var wheels: [ObjectIdentifier: PingWheel] = [:]
        /// The connection of each authenticated client.
        var clients: ExactDictionary<ConnectionReference> = [:]
        /// Prepared readers of recent large transactions.
        var largeReaders: [(position: LSN, reader: LargeTransactionReader)] = []
        /// Rises with each ``SatelliteHub/reset()``: what was read before belongs to another history.
        var generation = 0
        /// The definition by which a table's rows last came, where it did not fit the electrified schema.
        var misfits: [UInt32: SchemaMisfit] = [:]
        /// Why the feed cannot be followed at present.
        var problem: String?
    }

    package let feed: ChangeFeed
    let source: any SchemaSource
    let logger: Logger
    let state = Mutex(State())
    private let budget: Int
    private let onSchemaChange: @Sendable () -> Void
    private let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation
    /// Clients that catch up at once; each holds a part of the log in memory.
    let catchUps = WorkLimit(16)

    /// - Parameters:
    ///   - budget: bytes of enriched transactions held in memory.
    ///   - onSchemaChange: called after a migration has come by.
    package init(
        feed: ChangeFeed, source: any SchemaSource, budget: Int, logger: Logger,
        onSchemaChange: @escaping @Sendable () -> Void = {}
    ) {
        self.feed = feed
        self.source = source
        self.budget = budget
        self.logger = logger
        self.onSchemaChange = onSchemaChange
        // One waiting signal says all there is to say.
        (self.signals, self.signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Whether clients can be served.
    package var isLoaded: Bool { self.state.withLock { $0.window != nil } }
    /// Why new transactions do not reach clients at present; nil if they do.
    package var problem: String? { self.state.withLock { $0.problem } }
    /// Tables that no longer fit the electrified schema, and how.
    package var misfits: [String] { self.state.withLock { $0.misfits.values.map(\.description).sorted() } }
    package var history: MigrationHistory { self.state.withLock { $0.history } }
    package var schema: SatelliteSchema { self.state.withLock { $0.history.schema } }
    package var position: LSN { self.state.withLock { $0.window?.position ?? .zero } }
    package var clientCount: Int { self.state.withLock { $0.clients.count } }

    /// The log has begun anew: what is in memory belongs to another history. Every client's connection ends and starts over.
    ///
    /// When it returns, nothing that a client still says about its old position is stored (``isCurrent(_:_:)``), so stored state may
    /// be deleted then.
    package func reset() {
        let clients = self.state.withLock { state in
            state.generation += 1
            state.window = nil
            state.largeReaders = []
            defer { state.clients = [:] }
            return Array(state.clients.values)
        }
        for client in clients {
            client.end(code: 1012, reason: "Service restarting", cause: "the change log began anew")
        }
        self.signal.yield()
    }

    // MARK: Running

    /// Follows the feed until the task is cancelled.
    package func run() async {
        self.feed.observe { [signal] in signal.yield() }
        self.signal.yield()
        var follower: Follower?
        for await _ in self.signals {
            await self.retrying { try await self.advance(&follower) }
            if Task.isCancelled { return }
        }
    }

    /// The enricher of the live stream, and the history that it has seen.
    private struct Follower {
        var enricher: TransactionEnricher
        var generation: Int
    }

    private func retrying(_ body: () async throws -> Void) async {
        var pause = Duration.milliseconds(100)
        while !Task.isCancelled {
            do {
                try await body()
                self.state.withLock { $0.problem = nil }
                return
            } catch is CancellationError {
                return
            } catch {
                self.logger.warning("cannot follow the change feed", metadata: ["error": "\(error)"])
                self.state.withLock { $0.problem = "cannot follow the change feed: \(error)" }
                try? await Task.sleep(for: pause)
                pause = min(pause * 2, .seconds(10))
            }
        }
    }

    private func advance(_ follower: inout Follower?) async throws {
        while !Task.isCancelled {
            let generation = self.state.withLock { $0.generation }
            guard var current = follower, current.generation == generation else {
                follower = nil
                guard let position = self.feed.position else { return }
                // Why in this order: what commits in between is in the schema and comes by again, which is harmless; the other way
                // round it could be missed.
                let loaded = try await self.source.load(including: nil)
                guard self.begin(at: position, loaded, generation: generation) else { continue }
                follower = Follower(enricher: TransactionEnricher(schema: loaded.schema), generation: generation)
                continue
            }
            let position = self.position
            let entries: [FeedEntry]
            if let recent = self.feed.recent(after: position) {
                entries = recent
            } else {
                guard case .entries(let read) = try await self.feed.read(after: position) else {
                    // The log was trimmed past us, which means that we were stuck for very long; or it began anew.
                    self.reset()
                    continue
                }
                entries = read
            }
            guard let last = entries.last else { return }
            let transactions = try await self.enrich(entries, with: &current.enricher)
            let relations = current.enricher.takeNewRelations()
            follower = current
            if !relations.isEmpty { try await self.compare(relations) }
            self.publish(transactions, upTo: last.header.endLSN, generation: generation)
        }
    }

    /// Clients can be served from here on. Returns false if the history has begun anew meanwhile.
    func begin(at position: LSN, _ loaded: LoadedSchema, generation: Int) -> Bool {
        let isCurrent = self.state.withLock { state in
            guard state.generation == generation else { return false }
            state.window = SatelliteWindow(budget: self.budget, position: position)
            state.history = MigrationHistory(position: position, schema: loaded.schema, migrations: loaded.migrations)
            return true
        }
        if isCurrent {
            self.logger.info(
                "satellite ready",
                metadata: [
                    "position": "\(position)", "tables": "\(loaded.schema.tables.count)",
                    "migrations": "\(loaded.migrations.count)",
                ])
        }
        return isCurrent
    }

    /// Enriches entries in order. Used for the live stream and, with an enricher of its own, for a client that catches up.
    func enrich(_ entries: [FeedEntry], with enricher: inout TransactionEnricher) async throws -> [SatelliteTransaction]
    {
        var transactions: [SatelliteTransaction] = []
        transactions.reserveCapacity(entries.count)
        for entry in entries {
            let transaction: SatelliteTransaction
            switch entry {
            case .whole(let whole):
                transaction = try await self.enrich(whole, with: &enricher)
            case .large(let large):
                let reader = try await LargeTransactionReader.prepare(large, feed: self.feed, enricher: &enricher) {
                    try await self.migration(of: large.header, statements: $0)
                }
                self.remember(reader)
                transaction = reader.transaction
            }
            if transaction.hasRows || transaction.migration != nil || transaction.origin != nil {
                transactions.append(transaction)
            }
        }
        return transactions
    }

    private func enrich(
        _ whole: CommittedTransaction, with enricher: inout TransactionEnricher
    ) async throws -> SatelliteTransaction {
        // Why twice for migrations only: the look-up has to be awaited, and they are rare.
        var outcome: TransactionEnricher.MigrationOutcome?
        do {
            return try enricher.enrich(whole) { _ in throw MigrationPending() }
        } catch is MigrationPending {
            outcome = try await self.migration(
                of: whole.header, statements: try TransactionEnricher.ddlStatements(of: whole))
        }
        return try enricher.enrich(whole) { _ in
            guard let outcome else { throw MigrationPending() }
            return outcome
        }
    }

    private struct MigrationPending: Error {}

    /// The migration that a transaction made, looked up in the database; known ones are not looked up again.
    private func migration(
        of header: TransactionHeader, statements: [DDLStatement]
    ) async throws -> TransactionEnricher.MigrationOutcome {
        let xid = statements.first?.xid ?? header.xid
        let history = self.history
        if header.endLSN <= history.position {
            // A client that catches up: the present schema is newer than this transaction, and clients project to it.
            return .init(schema: history.schema, migration: history.migrations.last { $0.xid == xid })
        }
        let loaded = try await self.source.load(including: xid)
        self.state.withLock { state in
            state.history = MigrationHistory(
                position: header.endLSN, schema: loaded.schema, migrations: loaded.migrations)
        }
        self.onSchemaChange()
        return .init(schema: loaded.schema, migration: loaded.migrations.last { $0.xid == xid })
    }

    // MARK: Fan-out

    /// Takes transactions in and hands them to every event loop once.
    func publish(_ transactions: [SatelliteTransaction], upTo position: LSN, generation: Int) {
        // What leaves the window is let go of outside of the lock.
        var evicted: [SatelliteTransaction] = []
        let step = self.state.withLock { state -> (before: LSN, fanouts: [LoopFanout])? in
            guard state.generation == generation, let before = state.window?.position else { return nil }
            evicted = state.window?.append(transactions, upTo: position) ?? []
            if state.history.position < position {
                let history = state.history
                state.history = MigrationHistory(
                    position: position, schema: history.schema, migrations: history.migrations)
            }
            return (before, Array(state.fanouts.values))
        }
        evicted.removeAll()
        guard let step else { return }
        for fanout in step.fanouts { fanout.published(transactions, after: step.before, upTo: position) }
    }

    /// What is in memory after `position`; nil if the position lies before that.
    func recent(after position: LSN) -> TransactionDelivery? {
        self.state.withLock { $0.window?.delivery(after: position) }
    }

    func fanout(for eventLoop: any EventLoop) -> LoopFanout {
        self.state.withLock { state in
            let key = ObjectIdentifier(eventLoop)
            if let known = state.fanouts[key] { return known }
            let fanout = LoopFanout(eventLoop: eventLoop)
            state.fanouts[key] = fanout
            return fanout
        }
    }

    /// The keep-alives of the connections of a loop.
    func wheel(for eventLoop: any EventLoop, interval: Int64) -> PingWheel {
        self.state.withLock { state in
            let key = ObjectIdentifier(eventLoop)
            if let known = state.wheels[key] { return known }
            let wheel = PingWheel(eventLoop: eventLoop, interval: interval)
            state.wheels[key] = wheel
            return wheel
        }
    }

    // MARK: Large transactions

    private func remember(_ reader: LargeTransactionReader) {
        self.state.withLock { state in
            state.largeReaders.append((reader.transaction.position, reader))
            if state.largeReaders.count > 8 { state.largeReaders.removeFirst() }
        }
    }

    /// A reader of the large transaction that ends at `position`.
    func largeReader(at position: LSN) async throws -> LargeTransactionReader {
        if let known = self.state.withLock({ state in
            state.largeReaders.last { $0.position == position }?.reader
        }) {
            return known
        }
        let before = LSN(rawValue: max(position.rawValue, 1) - 1)
        guard case .entries(let entries) = try await self.feed.read(after: before, maximumBytes: 1),
            case .large(let large) = entries.first, large.header.endLSN == position
        else { throw ChangeLogError(reason: "there is no large transaction at \(position)") }
        var enricher = TransactionEnricher(schema: self.schema)
        let reader = try await LargeTransactionReader.prepare(large, feed: self.feed, enricher: &enricher) {
            try await self.migration(of: large.header, statements: $0)
        }
        self.remember(reader)
        return reader
    }

    // MARK: Clients

    /// Registers the connection of a client and returns the one it replaces.
    func claim(_ clientID: String, _ reference: ConnectionReference) -> ConnectionReference? {
        self.state.withLock { state in
            defer { state.clients[clientID] = reference }
            return state.clients[clientID]
        }
    }

    /// Whether the connection still speaks for the client: no newer one has taken over, and the history is the same.
    func isCurrent(_ clientID: String, _ reference: ConnectionReference) -> Bool {
        self.state.withLock { $0.clients[clientID]?.id == reference.id }
    }

    func release(_ clientID: String, _ reference: ConnectionReference) {
        self.state.withLock { state in
            if state.clients[clientID]?.id == reference.id { state.clients[clientID] = nil }
        }
    }
}
