internal import ExactText
internal import NIOCore
internal import PostgresWire
import SwiftProtobuf

/// Start and stop of the stream to the client: the decision table of `startReplication`, initial sync and resume.
extension SatelliteSession {
    typealias StartError = Electric_Satellite_SatInStartReplicationResp.ReplicationError.Code

    mutating func startRequested(_ request: Electric_Satellite_SatInStartReplicationReq, requestID: UInt32) {
        guard self.outgoing == .stopped else {
            self.failCall(
                RemoteMethod.startReplication.rawValue, requestID, .replicationFailed,
                "Replication has already been started", cause: "second start of replication")
            return
        }
        if request.hasSchemaVersion, !self.schema.versions.contains(request.schemaVersion) {
            self.refuseUnknownSchema(request.schemaVersion, requestID)
            return
        }
        let lsn = ByteBuffer(protobufField: request.lsn).readableBytesView
        var position: LSN?
        if !lsn.isEmpty {
            position = ServerPosition.decode(lsn)
            guard position != nil else {
                self.refuseStart(requestID, .malformedLsn, "Could not validate start replication request")
                return
            }
        } else if !request.subscriptionIds.isEmpty {
            self.refuseStart(
                requestID, .invalidPosition, "Cannot resume subscriptions for a first-time client")
            return
        }
        guard request.subscriptionIds.count <= self.limits.maximumSubscriptions else {
            self.refuseStart(requestID, .subscriptionNotFound, "Too many subscriptions")
            return
        }
        self.dialect = request.sqlDialect == .postgres ? .postgres : .sqlite
        self.outgoing = .starting(
            StartRequest(
                requestID: requestID, position: position, subscriptionIDs: request.subscriptionIds,
                schemaVersion: request.hasSchemaVersion ? request.schemaVersion : nil,
                observedGone: request.observedGoneBatch))
        self.actions.append(position == nil ? .loadHistory : .loadClientState(clientID: self.clientID))
    }

    mutating func startFailed() {
        guard case .starting = self.outgoing else { return }
        self.close(CloseCode.tryAgainLater, "Replication cannot be started now", cause: "start failed")
    }

    /// Accepted in every state. A transaction or delivery of which the client has only a part ends the connection
    /// instead: nothing in the protocol takes the part back.
    mutating func stopRequested(requestID: UInt32) {
        self.send(
            .response(
                RemoteMethod.stopReplication.rawValue, id: requestID, Electric_Satellite_SatInStopReplicationResp()))
        guard self.stream.large == nil, !self.subscriptions.isMidDelivery else {
            self.close(CloseCode.goingAway, "Stopped within a transaction", cause: "stopped within a transaction")
            return
        }
        self.outgoing = .stopped
        self.stream.isWaiting = false
        self.stream.history = nil
        self.cancelDelivery()
    }

    // MARK: Initial sync

    mutating func historyLoaded(_ history: MigrationHistory) {
        guard case .starting(let request) = self.outgoing, request.position == nil else { return }
        guard let first = history.firstIndex(after: request.schemaVersion) else {
            self.refuseUnknownSchema(request.schemaVersion ?? "", request.requestID)
            return
        }
        self.actions.append(.deleteClientState)
        self.begin(request, at: history.position, schema: history.schema)
        self.subscriptions.resume([], filters: [])
        self.stream.checkpoint = .zero
        self.stream.nextCheckpoint = nil
        self.stream.isSavingCheckpoint = true
        self.stream.checkpoint = history.position
        self.actions.append(.saveCheckpoint(history.position))
        if first < history.migrations.count {
            self.stream.history = history
            self.stream.nextMigration = first
        }
    }

    /// Sends migrations of the initial sync as far as the window allows.
    ///
    /// Only the last one carries the position that the stream goes on from. The others carry position 0, which is never
    /// in the window: a client that loses the connection between them starts anew instead of missing the rest.
    mutating func sendMissingMigrations() {
        guard let history = self.stream.history else { return }
        let pending = history.migrations[self.stream.nextMigration...].filter { !$0.isEmpty(self.dialect) }
        for (index, migration) in pending.enumerated() {
            guard !self.isWindowFull else {
                self.stream.nextMigration = history.migrations.firstIndex { $0 === migration } ?? 0
                return
            }
            let isLast = index == pending.count - 1
            self.announce(migration.tables)
            self.send(migration.frames(position: isLast ? history.position : .zero, dialect: self.dialect))
            self.stream.unacknowledged.append(migration.xid)
        }
        self.stream.history = nil
    }

    // MARK: Resume

    mutating func clientStateLoaded(_ state: ResumeState) {
        guard case .starting(let request) = self.outgoing, let position = request.position else { return }
        guard let window = state.window, window.contains(position) else {
            self.actions.append(.deleteClientState)
            self.refuseStart(request.requestID, .behindWindow, "Cannot catch up to the server's current state")
            return
        }
        let requested = ExactSet(request.subscriptionIDs)
        let observed = ExactSet(request.observedGone)
        var seen = ExactSet()
        var resumed: [String] = []
        var owed: [String] = []
        for end in state.unsubscriptions {
            if end.position < position || (end.position == position && observed.contains(end.id)) {
                seen.insert(end.id)
            } else if requested.contains(end.id) {
                resumed.append(end.id)
            } else {
                owed.append(end.id)
            }
        }
        let available = state.subscriptions.filter { !seen.contains($0.id) }
        let availableIDs = ExactSet(available.map(\.id))
        if let missing = request.subscriptionIDs.first(where: { !availableIDs.contains($0) }) {
            self.refuseStart(
                request.requestID, .subscriptionNotFound, "Unknown subscription: \(Self.shortened(missing))")
            return
        }
        guard let checkpoint = state.checkpoint, position >= checkpoint else {
            self.refuseStart(
                request.requestID, .invalidPosition, "LSN is before the already acknowledged one")
            return
        }
        self.begin(request, at: position, schema: state.schema)
        self.stream.checkpoint = checkpoint
        if !seen.isEmpty { self.actions.append(.removeSubscriptions(seen.sorted())) }
        if !resumed.isEmpty { self.actions.append(.forgetUnsubscriptions(resumed)) }
        let active = available.filter { requested.contains($0.id) || owed.containsExactly($0.id) }
        self.subscriptions.resume(
            active.compactMap { self.restored($0) },
            filters: active.compactMap { stored in
                guard let snapshot = stored.snapshot, stored.snapshotEnd > position else { return nil }
                return SnapshotFilter(
                    tables: Set(stored.snapshotTables), snapshot: snapshot, end: stored.snapshotEnd)
            })
        if !owed.isEmpty { self.subscriptions.end(owed, stored: owed) }
    }

    private func restored(_ stored: StoredSubscription) -> SubscriptionState.Subscription? {
        guard let request = try? Electric_Satellite_SatSubsReq(serializedBytes: Array(stored.request.readableBytesView))
        else { return nil }
        let roots = request.shapeRequests.flatMap(\.shapeDefinition.selects).compactMap {
            self.schema.table(publicName: $0.tablename)?.oid
        }
        return .init(id: stored.id, tables: self.schema.closure(of: roots).map(\.oid))
    }

    // MARK: Answers

    private mutating func begin(_ request: StartRequest, at position: LSN, schema: SatelliteSchema) {
        self.outgoing = .active
        self.schema = schema
        self.stream.position = position
        self.stream.unacknowledged = []
        self.stream.isWaiting = false
        self.stream.halfSent = nil
        self.stream.history = nil
        self.stream.nextMigration = 0
        var response = Electric_Satellite_SatInStartReplicationResp()
        response.unackedWindowSize = UInt32(clamping: self.limits.unacknowledgedTransactions)
        self.send(.response(RemoteMethod.startReplication.rawValue, id: request.requestID, response))
    }

    private mutating func refuseUnknownSchema(_ version: String, _ requestID: UInt32) {
        self.refuseStart(requestID, .unknownSchemaVsn, "Unknown schema version: \"\(Self.shortened(version))\"")
    }

    private mutating func refuseStart(_ requestID: UInt32, _ code: StartError, _ message: String) {
        var response = Electric_Satellite_SatInStartReplicationResp()
        response.err.code = code
        response.err.message = message
        self.send(.response(RemoteMethod.startReplication.rawValue, id: requestID, response))
        self.close(CloseCode.protocolError, "", cause: "start refused: \(code)")
    }

    /// A text of the client's for one of ours.
    static func shortened(_ text: String) -> String {
        text.unicodeScalars.count > 128
            ? String(String.UnicodeScalarView(text.unicodeScalars.prefix(126))) + "..." : text
    }
}
