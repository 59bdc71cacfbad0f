import NIOCore
import PostgresWire
import StreamStore

/// What the feed changes under its lock: the assembler, the window in memory, and what waits to be acknowledged.
struct FeedCore: Sendable {
    let log: ChangeLog
    var assembler: TransactionAssembler
    var window: TransactionWindow
    /// Everything committed up to here has been received.
    var reached: LSN
    /// End of the server's WAL as last told.
    var walFlush: LSN = .zero
    /// What may be acknowledged once the log is durable up to `logEnd`, oldest first.
    private var pendingAcknowledgements: [(logEnd: UInt64, position: LSN)] = []
    /// The last position that is durable here and may be told to the server.
    private(set) var acknowledged: LSN
    /// The last position for which a record was appended.
    private(set) var recorded: LSN
    /// What the log had no room for; not more than came with one read of the transport.
    private var deferred: [TransactionAssembler.Output] = []
    /// Only one hook at a time waits for room in the log.
    var waitsForRoom = false
    var transactions: UInt64 = 0
    var duplicates: UInt64 = 0
    /// Reused between calls.
    private var outputs: [TransactionAssembler.Output] = []

    init(log: ChangeLog, options: FeedOptions, referenceXID: UInt64) {
        self.log = log
        let recovered = log.recovered
        self.assembler = TransactionAssembler(
            pieceLimit: options.pieceBytes, relations: log.definitions, lastCommitLSN: recovered.lastCommitLSN,
            referenceXID: max(recovered.lastXID, referenceXID))
        self.window = TransactionWindow(budget: options.cacheBytes, position: recovered.lastEndLSN)
        self.reached = recovered.stored
        self.acknowledged = recovered.stored
        self.recorded = recovered.stored
    }

    /// Takes messages in. Returns whether there are new transactions for consumers.
    mutating func receive(_ messages: MessageRun) throws -> Bool {
        try self.assembler.receive(messages, into: &self.outputs)
        guard !self.outputs.isEmpty else { return false }
        let before = self.window.visiblePosition
        self.deferred.append(contentsOf: self.outputs)
        self.outputs.removeAll(keepingCapacity: true)
        try self.drainDeferred()
        return self.window.visiblePosition > before
    }

    var hasDeferred: Bool { !self.deferred.isEmpty }

    /// Whether something was received that is not durable yet.
    var isSettled: Bool { self.deferred.isEmpty && self.pendingAcknowledgements.isEmpty }

    /// About the size of the record that waits for room.
    var deferredByteCount: Int {
        switch self.deferred.first {
        case .transaction(let transaction): return transaction.piece.byteCount + 128
        case .piece(_, _, let piece): return piece.byteCount + 128
        case .largeTransaction(_, _, _, let rest): return rest.byteCount + 128
        case .definition(_, let message): return message.readableBytes + 128
        case .skipped, .standaloneMessage, nil: return 128
        }
    }

    /// Writes what was deferred as far as the log takes it. Returns whether there are new transactions for consumers.
    @discardableResult
    mutating func drainDeferred() throws -> Bool {
        let before = self.window.visiblePosition
        var done = 0
        // Why moved out: `store` changes `self`, and the array must not be copied for it.
        let waiting = self.deferred
        self.deferred = []
        // Why also after an error: the assembler takes for known what it has given out, so nothing of it may get lost.
        defer { if done < waiting.count { self.deferred = Array(waiting[done...]) } }
        while done < waiting.count, try self.store(waiting[done]) { done += 1 }
        return self.window.visiblePosition > before
    }

    /// Returns false when the log has no room now.
    private mutating func store(_ output: TransactionAssembler.Output) throws -> Bool {
        do {
            switch output {
            case .transaction(let transaction):
                guard case .appended(let span) = try self.log.append(transaction) else { return false }
                self.stored(
                    .whole(transaction), cost: transaction.piece.byteCount + 160, logEnd: span.end)
            case .piece(let finalLSN, let ordinal, let piece):
                guard case .appended(let span) = try self.log.append(piece: piece, ordinal: ordinal, finalLSN: finalLSN)
                else { return false }
                // A transaction that comes again begins again.
                if ordinal == 0 { self.pieceOffsets.removeAll() }
                self.pieceOffsets.append(span.offset)
            case .largeTransaction(let header, let relations, let pieces, let rest):
                guard case .appended(let span) = try self.log.append(largeCommit: header, pieces: pieces, rest: rest)
                else { return false }
                let large = LargeTransaction(
                    header: header, relations: relations, offsets: self.pieceOffsets + [span.offset])
                self.stored(.large(large), cost: 256 + 8 * large.pieceCount, logEnd: span.end)
                // Readers wait for it.
                self.log.log.hurry()
                self.pieceOffsets = []
            case .definition(let relation, let message):
                guard
                    case .appended = try self.log.append(
                        definition: relation, message: message, at: self.recorded)
                else { return false }
            case .skipped(let header, let known):
                if known { self.duplicates += 1 }
                self.reached = max(self.reached, header.endLSN)
            case .standaloneMessage(let logical):
                self.reached = max(self.reached, logical.lsn)
            }
            return true
        } catch  where error.code == .diskFull {
            return false
        }
    }

    /// Of the large transaction that is being received.
    private var pieceOffsets: [UInt64] = []

    private mutating func stored(_ entry: FeedEntry, cost: Int, logEnd: UInt64) {
        let position = entry.header.endLSN
        self.transactions += 1
        self.reached = max(self.reached, position)
        self.recorded = max(self.recorded, position)
        self.window.append(entry, cost: cost, logEnd: logEnd, durableEnd: self.log.log.durableEnd)
        self.pendAcknowledgement(of: position, logEnd: logEnd)
    }

    private mutating func pendAcknowledgement(of position: LSN, logEnd: UInt64) {
        // Why: with the same log end only the newest position matters, and a backlog must not grow this list.
        if let last = self.pendingAcknowledgements.last, self.pendingAcknowledgements.count > 1_024,
            logEnd - last.logEnd < 1 << 20
        {
            self.pendingAcknowledgements[self.pendingAcknowledgements.count - 1] = (logEnd, position)
        } else {
            self.pendingAcknowledgements.append((logEnd, position))
        }
    }

    /// The log is durable up to `logEnd`. Returns the position to acknowledge if it rose.
    mutating func durable(_ logEnd: UInt64) -> (acknowledge: LSN?, revealed: Bool) {
        let revealed = self.window.durable(logEnd)
        var count = 0
        while count < self.pendingAcknowledgements.count, self.pendingAcknowledgements[count].logEnd <= logEnd {
            count += 1
        }
        guard count > 0 else { return (nil, revealed) }
        let position = self.pendingAcknowledgements[count - 1].position
        self.pendingAcknowledgements.removeFirst(count)
        guard position > self.acknowledged else { return (nil, revealed) }
        self.acknowledged = position
        return (position, revealed)
    }

    /// Everything committed up to `decoded` has been received.
    mutating func reached(_ decoded: LSN, flush: LSN) {
        self.walFlush = max(self.walFlush, flush)
        // Why: between two messages of one transaction nothing says how far the commits go.
        guard !self.assembler.isInsideTransaction, self.deferred.isEmpty else { return }
        self.reached = max(self.reached, decoded)
    }

    /// Records that foreign WAL has been passed, so that it can be acknowledged. Called once in a while.
    mutating func recordProgress() throws {
        guard self.reached > self.recorded, self.deferred.isEmpty, !self.assembler.isInsideTransaction else { return }
        do {
            guard case .appended(let span) = try self.log.append(progress: self.reached) else { return }
            self.recorded = self.reached
            self.pendAcknowledgement(of: self.reached, logEnd: span.end)
        } catch  where error.code == .diskFull {
            return
        }
    }
}
