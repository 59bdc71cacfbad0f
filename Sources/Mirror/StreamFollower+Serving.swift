import DurableStreams
import ExactText
import Logging
import NIOCore
import PostgresClient
import StreamDirectory
import Synchronization

/// What a worker does for one stream.
extension StreamFollower {
    /// Writes what a stream has. Throws only what a test's probe threw.
    func serve(_ name: String) async throws {
        let identity = self.state.withLock { state -> StreamIdentity? in
            guard state.records[name] != nil else { return nil }
            state.records[name]?.phase = .running
            state.records[name]?.isDirty = false
            return state.records[name]?.identity
        }
        guard let identity else { return }
        do {
            let more = try await self.serveOnce(name, identity)
            self.ended(name, identity, more: more)
        } catch let crash as MirrorCrash {
            throw crash
        } catch is CheckpointMoved {
            self.failed(name, identity, .transient("another worker moved the checkpoint"))
        } catch let error as StreamError where error.code == .notFound || error.code == .gone {
            await self.streamEnded(name, identity)
        } catch {
            if Task.isCancelled { return }
            self.failed(name, identity, MirrorFault(error))
        }
    }

    /// One reading of a stream. Returns whether there is more.
    func serveOnce(_ name: String, _ identity: StreamIdentity) async throws -> Bool {
        let view = try self.calls.lookup(name)
        guard view.identity == identity else { throw StreamError(.notFound) }
        let writer = try await self.batchWriter()
        var checkpoint: StreamCheckpoint
        if let known = self.state.withLock({ $0.records[name]?.checkpoint }) {
            checkpoint = known
        } else {
            checkpoint = try await self.checkpoints.open(
                name, view: StreamViewFacts(identity: identity.rawValue, tail: view.tail), start: self.flow.start)
            try await self.probe.reached(.checkpointLoaded)
        }
        self.keep(checkpoint, name, identity)
        let origin = StreamOrigin(
            name: name, identity: identity.rawValue, incarnation: checkpoint.incarnation,
            contentType: view.contentType.text, isJSON: view.contentType.isJSON)
        // One that has read nothing yet begins with what there is; of one that has, nothing may be missing.
        let start = checkpoint.position == 0 ? view.earliest : checkpoint.position
        guard start >= view.earliest else {
            throw MirrorError.fatal(
                """
                the stream has dropped \(view.earliest - start) bytes that were not read yet; to go on with what is kept: DELETE \
                FROM \(MirrorSchema.checkpoints) WHERE flow = \(SQLText.literal(self.flow.name)) AND stream = \
                \(SQLText.literal(name))
                """)
        }
        let part = try await self.read(origin, identity, from: start)
        try await self.probe.reached(.batchRead)
        if part.messages.isEmpty {
            if part.isFinal, !checkpoint.isFinished {
                let outcome = try await writer.write([], of: origin, checkpoint: &checkpoint, finishes: true)
                self.keep(checkpoint, name, identity, outcome: outcome)
            }
            return false
        }
        var rest = part.messages[...]
        while !rest.isEmpty {
            let batch = rest.prefix(self.flow.batchSize)
            rest = rest.dropFirst(batch.count)
            let outcome = try await writer.write(
                batch, of: origin, checkpoint: &checkpoint, finishes: part.isFinal && rest.isEmpty)
            self.keep(checkpoint, name, identity, outcome: outcome, messages: batch.count)
            if self.isDraining { return false }
        }
        return !part.isAtTail
    }

    struct Part {
        var messages: [StreamMessage] = []
        var isAtTail = false
        var isFinal = false
    }

    func read(_ origin: StreamOrigin, _ identity: StreamIdentity, from position: UInt64) async throws -> Part {
        var part = Part()
        if origin.isJSON {
            let (reading, bytes) = try await self.calls.read(
                origin.name, identity: identity, from: position, limit: self.options.readBytes)
            part.isAtTail = reading.isAtTail
            part.isFinal = reading.isFinal
            var end = position
            let isWhole = StoredMessages.forEach(in: bytes) { message in
                end += UInt64(message.readableBytes) + 1
                part.messages.append(StreamMessage(bytes: message, end: end))
            }
            guard isWhole else { throw MirrorError.fatal("the stream holds something that is no JSON") }
            return part
        }
        // Other types one append at a time: only so is it known where each ends.
        var byteCount = 0
        var end = position
        while byteCount < self.options.readBytes, part.messages.count < self.flow.batchSize {
            guard let append = try await self.calls.append(of: origin.name, identity: identity, at: end) else { break }
            part.messages.append(StreamMessage(bytes: append.bytes, end: append.end))
            byteCount += append.bytes.readableBytes
            end = append.end
        }
        let view = try self.calls.lookup(origin.name)
        part.isAtTail = end >= view.tail
        part.isFinal = part.isAtTail && view.isClosed && view.identity == identity
        return part
    }

    // MARK: What came of it

    func keep(
        _ checkpoint: StreamCheckpoint, _ name: String, _ identity: StreamIdentity,
        outcome: BatchWriter.Outcome? = nil, messages: Int = 0
    ) {
        self.state.withLock { state in
            guard var record = state.records[name], record.identity == identity else { return }
            record.checkpoint = checkpoint
            if record.status.state != .following, !checkpoint.isFinished { record.status.state = .following }
            if let outcome {
                record.status.batches += outcome.transactions
                record.status.deadLetters += outcome.letters
                record.status.messages += UInt64(messages)
                record.status.problem = nil
                record.backoff.reset()
            }
            if checkpoint.isFinished { record.status.state = .finished }
            state.records[name] = record
        }
    }

    func ended(_ name: String, _ identity: StreamIdentity, more: Bool) {
        self.state.withLock { state in
            guard var record = state.records[name] else { return }
            // Another stream of the name has come meanwhile: its lease is the same.
            if record.identity != identity {
                record.phase = .due(.now)
                state.due.insert(name)
            } else if more || record.isDirty {
                record.phase = .due(more ? .now : .now + self.flow.batchDelay)
                state.due.insert(name)
            } else {
                record.phase = .idle
                record.behindSince = nil
            }
            if record.identity == identity, record.status.state == .retrying { record.status.state = .following }
            state.records[name] = record
        }
        self.wakeup.set()
    }

    func failed(_ name: String, _ identity: StreamIdentity, _ fault: MirrorFault) {
        if fault.isFatal { self.writer.withLock { $0 = nil } }
        let isNew = self.state.withLock { state -> Bool in
            guard var record = state.records[name] else { return false }
            let isNew = record.status.problem != fault.reason
            record.checkpoint = nil
            record.status.problem = fault.reason
            record.status.retries += 1
            record.status.state = fault.isFatal ? .failed : .retrying
            let pause = fault.isFatal ? self.options.fatalRetry : record.backoff.next()
            record.phase = .due(.now + (record.identity == identity ? pause : .zero))
            state.due.insert(name)
            state.records[name] = record
            return isNew
        }
        if isNew { self.log("the stream cannot be written to the table", fault, stream: name) }
        self.wakeup.set()
    }

    /// The stream is no longer there.
    func streamEnded(_ name: String, _ identity: StreamIdentity) async {
        let isCurrent = self.state.withLock { $0.records[name]?.identity == identity }
        guard isCurrent else { return self.ended(name, identity, more: true) }
        do {
            try await self.checkpoints.end(name, identity: identity.rawValue, state: "deleted")
        } catch {
            return self.failed(name, identity, MirrorFault(error))
        }
        let (isGone, observer) = self.state.withLock { state -> (Bool, TailObserver?) in
            guard state.records[name]?.identity == identity else { return (false, nil) }
            state.records[name]?.phase = .gone
            state.records[name]?.status.state = .gone
            state.records[name]?.behindSince = nil
            defer {
                state.records[name]?.observer = nil
                // Why: names that come once and never again must not fill the memory.
                if state.records.count > Self.goneLimit { state.records[name] = nil }
            }
            return (true, state.records[name]?.observer)
        }
        // Another stream of the name has come meanwhile, and waits for this worker.
        guard isGone else { return self.ended(name, identity, more: true) }
        if let observer { self.calls.directory.cancel(observer, now: self.calls.now) }
        self.logger.info("a mirrored stream was deleted", metadata: ["flow": "\(self.flow.name)", "stream": "\(name)"])
        await self.leases.release(flow: self.flow.name, name)
        self.wakeup.set()
    }
}
