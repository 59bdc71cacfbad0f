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
                    Self.streams(of: flow.name, service).map(read).reduce(0, +)
                }
            }
        }
        gauge("mirror_lag_bytes", "Bytes that a flow has not mirrored yet") { Double($0.lagBytes) }
        gauge("mirror_batches", "Batches written since the start") { Double($0.batches) }
        gauge("mirror_messages", "Messages mirrored since the start") { Double($0.messages) }
        gauge("mirror_retries", "Attempts made again since the start") { Double($0.retries) }
        gauge("mirror_dead_letters", "Messages put aside since the start") { Double($0.deadLetters) }
        gauge("mirror_restarts", "Streams and tables begun anew since the start") { Double($0.restarts) }
        metrics.describe("mirror_lag_seconds", "How long a flow has had something that is not mirrored yet")
        metrics.describe("mirror_streams", "Streams of a flow by state")
        for flow in settings.flows {
            metrics.observe("mirror_lag_seconds", dimensions: [("flow", flow.name)]) {
                Self.streams(of: flow.name, service).map(\.lagSeconds).max() ?? 0
            }
            for state in MirrorStreamStatus.State.allCases {
                metrics.observe("mirror_streams", dimensions: [("flow", flow.name), ("state", state.rawValue)]) {
                    Double(Self.streams(of: flow.name, service).count { $0.state == state })
                }
            }
        }
        gauge("mirror_streams_failed", "Streams of a flow that need a person") { $0.state == .failed ? 1 : 0 }
    }

    private static func streams(of flow: String, _ service: MirrorService) -> [MirrorStreamStatus] {
        service.status.filter { $0.name == flow }.flatMap(\.streams)
    }

    /// How the flows do. A flow that fails makes the service no less ready: others go on, and clients do not depend on it.
    static func health(_ service: MirrorService) -> HealthStatus {
        let flows = service.status
        var facts: [String: String] = [:]
        var failing = 0
        for flow in flows {
            // The first problem stands for all: a flow may have thousands of streams.
            let problem =
                flow.problem
                ?? flow.streams.first { $0.problem != nil }.map { "\($0.stream): \($0.problem ?? "")" }
            if problem != nil { failing += 1 }
            let states = Dictionary(grouping: flow.streams, by: \.state.rawValue).sorted { $0.key < $1.key }
                .map { "\($0.value.count) \($0.key)" }
            let lag = flow.streams.map(\.lagSeconds).max() ?? 0
            var parts = [states.isEmpty ? "no streams" : states.joined(separator: ", ")]
            if lag > 0 { parts.append("behind for \(Int(lag.rounded(.up))) s") }
            if let problem { parts.append(problem) }
            facts[flow.name] = parts.joined(separator: "; ")
        }
        return HealthStatus(
            name: "mirror", ready: true,
            detail: failing == 0
                ? "\(flows.count) flows" : "\(failing) of \(flows.count) flows do not get on; clients are served",
            remedy: failing == 0 ? nil : "see the facts; docs/mirror.md says what each problem needs", facts: facts)
    }
}
