import DurableStreams
import HTTPServer
import Logging
import NIOCore
import NIOPosix
import StreamDirectory
import StreamStore
import Synchronization

/// Subscriptions: the machine of ``SubscriptionSet`` with the world around it.
///
/// One lock orders everything; it is held for the machine's own work only. What a client is told, and what leaves the
/// service,
/// waits until the state behind it is in the file.
package final class SubscriptionControl: StreamControl {
    package struct Configuration: Sendable {
        /// Scheme and host under which receivers reach the service, such as `https://streams.example`. Nil takes, for
        /// each
        /// subscription, what its creator used.
        package var origin: String?
        /// The path under which streams live.
        package var root = "/v1/stream"
        /// Where state and keys are kept; nil for memory only.
        package var directory: String?
        package var names = StreamNameRules()
        /// Development: `http` to this machine.
        package var allowsLocalWebhooks = false
        /// Webhook requests under way at a time.
        package var deliveries = 16
        /// Bounds of the back-off, in milliseconds, as the two below.
        package var firstRetry: UInt64 = 1000
        package var longestRetry: UInt64 = 60_000
        /// How often clocks are looked at.
        package var tick: UInt64 = 200
        /// How often links are compared with the streams there are, for those that went by themselves.
        package var reconcile: UInt64 = 30_000

        package init(origin: String?, directory: String?) {
            self.origin = origin
            self.directory = directory
        }

        /// - Parameter rootURL: absolute URL of the stream root as receivers reach it, such as
        ///   `https://streams.example/v1/stream`.
        package init(rootURL: String, directory: String?) {
            let slashes = rootURL.indices.filter { rootURL[$0] == "/" }
            let end = slashes.count > 2 ? slashes[2] : rootURL.endIndex
            self.init(origin: String(rootURL[..<end]), directory: directory)
            self.root = String(rootURL[end...])
        }

        var controlPath: String { self.root + "/" + StreamNameRules.reservedSegment }
    }

    struct State {
        var set: SubscriptionSet
        /// Webhooks that wait for their turn; at most one for each subscription.
        var queue: [WebhookDelivery] = []
        var underWay = 0
        /// Subscriptions whose last delivery failed.
        var failing: Set<String> = []
        /// What waits for the file.
        var answers: [@Sendable (Bool) -> Void] = []
        var effects: [SubscriptionAction] = []
        var isUnsaved = false
        var isSaving = false
        var isClosed = false
        var timer: RepeatedTask?
        var reconciledAt: UInt64 = 0
    }

    let configuration: Configuration
    let streams: StreamDirectory
    let sender: any WebhookSender
    let keys: any WebhookSigning
    let clock: @Sendable () -> UInt64
    let logger: Logger
    let file: PrivateFile?
    let state: Mutex<State>
    /// Whether there are subscriptions: a look without the lock for every append.
    let isActive = Atomic<Bool>(false)
    private let delivered = Atomic<UInt64>(0)
    private let failed = Atomic<UInt64>(0)

    /// Brings back what was there, and compares it with the streams. Blocks. Nothing moves before ``start(on:)``.
    ///
    /// Throws when the file is damaged or cannot be read.
    package init(
        _ configuration: Configuration, streams: StreamDirectory, sender: any WebhookSender,
        keys: any WebhookSigning, fileSystem: any FileSystem = PosixFileSystem(),
        clock: @escaping @Sendable () -> UInt64, logger: Logger
    ) throws {
        self.configuration = configuration
        self.streams = streams
        self.sender = sender
        self.clock = clock
        self.logger = logger
        if let directory = configuration.directory { try fileSystem.makeDirectoryPath(directory) }
        self.keys = keys
        self.file = configuration.directory.map {
            PrivateFile(directory: $0, name: "subscriptions.json", fileSystem: fileSystem)
        }
        var settings = SubscriptionSet.Settings(
            controlURL: (configuration.origin ?? "") + configuration.controlPath, names: configuration.names,
            allowsLocalWebhooks: configuration.allowsLocalWebhooks)
        settings.firstRetry = configuration.firstRetry
        settings.longestRetry = configuration.longestRetry
        let set = SubscriptionSet(
            settings: settings, digest: type(of: keys).digest, chance: { UInt64.random(in: .min ... .max) })
        self.state = Mutex(State(set: set))
        guard let bytes = try self.file?.read() else { return }
        let now = clock()
        let listed = Self.list(streams, now)
        let isWhole = self.state.withLock { state -> Bool in
            guard let actions = state.set.restore(bytes, streams: listed, at: now) else { return false }
            state.effects += actions.filter { $0 != .persist }
            state.isUnsaved = true
            return true
        }
        guard isWhole else {
            throw StoreError(
                .corrupt, "the subscriptions cannot be read",
                file: (configuration.directory ?? "") + "/subscriptions.json")
        }
        self.isActive.store(self.state.withLock { !$0.set.isEmpty }, ordering: .releasing)
    }

    /// Webhooks that were answered with success, and those that were not, since the start.
    package var deliveries: (succeeded: UInt64, failed: UInt64) {
        (self.delivered.load(ordering: .relaxed), self.failed.load(ordering: .relaxed))
    }

    func countDelivery(_ reply: WebhookReply?) {
        let isSuccess = reply.map { (200..<300).contains($0.status) } ?? false
        if isSuccess {
            self.delivered.wrappingAdd(1, ordering: .relaxed)
        } else {
            self.failed.wrappingAdd(1, ordering: .relaxed)
        }
    }

    static func list(_ streams: StreamDirectory, _ now: UInt64) -> [(name: String, tail: UInt64)] {
        streams.list(now: now).filter { !$0.isSoftDeleted }.map { ($0.view.name, $0.view.tail) }
    }

    /// Begins to deliver and to keep time.
    package func start(on eventLoop: any EventLoop) {
        let timer = eventLoop.scheduleRepeatedTask(
            initialDelay: .zero, delay: .milliseconds(Int64(self.configuration.tick))
        ) { [weak self] task in
            guard let self else { return task.cancel() }
            self.ticked()
        }
        self.state.withLock { $0.timer = timer }
    }

    /// Stops time and deliveries; what was told stays told.
    package func stop() {
        let timer = self.state.withLock { state -> RepeatedTask? in
            state.isClosed = true
            state.queue = []
            return state.timer.take()
        }
        timer?.cancel()
    }

    // MARK: Streams

    package func streamCreated(_ name: String) {
        guard self.isActive.load(ordering: .acquiring) else { return }
        let now = self.clock()
        // Why a look and not the answer's own tail: another writer may have appended and been told of before.
        guard case .success(let view) = self.streams.lookup(name, now: now) else { return }
        let inherited = view.configuration.fork?.position ?? 0
        self.change {
            $0.streamCreated(name, previousTail: min(inherited, view.tail), tail: view.tail, at: now)
        }
    }

    package func streamAppended(_ name: String, previousTail: UInt64, tail: UInt64) {
        guard self.isActive.load(ordering: .acquiring) else { return }
        let now = self.clock()
        self.change { $0.streamChanged(name, previousTail: previousTail, tail: tail, at: now) }
    }

    package func streamDeleted(_ name: String) {
        guard self.isActive.load(ordering: .acquiring) else { return }
        let now = self.clock()
        self.change { self.isThere(name, now) ? [] : $0.streamRemoved(name) }
    }

    /// Asked under the lock: what was told of a stream that has gone may come behind what is told of the next one.
    private func isThere(_ name: String, _ now: UInt64) -> Bool {
        if case .success = self.streams.lookup(name, now: now) { true } else { false }
    }

    private func change(_ body: (inout SubscriptionSet) -> [SubscriptionAction]) {
        let actions = self.state.withLock { body(&$0.set) }
        self.carryOut(actions)
    }

    // MARK: Time

    func ticked() {
        let now = self.clock()
        let (actions, looksAgain) = self.state.withLock { state -> ([SubscriptionAction], Bool) in
            guard !state.isClosed else { return ([], false) }
            let looksAgain = !state.set.isEmpty && now >= state.reconciledAt + self.configuration.reconcile
            if looksAgain { state.reconciledAt = now }
            return (state.set.timeReached(now), looksAgain)
        }
        self.carryOut(actions)
        // A file that could not be written is tried again.
        self.save()
        if looksAgain { NIOThreadPool.singleton.submit { _ in self.forgetExpired() } }
    }

    /// Streams that expired tell no one.
    private func forgetExpired() {
        let now = self.clock()
        let names = self.state.withLock { $0.set.followedStreams }
        for name in names {
            self.change { $0.isUnknown(name) || self.isThere(name, now) ? [] : $0.streamRemoved(name) }
        }
    }
}
