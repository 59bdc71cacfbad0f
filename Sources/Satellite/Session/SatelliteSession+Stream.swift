internal import ExactText
internal import NIOCore
internal import PostgresWire

/// The stream of transactions to the client.
extension SatelliteSession {
    var isWindowFull: Bool { self.stream.unacknowledged.count >= self.limits.unacknowledgedTransactions }

    /// Does whatever can be done next, in the order in which the client has to see it: migrations of the initial sync,
    /// the rest of a large transaction, deliveries, transactions.
    mutating func advanceStream() {
        guard self.outgoing == .active else { return }
        if self.stream.history != nil {
            self.sendMissingMigrations()
            if self.stream.history != nil { return }
        }
        guard self.stream.large == nil else { return }
        if self.startNextDelivery() { return }
        guard self.phase == .ready, !self.isWindowFull, !self.stream.isWaiting else { return }
        self.stream.isWaiting = true
        self.actions.append(.needTransactions(after: self.stream.position))
    }

    mutating func transactionsAvailable(_ delivery: TransactionDelivery) {
        guard delivery.after == self.stream.position, self.stream.isWaiting else { return }
        self.stream.isWaiting = false
        // Dropped, not kept: it is asked for again when its time has come.
        guard self.outgoing == .active, !self.subscriptions.isDelivering, self.stream.large == nil else { return }
        for transaction in delivery.transactions where transaction.position > self.stream.position {
            guard self.forward(transaction) else { return }
        }
        self.moveOn(to: max(delivery.upTo, self.stream.position))
    }

    mutating func positionLost() {
        guard self.outgoing == .active, self.stream.isWaiting else { return }
        // When the client comes back with its position, it is told that the position is out of the window.
        self.close(CloseCode.tryAgainLater, "Position is no longer available", cause: "position fell out of the log")
    }

    // MARK: Transactions

    /// Sends what the client gets of a transaction.
    ///
    /// - Returns: false if the stream stops here, because the window is full, the transaction is large, or the session
    ///   ends.
    private mutating func forward(_ transaction: SatelliteTransaction) -> Bool {
        guard transaction.resyncTables.isDisjoint(with: self.subscriptions.held) else {
            self.startOver(cause: "a change could not be expressed")
            return false
        }
        if let migration = transaction.migration, self.stream.halfSent != transaction.xid,
            !migration.isEmpty(self.dialect)
        {
            guard !self.isWindowFull else { return false }
            self.announce(migration.tables)
            self.send(transaction.frames(.migration, selection: TableSelection(), dialect: self.dialect).batch)
            self.stream.unacknowledged.append(transaction.xid)
            self.stream.halfSent = transaction.xid
        }
        self.schema = transaction.schema
        let isMigrationOnly = self.stream.halfSent == transaction.xid && !transaction.hasRows
        guard isMigrationOnly || self.forwardRows(transaction) else {
            if self.stream.halfSent == transaction.xid, self.stream.large == nil {
                self.moveOn(to: transaction.commitPosition)
            }
            return false
        }
        self.stream.halfSent = nil
        self.moveOn(to: transaction.position)
        return true
    }

    private mutating func forwardRows(_ transaction: SatelliteTransaction) -> Bool {
        let selection = self.selection(for: transaction)
        // The client clears its own operations from its log when they come back, even if nothing is left of them.
        let isOwn = transaction.origin == self.clientID
        guard !selection.isEmpty || isOwn else { return true }
        if transaction.isLarge {
            guard !self.isWindowFull else { return false }
            self.announce(transaction.tables, selection)
            self.send(transaction.beginFrame)
            self.stream.large = .init(transaction: transaction, selection: selection)
            self.actions.append(.needOperations(of: transaction.position, isFirst: true))
            return false
        }
        let frames = transaction.frames(.rows, selection: selection, dialect: self.dialect)
        guard frames.changeCount > 0 || isOwn else { return true }
        guard !self.isWindowFull else { return false }
        self.announce(transaction.tables, selection)
        self.send(frames.batch)
        self.stream.unacknowledged.append(transaction.xid)
        return true
    }

    private func selection(for transaction: SatelliteTransaction) -> TableSelection {
        let held = self.subscriptions.held
        let filters = self.subscriptions.filters
        return TableSelection(tables: transaction.tables, user: self.userID) { table in
            held.contains(table.oid) && !filters.contains { $0.hides(table.oid, of: transaction.xid) }
        }
    }

    private mutating func moveOn(to position: LSN) {
        self.stream.position = position
        if !self.subscriptions.filters.isEmpty {
            self.subscriptions.filters.removeAll { $0.end <= position }
        }
    }

    private mutating func announce(_ tables: [SatelliteTable], _ selection: TableSelection) {
        self.announce(tables.indices.filter { selection.contains($0) }.map { tables[$0] })
    }

    /// Sends the definitions that the client does not know yet, or knows differently.
    mutating func announce(_ tables: [SatelliteTable]) {
        for table in tables where self.stream.announced[table.oid] != table {
            self.stream.announced[table.oid] = table
            self.send(table.relation)
        }
    }

    /// Ends the session such that the client drops its data and begins anew.
    private mutating func startOver(cause: String) {
        self.actions.append(.deleteClientState)
        self.close(CloseCode.tryAgainLater, "Local data has to be synced anew", cause: cause)
    }

    // MARK: Large transactions

    mutating func operationsAvailable(_ block: OperationBlock) {
        guard self.outgoing == .active, let large = self.stream.large else { return }
        // The block counts its own tables, which are some of the transaction's.
        let tables = large.transaction.tables
        let selection = TableSelection(tables: block.tables, user: self.userID) { table in
            tables.firstIndex { $0.oid == table.oid }.map { large.selection.contains($0) } ?? false
        }
        self.announce(block.tables, selection)
        self.send(block.frames(selection))
        self.actions.append(.needOperations(of: large.transaction.position, isFirst: false))
    }

    /// The operations cannot be had, or not all of them can be expressed for clients.
    mutating func operationsFailed() {
        guard self.outgoing == .active, self.stream.large != nil else { return }
        self.startOver(cause: "operations of a large transaction are not available")
    }

    mutating func operationsFinished() {
        guard self.outgoing == .active, let large = self.stream.large else { return }
        self.stream.large = nil
        self.send(large.transaction.commitFrame)
        self.stream.unacknowledged.append(large.transaction.xid)
        self.stream.halfSent = nil
        self.moveOn(to: large.transaction.position)
    }

    // MARK: Acknowledgements

    mutating func acknowledged(_ ack: Electric_Satellite_SatOpLogAck) {
        guard self.phase == .ready else { return }
        if ack.transactionID != 0 {
            // Why the last one: a mixed transaction stands there twice, and the client that has applied its second half
            // means both.
            guard let index = self.stream.unacknowledged.lastIndex(of: ack.transactionID) else {
                self.fail(.invalidRequest, "Acknowledged unknown txn", cause: "unknown transaction acknowledged")
                return
            }
            self.stream.unacknowledged.removeSubrange(...index)
        }
        if !ack.goneSubscriptionIds.isEmpty {
            let seen = ExactSet(ack.goneSubscriptionIds).intersection(self.subscriptions.ended)
            if !seen.isEmpty {
                self.subscriptions.ended.subtract(seen)
                self.actions.append(.removeSubscriptions(seen.sorted()))
            }
        }
        let bytes = ByteBuffer(protobufField: ack.lsn).readableBytesView
        if let position = ServerPosition.decode(bytes), position <= self.stream.position {
            self.saveCheckpoint(position)
        }
    }

    /// Asks for the checkpoint to be stored: one at a time, and of those that come meanwhile only the newest.
    mutating func saveCheckpoint(_ position: LSN) {
        guard position > self.stream.checkpoint else { return }
        self.stream.checkpoint = position
        if self.stream.isSavingCheckpoint {
            self.stream.nextCheckpoint = position
        } else {
            self.stream.isSavingCheckpoint = true
            self.actions.append(.saveCheckpoint(position))
        }
    }

    mutating func checkpointSaved() {
        guard self.stream.isSavingCheckpoint else { return }
        self.stream.isSavingCheckpoint = false
        if let next = self.stream.nextCheckpoint {
            self.stream.nextCheckpoint = nil
            self.stream.isSavingCheckpoint = true
            self.actions.append(.saveCheckpoint(next))
        }
    }
}
