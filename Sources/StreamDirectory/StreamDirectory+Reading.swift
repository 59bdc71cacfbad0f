import DurableStreams
import NIOCore
import StreamStore
import Synchronization

extension StreamDirectory {
    /// Bytes of a stream from a position on: durable ones only, in modes that have durability.
    ///
    /// Ends where an append ends, at most `limit` bytes on, but holds at least one append if there is one. Renews the
    /// life of a stream with a sliding lifetime. May block for a short read of an index or a small file; large ranges
    /// are given as slices of files.
    ///
    /// - Returns: a reading that is empty at the tail; `invalidOffset` beyond it, and inside a message of JSON.
    package func read(
        _ name: String, identity: StreamIdentity? = nil, from position: UInt64, limit: Int, now: UInt64
    ) -> Result<StreamReading, StreamError> {
        let found = self.found(name, identity: identity, now: now) { entry, _ in
            self.touch(entry, now: now)
            return entry
        }
        do throws(StreamError) {
            return .success(try self.reading(of: try found.get(), from: position, limit: limit))
        } catch {
            return .failure(error)
        }
    }

    /// The same for a stream already found.
    func reading(of entry: StreamEntry, from position: UInt64, limit: Int) throws(StreamError) -> StreamReading {
        let view = self.shard(of: entry).withLock { entry.view }
        guard position <= view.tail else {
            throw StreamError(.invalidOffset, "The offset lies beyond the tail.", tail: view.tailOffset)
        }
        guard position >= view.earliest else { throw StreamState.offsetGone(earliest: view.earliest) }
        guard position < view.tail else {
            return StreamReading(view: view, start: position, end: position, pieces: [])
        }
        let end = min(view.tail, position &+ UInt64(max(limit, 1)))
        var gathering = Gathering(
            position: position, wanted: end < position ? view.tail : end,
            holdsMessages: view.contentType.isJSON && position > 0)
        try self.gather(from: entry, upTo: view.tail, into: &gathering)
        if gathering.isInsideMessage { throw Self.insideMessage }
        return StreamReading(
            view: view, start: position, end: gathering.position, pieces: gathering.finished())
    }

    /// Whether a position is one that a stream can be read from: not beyond the tail, nor inside a message. May block
    /// as a read does.
    package func checkPosition(_ position: UInt64, in view: StreamView, now: UInt64) throws(StreamError) {
        guard position <= view.tail else {
            throw StreamError(.invalidOffset, "The offset lies beyond the tail.", tail: view.tailOffset)
        }
        guard view.contentType.isJSON, position > 0, position < view.tail else { return }
        _ = try self.read(view.name, identity: view.identity, from: position, limit: 1, now: now).get()
    }

    private static var insideMessage: StreamError {
        StreamError(.invalidOffset, "The offset lies inside a message.")
    }

    /// What one reading has so far.
    struct Gathering {
        /// Where the next piece begins.
        var position: UInt64
        /// Not to go beyond, except with the first append.
        let wanted: UInt64
        private(set) var pieces: [StreamPiece] = []
        private var smallCount = 0
        /// It is of JSON, and must not begin inside a message.
        private let holdsMessages: Bool
        private(set) var isInsideMessage = false

        init(position: UInt64, wanted: UInt64, holdsMessages: Bool = false) {
            self.position = position
            self.wanted = wanted
            self.holdsMessages = holdsMessages
        }

        /// Whether ``begins(behind:)`` is to be called where the first piece is not all of its append.
        var looksBehind: Bool { self.holdsMessages && self.isEmpty }

        /// The reading begins inside an append; `skipped` is what stands in it before.
        mutating func begins(behind skipped: UnsafeRawBufferPointer) {
            guard self.looksBehind, !skipped.isEmpty else { return }
            if !StoredMessages.endWithMessage(skipped) { self.isInsideMessage = true }
        }

        var isEmpty: Bool { self.pieces.isEmpty }

        mutating func add(_ piece: StreamPiece, end: UInt64) {
            self.pieces.append(piece)
            if case .bytes(let bytes) = piece, bytes.readableBytes < 2048 { self.smallCount += 1 }
            self.position = end
        }

        /// Why: many small pieces cost more to send than to copy once.
        func finished() -> [StreamPiece] {
            guard self.smallCount > 4 else { return self.pieces }
            var result: [StreamPiece] = []
            var run: [ByteBuffer] = []
            func endRun() {
                guard run.count > 1 else {
                    result += run.map { .bytes($0) }
                    run = []
                    return
                }
                var joined = ByteBufferAllocator().buffer(capacity: run.reduce(0) { $0 + $1.readableBytes })
                for bytes in run { joined.writeImmutableBuffer(bytes) }
                result.append(.bytes(joined))
                run = []
            }
            for piece in self.pieces {
                if case .bytes(let bytes) = piece, bytes.readableBytes < 2048 {
                    run.append(bytes)
                } else {
                    endRun()
                    result.append(piece)
                }
            }
            endRun()
            return result
        }
    }

    /// Where a stream's bytes are at one moment.
    struct StoredPart {
        var identity: StreamIdentity
        var base: UInt64
        var end: UInt64
        var placement: StreamEntry.Placement
        var snapshotOffset: UInt64
        var indexCount: UInt64
        /// Nothing before this is read.
        var floor: UInt64
        /// Keeps the bytes there, of a stream that may be trimmed.
        var lease: ReadLease?
    }

    /// What a checkpoint has put away, of a stream that is read from a position on. The shard is locked.
    func stored(_ entry: StreamEntry, from position: UInt64) -> StoredPart {
        StoredPart(
            identity: entry.state.identity, base: entry.base, end: entry.checkpointedTail, placement: entry.placement,
            snapshotOffset: entry.snapshotOffset, indexCount: entry.indexCount, floor: entry.floor,
            lease: entry.trimming?.leases.begin(at: position))
    }

    /// Takes bytes of one stream, and of those it was forked from, up to `cap`, which is durable.
    private func gather(
        from entry: StreamEntry, upTo cap: UInt64, into gathering: inout Gathering
    ) throws(StreamError) {
        if gathering.position < entry.base, let source = self.shard(of: entry).withLock({ entry.source }) {
            try self.gather(from: source, upTo: min(cap, entry.base), into: &gathering)
            guard gathering.position >= entry.base, gathering.position < gathering.wanted || gathering.isEmpty else {
                return
            }
        }
        guard gathering.position < cap else { return }
        if case .acid(let engine) = self.engine {
            let lease = try self.leased(entry, from: gathering.position)
            defer { withExtendedLifetime(lease) {} }
            do throws(StreamError) {
                return try engine.read(
                    entry.state.identity, environment: entry.environment, upTo: cap, into: &gathering)
            } catch {
                if error == Self.damaged {
                    let path = engine.shards[Int(entry.environment)].environment.path
                    self.foundDamage(of: entry, StoreError(.corrupt, "a record cannot be read", file: path))
                }
                throw error
            }
        }
        // Again when a checkpoint moved what lay before it in the meantime.
        for _ in 0..<8 {
            var position = gathering.position
            let shard = self.shard(of: entry)
            let (stored, items) = try shard.withLock {
                () throws(StreamError) -> (StoredPart?, ArraySlice<TailBuffer.Item>) in
                if entry.isRemoved { throw Self.notFound }
                if entry.flags.contains(.isDamaged) { throw Self.damaged }
                try Self.checkFloor(of: entry, position)
                var stored: StoredPart?
                if position < entry.checkpointedTail {
                    stored = self.stored(entry, from: position)
                    position = entry.checkpointedTail
                }
                return (stored, entry.live?.tail.slice(from: position, upTo: min(cap, gathering.wanted)) ?? [])
            }
            if let stored {
                guard case .files(let engine) = self.engine else { throw StreamError(.internalError) }
                do throws(StoreError) {
                    try engine.read(stored, upTo: min(cap, stored.end), into: &gathering)
                } catch {
                    if error.code == .trimmed || (error.code == .io && error.systemError == SystemError.noEntry) {
                        continue
                    }
                    if error.code == .corrupt { self.foundDamage(of: entry, error) }
                    throw StreamError(error)
                }
            }
            // A fork that left its source where the stored part ends: what comes next is not the fork's.
            if gathering.position >= cap { return }
            for item in items {
                let start = item.end - UInt64(item.bytes.readableBytes)
                guard gathering.position >= start, gathering.position < item.end else {
                    // The stored part ended early: its bytes are enough.
                    return
                }
                let end = min(item.end, cap)
                guard end <= gathering.wanted || gathering.isEmpty else { return }
                let skipped = Int(gathering.position - start)
                if skipped > 0, gathering.looksBehind {
                    item.bytes.withUnsafeReadableBytes {
                        gathering.begins(behind: UnsafeRawBufferPointer(rebasing: $0[..<skipped]))
                    }
                }
                guard
                    let bytes = item.bytes.getSlice(
                        at: item.bytes.readerIndex + skipped, length: Int(end - start) - skipped)
                else { throw StreamError(.internalError) }
                gathering.add(.bytes(bytes), end: end)
                if gathering.position >= cap { return }
            }
            return
        }
        throw StreamError(.unavailable, "The stream is being moved.")
    }

    /// Keeps what a reading needs; nil for a stream that is never trimmed.
    private func leased(_ entry: StreamEntry, from position: UInt64) throws(StreamError) -> ReadLease? {
        guard let trimming = entry.trimming else { return nil }
        return try self.shard(of: entry).withLock { () throws(StreamError) in
            try Self.checkFloor(of: entry, position)
            return trimming.leases.begin(at: position)
        }
    }

    /// A reading that looked at the stream a moment ago may come too late. The shard is locked.
    private static func checkFloor(of entry: StreamEntry, _ position: UInt64) throws(StreamError) {
        guard let trimming = entry.trimming, position < trimming.floor else { return }
        throw StreamState.offsetGone(earliest: trimming.earliest)
    }

    static var damaged: StreamError {
        StreamError(.internalError, "The stored bytes of the stream are damaged.")
    }

    /// The append that begins at a position, or what is left of the one that holds it; nil at the tail. For exports.
    /// Blocks.
    package func nextAppend(
        of name: String, identity: StreamIdentity? = nil, after position: UInt64, now: UInt64
    ) -> Result<StoredAppend?, StreamError> {
        self.read(name, identity: identity, from: position, limit: 1, now: now).flatMap { reading in
            guard reading.end > position else { return .success(nil) }
            do throws(StoreError) {
                return .success(StoredAppend(end: reading.end, bytes: try reading.bytes()))
            } catch {
                return .failure(StreamError(error))
            }
        }
    }

    /// Into how many parts ``names(inPart:now:)`` divides the streams.
    package var partCount: Int { self.shards.count }

    /// The names of a part of the streams, in any order; soft-deleted ones are left out. Holds one lock for a moment.
    package func names(inPart part: Int, now: UInt64) -> [String] {
        var names: [String] = []
        let shard = self.shards[part]
        shard.withLock {
            names.reserveCapacity(shard.table.count)
            shard.table.forEach { entry in
                guard entry.isVisible, !entry.state.isSoftDeleted, !self.isExpired(entry, now: now) else { return }
                names.append(entry.state.name)
            }
        }
        return names
    }

    /// All streams, sorted by name; soft-deleted ones too. Holds each lock for a part of them only.
    package func list(now: UInt64) -> [StreamListing] {
        var all: [StreamListing] = []
        for shard in self.shards {
            shard.withLock {
                shard.table.forEach { entry in
                    guard entry.isVisible, !self.isExpired(entry, now: now) else { return }
                    all.append(
                        StreamListing(
                            view: entry.view, messageCount: entry.state.messageCount,
                            byteCount: entry.durableTail - min(entry.durableTail, entry.trimming?.earliest ?? 0),
                            isSoftDeleted: entry.state.isSoftDeleted,
                            forkCount: Int(entry.state.forkCount), environment: Int(entry.environment)))
                }
            }
        }
        // Bytewise, so that the order does not hang on the locale.
        return all.sorted { $0.view.name.utf8.lexicographicallyPrecedes($1.view.name.utf8) }
    }
}

extension TailBuffer {
    /// Appends from the one that holds a position up to those that a reading may want, at least one.
    func slice(from position: UInt64, upTo wanted: UInt64) -> ArraySlice<Item> {
        let first = self.firstIndex(endingAfter: position)
        guard first < self.items.count else { return [] }
        // One that ends beyond is wanted when it is the first.
        let last = wanted <= position ? first : min(self.firstIndex(endingAfter: wanted), self.items.count - 1)
        return self.items[first...max(first, last)]
    }
}

extension StreamError {
    /// For changes that were on their way when the storage failed or was closed: they may have happened or not.
    static func storageFailed(_ error: StoreError) -> StreamError {
        StreamError(
            .unavailable,
            error.code == .closed ? "The server is stopping." : "The storage has failed; the change may be lost.")
    }

    /// What a client is told of a fault of the storage; the rest is for the log.
    package init(_ error: StoreError) {
        switch error.code {
        case .diskFull: self.init(.insufficientStorage, "The disk is full.")
        case .recordTooLarge: self.init(.payloadTooLarge, "The request is too large for the storage.")
        case .failed, .closed, .locked: self.init(.unavailable, "The storage takes no requests.")
        case .corrupt: self.init(.internalError, "The stored bytes of the stream are damaged.")
        case .io where SystemError.tooManyFiles.contains(error.systemError ?? 0):
            self.init(.unavailable, "Too many files are open.")
        default: self.init(.internalError, "The storage has a fault.")
        }
    }
}
