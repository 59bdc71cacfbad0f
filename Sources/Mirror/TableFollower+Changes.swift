import ChangeFeed
import DurableStreams
import ExactText
import NIOCore
import PostgresClient
import PostgresWire
import StreamDirectory
import Synchronization

/// The feed's transactions, one after the other.
extension TableFollower {
    /// Follows the feed until drained. Throws `Refetch` when the stream can not be continued.
    func follow(_ place: inout Place, gotOn: () -> Void) async throws {
        do {
            try await self.followFeed(&place, gotOn: gotOn)
        } catch {
            // Why: nothing may be on its way when the stream is looked at again.
            await place.target.settle()
            throw error
        }
    }

    private func followFeed(_ place: inout Place, gotOn: () -> Void) async throws {
        var encoder = TransactionEncoder(place.table, columns: place.description.columns)
        var boundary: SourceDescription? = place.description
        var saved = place.position
        var nextSave = ContinuousClock.now + self.options.progressInterval
        while !Task.isCancelled {
            let isDraining = self.isDraining
            if isDraining || ContinuousClock.now >= nextSave {
                if saved < place.position { try await self.saveProgress(place) }
                saved = place.position
                nextSave = .now + self.options.progressInterval
                if !isDraining { try await self.checkSource(place) }
            }
            if isDraining { return try await place.target.drain() }
            let entries = try await self.entries(after: place.position, epoch: place.description.epoch)
            guard !entries.isEmpty else {
                try await place.target.drain()
                gotOn()
                self.state.withLock { $0.behindSince = nil }
                await self.wakeup.wait(for: self.options.progressInterval)
                try self.checkTarget(place)
                continue
            }
            self.state.withLock { if $0.behindSince == nil { $0.behindSince = .now } }
            for entry in entries {
                let header = entry.header
                if let limit = boundary, header.endLSN > limit.end { boundary = nil }
                if let limit = boundary, limit.snapshot.sees(header.xid) {
                    // Definitions inside may be new all the same; the snapshot's columns already are.
                } else {
                    try await self.publish(entry, &place, &encoder)
                }
                place.position = header.endLSN
                let position = place.position
                self.state.withLock { $0.position = position }
                if self.isDraining { break }
            }
        }
    }

    /// What follows a position, of this very history.
    private func entries(after position: LSN, epoch: UInt64) async throws -> [FeedEntry] {
        let refetch = Refetch(reason: "the change feed has begun anew")
        guard let now = self.feed.health.epoch else {
            _ = try await self.waitForFeed()
            throw MirrorError.transient("the change feed was started")
        }
        guard now == epoch else { throw refetch }
        let entries: [FeedEntry]
        if let recent = self.feed.recent(after: position) {
            entries = recent
        } else {
            switch try await self.feed.read(after: position) {
            case .entries(let read): entries = read
            case .behindWindow:
                guard self.feed.health.epoch != nil else {
                    throw MirrorError.transient("the change feed is not running")
                }
                throw Refetch(reason: "the change log does not reach back to where the stream ends")
            }
        }
        // Why again: a new history may have begun in between.
        guard self.feed.health.epoch == epoch else { throw refetch }
        return entries
    }

    /// Finds out that somebody has deleted the stream while nothing was to be written.
    private func checkTarget(_ place: Place) throws {
        let view = try? self.calls.lookup(self.flow.target)
        guard let view, view.identity == place.identity else {
            throw MirrorError.transient("the stream \(self.flow.target) was deleted")
        }
    }

    // MARK: One transaction

    private func publish(_ entry: FeedEntry, _ place: inout Place, _ encoder: inout TransactionEncoder) async throws {
        var skipped: UInt64 = 0
        if let partial = place.partial {
            if partial.position == entry.header.endLSN { skipped = partial.count }
            place.partial = nil
        }
        encoder.begin(entry, skipping: skipped)
        switch entry {
        case .whole(let transaction):
            guard encoder.concerns(transaction.piece) else { return }
            try await self.publish(transaction.piece, &place, &encoder)
        case .large(let large):
            for index in 0..<large.pieceCount {
                let piece = try await self.feed.piece(index, of: large)
                guard encoder.concerns(piece) else { continue }
                try await self.publish(piece, &place, &encoder)
            }
        }
        if encoder.payload.messageCount > 0 {
            try await self.store(&place, &encoder, part: MirrorSequence.whole)
            try await self.probe.reached(.transactionStored)
        }
    }

    private func publish(
        _ piece: TransactionPiece, _ place: inout Place, _ encoder: inout TransactionEncoder
    ) async throws {
        var rest = piece.bytes
        while rest.readableBytes > 0 {
            guard let length = rest.readInteger(as: UInt32.self), let message = rest.readSlice(length: Int(length))
            else {
                throw ReplicationDecodingError(kind: nil, reason: "a transaction piece is cut short")
            }
            // Why before and not after: the last part of a transaction must never be empty.
            if encoder.payload.bytes.readableBytes >= self.options.partBytes {
                try await self.store(&place, &encoder, part: encoder.count)
                try await self.probe.reached(.transactionPartStored)
            }
            switch try encoder.take(message) {
            case .done: break
            case .unknownRelation(let oid): try await self.learn(oid, &place, &encoder)
            case .columnsChanged(let columns): try await self.columnsChanged(columns, &place, &encoder)
            case .refetch(let reason): throw Refetch(reason: reason)
            }
        }
    }

    private func store(_ place: inout Place, _ encoder: inout TransactionEncoder, part: UInt64) async throws {
        let sequence = MirrorSequence(
            generation: place.description.generation, anchor: place.anchor, position: encoder.header.endLSN, part: part)
        let payload = encoder.takePayload()
        try await place.target.append(payload, sequence: sequence.text)
        self.change {
            $0.batches += 1
            $0.messages += UInt64(payload.messageCount)
        }
    }

    /// A relation that has not come by before: a new partition of the table, or nothing of ours.
    private func learn(_ oid: UInt32, _ place: inout Place, _ encoder: inout TransactionEncoder) async throws {
        let result = try await self.pool.query(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_partition_tree($1::pg_catalog.oid) AS t WHERE t.relid = $2::pg_catalog.oid)",
            [.text(String(place.table.oid)), .text(String(oid))])
        encoder.learned(oid, isOurs: result.boolean(0, 0) == true)
    }

    /// The table has other columns now. What rows that are there have in them is known only when nothing was filled in or converted.
    private func columnsChanged(
        _ columns: [SourceColumn], _ place: inout Place, _ encoder: inout TransactionEncoder
    ) async throws {
        guard !encoder.isCatchingUp else {
            throw Refetch(reason: "columns were changed in a transaction stored in part")
        }
        let before = ExactDictionary(firstOf: place.description.columns.map { ($0.name, $0) })
        let after = ExactDictionary(firstOf: columns.map { ($0.name, $0) })
        let added = columns.filter { before[$0.name] == nil }
        let removed = place.description.columns.filter { after[$0.name] == nil }
        let changed = columns.contains { column in before[column.name].map { $0 != column } ?? false }
        guard !changed, added.isEmpty || removed.isEmpty else {
            throw Refetch(reason: "columns of the table were changed")
        }
        if !added.isEmpty {
            let names = added.map { SQLText.literal($0.name) }.joined(separator: ", ")
            let filled = try await self.pool.query(
                """
                SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute
                               WHERE attrelid = $1::pg_catalog.oid AND attname IN (\(names))
                                     AND NOT attisdropped AND (atthasdef OR atthasmissing OR attidentity <> ''))
                """, [.text(String(place.table.oid))])
            if filled.boolean(0, 0) == true { throw Refetch(reason: "a column with a default was added to the table") }
        }
        // The key may be another one now.
        let (table, presence) = try await self.pool.withConnection { connection in
            (
                try await SourceTable.load(self.flow.source, publication: self.publication, connection),
                try await SourcePresence.load(self.flow.source, publication: self.publication, connection)
            )
        }
        guard table.oid == place.table.oid else { throw Refetch(reason: "the table is another one") }
        // A default that has been taken away again has left its values, for which all rows were written anew.
        if !added.isEmpty, let storage = place.description.storage, storage != presence.storage {
            throw Refetch(reason: "a column was added, and the rows of the table were written anew")
        }
        if presence.hasOtherColumns(than: place.description) {
            throw Refetch(reason: "columns of the table were renamed or made anew")
        }
        guard areExactly(table.keyColumns, place.table.keyColumns) else {
            throw Refetch(reason: "the key of the table was changed")
        }
        // The description must be the first message of its append, where the next start looks for it.
        if encoder.payload.messageCount > 0 {
            try await self.store(&place, &encoder, part: encoder.count)
            try await self.probe.reached(.transactionPartStored)
        }
        place.table = table
        place.description.columns = columns
        place.description.numbers = presence.numbers
        place.anchor = place.target.tail
        encoder.describe(place.description)
    }
}
