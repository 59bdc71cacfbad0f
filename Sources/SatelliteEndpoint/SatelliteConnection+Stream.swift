import ChangeFeed
import HTTPServer
import Logging
import NIOCore
import PostgresClient
import PostgresWire
import Satellite

/// The transactions that the client is sent, and where it goes on after a pause.
extension SatelliteConnection {
    /// A slow socket slows its own session: what it asks for is answered when the peer reads again.
    func performWhenWritable(_ action: SessionAction) {
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

    func serveTransactions(after position: LSN) {
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

    static let deliveriesInTurn = 8

    /// The position lies before what is in memory: read from the log.
    /// Why so little: a session takes what its client's window holds, and what is more is read again.
    static let catchUpBytes = 16 * 1_024

    func catchUp(after position: LSN) {
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

    func retryLater(_ position: LSN) {
        guard !self.isEnded else { return }
        let bound = NIOLoopBound(self, eventLoop: self.socket.eventLoop)
        self.retryTimer = self.socket.eventLoop.scheduleTask(in: .milliseconds(200)) { bound.value.serve(position) }
    }

    func serveOperations(of position: LSN, isFirst: Bool) {
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

    func loadClientState(_ clientID: String) {
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
}
