import DurableStreams
import NIOCore
import StreamStore

extension FileEngine {
    /// Bytes that a checkpoint has put away, up to `cap`. Blocks.
    func read(
        _ stored: StreamDirectory.StoredPart, upTo cap: UInt64, into gathering: inout StreamDirectory.Gathering
    ) throws(StoreError) {
        switch stored.placement {
        case .none: throw StoreError(.corrupt, "bytes of a stream are nowhere")
        case .inline: try self.readInline(stored, upTo: cap, into: &gathering)
        case .files: try self.readFiles(stored, upTo: cap, into: &gathering)
        }
    }

    /// The snapshot at an offset; its checksum was checked.
    func snapshot(at offset: UInt64) throws(StoreError) -> SnapshotRecord {
        guard let record = try self.metadata.read(from: offset, maxBytes: 1).records.first,
            let snapshot = SnapshotRecord(decoding: record.payload)
        else {
            throw StoreError(.corrupt, "there is no snapshot", file: self.metadata.directory, offset: offset)
        }
        return snapshot
    }

    private func readInline(
        _ stored: StreamDirectory.StoredPart, upTo cap: UInt64, into gathering: inout StreamDirectory.Gathering
    ) throws(StoreError) {
        let snapshot = try self.snapshot(at: stored.snapshotOffset)
        guard snapshot.state.identity == stored.identity else {
            throw StoreError(.corrupt, "a snapshot of another stream", offset: stored.snapshotOffset)
        }
        let first = max(stored.base, snapshot.start)
        var start = first
        for append in snapshot.appends {
            defer { start = append.end }
            guard append.end > gathering.position else { continue }
            let end = min(append.end, cap)
            guard end <= gathering.wanted || gathering.isEmpty else { return }
            let from = gathering.position
            guard from >= start, from < end,
                let bytes = snapshot.bytes.getSlice(
                    at: snapshot.bytes.readerIndex + Int(from - first), length: Int(end - from))
            else { throw StoreError(.corrupt, "a snapshot does not fit its stream", offset: stored.snapshotOffset) }
            if from > start, gathering.looksBehind {
                snapshot.bytes.withUnsafeReadableBytes {
                    gathering.begins(
                        behind: UnsafeRawBufferPointer(
                            rebasing: $0[Int(start - stored.base)..<Int(from - stored.base)]))
                }
            }
            gathering.add(.bytes(bytes), end: end)
            if end == cap { return }
        }
    }

    private func readFiles(
        _ stored: StreamDirectory.StoredPart, upTo cap: UInt64, into gathering: inout StreamDirectory.Gathering
    ) throws(StoreError) {
        let files = try self.pool.files(of: stored.identity)
        let position = gathering.position
        let count = stored.indexCount
        var end = cap
        if gathering.wanted < cap {
            let after = try files.firstEntry(endingAfter: gathering.wanted, count: count)
            let before = after > 0 ? try files.entry(after - 1).end : stored.floor
            if before > position {
                end = before
            } else {
                guard gathering.isEmpty, after < count else { return }
                end = min(cap, try files.entry(after).end)
            }
        }
        guard end > position else { throw StoreError(.corrupt, "the index does not fit", file: files.index.path) }
        if position > stored.base, gathering.looksBehind {
            try self.lookBehind(position, stored, files, &gathering)
        }
        let byteCount = Int(end - position)
        if byteCount <= self.configuration.verifiedReadLimit,
            let bytes = try self.verified(stored, files, position..<end)
        {
            gathering.add(.bytes(bytes), end: end)
            return
        }
        gathering.add(
            .file(
                StoreFileSlice(
                    file: stored.lease.map { LeasedFile(files.data, $0) } ?? files.data,
                    offset: position - stored.base, count: byteCount)), end: end)
    }

    /// Looks at what stands before a position in the append that holds it.
    private func lookBehind(
        _ position: UInt64, _ stored: StreamDirectory.StoredPart, _ files: StreamFiles,
        _ gathering: inout StreamDirectory.Gathering
    ) throws(StoreError) {
        let first = try files.firstEntry(endingAfter: position, count: stored.indexCount)
        let start = first > 0 ? try files.entry(first - 1).end : stored.base
        guard start < position else { return }
        func bytes(from start: UInt64) throws(StoreError) -> ByteBuffer {
            try StoreFileSlice(file: files.data, offset: start - stored.base, count: Int(position - start)).read()
        }
        // Why the last one first: that the others are wanted is seldom.
        let last = try bytes(from: position - 1)
        let isCandidate = last.readableBytesView.first == UInt8(ascii: ",")
        (isCandidate ? try bytes(from: start) : last).withUnsafeReadableBytes { gathering.begins(behind: $0) }
    }

    /// A range read and checked against its checksums; nil if appends around it are too large for that.
    private func verified(
        _ stored: StreamDirectory.StoredPart, _ files: StreamFiles, _ range: Range<UInt64>
    ) throws(StoreError) -> ByteBuffer? {
        let first = try files.firstEntry(endingAfter: range.lowerBound, count: stored.indexCount)
        let last = try files.firstEntry(endingAfter: range.upperBound - 1, count: stored.indexCount)
        guard last < stored.indexCount, first <= last else {
            throw StoreError(.corrupt, "the index does not fit", file: files.index.path)
        }
        // Where an entry was given back, the floor is where the next one begins.
        let start = max(stored.floor, first > 0 ? try files.entry(first - 1).end : 0)
        let entries = try files.entries(first..<last + 1)
        guard let end = entries.last?.end, start <= range.lowerBound, end >= range.upperBound else {
            throw StoreError(.corrupt, "the index does not fit", file: files.index.path)
        }
        guard end - start <= UInt64(4 * self.configuration.verifiedReadLimit) else { return nil }
        let bytes = try StoreFileSlice(file: files.data, offset: start - stored.base, count: Int(end - start)).read()
        try Self.check(bytes, from: start, against: entries, file: files.data.path)
        return bytes.getSlice(at: Int(range.lowerBound - start), length: range.count)
    }

    static func check(
        _ bytes: ByteBuffer, from start: UInt64, against entries: [StreamFiles.Entry], file: String
    ) throws(StoreError) {
        var position = start
        for entry in entries {
            guard entry.end >= position,
                let slice = bytes.getSlice(
                    at: bytes.readerIndex + Int(position - start), length: Int(entry.end - position)),
                appendChecksum(slice) == entry.checksum
            else { throw StoreError(.corrupt, "an append fails its checksum", file: file, offset: position) }
            position = entry.end
        }
    }

    /// Reads everything that a checkpoint has put away of one stream and checks it. Blocks.
    func verify(_ stored: StreamDirectory.StoredPart) throws(StoreError) {
        switch stored.placement {
        case .none: return
        case .inline:
            let snapshot = try self.snapshot(at: stored.snapshotOffset)
            try Self.check(
                snapshot.bytes, from: max(stored.base, snapshot.start), against: snapshot.appends,
                file: self.metadata.directory)
        case .files:
            let files = try self.pool.files(of: stored.identity)
            var position = stored.floor
            var number = try files.firstEntry(endingAfter: position, count: stored.indexCount)
            while number < stored.indexCount {
                var entries = try files.entries(number..<min(stored.indexCount, number + 1024))
                // Bounded pieces, but an append is checked as a whole.
                if let index = entries.firstIndex(where: { $0.end > position + 1 << 20 }) {
                    entries.removeLast(entries.count - max(index, 1))
                }
                guard let end = entries.last?.end, end >= position, end <= stored.end else {
                    throw StoreError(.corrupt, "the index does not fit", file: files.index.path)
                }
                let bytes = try StoreFileSlice(
                    file: files.data, offset: position - stored.base, count: Int(end - position)
                ).read()
                try Self.check(bytes, from: position, against: entries, file: files.data.path)
                position = end
                number += UInt64(entries.count)
            }
            guard position == stored.end else {
                throw StoreError(.corrupt, "the index ends early", file: files.index.path)
            }
        }
    }
}

extension StreamDirectory {
    /// Reads every stored byte and checks it. Blocks for as long as that takes; streams stay in use meanwhile.
    ///
    /// - Parameter body: Gets each stream's name, and what is wrong with it.
    package func verify(_ body: (String, StoreError?) -> Void) {
        for shard in self.shards {
            var entries: [StreamEntry] = []
            shard.withLock { shard.table.forEach { entries.append($0) } }
            for entry in entries {
                switch self.engine {
                case .memory: body(entry.state.name, nil)
                case .acid(let engine): body(entry.state.name, engine.verify(entry))
                case .files(let engine): body(entry.state.name, self.verify(entry, engine))
                }
            }
        }
    }

    private func verify(_ entry: StreamEntry, _ engine: FileEngine) -> StoreError? {
        for _ in 0..<8 {
            let stored = self.shard(of: entry).withLock { () -> StoredPart? in
                guard !entry.isRemoved, entry.checkpointedTail > entry.base else { return nil }
                return self.stored(entry, from: entry.floor)
            }
            guard let stored else { return nil }
            do throws(StoreError) {
                try engine.verify(stored)
                return nil
            } catch {
                // A checkpoint has moved it.
                if error.code == .trimmed || self.shard(of: entry).withLock({ entry.isRemoved }) { continue }
                if error.code == .corrupt {
                    self.shard(of: entry).withLock { _ = entry.flags.insert(.isDamaged) }
                }
                return error
            }
        }
        return nil
    }
}
