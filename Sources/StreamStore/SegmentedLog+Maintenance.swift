import Synchronization

extension SegmentedLog {
    /// Deletes segments that hold nothing at or after `offset`; never the one being written. Durable on return. Blocks.
    ///
    /// Readers inside a deleted segment finish their read. Frees room on a full disk.
    /// - Returns: the new first offset, which is at most `offset`.
    @discardableResult
    package func trim(before offset: UInt64) throws(StoreError) -> UInt64 {
        try self.flusher.exclusively { () throws(StoreError) in
            try self.checkUsable()
            while true {
                let victim = self.state.withLock { state in
                    state.segments.count > 1 && state.segments[0].durableEnd <= offset ? state.segments[0].file : nil
                }
                guard let victim else { break }
                self.state.withLock { _ = $0.segments.removeFirst() }
                try self.remove(victim)
            }
            self.flusher.retryNow()
            return self.firstOffset
        }
    }

    /// Cuts off everything from `offset` on: for the owner, to remove an unfinished unit of several records at the end
    /// after opening, before anything is appended or read by others. Durable on return. Blocks.
    package func truncate(to offset: UInt64) throws(StoreError) {
        try self.flusher.exclusively { () throws(StoreError) in
            try self.checkUsable()
            let (first, end, next) = self.state.withLock { ($0.segments[0].file.base, $0.durableEnd, $0.nextOffset) }
            guard end == next else { throw StoreError(.invalidState, "records are waiting to be written") }
            guard offset >= first, offset <= end else {
                throw StoreError(.outOfRange, "the log goes from \(first) to \(end)", offset: offset)
            }
            guard offset < end else { return }
            if self.configuration.syncPolicy == .deferred { try self.syncNow() }
            let kept = self.state.withLock { $0.segments.last { $0.file.base <= offset } }
            guard let kept else { throw StoreError(.outOfRange, "no segment holds it", offset: offset) }
            // Reading also proves that a record begins there.
            var index = SegmentIndex()
            var headers = HeaderScanner(segment: kept.file, offset: kept.file.base, end: kept.durableEnd)
            var isRecordStart = offset == kept.file.base
            while let (position, header) = try headers.next() {
                if position >= offset {
                    isRecordStart = position == offset
                    break
                }
                index.add(offset: position, key: header.key, spacing: self.configuration.indexSpacing)
            }
            guard isRecordStart else { throw StoreError(.outOfRange, "no record begins there", offset: offset) }

            // Why first: a crash from here on must not find less than what the floor promises.
            try self.floor.write(offset)
            // Why from the end, one by one: a crash must not leave a hole.
            while true {
                let victim = self.state.withLock { state -> SegmentFile? in
                    guard let last = state.segments.last, last.file.base > kept.file.base else { return nil }
                    state.segments.removeLast()
                    return last.file
                }
                guard let victim else { break }
                try self.remove(victim)
            }
            do throws(FileError) {
                try kept.file.file.truncate(to: kept.file.position(of: offset))
                try kept.file.file.syncAll()
            } catch {
                throw self.failing(error)
            }
            self.state.withLock { state in
                let last = state.segments.count - 1
                state.segments[last].durableEnd = offset
                state.segments[last].roomEnd = offset
                state.segments[last].index = index
                state.appendBase = kept.file.base
                state.nextOffset = offset
                state.syncedEnd = min(state.syncedEnd, offset)
                self.durable.store(offset, ordering: .releasing)
            }
        }
    }

    /// Writes what is pending, then gives the directory free. Blocks. A second call does nothing.
    ///
    /// - Throws: what kept pending records from becoming durable; the log is closed all the same.
    package func close() throws(StoreError) {
        let isFirst = self.state.withLock { state in
            defer { state.isClosing = true }
            return !state.isClosing
        }
        guard isFirst else { return }
        self.flusher.flushPending()
        try self.flusher.exclusively { () throws(StoreError) in
            var failure: StoreError?
            if self.configuration.syncPolicy == .deferred {
                do throws(StoreError) { try self.syncNow() } catch { failure = error }
            }
            let (condition, end, next, waiters, observers, dropped, drop) = self.state.withLock { state in
                let condition = state.condition
                let waiters = state.waiters
                state.condition = .closed
                state.waiters = []
                let dropped = state.dropWaiting()
                return (
                    condition, state.durableEnd, state.nextOffset, waiters, state.conditionObservers, dropped,
                    state.dropObserver
                )
            }
            defer { self.lock.release() }
            if !dropped.isEmpty { drop?(dropped, StoreError(.closed, "the log is closed")) }
            for waiter in waiters { waiter.body(.failure(StoreError(.closed, "the log is closed"))) }
            for observer in observers { observer(.closed) }
            switch condition {
            case .failed(let error): throw error
            case .closed: return
            case .healthy, .diskFull: break
            }
            if let failure { throw failure }
            // Zeros that stay do no harm.
            try? self.giveBackRoom()
            guard end == next else { throw StoreError(.diskFull, "\(next - end) bytes could not be written") }
            try self.floor.write(end)
        }
    }

    /// Removes a segment's file durably.
    private func remove(_ segment: SegmentFile) throws(StoreError) {
        do throws(FileError) {
            try self.fileSystem.unlink(segment.path)
            try self.fileSystem.syncDirectory(self.directory)
        } catch {
            throw self.failing(error)
        }
    }

    /// Why: a file that may or may not be there after the next start is a state nobody can go on from.
    private func failing(_ fileError: FileError) -> StoreError {
        let error = StoreError(fileError)
        self.fail(with: error)
        return error
    }

    func checkUsable() throws(StoreError) {
        switch self.condition {
        case .healthy, .diskFull: return
        case .failed(let error): throw StoreError(.failed, "the log failed earlier: \(error)")
        case .closed: throw StoreError(.closed, "the log is closed")
        }
    }
}
