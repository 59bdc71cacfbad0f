internal import ExactText
internal import NIOCore
internal import PostgresWire

/// Initial data and removals: what stands between two transactions of the stream.
///
/// The stream rests at its position while a delivery is under way, so the client sees it as one point: everything up to
/// the position before it, everything else behind it. The snapshot is taken later than the position; what it already
/// shows is kept back from the stream afterwards, for its tables only.
extension SatelliteSession {
    /// Begins the next delivery, if there is one and none is under way.
    ///
    /// - Returns: whether the stream has to wait.
    mutating func startNextDelivery() -> Bool {
        while let delivery = self.subscriptions.deliveries.first {
            guard case .queued = delivery.step else { return true }
            switch delivery.content {
            case .subscription(let pending):
                let missing = pending.tables.filter { !self.subscriptions.held.contains($0) }
                let tables = missing.compactMap { self.schema.table(oid: $0) }
                if tables.isEmpty {
                    self.beginSubscription(pending, tables: [], snapshot: nil, end: .zero)
                    self.finishSubscription(pending)
                } else {
                    let number = self.startFetch(tables)
                    self.actions.append(
                        .fetchSnapshot(
                            SnapshotRequest(
                                number: number, subscriptionID: pending.id, tables: tables, userID: self.userID,
                                after: self.stream.position)))
                }
            case .gone(let ids, let stored):
                if !stored.isEmpty {
                    self.actions.append(
                        .saveUnsubscriptions(
                            stored.map { StoredUnsubscription(id: $0, position: self.stream.position) }))
                }
                let needed = Set(self.subscriptions.active.flatMap(\.tables))
                let tables = self.subscriptions.held.subtracting(needed).sorted().compactMap {
                    self.schema.table(oid: $0)
                }
                self.announce(tables)
                var begin = Electric_Satellite_SatUnsubsDataBegin()
                begin.subscriptionIds = ids
                begin.lsn = ServerPosition.encode(self.stream.position).protobufField
                self.send(.unsubscriptionDataBegin(begin))
                if tables.isEmpty {
                    self.finishGone()
                } else {
                    let number = self.startFetch(tables)
                    self.subscriptions.deliveries[0].step = .sending
                    self.actions.append(
                        .fetchKeys(KeysRequest(number: number, tables: tables, after: self.stream.position)))
                }
            }
        }
        return false
    }

    private mutating func startFetch(_ tables: [SatelliteTable]) -> Int {
        let number = self.subscriptions.takeNumber()
        self.subscriptions.deliveries[0].number = number
        self.subscriptions.deliveries[0].step = .fetching
        self.subscriptions.deliveries[0].tables = tables
        return number
    }

    /// The delivery that a request belongs to; nil for requests that were given up.
    private func delivery(_ number: Int) -> SubscriptionState.Delivery? {
        guard self.phase == .ready, self.outgoing == .active, let first = self.subscriptions.deliveries.first,
            first.number == number
        else { return nil }
        return first
    }

    mutating func snapshotStarted(_ number: Int, _ snapshot: TransactionSnapshot, end: LSN) {
        guard let delivery = self.delivery(number) else { return }
        guard case .subscription(let pending) = delivery.content, case .fetching = delivery.step else {
            self.invariantBroken("a snapshot began twice")
            return
        }
        self.subscriptions.deliveries[0].step = .sending
        self.beginSubscription(pending, tables: delivery.tables, snapshot: snapshot, end: end)
    }

    mutating func rowsAvailable(_ number: Int, _ rows: FrameBatch) {
        guard let delivery = self.delivery(number) else { return }
        guard case .sending = delivery.step else {
            self.invariantBroken("rows came before their snapshot")
            return
        }
        self.send(rows)
    }

    mutating func fetchFinished(_ number: Int) {
        guard let delivery = self.delivery(number) else { return }
        guard case .sending = delivery.step else {
            self.invariantBroken("a fetch ended before its snapshot")
            return
        }
        switch delivery.content {
        case .subscription(let pending): self.finishSubscription(pending)
        case .gone: self.finishGone()
        }
    }

    mutating func fetchFailed(_ number: Int, _ failure: SessionEvent.FetchFailure) {
        guard let delivery = self.delivery(number) else { return }
        if case .permanent(let message) = failure, case .subscription(let pending) = delivery.content,
            case .fetching = delivery.step
        {
            self.subscriptions.deliveries.removeFirst()
            var error = Electric_Satellite_SatSubsDataError()
            error.message = message
            error.subscriptionID = pending.id
            self.send(.subscriptionDataError(error))
            return
        }
        // Why no error frame: it would make the client drop all its data. Disconnected, it asks again by itself.
        var reason = "Initial data cannot be read now"
        if case .lasting(let message) = failure { reason = message }
        self.close(CloseCode.tryAgainLater, reason, cause: "fetch failed")
    }

    /// Gives up a fetch of which the client has seen nothing; it is begun anew when the stream is.
    mutating func cancelDelivery() {
        guard let first = self.subscriptions.deliveries.first, case .fetching = first.step else { return }
        self.actions.append(.cancelFetch(first.number))
        self.subscriptions.deliveries[0].step = .queued
        self.subscriptions.deliveries[0].number = -1
        self.subscriptions.deliveries[0].tables = []
    }

    // MARK: The two kinds

    /// Relations, the begin, and all requests but the last as empty ones: the rows of all tables come under the last.
    private mutating func beginSubscription(
        _ pending: SubscriptionState.Pending, tables: [SatelliteTable], snapshot: TransactionSnapshot?, end: LSN
    ) {
        let oids = tables.map(\.oid)
        if self.subscriptions.ended.remove(pending.id) != nil {
            self.actions.append(.forgetUnsubscriptions([pending.id]))
        }
        self.actions.append(
            .saveSubscription(
                StoredSubscription(
                    id: pending.id, request: pending.request, snapshot: snapshot, snapshotEnd: end,
                    snapshotTables: oids)))
        if let snapshot, end > self.stream.position {
            self.subscriptions.filters.append(.init(tables: Set(oids), snapshot: snapshot, end: end))
        }
        self.announce(tables)
        var begin = Electric_Satellite_SatSubsDataBegin()
        begin.subscriptionID = pending.id
        begin.lsn = ServerPosition.encode(self.stream.position).protobufField
        var frames = FrameBatch(.subscriptionDataBegin(begin))
        for (index, id) in pending.requestIDs.enumerated() {
            var shape = Electric_Satellite_SatShapeDataBegin()
            shape.requestID = id
            frames.append(.shapeDataBegin(shape))
            if index < pending.requestIDs.count - 1 { frames.append(.shapeDataEnd(.init())) }
        }
        self.send(frames)
    }

    private mutating func finishSubscription(_ pending: SubscriptionState.Pending) {
        self.send(FrameBatch([.shapeDataEnd(.init()), .subscriptionDataEnd(.init())]))
        let delivery = self.subscriptions.deliveries.removeFirst()
        self.subscriptions.held.formUnion(pending.tables)
        // Once it is revoked, the removal that is queued behind finds its tables unneeded.
        if !delivery.isRevoked {
            self.subscriptions.active.append(.init(id: pending.id, tables: pending.tables))
        }
    }

    private mutating func finishGone() {
        self.send(.unsubscriptionDataEnd(.init()))
        for table in self.subscriptions.deliveries.removeFirst().tables {
            self.subscriptions.held.remove(table.oid)
        }
    }
}
