import ChangeFeed
import DurableStreams
import ExactText
import Logging
import NIOCore
import PostgresClient
import PostgresWire
import StreamDirectory

/// The table as it is, joined to the feed.
extension TableFollower {
    /// What temporary streams are called: below a segment that no client can name.
    var temporaryPrefix: String {
        let name = self.flow.name.reduce(into: "") { result, letter in
            result += letter == "/" ? "%2F" : letter == "%" ? "%25" : String(letter)
        }
        return "\(StreamSelector.reserved)mirror/\(name)/"
    }

    /// Removes what earlier processes left behind.
    func removeTemporaries() async throws {
        for item in try await self.calls.list()
        where !item.isSoftDeleted && item.view.name.hasExactPrefix(self.temporaryPrefix) {
            try await self.calls.delete(item.view.name)
        }
    }

    /// Makes the target, complete from the first moment on: as a fork of the stream that the snapshot was written to.
    func createTarget(epoch: UInt64) async throws {
        let (temporary, description) = try await self.writeSnapshot(generation: 0, epoch: epoch)
        var body = ByteBuffer()
        description.write(as: .snapshotEnd, to: &body)
        // A request holds JSON, not the stored form.
        body.moveWriterIndex(to: body.writerIndex - 1)
        _ = try await self.calls.create(
            self.flow.target,
            CreateRequest(contentType: .json, fork: ForkRequest(sourceName: temporary.name), body: body))
        try await self.probe.reached(.targetCreated)
        try await self.calls.delete(temporary.name)
        try await self.probe.reached(.temporaryDeleted)
    }

    /// Brings a new snapshot into a target that is there already: behind everything that was in it before.
    ///
    /// - Parameter reason: why; nil for a stream with nothing in it, which needs no `must-refetch`.
    func fill(_ view: StreamView, generation: UInt32, reason: String?, epoch: UInt64) async throws {
        let (temporary, description) = try await self.writeSnapshot(generation: generation, epoch: epoch)
        let target = TargetStream(
            self.flow.target, tail: view.tail, calls: self.calls, limit: self.options.inFlightBytes)
        do {
            var part: UInt64 = 0
            func sequence() -> String {
                part += 1
                return MirrorSequence(generation: generation, anchor: 0, position: .zero, part: part).text
            }
            if let reason {
                var control = ByteBuffer()
                ChangeMessageEncoder(schema: self.flow.source.schema, table: self.flow.source.name, keyColumns: [])
                    .write(control: "must-refetch", reason: reason, to: &control)
                try await target.append(StreamPayload(bytes: control, messageCount: 1), sequence: sequence())
                try await self.probe.reached(.refetchAnnounced)
            }
            var position: UInt64 = 0
            while position < temporary.tail {
                let (reading, bytes) = try await self.calls.read(
                    temporary.name, identity: temporary.identity, from: position, limit: self.options.partBytes)
                var count = 0
                StoredMessages.forEach(in: bytes) { _ in count += 1 }
                try await target.append(StreamPayload(bytes: bytes, messageCount: count), sequence: sequence())
                position = reading.end
                try await self.probe.reached(.copyPartStored)
            }
            var end = ByteBuffer()
            description.write(as: .snapshotEnd, to: &end)
            let anchor = target.tail
            try await target.append(
                StreamPayload(bytes: end, messageCount: 1),
                sequence: MirrorSequence(
                    generation: generation, anchor: anchor, position: .zero, part: MirrorSequence.whole
                ).text)
            try await target.drain()
            try await self.probe.reached(.copyStored)
        } catch {
            await target.settle()
            throw error
        }
        try await self.calls.delete(temporary.name)
        try await self.probe.reached(.temporaryDeleted)
    }

    /// Reads the table in one snapshot into a stream that nobody sees.
    private func writeSnapshot(
        generation: UInt32, epoch: UInt64
    ) async throws -> (temporary: StreamView, description: SourceDescription) {
        self.change { $0.state = .snapshot }
        try await self.publish()
        let name = self.temporaryPrefix + "\(self.calls.now)-\(UInt64.random(in: 0 ... .max))"
        _ = try await self.calls.create(name, CreateRequest(contentType: .json))
        try await self.probe.reached(.temporaryCreated)
        let target = TargetStream(name, tail: 0, calls: self.calls, limit: self.options.inFlightBytes)
        do {
            let description = try await self.pool.withConnection { connection in
                try await self.copy(into: target, generation: generation, epoch: epoch, connection)
            }
            try await target.drain()
            guard self.feed.health.epoch == epoch else { throw Refetch(reason: "the change feed has begun anew") }
            try await self.probe.reached(.snapshotStored)
            return (try self.calls.lookup(name), description)
        } catch {
            await target.settle()
            if !(error is MirrorCrash) { try? await self.calls.delete(name) }
            throw error
        }
    }

    /// Makes sure that the feed carries the table, all of it from here on.
    private func publish() async throws {
        try await self.pool.withConnection { connection in
            var table = try await SourceTable.load(self.flow.source, publication: self.publication, connection)
            if !table.isPublished {
                guard self.flow.addsToPublication else {
                    throw MirrorError.fatal(
                        """
                        the table \(self.flow.source) is not in the publication: \
                        ALTER PUBLICATION \(self.publication) ADD TABLE \(self.flow.source)
                        """)
                }
                try await table.publish(in: self.publication, connection)
                table = try await SourceTable.load(self.flow.source, publication: self.publication, connection)
                self.logger.info(
                    "the table was added to the publication", metadata: ["flow": "\(self.flow.name)"])
            }
            try await table.waitForWriters(connection) {
                self.change { $0.problem = "transactions that were writing the table are waited for" }
                return self.isDraining
            }
        }
    }

    /// Opens a snapshot that sees everything the feed has brought, and copies the rows.
    private func copy(
        into target: TargetStream, generation: UInt32, epoch: UInt64, _ connection: PostgresConnection
    ) async throws -> SourceDescription {
        for attempt in 0..<200 {
            // Why the lock first: a change of the table's definition, or TRUNCATE, between the snapshot and the first row read would
            // show the table as it never was.
            try await connection.execute(
                """
                BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
                LOCK TABLE \(SQLText.identifier(self.flow.source.schema, self.flow.source.name)) IN ACCESS SHARE MODE
                """)
            guard let position = self.feed.position else {
                throw MirrorError.transient("the change feed is not running")
            }
            let facts = try await connection.query(
                """
                SELECT pg_catalog.pg_current_snapshot(), pg_catalog.pg_current_wal_insert_lsn(),
                       (SELECT system_identifier FROM pg_catalog.pg_control_system())
                """)
            guard let snapshot = facts[0, 0].flatMap({ TransactionSnapshot($0) }),
                let end = facts[0, 1].flatMap({ LSN($0) }), let system = facts[0, 2]
            else { throw PostgresError.client("the server did not describe its snapshot") }
            guard !self.feed.hasTransactionUnseen(by: snapshot, upTo: position) else {
                try await connection.execute("ROLLBACK")
                // Why: a commit that is in the stream becomes visible to others a moment later.
                try await Task.sleep(for: .milliseconds(min(1 + attempt, 50)))
                continue
            }
            let table = try await SourceTable.load(self.flow.source, publication: self.publication, connection)
            let presence = try await SourcePresence.load(
                self.flow.source, publication: self.publication, connection)
            var description = SourceDescription(
                generation: generation, epoch: epoch, systemIdentifier: system, schema: self.flow.source.schema,
                table: self.flow.source.name, oid: table.oid, columns: table.columns, position: position, end: end,
                snapshot: snapshot, publicationMark: presence.mark)
            description.numbers = presence.numbers
            description.storage = presence.storage
            try await self.copyRows(of: table, into: target, connection)
            try await connection.execute("COMMIT")
            return description
        }
        throw MirrorError.transient("a commit of the feed did not become visible in time")
    }

    private func copyRows(
        of table: SourceTable, into target: TargetStream, _ connection: PostgresConnection
    ) async throws {
        let encoder = ChangeMessageEncoder(
            schema: table.name.schema, table: table.name.name, keyColumns: table.keyColumns)
        let layout = encoder.layout(table.columns.map(\.name))
        let reader = try await connection.copyOut(table.copyStatement)
        var payload = StreamPayload.empty
        while let chunk = try await reader.nextChunk() {
            CopyRows.forEach(in: chunk) { row in
                encoder.write(
                    .insert, key: encoder.key(row, layout), row, layout, transaction: nil, to: &payload.bytes)
                payload.messageCount += 1
            }
            if payload.bytes.readableBytes >= self.options.partBytes {
                try await target.append(payload, sequence: nil)
                payload = .empty
                try await self.probe.reached(.snapshotPartStored)
            }
        }
        if payload.messageCount > 0 {
            try await target.append(payload, sequence: nil)
            try await self.probe.reached(.snapshotPartStored)
        }
    }
}
