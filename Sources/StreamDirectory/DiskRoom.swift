import DurableStreams
import StreamStore
import Synchronization

/// What the disk has room for, looked up now and then.
///
/// Why a reserve: without one the change that fills the disk is found out about when it is on its way, and nothing can
/// be deleted any more, since a deletion is written down too. So what makes the store larger is refused a little before
/// the disk is full.
final class DiskRoom: Sendable {
    /// Bytes that deletions and checkpoints may use, and nothing else.
    let reserve: Int
    /// Whether something was refused since there was room last.
    let isShort = Atomic<Bool>(false)
    private let directory: String
    private let fileSystem: any FileSystem
    /// What may be taken before the next look.
    private let budget = Atomic<Int>(0)

    private static let largestBudget = 64 << 20

    init(directory: String, reserve: Int, fileSystem: any FileSystem) {
        self.directory = directory
        self.reserve = reserve
        self.fileSystem = fileSystem
    }

    /// Whether the last look covers this too.
    func take(_ byteCount: Int) -> Bool {
        guard self.budget.load(ordering: .relaxed) >= byteCount else { return false }
        return self.budget.wrappingSubtract(byteCount, ordering: .relaxed).newValue >= 0
    }

    /// Free bytes beyond the reserve, negative where that is touched; nil where the system does not tell.
    func look() -> Int? {
        self.fileSystem.availableBytes(in: self.directory).map { Int(clamping: $0) - self.reserve }
    }

    /// Lets a part of what was found be taken without another look: others use the disk as well.
    func allow(_ byteCount: Int) {
        self.budget.store(min(byteCount / 4, Self.largestBudget), ordering: .relaxed)
    }

    /// The next change looks again.
    func forget() {
        self.budget.store(0, ordering: .relaxed)
    }
}

extension StreamDirectory {
    private var room: DiskRoom? {
        switch self.engine {
        case .memory: nil
        case .files(let engine): engine.room
        case .acid(let engine): engine.room
        }
    }

    /// Whether the disk is so full that the store must not grow.
    var isShortOfRoom: Bool { self.room?.isShort.load(ordering: .acquiring) ?? false }

    /// Whether there is room for a change with so many bytes; in `acid` in the environment it goes to.
    func hasRoom(for byteCount: Int, environment: UInt8) -> Bool {
        guard let room = self.room else { return true }
        // Twice: in the log, and where it stays.
        let cost = 2 * byteCount + 512
        if room.take(cost) { return true }
        guard let free = room.look() else {
            room.allow(.max)
            return true
        }
        let usable = free - self.promisedBytes
        if usable >= cost {
            room.allow(usable - cost)
            return true
        }
        room.forget()
        if case .acid(let engine) = self.engine, engine.shards[Int(environment)].takeReusable(cost) { return true }
        self.setShort(true, room)
        return false
    }

    /// What was taken and is not where it stays yet.
    private var promisedBytes: Int {
        var count = 2 * self.waitingBytes.load(ordering: .relaxed)
        if case .files = self.engine { count += self.tailBytes.load(ordering: .relaxed) }
        return max(0, count)
    }

    /// Looks whether there is room again, or none any more. Called each second by the directory's own thread.
    package func lookForRoom() {
        guard let room = self.room, let free = room.look() else { return }
        room.forget()
        let usable = free - self.promisedBytes
        if usable >= room.reserve {
            // Why not sooner: a disk at the brink would be said to be full and not full in turns.
            self.setShort(false, room)
        } else if usable < 0 {
            if case .acid(let engine) = self.engine, engine.shards.allSatisfy({ $0.hasReusable(room.reserve) }) {
                self.setShort(false, room)
            } else {
                self.setShort(true, room)
            }
        }
    }

    private func setShort(_ isShort: Bool, _ room: DiskRoom) {
        guard room.isShort.exchange(isShort, ordering: .acquiringAndReleasing) != isShort else { return }
        self.tellCondition()
    }

    /// Answers changes that found no room: they wait on, and may still be made.
    func answerStalled(_ changes: [Change]) {
        var batch = DeliveryBatch()
        var resumed: [@Sendable () -> Void] = []
        for change in changes {
            let shard = self.shard(of: change.entry)
            shard.withLock {
                guard !change.isAnswered else { return }
                change.isAnswered = true
                if let completion = change.completion {
                    batch.add(StreamCompletion(completion.body, error: Self.stalled), to: change.target)
                }
                change.completion = nil
                for follower in change.followers {
                    batch.add(StreamCompletion(follower.completion.body, error: Self.stalled), to: follower.target)
                }
                change.followers = []
            }
            guard change.kind == .delete, case .acid = self.engine else { continue }
            // Creations that wait for the name are refused, now that the disk is known to be full.
            for entry in [change.entry] + change.collected {
                resumed += self.shard(of: entry).withLock { self.shard(of: entry).leaving.stalled(entry.state.name) }
            }
        }
        batch.deliver()
        for resume in resumed { resume() }
    }

    static var stalled: StreamError {
        StreamError(
            .insufficientStorage,
            "The disk has become full. The change is kept and is made when there is room: look before repeating it.")
    }
}
