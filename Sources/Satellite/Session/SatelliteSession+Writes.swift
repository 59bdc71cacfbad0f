internal import NIOCore

/// The stream from the client.
struct WriteState: Sendable {
    /// A transaction handed on and not yet committed.
    struct Waiting: Hashable, Sendable {
        var clientLSN: ByteBuffer
        var byteCount: Int
    }

    var assembler: ClientTransactionAssembler?
    var waiting: [Waiting] = []
    var waitingBytes = 0
    var isReadingPaused = false
}

extension SatelliteSession {
    mutating func clientPositionLoaded(_ position: ByteBuffer?) {
        guard self.phase == .ready, self.incoming == .lookingUp else { return }
        var request = Electric_Satellite_SatInStartReplicationReq()
        if let position { request.lsn = position.protobufField }
        self.incoming = .requested(id: self.request(.startReplication, request))
    }

    mutating func relationReceived(_ relation: Electric_Satellite_SatRelation) {
        guard self.phase == .ready, var assembler = self.writes.assembler else { return }
        // Why also while not active: the client sends a relation once per connection, and may do so early.
        self.writes.assembler = nil
        defer { self.writes.assembler = assembler }
        do {
            try assembler.relationReceived(relation, schema: self.schema)
        } catch {
            self.fail(.invalidRequest, error.message, lsn: error.clientLSN, cause: "relation of a client refused")
        }
    }

    mutating func opLogReceived(_ log: Electric_Satellite_SatOpLog) {
        // Without an active stream the client's operations are dropped: it sends them again when asked to start.
        guard self.phase == .ready, self.incoming == .active, var assembler = self.writes.assembler else { return }
        self.writes.assembler = nil
        defer { self.writes.assembler = assembler }
        var completed: [ClientTransaction] = []
        var refusal: ClientWriteError?
        do {
            try assembler.opLogReceived(log) { completed.append($0) }
        } catch {
            refusal = error
        }
        for transaction in completed {
            let byteCount = transaction.byteCount
            self.writes.waiting.append(.init(clientLSN: transaction.clientLSN, byteCount: byteCount))
            self.writes.waitingBytes += byteCount
            self.actions.append(.apply(transaction))
        }
        if let refusal {
            self.fail(.invalidRequest, refusal.message, lsn: refusal.clientLSN, cause: "client transaction refused")
            return
        }
        if !self.writes.isReadingPaused,
            self.writes.waiting.count > self.limits.maximumWaitingWrites
                || self.writes.waitingBytes > self.limits.maximumWaitingWriteBytes
        {
            self.writes.isReadingPaused = true
            self.actions.append(.pauseReading)
        }
    }

    mutating func writeApplied(_ clientLSN: ByteBuffer) {
        guard let index = self.writes.waiting.firstIndex(where: { $0.clientLSN == clientLSN }) else { return }
        for done in self.writes.waiting[...index] { self.writes.waitingBytes -= done.byteCount }
        self.writes.waiting.removeSubrange(...index)
        if self.writes.isReadingPaused, self.writes.waiting.count <= self.limits.maximumWaitingWrites / 2,
            self.writes.waitingBytes <= self.limits.maximumWaitingWriteBytes / 2
        {
            self.writes.isReadingPaused = false
            self.actions.append(.resumeReading)
        }
    }

    mutating func writeRejected(_ clientLSN: ByteBuffer, _ message: String) {
        guard self.phase == .ready else { return }
        self.fail(.invalidRequest, message, lsn: clientLSN, cause: "client transaction rejected by Postgres")
    }

    mutating func writesSuspended() {
        guard self.phase == .ready, self.incoming != .stopped else { return }
        let wasAsked = self.incoming != .lookingUp
        self.incoming = .stopped
        self.writes.assembler?.reset()
        self.writes.waiting = []
        self.writes.waitingBytes = 0
        if self.writes.isReadingPaused {
            self.writes.isReadingPaused = false
            self.actions.append(.resumeReading)
        }
        if wasAsked { _ = self.request(.stopReplication, Electric_Satellite_SatInStopReplicationReq()) }
    }

    mutating func writesResumed() {
        guard self.phase == .ready, self.incoming == .stopped else { return }
        self.incoming = .lookingUp
        self.actions.append(.lookUpClientPosition(clientID: self.clientID))
    }
}
