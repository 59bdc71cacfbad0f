import DurableStreams

/// What the streams must be after a number of changes: a model that knows nothing of storage.
struct DirectoryModel: Equatable {
    struct Producer: Equatable {
        var epoch: UInt64
        var seq: UInt64
    }

    struct Stream: Equatable {
        /// Tells streams of one name apart.
        var incarnation: Int
        /// Inherited bytes included.
        var content: [UInt8] = []
        /// Where appends end, those of inherited bytes included.
        var ends: Set<UInt64> = []
        var isClosed = false
        var producers: [String: Producer] = [:]
        var sequence: String?
        var deadline: UInt64?
        var source: Int?
        var isSoftDeleted = false
        var forkCount = 0
        /// The bound on bytes, and where the stream begins because of it.
        var retention: UInt64?
        var earliest: UInt64 = 0

        /// Where it would begin after a trimming.
        func trimmed(durable: UInt64) -> UInt64 {
            guard let retention = self.retention, durable > retention else { return self.earliest }
            return max(self.earliest, self.ends.filter { $0 <= durable - retention }.max() ?? 0)
        }
    }

    var streams: [String: Stream] = [:]

    subscript(name: String) -> Stream? { self.streams[name] }

    func name(of incarnation: Int) -> String? {
        self.streams.first { $0.value.incarnation == incarnation }?.key
    }

    /// Removes a stream as its owner or its time does.
    mutating func delete(_ name: String) {
        guard let stream = self.streams[name] else { return }
        if stream.forkCount > 0 {
            self.streams[name]?.isSoftDeleted = true
            return
        }
        self.streams[name] = nil
        guard let source = stream.source.flatMap({ self.name(of: $0) }) else { return }
        self.streams[source]?.forkCount -= 1
        if let left = self.streams[source], left.isSoftDeleted, left.forkCount == 0 {
            // Not soft this time: nothing refers to it.
            self.delete(source)
        }
    }
}
