import NIOCore
import PostgresWire

/// Turns the message stream of one slot into what the change log stores: whole transactions, pieces of very large ones, and
/// changed relation definitions. Transactions that the log has already are dropped.
///
/// Pure: the owner feeds messages in the order of arrival and carries out what comes back.
package struct TransactionAssembler: Sendable {
    package enum Output: Hashable, Sendable {
        /// A piece of a transaction that is too large to hold; its commit is still to come.
        case piece(finalLSN: LSN, ordinal: UInt32, TransactionPiece)
        /// A transaction that fits into memory.
        case transaction(CommittedTransaction)
        /// The commit of a transaction whose pieces were given out before; `rest` is its last piece.
        case largeTransaction(TransactionHeader, relations: [UInt32: Relation], pieces: UInt32, rest: TransactionPiece)
        /// A definition that came into force with the transaction just given out.
        case definition(Relation, message: ByteBuffer)
        /// The log has the transaction already (`known`), or it had nothing in it.
        case skipped(TransactionHeader, known: Bool)
        /// A message written outside of any transaction.
        case standaloneMessage(ReplicationMessage.Logical)
    }

    private struct Open: Sendable {
        var header: TransactionHeader
        var known: Bool
        var piece = TransactionPiece()
        var ordinal: UInt32 = 0
        var hasChanges = false
        var relationsBefore: [UInt32: Relation]
        var changed: [(Relation, ByteBuffer)] = []

        mutating func append(_ run: MessageRun, from start: Int, to end: Int, plainByteCount: Int) {
            run.write(from: start, to: end, plainByteCount: plainByteCount, into: &self.piece.bytes)
        }
    }

    /// Bytes of one transaction that are held before they are given out as a piece.
    package let pieceLimit: Int
    /// Definitions in force.
    package private(set) var relations: [UInt32: Relation]
    /// Position of the last commit record that the log holds.
    package private(set) var lastCommitLSN: LSN
    private var lastXID: UInt64
    private var open: Open?

    package init(pieceLimit: Int, relations: [UInt32: Relation], lastCommitLSN: LSN, referenceXID: UInt64) {
        self.pieceLimit = pieceLimit
        self.relations = relations
        self.lastCommitLSN = lastCommitLSN
        self.lastXID = referenceXID
    }

    /// Whether a transaction has begun and not yet ended.
    package var isInsideTransaction: Bool { self.open != nil }

    /// The transport has changed or begun anew: what was half received comes again.
    package mutating func transportRestarted(referenceXID: UInt64) {
        // Why: a definition that came inside of what was half received is recorded nowhere. It must be news when it comes again.
        if let open = self.open { self.relations = open.relationsBefore }
        self.open = nil
        self.lastXID = max(self.lastXID, referenceXID)
    }

    package mutating func receive(_ run: MessageRun, into outputs: inout [Output]) throws {
        let count = run.bytes.readableBytes
        var offset = 0
        while offset < count {
            if self.open != nil {
                offset = self.changesReceived(run, from: offset, into: &outputs)
                if offset == count { break }
            }
            guard let (message, next) = run.message(at: offset) else {
                throw ReplicationDecodingError(kind: nil, reason: "a message is cut short")
            }
            try self.receive(message, into: &outputs)
            offset = next
        }
    }

    /// Takes changes of the open transaction in bulk, up to the next message of another kind.
    private mutating func changesReceived(_ run: MessageRun, from start: Int, into outputs: inout [Output]) -> Int {
        var offset = start
        while true {
            let limit = max(self.pieceLimit - (self.open?.piece.byteCount ?? 0), 1)
            let (end, byteCount) = run.changes(from: offset, limit: limit)
            guard end > offset else { return offset }
            if self.open?.known == false {
                self.open?.hasChanges = true
                self.open?.append(run, from: offset, to: end, plainByteCount: byteCount)
                self.giveOutFullPiece(into: &outputs)
            }
            offset = end
        }
    }

    package mutating func receive(_ message: ByteBuffer, into outputs: inout [Output]) throws {
        guard let byte = message.getInteger(at: message.readerIndex, as: UInt8.self),
            let kind = ReplicationMessage.Kind(rawValue: byte)
        else { throw ReplicationDecodingError(kind: nil, reason: "unknown message type") }
        switch kind {
        case .insert, .update, .delete, .truncate:
            try self.changeReceived(message, into: &outputs)
        case .begin, .commit, .relation, .logical:
            switch try ReplicationMessage.decode(message) {
            case .begin(let begin): try self.beginReceived(begin)
            case .commit(let commit): try self.commitReceived(commit, into: &outputs)
            case .relation(let relation, _): try self.relationReceived(relation, message, into: &outputs)
            case .logical(let logical): try self.logicalReceived(logical, message, into: &outputs)
            default: break
            }
        case .origin, .type:
            // Origins are told by the tags of the shadow rows; types are looked up by OID where they matter.
            break
        case .streamStart, .streamStop, .streamCommit, .streamAbort:
            throw ReplicationDecodingError(kind: byte, reason: "streaming of open transactions was not asked for")
        }
    }

    private mutating func beginReceived(_ begin: ReplicationMessage.Begin) throws {
        guard self.open == nil else {
            throw ReplicationDecodingError(
                kind: ReplicationMessage.Kind.begin.rawValue, reason: "a transaction began inside another")
        }
        let xid = TransactionID.widen(begin.xid, near: self.lastXID)
        self.lastXID = max(self.lastXID, xid)
        let header = TransactionHeader(
            xid: xid, commitLSN: begin.finalLSN, endLSN: begin.finalLSN, commitTime: begin.commitTime)
        self.open = Open(
            header: header, known: begin.finalLSN <= self.lastCommitLSN, relationsBefore: self.relations)
    }

    private mutating func changeReceived(_ message: ByteBuffer, into outputs: inout [Output]) throws {
        guard self.open != nil else {
            throw ReplicationDecodingError(kind: nil, reason: "a change came outside of a transaction")
        }
        if self.open?.known == true { return }
        self.open?.hasChanges = true
        self.appendToOpen(message, into: &outputs)
    }

    private mutating func appendToOpen(_ message: ByteBuffer, into outputs: inout [Output]) {
        self.open?.piece.append(message: message)
        self.giveOutFullPiece(into: &outputs)
    }

    private mutating func giveOutFullPiece(into outputs: inout [Output]) {
        guard let byteCount = self.open?.piece.byteCount, byteCount >= self.pieceLimit, let open = self.open else {
            return
        }
        outputs.append(.piece(finalLSN: open.header.commitLSN, ordinal: open.ordinal, open.piece))
        self.open?.piece = TransactionPiece()
        self.open?.ordinal += 1
    }

    private mutating func relationReceived(
        _ relation: Relation, _ message: ByteBuffer, into outputs: inout [Output]
    ) throws {
        // Why: a new connection of the transport describes every relation again; only a difference is news.
        guard self.relations[relation.oid] != relation else { return }
        self.relations[relation.oid] = relation
        guard self.open != nil else {
            outputs.append(.definition(relation, message: message))
            return
        }
        self.open?.changed.append((relation, message))
        if self.open?.known == false { self.appendToOpen(message, into: &outputs) }
    }

    private mutating func logicalReceived(
        _ logical: ReplicationMessage.Logical, _ message: ByteBuffer, into outputs: inout [Output]
    ) throws {
        if logical.transactional, self.open != nil {
            try self.changeReceived(message, into: &outputs)
        } else {
            outputs.append(.standaloneMessage(logical))
        }
    }

    private mutating func commitReceived(_ commit: ReplicationMessage.Commit, into outputs: inout [Output]) throws {
        guard var open = self.open, commit.commitLSN == open.header.commitLSN, commit.endLSN > commit.commitLSN else {
            throw ReplicationDecodingError(
                kind: ReplicationMessage.Kind.commit.rawValue,
                reason: "commit does not fit the transaction that is open")
        }
        self.open = nil
        open.header.endLSN = commit.endLSN
        open.header.commitTime = commit.commitTime
        if open.known || (!open.hasChanges && open.ordinal == 0) {
            outputs.append(.skipped(open.header, known: open.known))
        } else if open.ordinal > 0 {
            self.lastCommitLSN = commit.commitLSN
            outputs.append(
                .largeTransaction(
                    open.header, relations: open.relationsBefore, pieces: open.ordinal, rest: open.piece))
        } else {
            self.lastCommitLSN = commit.commitLSN
            outputs.append(
                .transaction(
                    CommittedTransaction(header: open.header, relations: open.relationsBefore, piece: open.piece)))
        }
        for (relation, message) in open.changed {
            outputs.append(.definition(relation, message: message))
        }
    }
}
