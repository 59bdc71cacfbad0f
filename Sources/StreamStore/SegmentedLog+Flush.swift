import Synchronization
import NIOCore

/// The flusher's side. Everything here runs inside one of its passes, so one call at a time.
extension SegmentedLog {
    /// How far a pass came with this log.
    enum WriteOutcome {
        case nothing
        /// The last chunk is written and waits for its sync.
        case written(Chunk)
        /// The disk is full: to be tried again later.
        case diskFull
    }

    /// Writes what is pending; the sync of its last part is left to `finish(_:)`, so that several logs' writes can go
    /// before.
    func writePending() -> WriteOutcome {
        let chunks = self.state.withLock { state -> [Chunk] in
            state.isEnqueued = false
            switch state.condition {
            case .failed, .closed: return []
            case .healthy, .diskFull: break
            }
            state.inFlight += state.pending
            state.pending.removeAll(keepingCapacity: true)
            return state.inFlight
        }
        guard let last = chunks.last else { return .nothing }
        do throws(FileError) {
            for (index, chunk) in chunks.enumerated() {
                // Why: a chunk's headers claim that everything before the chunk is durable.
                if index > 0 { try self.sync(chunks[index - 1]) }
                try self.write(chunk)
            }
            return .written(last)
        } catch {
            return self.failed(error)
        }
    }

    /// Syncs what was written and publishes it.
    func finish(_ chunk: Chunk) {
        do throws(FileError) {
            try self.sync(chunk)
        } catch {
            _ = self.failed(error)
        }
    }

    private func write(_ chunk: Chunk) throws(FileError) {
        if chunk.startsSegment, self.state.withLock({ $0.segments[$0.segments.count - 1].file.base }) != chunk.offset {
            try self.giveBackRoom()
            // Why: a start takes damage for a write cut short in the last segment alone.
            if self.configuration.syncPolicy == .deferred { try self.syncLastSegment() }
            let file = try SegmentFile.create(
                base: chunk.offset, salt: self.salt, in: self.directory, fileSystem: self.fileSystem)
            self.state.withLock {
                $0.segments.append(Segment(file: file, durableEnd: chunk.offset, index: SegmentIndex()))
            }
        }
        let segment = self.state.withLock { $0.segments[$0.segments.count - 1].file }
        try chunk.bytes.writingAll(to: segment.file, at: segment.position(of: chunk.offset))
        try self.makeRoom(after: chunk)
    }

    /// Makes a written chunk durable, then visible.
    private func sync(_ chunk: Chunk) throws(FileError) {
        let segment = self.state.withLock { $0.segments[$0.segments.count - 1].file }
        guard self.configuration.syncPolicy == .everyFlush else { return self.publish(chunk, syncDuration: nil) }
        let clock = ContinuousClock()
        let start = clock.now
        try segment.file.sync()
        let duration = start.duration(to: clock.now)
        self.publish(chunk, syncDuration: duration)
    }

    /// Brings everything visible to the disk; for logs whose syncs are deferred, any thread. Blocks.
    ///
    /// - Throws: `io`, which fails the log; `failed`, `closed`.
    package func syncNow() throws(StoreError) {
        try self.checkUsable()
        do throws(FileError) {
            try self.syncLastSegment()
        } catch {
            let failure = StoreError(error)
            self.fail(with: failure)
            throw failure
        }
    }

    private func syncLastSegment() throws(FileError) {
        // Why taken together: what lies in earlier segments was synced before this one was made.
        let (segment, end, synced) = self.state.withLock { state in
            (state.segments[state.segments.count - 1].file, state.durableEnd, state.syncedEnd)
        }
        guard synced < end else { return }
        let clock = ContinuousClock()
        let start = clock.now
        try segment.file.sync()
        let duration = start.duration(to: clock.now)
        self.state.withLock { state in
            state.metrics.syncs.add(duration)
            state.syncedEnd = max(state.syncedEnd, end)
        }
    }

    private func publish(_ chunk: Chunk, syncDuration: Duration?) {
        let end = chunk.end
        let (served, durableObservers, conditionObservers, delivery, deliver) = self.state.withLock { state in
            let last = state.segments.count - 1
            state.metrics.batchCount += 1
            for record in chunk.records {
                state.segments[last].index.add(
                    offset: record.offset, key: record.key, spacing: self.configuration.indexSpacing)
            }
            state.segments[last].durableEnd = end
            if let syncDuration {
                state.metrics.syncs.add(syncDuration)
                state.syncedEnd = end
            }
            state.inFlight.removeFirst()
            var delivery: LogDelivery?
            if !chunk.attached.isEmpty {
                delivery = LogDelivery(items: chunk.attached, bytes: chunk.bytes)
                // Why: the owner may keep slices of this memory.
                state.capacityHint = min(chunk.bytes.readableBytes, Self.keptCapacity)
                chunk.bytes = ByteBuffer()
            }
            // Why a limit: one huge record must not keep its memory for the life of the log.
            if state.spare.count < 2, UInt64(chunk.bytes.capacity) <= 2 * self.configuration.pendingByteLimit {
                state.spare.append(chunk)
            }
            let wasFull = state.condition == .diskFull
            if wasFull { state.condition = .healthy }
            self.durable.store(end, ordering: .releasing)
            let hasRoom = self.hasRoom(state)
            let served = state.takeWaiters { waiter in waiter.end.map { $0 <= end } ?? hasRoom }
            return (
                served, state.durableObservers, wasFull ? state.conditionObservers : [], delivery,
                state.deliveryObserver
            )
        }
        self.flusher.served(served.count + (delivery?.items.count ?? 0), in: syncDuration ?? .zero)
        if let delivery { deliver?(delivery) }
        for waiter in served { waiter.body(.success(())) }
        for observer in durableObservers { observer(end) }
        for observer in conditionObservers { observer(.healthy) }
    }

    private func failed(_ fileError: FileError) -> WriteOutcome {
        let error = StoreError(fileError)
        guard error.code == .diskFull else {
            self.fail(with: error)
            return .nothing
        }
        let observers = self.state.withLock { state in
            state.metrics.diskFullCount += 1
            guard state.condition == .healthy else { return [@Sendable (LogCondition) -> Void]() }
            state.condition = .diskFull
            return state.conditionObservers
        }
        for observer in observers { observer(.diskFull) }
        return .diskFull
    }

    /// Most memory a chunk begins with.
    private static var keptCapacity: Int { 1 << 20 }

    /// Calls `body` with what became durable and had an attachment, on the thread that flushes, one call at a time. To
    /// be set before the first append.
    package func onDelivery(_ body: @escaping @Sendable (LogDelivery) -> Void) {
        self.state.withLock { $0.deliveryObserver = body }
    }

    /// Calls `body` with the attachments of records that will not become durable. To be set before the first append.
    package func onDrop(_ body: @escaping @Sendable ([any LogAttachment], StoreError) -> Void) {
        self.state.withLock { $0.dropObserver = body }
    }

    /// What was given along with the records that are not durable yet.
    package var waitingAttachments: [any LogAttachment] {
        self.state.withLock { state in (state.inFlight + state.pending).flatMap { $0.attached.map(\.attachment) } }
    }

    /// Fails the log for good.
    func fail(with error: StoreError) {
        let (waiters, observers, dropped, drop) = self.state.withLock { state in
            state.condition = .failed(error)
            let dropped = state.dropWaiting()
            defer { state.waiters = [] }
            return (state.waiters, state.conditionObservers, dropped, state.dropObserver)
        }
        if !dropped.isEmpty { drop?(dropped, error) }
        for waiter in waiters { waiter.body(.failure(error)) }
        for observer in observers { observer(.failed(error)) }
    }
}
