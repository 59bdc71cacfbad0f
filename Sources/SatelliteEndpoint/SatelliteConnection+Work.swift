import ChangeFeed
import HTTPServer
import Logging
import NIOCore
import PostgresClient
import PostgresWire
import Satellite

/// State that survives, the client's writes, and the data of its subscriptions.
extension SatelliteConnection {
    func store(_ change: ClientStateChange) {
        guard let clientID = self.claimedID, let reference = self.reference,
            self.services.hub.isCurrent(clientID, reference)
        else { return }
        self.services.clientState.submit(change, for: clientID)
    }

    func saveCheckpoint(_ position: LSN) {
        guard let clientID = self.claimedID, let reference = self.reference,
            self.services.hub.isCurrent(clientID, reference)
        else { return }
        self.services.clientState.submit(.checkpoint(position), for: clientID) { reference.send(.checkpointSaved) }
    }

    func apply(_ transaction: ClientTransaction) {
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

    func fetchSnapshot(_ request: SnapshotRequest) {
        let fetcher = self.services.snapshots
        self.fetch(request.number) { deliver in try await fetcher.fetch(request, deliver: deliver) }
    }

    func fetchKeys(_ request: KeysRequest) {
        let fetcher = self.services.snapshots
        self.fetch(request.number) { deliver in try await fetcher.fetch(request, deliver: deliver) }
    }

    func fetch(
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
    func whenWritable() -> EventLoopFuture<Void> {
        let eventLoop = self.socket.eventLoop
        if self.isEnded { return eventLoop.makeFailedFuture(CancellationError()) }
        if self.socket.isWritable { return eventLoop.makeSucceededVoidFuture() }
        let promise = eventLoop.makePromise(of: Void.self)
        self.writableWaiters.append(promise)
        return promise.futureResult
    }
}
