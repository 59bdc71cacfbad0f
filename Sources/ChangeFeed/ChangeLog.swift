import NIOCore
import PostgresWire
import StreamStore
import Synchronization

/// The durable log of transactions: what clients resume from, and what the database need not keep any more.
///
/// Written by the feed alone; read from any thread that may block.
package final class ChangeLog: Sendable {
    /// What opening found, for the assembler to go on from.
    struct Recovered: Sendable {
        /// Position of the last commit record stored.
        var lastCommitLSN: LSN
        /// End of the last transaction stored.
        var lastEndLSN: LSN
        /// The last position stored, progress included: what the database may have been told.
        var stored: LSN
        var lastXID: UInt64
        var transactions: Int
    }

    let log: SegmentedLog
    let recovered: Recovered
    private let metaFile: MetaFile
    private let state: Mutex<State>

    private struct State {
        var meta: ChangeLogMeta
        var history: DefinitionHistory
    }

    private init(
        log: SegmentedLog, metaFile: MetaFile, meta: ChangeLogMeta, history: DefinitionHistory, recovered: Recovered
    ) {
        self.log = log
        self.metaFile = metaFile
        self.recovered = recovered
        self.state = Mutex(State(meta: meta, history: history))
    }

    private static func metaFile(_ directory: String, _ store: LogStore) -> MetaFile {
        MetaFile(path: directory + "/identity", version: ChangeLogMeta.version, fileSystem: store.fileSystem)
    }

    /// Opens the log if there is one. Blocks.
    static func open(directory: String, store: LogStore) throws -> ChangeLog? {
        try store.fileSystem.makeDirectoryPath(directory)
        let metaFile = self.metaFile(directory, store)
        guard let (_, contents) = try metaFile.read() else { return nil }
        let meta = try ChangeLogMeta(decoding: contents)
        var history = DefinitionHistory(base: meta.definitions)
        var recovered = Recovered(
            lastCommitLSN: .zero, lastEndLSN: meta.identity.base, stored: meta.identity.base, lastXID: 0,
            transactions: 0)
        let log = try SegmentedLog.open(
            directory: self.logDirectory(directory, meta.identity), fileSystem: store.fileSystem,
            flusher: store.flusher, configuration: store.configuration
        ) { record in
            guard let kind = ChangeLogRecord.Kind(rawValue: record.kind) else {
                throw ChangeLogError(
                    reason: "the change log holds a record of kind \(record.kind); it was written by a newer version")
            }
            switch kind {
            case .transaction, .largeCommit:
                var payload = record.payload
                let header = try ChangeLogRecord.readHeader(&payload)
                recovered.lastCommitLSN = max(recovered.lastCommitLSN, header.commitLSN)
                recovered.lastEndLSN = max(recovered.lastEndLSN, header.endLSN)
                recovered.stored = max(recovered.stored, header.endLSN)
                recovered.lastXID = max(recovered.lastXID, header.xid)
                recovered.transactions += 1
            case .definition:
                history.add(try Relation(message: record.payload), at: record.offset)
            case .progress:
                recovered.stored = max(recovered.stored, LSN(rawValue: record.key))
            case .piece:
                break
            }
        }
        return ChangeLog(log: log, metaFile: metaFile, meta: meta, history: history, recovered: recovered)
    }

    /// Makes an empty log for a new epoch. What was there before must have been closed; it is removed. Blocks.
    static func create(directory: String, store: LogStore, identity: StreamIdentity) throws -> ChangeLog {
        try store.fileSystem.makeDirectoryPath(directory)
        let target = self.logDirectory(directory, identity)
        // Why first: an epoch that failed to begin may have left files of the same name.
        try self.remove(target, store)
        let log = try SegmentedLog.open(
            directory: target, fileSystem: store.fileSystem, flusher: store.flusher,
            configuration: store.configuration)
        let meta = ChangeLogMeta(identity: identity, definitions: [:])
        let metaFile = self.metaFile(directory, store)
        // The switch: before this the old epoch holds, after it the new one.
        try metaFile.replace(with: meta.encoded())
        let names = (try? store.fileSystem.list(directory)) ?? []
        for name in names where name.hasPrefix("epoch-") {
            let path = "\(directory)/\(name)"
            if path != target { try? self.remove(path, store) }
        }
        let recovered = Recovered(
            lastCommitLSN: .zero, lastEndLSN: identity.base, stored: identity.base, lastXID: 0, transactions: 0)
        return ChangeLog(
            log: log, metaFile: metaFile, meta: meta, history: DefinitionHistory(), recovered: recovered)
    }

    private static func logDirectory(_ directory: String, _ identity: StreamIdentity) -> String {
        "\(directory)/epoch-\(identity.epoch)"
    }

    /// Empties a directory; the empty directory may stay.
    private static func remove(_ directory: String, _ store: LogStore) throws {
        guard let names = try? store.fileSystem.list(directory) else { return }
        for name in names { try store.fileSystem.unlink("\(directory)/\(name)") }
        try store.fileSystem.syncDirectory(directory)
    }

    package var identity: StreamIdentity { self.state.withLock { $0.meta.identity } }
    /// Resuming is possible from here on.
    package var base: LSN { self.state.withLock { $0.meta.identity.base } }
    var definitions: [UInt32: Relation] { self.state.withLock { $0.history.current } }
    var totalBytes: UInt64 { self.log.metrics.totalBytes }

    /// Notes that the server has gone over to another timeline and the stream goes on without a gap. Blocks.
    func adopt(timeline: UInt32) throws {
        let meta = self.state.withLock { state -> ChangeLogMeta? in
            guard state.meta.identity.timeline != timeline else { return nil }
            state.meta.identity.timeline = timeline
            return state.meta
        }
        if let meta { try self.metaFile.replace(with: meta.encoded()) }
    }

    // MARK: - Writing

    func append(_ transaction: CommittedTransaction) throws(StoreError) -> AppendOutcome {
        var header = ByteBufferAllocator().buffer(capacity: ChangeLogRecord.headerLength)
        ChangeLogRecord.write(transaction.header, to: &header)
        return try self.log.append(
            kind: ChangeLogRecord.Kind.transaction.rawValue, key: transaction.header.endLSN.rawValue,
            payload: [header, transaction.piece.bytes])
    }

    func append(piece: TransactionPiece, ordinal: UInt32, finalLSN: LSN) throws(StoreError) -> AppendOutcome {
        var header = ByteBufferAllocator().buffer(capacity: 4)
        header.writeInteger(ordinal)
        return try self.log.append(
            kind: ChangeLogRecord.Kind.piece.rawValue, key: ChangeLogRecord.key(ofPieceAt: finalLSN),
            payload: [header, piece.bytes])
    }

    func append(largeCommit header: TransactionHeader, pieces: UInt32, rest: TransactionPiece) throws(StoreError)
        -> AppendOutcome
    {
        var bytes = ByteBufferAllocator().buffer(capacity: ChangeLogRecord.headerLength + 4)
        ChangeLogRecord.write(header, to: &bytes)
        bytes.writeInteger(pieces)
        return try self.log.append(
            kind: ChangeLogRecord.Kind.largeCommit.rawValue, key: header.endLSN.rawValue, payload: [bytes, rest.bytes])
    }

    func append(definition relation: Relation, message: ByteBuffer, at position: LSN) throws(StoreError)
        -> AppendOutcome
    {
        let outcome = try self.log.append(
            kind: ChangeLogRecord.Kind.definition.rawValue, key: position.rawValue, payload: message)
        if case .appended(let span) = outcome {
            self.state.withLock { $0.history.add(relation, at: span.offset) }
        }
        return outcome
    }

    func append(progress position: LSN) throws(StoreError) -> AppendOutcome {
        try self.log.append(
            kind: ChangeLogRecord.Kind.progress.rawValue, key: position.rawValue, payload: ByteBuffer())
    }

    /// Drops the oldest segments until at most `retentionBytes` are kept. Blocks.
    ///
    /// The new base is written first: a crash in between leaves more than is promised, never less.
    func trim(toBytes retentionBytes: UInt64) throws {
        guard self.totalBytes > retentionBytes else { return }
        let target = self.log.durableEnd - min(retentionBytes, self.log.durableEnd)
        guard let offset = self.log.segmentStart(atOrBefore: target), offset > self.log.firstOffset else { return }
        guard let base = try self.resumePosition(from: offset) else { return }
        let meta = self.state.withLock { state -> ChangeLogMeta in
            state.history.trim(before: offset)
            state.meta.identity.base = max(state.meta.identity.base, base)
            state.meta.definitions = state.history.base
            return state.meta
        }
        try self.metaFile.replace(with: meta.encoded())
        try self.log.trim(before: offset)
    }

    /// The lowest position from which everything later is at or after `offset`; nil if no transaction follows.
    private func resumePosition(from offset: UInt64) throws -> LSN? {
        var next = offset
        var firstOrdinal: UInt32?
        while next < self.log.durableEnd {
            let batch = try self.log.read(from: next, maxBytes: 1 << 20)
            guard !batch.records.isEmpty else { return nil }
            for record in batch.records {
                var payload = record.payload
                switch ChangeLogRecord.Kind(rawValue: record.kind) {
                case .piece:
                    if firstOrdinal == nil { firstOrdinal = payload.readInteger(as: UInt32.self) }
                case .transaction:
                    return try ChangeLogRecord.readHeader(&payload).commitLSN
                case .largeCommit:
                    let header = try ChangeLogRecord.readHeader(&payload)
                    return firstOrdinal == 0 ? header.commitLSN : header.endLSN
                default:
                    break
                }
            }
            next = batch.nextOffset
        }
        return nil
    }

    // MARK: - Reading

    /// The transactions after `position`, up to about `maximumBytes` of them. Blocks.
    func read(after position: LSN, maximumBytes: Int) throws -> FeedReadResult {
        guard position >= self.base else { return .behindWindow }
        do {
            let entries = try self.entries(after: position, maximumBytes: maximumBytes)
            // Why again: while it was read the log may have been trimmed, and the first record found may not be the next one.
            return position >= self.base ? .entries(entries) : .behindWindow
        } catch let error as StoreError where error.code == .trimmed {
            return .behindWindow
        }
    }

    private func entries(after position: LSN, maximumBytes: Int) throws -> [FeedEntry] {
        guard var next = try self.log.firstOffset(withKeyAtLeast: position.rawValue + 1) else { return [] }
        var entries: [FeedEntry] = []
        var bytes = 0
        var pieces: (key: UInt64, offsets: [UInt64])?
        while bytes < maximumBytes {
            let batch = try self.log.read(from: next, maxBytes: max(maximumBytes - bytes, 1 << 16))
            guard !batch.records.isEmpty else { break }
            next = batch.nextOffset
            for record in batch.records {
                guard bytes < maximumBytes || entries.isEmpty else { break }
                var payload = record.payload
                switch ChangeLogRecord.Kind(rawValue: record.kind) {
                case .transaction:
                    let header = try ChangeLogRecord.readHeader(&payload)
                    guard header.endLSN > position else { continue }
                    entries.append(
                        .whole(
                            CommittedTransaction(
                                header: header, relations: self.definitions(at: record.offset),
                                piece: TransactionPiece(bytes: payload))))
                    bytes += payload.readableBytes
                case .piece:
                    let ordinal = payload.readInteger(as: UInt32.self)
                    if ordinal == 0 { pieces = (record.key, []) }
                    pieces?.offsets.append(record.offset)
                case .largeCommit:
                    let header = try ChangeLogRecord.readHeader(&payload)
                    let count = payload.readInteger(as: UInt32.self) ?? 0
                    guard header.endLSN > position else { continue }
                    guard let before = pieces, before.key == ChangeLogRecord.key(ofPieceAt: header.commitLSN),
                        before.offsets.count == Int(count), let first = before.offsets.first
                    else {
                        throw ChangeLogError(reason: "the pieces of the transaction at \(header.endLSN) are missing")
                    }
                    entries.append(
                        .large(
                            LargeTransaction(
                                header: header, relations: self.definitions(at: first),
                                offsets: before.offsets + [record.offset])))
                    bytes += payload.readableBytes
                case .definition, .progress, nil:
                    break
                }
            }
        }
        return entries
    }

    private func definitions(at offset: UInt64) -> [UInt32: Relation] {
        self.state.withLock { $0.history.definitions(at: offset) }
    }

    /// One piece of a large transaction. Blocks.
    func piece(_ index: Int, of transaction: LargeTransaction) throws -> TransactionPiece {
        guard transaction.offsets.indices.contains(index) else {
            throw ChangeLogError(reason: "the transaction at \(transaction.header.endLSN) has no piece \(index)")
        }
        // Why one record at a time: pieces are large.
        guard let record = try self.log.read(from: transaction.offsets[index], maxBytes: 1).records.first else {
            throw ChangeLogError(reason: "a piece of the transaction at \(transaction.header.endLSN) is missing")
        }
        var payload = record.payload
        let headerLength: Int
        switch ChangeLogRecord.Kind(rawValue: record.kind) {
        case .piece: headerLength = 4
        case .largeCommit: headerLength = ChangeLogRecord.headerLength + 4
        default: throw ChangeLogError(reason: "a piece of the transaction at \(transaction.header.endLSN) is missing")
        }
        payload.moveReaderIndex(forwardBy: min(headerLength, payload.readableBytes))
        return TransactionPiece(bytes: payload)
    }
}
