import Logging
import NIOCore
import PostgresClient
import PostgresWire
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

extension PostgresFeedDatabase {
    package func replicate(
        slot: String, publication: String, from position: LSN, confirmed: LSN, sink: any FeedSink,
        started: @escaping @Sendable (any ReplicationStream) -> Void
    ) async throws {
        let run = ReplicationRun(
            parameters: self.parameters, logger: self.logger, slot: slot, publication: publication, position: position,
            confirmed: confirmed, sink: sink, started: started)
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let hasStarted = BackgroundThread.start(name: "replication") {
                    continuation.resume(with: Result { try run.run() })
                }
                if !hasStarted {
                    continuation.resume(throwing: PostgresError.client("no thread is left", connectionLost: true))
                }
            }
        } onCancel: {
            run.stop()
            // Why: the server may be gone without a word, and the goodbye would wait for it.
            Task {
                try? await Task.sleep(for: .seconds(5))
                run.abort()
            }
        }
    }
}

/// One replication connection from its start to its end, on a thread of its own.
private final class ReplicationRun: ReplicationStream {
    private struct State {
        var connection: ReplicationConnection?
        var acknowledged: LSN
        var mustStop = false
        var isPaused = false
    }

    private let parameters: ConnectionParameters
    private let logger: Logger
    private let slot: String
    private let publication: String
    private let position: LSN
    private let sink: any FeedSink
    private let started: @Sendable (any ReplicationStream) -> Void
    private let state: Mutex<State>

    init(
        parameters: ConnectionParameters, logger: Logger, slot: String, publication: String, position: LSN,
        confirmed: LSN, sink: any FeedSink, started: @escaping @Sendable (any ReplicationStream) -> Void
    ) {
        self.parameters = parameters
        self.logger = logger
        self.slot = slot
        self.publication = publication
        self.position = position
        self.sink = sink
        self.started = started
        self.state = Mutex(State(acknowledged: confirmed))
    }

    func acknowledge(_ position: LSN) {
        let connection = self.state.withLock { state in
            state.acknowledged = max(state.acknowledged, position)
            return state.connection
        }
        connection?.wake()
    }

    func resume() {
        let connection = self.state.withLock { state in
            state.isPaused = false
            return state.connection
        }
        connection?.wake()
    }

    /// Cuts the connection if it is still there.
    func abort() {
        self.state.withLock { $0.connection }?.abort()
    }

    func stop() {
        let connection = self.state.withLock { state in
            state.mustStop = true
            return state.connection
        }
        connection?.wake()
    }

    /// Milliseconds after which the server hears from us even if nothing has changed; its own patience is a minute.
    private static let statusInterval: Int32 = 10_000

    /// The same while nothing is read, when the server's own questions are not heard.
    private static let pausedStatusInterval: Int32 = 1_000

    func run() throws {
        let connection = try ReplicationConnection(self.parameters, logger: self.logger)
        defer {
            self.state.withLock { $0.connection = nil }
            connection.close()
        }
        guard
            !self.state.withLock({ state in
                state.connection = connection
                return state.mustStop
            })
        else { return }
        try connection.startReplication(
            slot: self.slot, from: self.position,
            options: [
                ("proto_version", "1"), ("publication_names", SQLText.identifier(self.publication)),
                ("messages", "true"),
            ])
        self.started(self)
        var batch = ReplicationBatch()
        var told = LSN.zero
        var pace = ReceivePace()
        while true {
            let (mustStop, isPaused, acknowledged) = self.state.withLock {
                ($0.mustStop, $0.isPaused, $0.acknowledged)
            }
            if mustStop {
                try connection.sendStandbyStatus(written: acknowledged, flushed: acknowledged, applied: acknowledged)
                try connection.stop()
                return
            }
            if acknowledged > told || batch.replyRequested {
                try connection.sendStandbyStatus(written: acknowledged, flushed: acknowledged, applied: acknowledged)
                told = acknowledged
            }
            if isPaused {
                // Nothing is read while the log is full; the server is told that we live.
                connection.waitForWake(timeoutMilliseconds: Self.pausedStatusInterval)
                batch.removeAll()
                batch.replyRequested = true
                continue
            }
            if pace.isHasty { usleep(ReceivePace.pauseMicroseconds) }
            try connection.receive(into: &batch, timeoutMilliseconds: Self.statusInterval)
            pace.received(batch.bytes.readableBytes)
            if batch.isEmpty { batch.replyRequested = !self.hasNews(since: told) }
            if !batch.messages.isEmpty {
                self.state.withLock { $0.isPaused = true }
                let goOn = try self.sink.received(MessageRun(bytes: batch.bytes, framing: .plain))
                if goOn { self.state.withLock { $0.isPaused = false } }
            }
            if let end = batch.keepaliveEnd { self.sink.reached(decoded: end, flush: end) }
            if batch.hasEnded { return }
        }
    }

    private func hasNews(since told: LSN) -> Bool {
        self.state.withLock { $0.acknowledged > told || $0.mustStop }
    }
}

/// Tells when reading is faster than it is worth.
///
/// The server sends each message by itself. Out of a backlog a reader that keeps up gets one row a time and pays for each as for a
/// batch; on a small machine it even takes the server's processor. A short pause brings hundreds at once. A quiet stream never pauses.
private struct ReceivePace {
    static let pauseMicroseconds: UInt32 = 200
    private static let smallBytes = 32 * 1024
    private var last = ContinuousClock.now
    private var streak = 0

    /// Whether many small batches followed each other without a gap.
    var isHasty: Bool { self.streak >= 8 }

    mutating func received(_ byteCount: Int) {
        let now = ContinuousClock.now
        let isSoon = now - self.last < .milliseconds(1)
        self.last = now
        self.streak = isSoon && byteCount > 0 && byteCount < Self.smallBytes ? self.streak + 1 : 0
    }
}
