import ChangeFeed
import Configuration
import Logging
import Mirror
import Observability
import PostgresClient
import StreamDirectory

/// From the configured flows to the running ones.
enum MirrorWiring {
    static func service(
        _ settings: MirrorSettings, directory: StreamDirectory, pool: PostgresPool, feed: ChangeFeed, logger: Logger
    ) -> MirrorService {
        MirrorService(
            flows: settings.flows.map(Self.flow), directory: directory, pool: pool, feed: feed, logger: logger,
            clock: SystemTime.milliseconds)
    }

    private static func flow(_ flow: Configuration.MirrorFlow) -> RunningMirrorFlow {
        switch flow.direction {
        case .tableToStream:
            var table = flow.target
            if case .name(let name) = flow.source { table = name }
            return .tableToStream(
                TableToStreamFlow(name: flow.name, source: MirrorTableName(table), target: flow.target))
        case .streamToTable:
            let source: StreamSelector
            switch flow.source {
            case .name(let name): source = .names([name])
            case .list(let names): source = .names(names)
            case .prefix(let prefix): source = .prefix(prefix)
            case .pattern(let pattern): source = .pattern(pattern)
            }
            return .streamToTable(
                StreamToTableFlow(
                    name: flow.name, source: source, target: MirrorTableName(flow.target),
                    mode: flow.mode == .upsert ? .upsert(key: flow.key) : .events,
                    columns: flow.columns.map { .init(path: $0.path, name: $0.name) }, batchSize: flow.batchSize,
                    batchDelay: flow.batchDelay, workers: flow.workers,
                    deadLetterTable: flow.deadLetterTable.map { MirrorTableName($0) },
                    start: flow.start == .now ? .now : .beginning,
                    // The table of events is ours to make; one with columns of its own is not.
                    createsTable: flow.mode == .events && flow.columns.isEmpty,
                    createsStreams: true))
        }
    }

    /// Gauges for each flow, read when somebody asks.
    static func observe(_ service: MirrorService, _ settings: MirrorSettings, _ metrics: MetricsRegistry) {
        func gauge(_ label: String, _ help: String, _ read: @escaping @Sendable (MirrorStreamStatus) -> Double) {
            metrics.describe(label, help)
            for flow in settings.flows {
                metrics.observe(label, dimensions: [("flow", flow.name)]) {
                    service.status.filter { $0.name == flow.name }.flatMap(\.streams).map(read).reduce(0, +)
                }
            }
        }
        gauge("mirror_lag_bytes", "Bytes that a flow has not mirrored yet") { Double($0.lagBytes) }
        gauge("mirror_batches", "Batches written since the start") { Double($0.batches) }
        gauge("mirror_messages", "Messages mirrored since the start") { Double($0.messages) }
        gauge("mirror_retries", "Attempts made again since the start") { Double($0.retries) }
        gauge("mirror_dead_letters", "Messages put aside since the start") { Double($0.deadLetters) }
        gauge("mirror_streams_failed", "Streams of a flow that need a person") { $0.state == .failed ? 1 : 0 }
    }
}
