import ChangeFeed
import Logging
import NIOCore
import PostgresWire
import Satellite
import Synchronization

/// Follows the change feed for all Satellite connections: enriches each transaction once, keeps the newest in memory, and hands them to
/// each event loop once, which fans them out to its own connections.
package final class SatelliteHub: Sendable {
    struct State {
        /// Enriched transactions, oldest first; everything after ``startsAfter`` that concerns anybody.
        var window: [SatelliteTransaction] = []
        var head = 0
        var byteCount = 0
        var startsAfter: LSN = .zero
        var position: LSN = .zero
        var history = MigrationHistory(position: .zero, schema: .empty, migrations: [])
        var isLoaded = false
        var fanouts: [ObjectIdentifier: LoopFanout] = [:]
        /// The connection of each authenticated client.
        var clients: [String: ConnectionReference] = [:]
        /// Prepared readers of recent large transactions.
        var largeReaders: [(position: LSN, reader: LargeTransactionReader)] = []
    }

    package let feed: ChangeFeed
    let source: any SchemaSource
    let logger: Logger
    let state = Mutex(State())
    private let budget: Int
    private let onSchemaChange: @Sendable () -> Void
    private let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation
    private let mustReset = Mutex(false)

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
    package var isLoaded: Bool { self.state.withLock { $0.isLoaded } }
    package var history: MigrationHistory { self.state.withLock { $0.history } }
    package var schema: SatelliteSchema { self.state.withLock { $0.history.schema } }
    package var position: LSN { self.state.withLock { $0.position } }
    package var clientCount: Int { self.state.withLock { $0.clients.count } }

    /// The log has begun anew: what is in memory belongs to another history. Every connection ends and starts over.
    package func reset() {
        self.mustReset.withLock { $0 = true }
        self.signal.yield()
    }

    // MARK: Running

    /// Follows the feed until the task is cancelled.
    package func run() async {
        self.feed.observe { [signal] in signal.yield() }
        self.signal.yield()
        var enricher: TransactionEnricher?
        for await _ in self.signals {
            if self.mustReset.withLock({ must in
                defer { must = false }
                return must
            }) {
                enricher = nil
                self.forgetEverything()
            }
            await self.retrying { try await self.advance(&enricher) }
            if Task.isCancelled { return }
        }
    }

    private func retrying(_ body: () async throws -> Void) async {
        var pause = Duration.milliseconds(100)
        while !Task.isCancelled {
            do {
                return try await body()
            } catch is CancellationError {
                return
            } catch {
                self.logger.warning("cannot follow the change feed", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: pause)
                pause = min(pause * 2, .seconds(5))
            }
        }
    }

    private func advance(_ enricher: inout TransactionEnricher?) async throws {
        if enricher == nil {
            guard let position = self.feed.position else { return }
            // Why in this order: what commits in between is in the schema and comes by again, which is harmless; the other way
            // round it could be missed.
            let loaded = try await self.source.load(including: nil)
            enricher = TransactionEnricher(schema: loaded.schema)
            self.state.withLock { state in
                state.position = position
                state.startsAfter = position
                state.history = MigrationHistory(
                    position: position, schema: loaded.schema, migrations: loaded.migrations)
                state.isLoaded = true
            }
            self.logger.info(
                "satellite ready",
                metadata: [
                    "position": "\(position)", "tables": "\(loaded.schema.tables.count)",
                    "migrations": "\(loaded.migrations.count)",
                ])
        }
        while !Task.isCancelled, !self.mustReset.withLock({ $0 }), var current = enricher {
            let position = self.position
            let entries: [FeedEntry]
            if let recent = self.feed.recent(after: position) {
                entries = recent
            } else {
                guard case .entries(let read) = try await self.feed.read(after: position) else {
                    // The log was trimmed past us, which means that we were stuck for very long.
                    self.reset()
                    return
                }
                entries = read
            }
            guard let last = entries.last else { return }
            let transactions = try await self.enrich(entries, with: &current)
            enricher = current
            self.publish(transactions, upTo: last.header.endLSN)
        }
    }

    /// Enriches entries in order. Used for the live stream and, with an enricher of its own, for a client that catches up.
    func enrich(_ entries: [FeedEntry], with enricher: inout TransactionEnricher) async throws -> [SatelliteTransaction] {
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

    private func publish(_ transactions: [SatelliteTransaction], upTo position: LSN) {
        let (before, fanouts) = self.state.withLock { state in
            let before = state.position
            state.position = position
            for transaction in transactions {
                state.window.append(transaction)
                state.byteCount += transaction.byteCount
            }
            while state.byteCount > self.budget, state.head < state.window.count {
                let oldest = state.window[state.head]
                state.byteCount -= min(state.byteCount, oldest.byteCount)
                state.startsAfter = oldest.position
                state.head += 1
            }
            if state.head > 1_024, state.head * 2 > state.window.count {
                state.window.removeFirst(state.head)
                state.head = 0
            }
            if state.history.position < position {
                let history = state.history
                state.history = MigrationHistory(
                    position: position, schema: history.schema, migrations: history.migrations)
            }
            return (before, Array(state.fanouts.values))
        }
        for fanout in fanouts { fanout.published(transactions, after: before, upTo: position) }
    }

    /// What is in memory after `position`; nil if the position lies before that.
    func recent(after position: LSN) -> TransactionDelivery? {
        self.state.withLock { state in
            guard state.isLoaded, position >= state.startsAfter else { return nil }
            var low = state.head
            var high = state.window.count
            while low < high {
                let middle = (low + high) / 2
                if state.window[middle].position <= position { low = middle + 1 } else { high = middle }
            }
            let end = min(low + 1_000, state.window.count)
            let transactions = Array(state.window[low..<end])
            return TransactionDelivery(
                after: position, transactions: transactions,
                upTo: end == state.window.count ? max(state.position, position) : nil)
        }
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

    private func forgetEverything() {
        let clients = self.state.withLock { state in
            state.window = []
            state.head = 0
            state.byteCount = 0
            state.isLoaded = false
            state.largeReaders = []
            return Array(state.clients.values)
        }
        for client in clients { client.send(.positionLost, closing: true) }
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
        let before = LSN(rawValue: position.rawValue - 1)
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

    func release(_ clientID: String, _ reference: ConnectionReference) {
        self.state.withLock { state in
            if state.clients[clientID]?.id == reference.id { state.clients[clientID] = nil }
        }
    }
}
