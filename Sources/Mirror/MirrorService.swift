import ChangeFeed
import ExactText
import Logging
import PostgresClient
import ServiceLifecycle
import StreamDirectory
import Synchronization

/// Runs all flows between streams and tables.
///
/// A flow that fails never ends the service: it says so in its status and tries again.
package final class MirrorService: Service, Sendable {
    private let streams: [StreamFollower]
    private let tables: [TableFollower]
    /// Flows that can not run as they are configured.
    private let refused: [MirrorFlowStatus]
    private let feed: ChangeFeed?
    private let logger: Logger

    /// - Parameters:
    ///   - pool: connections to the database of the feed; each flow takes as many as it has workers, and sessions of its own for leases.
    ///   - feed: needed by flows from tables; nil where there is none.
    ///   - publication: the feed's.
    ///   - clock: milliseconds since 1970, the directory's.
    ///   - probe: for tests.
    package init(
        flows: [MirrorFlow], directory: StreamDirectory, pool: PostgresPool, feed: ChangeFeed?,
        publication: String = "electric_publication", options: MirrorOptions = MirrorOptions(), logger: Logger,
        probe: MirrorProbe = MirrorProbe(), clock: @escaping @Sendable () -> UInt64
    ) {
        let calls = StreamCalls(directory: directory, clock: clock)
        var streams: [StreamFollower] = []
        var tables: [TableFollower] = []
        var refused: [MirrorFlowStatus] = []
        var targets: ExactSet = []
        for flow in flows {
            switch flow {
            case .streamToTable(let flow):
                streams.append(
                    StreamFollower(flow, calls: calls, pool: pool, options: options, logger: logger, probe: probe))
            case .tableToStream(let flow):
                var problem: String?
                if feed == nil { problem = "there is no change feed" }
                if !targets.insert(flow.target).inserted { problem = "another flow writes the same stream" }
                if let feed, problem == nil {
                    tables.append(
                        TableFollower(
                            flow, calls: calls, pool: pool, feed: feed, publication: publication, options: options,
                            logger: logger, probe: probe))
                } else {
                    var stream = MirrorStreamStatus(stream: flow.target, state: .failed)
                    stream.problem = problem
                    refused.append(
                        MirrorFlowStatus(
                            name: flow.name, direction: .tableToStream, problem: problem, streams: [stream]))
                }
            }
        }
        self.streams = streams
        self.tables = tables
        self.refused = refused
        self.feed = feed
        self.logger = logger
    }

    /// How all flows do.
    package var status: [MirrorFlowStatus] {
        (self.streams.map(\.status) + self.tables.map(\.status) + self.refused).sorted { $0.name < $1.name }
    }

    /// To be awaited in the feed's `onStartOver`. Nothing has to be stored here: each stream knows which beginning of the feed it belongs
    /// to, so its follower finds out by itself, even when this process ends now.
    package func feedStartedOver(_ reason: String) async {
        for table in self.tables { table.wakeup.set() }
    }

    /// Runs until a graceful shutdown, which lets every batch that is under way be finished, or until cancelled.
    ///
    /// - Throws: only what a test's probe throws.
    package func run() async throws {
        for flow in self.refused {
            self.logger.error(
                "a flow cannot run", metadata: ["flow": "\(flow.name)", "reason": "\(flow.problem ?? "")"])
        }
        let tables = self.tables
        self.feed?.observe { [weak self] in
            guard self != nil else { return }
            for table in tables { table.wakeup.set() }
        }
        try await withGracefulShutdownHandler {
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for stream in self.streams { tasks.addTask { try await stream.run() } }
                for table in tables { tasks.addTask { try await table.run() } }
                if self.streams.isEmpty, tables.isEmpty {
                    tasks.addTask { try? await gracefulShutdown() }
                }
                do {
                    while try await tasks.next() != nil {}
                } catch {
                    self.drain()
                    tasks.cancelAll()
                    throw error
                }
            }
        } onGracefulShutdown: {
            self.drain()
        }
    }

    /// What a graceful shutdown does: every flow finishes what is under way and ends.
    package func drain() {
        for stream in self.streams { stream.drain() }
        for table in self.tables { table.drain() }
    }
}
