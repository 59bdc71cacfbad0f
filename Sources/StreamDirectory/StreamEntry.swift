import DurableStreams
import ExactText
import NIOCore

/// One stream. Its shard's lock guards all of it, but for the constants.
///
/// Small on purpose, since there may be a million of them: what only streams in use need is in `live`.
final class StreamEntry: @unchecked Sendable {
    // Why unchecked: guarded by the lock of its shard, see above.

    /// Where the bytes are that a checkpoint has put away.
    enum Placement: UInt8 {
        case none
        /// In the snapshot in the log of the metadata.
        case inline
        /// In files of its own.
        case files
    }

    struct Flags: OptionSet {
        var rawValue: UInt8
        /// Readers may see it: its creation is durable.
        static let isVisible = Flags(rawValue: 1)
        static let isDurablyClosed = Flags(rawValue: 2)
        /// It is in the shard's list of what the next checkpoint has to do.
        static let isDirty = Flags(rawValue: 4)
        /// It is in the heap of expiries.
        static let isScheduled = Flags(rawValue: 8)
        /// Deleted for good; nobody finds it any more.
        static let isRemoved = Flags(rawValue: 16)
        /// Files of it may lie on the disk although nothing says so.
        static let mayHaveFiles = Flags(rawValue: 32)
        /// Its files are not what was written; readings of them fail.
        static let isDamaged = Flags(rawValue: 64)
        /// It is in the list of streams with a sliding lifetime that live readers keep.
        static let isKept = Flags(rawValue: 128)
    }

    /// What was decided, durable or not.
    var state: StreamState
    /// What readers see the end of.
    var durableTail: UInt64
    /// Where its last record ends in the write-ahead log.
    var lastRecordEnd: UInt64 = 0
    /// Bytes before this are where `placement` says; those after it are in `live`.
    var checkpointedTail: UInt64
    /// Its latest snapshot in the log of the metadata; `noSnapshot` if there is none.
    var snapshotOffset = StreamEntry.noSnapshot
    /// Entries in its index file.
    var indexCount: UInt64 = 0
    /// The start of the countdown as the disk will have it: by reads it is moved ahead of itself.
    var storedTouch: UInt64
    /// What it was forked from.
    var source: StreamEntry?
    var live: LiveStream?
    /// With a retention only.
    let trimming: Trimming?
    let hash: UInt32
    var flags: Flags = []
    var placement: Placement = .none
    /// `acid`: its environment.
    var environment: UInt8 = 0

    static let noSnapshot = UInt64.max

    init(state: StreamState, hash: UInt32, source: StreamEntry?) {
        self.state = state
        self.hash = hash
        self.source = source
        self.trimming = state.configuration.retention == nil ? nil : Trimming(state: state)
        let base = state.configuration.fork?.position ?? 0
        self.storedTouch = state.lastTouched
        self.durableTail = base
        self.checkpointedTail = base
    }

    /// Where its own bytes begin: behind those that a fork inherits.
    var base: UInt64 { self.state.configuration.fork?.position ?? 0 }
    /// Where what is left of its own bytes begins.
    var floor: UInt64 { self.trimming?.floor ?? self.base }
    /// The state as it is written down outside of a change.
    var stateToStore: StreamState {
        var state = self.state
        state.touch(at: self.storedTouch)
        return state
    }
    /// `acid`: the state as a transaction writes it. Without producers, so that no copy of them is made either.
    var stateToCommit: StreamState {
        var state = self.state.withoutProducers
        state.touch(at: self.storedTouch)
        return state
    }

    /// `acid`: takes over an append; returns which producers its transaction writes.
    func applyKeepingProducersApart(_ effect: AppendEffect) -> [AcidProducer] {
        let forgotten = effect.forgetsIdleProducers ? self.state.forgettableProducers(at: effect.at) : []
        self.state.apply(effect)
        guard let claim = effect.claim else { return [] }
        let wereApart = self.state.keepsProducersApart
        self.state.keepsProducersApart = true
        // What an older version has written into the state is moved with the first change.
        let written =
            wereApart
            ? [AcidProducer(id: claim.id, state: self.state.producers[claim.id])]
            : self.state.producers.map { AcidProducer(id: $0.key, state: $0.value) }
        return forgotten.filter { self.state.producers[$0] == nil }.map { AcidProducer(id: $0, state: nil) } + written
    }

    var isVisible: Bool { self.flags.contains(.isVisible) }
    var isRemoved: Bool { self.flags.contains(.isRemoved) }
    var pendingCount: Int { self.live?.pendingCount ?? 0 }
    var hasObservers: Bool { !(self.live?.observers.isEmpty ?? true) }

    /// The part for streams in use, made on demand.
    var inUse: LiveStream {
        if let live = self.live { return live }
        let live = LiveStream()
        self.live = live
        return live
    }

    /// Lets go of the part for streams in use when nothing needs it.
    func rest() {
        if let live = self.live, live.isIdle { self.live = nil }
    }

    var view: StreamView {
        StreamView(
            name: self.state.name, identity: self.state.identity, configuration: self.state.configuration,
            tail: self.durableTail, earliest: self.trimming?.earliest ?? 0,
            isClosed: self.flags.contains(.isDurablyClosed), createdAt: self.state.createdAt,
            updatedAt: self.state.updatedAt)
    }
}

/// What a stream in use has besides: bytes in memory, changes on their way to the disk, observers.
final class LiveStream {
    var tail = TailBuffer()
    var pendingCount = 0
    /// The last change that is not durable yet.
    var lastChange: Change?
    var observers: [UInt64: TailObserver] = [:]

    var isIdle: Bool {
        self.pendingCount == 0 && self.observers.isEmpty && self.tail.isEmpty
    }
}

/// Appends in memory, in order.
struct TailBuffer {
    struct Item {
        /// Where the append ends in its stream.
        var end: UInt64
        var messageCount: UInt32
        var bytes: ByteBuffer
    }

    private(set) var items: [Item] = []
    /// Items before this are no longer wanted.
    private var head = 0

    var isEmpty: Bool { self.head == self.items.count }
    var count: Int { self.items.count - self.head }
    var live: ArraySlice<Item> { self.items[self.head...] }

    mutating func append(_ item: Item) {
        self.items.append(item)
    }

    /// Index in `items` of the first append that ends after a position.
    func firstIndex(endingAfter position: UInt64) -> Int {
        var low = self.head
        var high = self.items.count
        while low < high {
            let middle = (low + high) / 2
            if self.items[middle].end > position { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// Drops what ends at or before a position; returns how many bytes that were.
    mutating func removeAll(endingAtOrBefore position: UInt64) -> Int {
        let index = self.firstIndex(endingAfter: position)
        var count = 0
        for item in self.items[self.head..<index] { count += item.bytes.readableBytes }
        if index == self.items.count {
            self.items.removeAll()
            self.head = 0
        } else if index > self.items.count / 2 || index > 4096 {
            self.items.removeFirst(index)
            self.head = 0
        } else {
            // Kept for a while: their memory goes with the array's next shortening.
            for position in self.head..<index { self.items[position].bytes = ByteBuffer() }
            self.head = index
        }
        return count
    }
}
