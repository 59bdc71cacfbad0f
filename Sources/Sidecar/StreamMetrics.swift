import HTTPServer
import Observability
import StreamDirectory
import StreamEndpoint
import StreamStore

/// The metrics of HTTP and of streams: everything is counted where it happens, and looked up when somebody asks.
struct StreamMetrics {
    let metrics: MetricsRegistry

    private func gauge(
        _ label: String, _ help: String, _ dimensions: [(String, String)] = [], _ read: @escaping @Sendable () -> Double
    ) {
        self.metrics.describe(label, help)
        self.metrics.observe(label, dimensions: dimensions, read: read)
    }

    private func counter(
        _ label: String, _ help: String, _ dimensions: [(String, String)] = [], _ read: @escaping @Sendable () -> UInt64
    ) {
        self.metrics.describe(label, help)
        self.metrics.observeCounter(label, dimensions: dimensions, read: read)
    }

    /// What all listeners share, and each of them.
    func observe(_ counters: HTTPCounters, _ budget: HTTPBodyBudget, _ listeners: [HTTPListener]) {
        for digit in 1...5 {
            self.counter("http_responses_total", "Responses by class of status", [("class", "\(digit)xx")]) {
                counters.responses(ofClass: digit)
            }
        }
        self.counter("http_sent_bytes_total", "Bytes of responses, before TLS") { counters.sentBytes }
        self.gauge("http_connections", "Open connections") {
            Double(listeners.reduce(0) { $0 + $1.connectionCount })
        }
        self.gauge("http_body_bytes", "Bytes of request bodies held now") { Double(budget.bytesInUse) }
        self.gauge("http_body_limit_bytes", "Bytes of request bodies that may be held") { Double(budget.limit) }
        self.refusals("body_budget") { budget.refusedCount }
        self.refusals("body_size") { counters.refusedBodies }
        self.refusals("connections") { listeners.reduce(0) { $0 + $1.refusedConnectionCount } }
        for listener in listeners where listener.certificateExpiry != nil {
            self.gauge(
                "tls_certificate_expiry_seconds", "When the certificate ends, in seconds since 1970",
                [("port", "\(listener.port)")]
            ) { Double(listener.certificateExpiry ?? 0) }
        }
    }

    private func refusals(_ reason: String, _ read: @escaping @Sendable () -> UInt64) {
        self.counter("http_refusals_total", "Requests and connections turned away", [("reason", reason)], read)
    }

    /// - Parameter deliveries: webhooks that succeeded and failed.
    func observe(
        _ services: StreamServices, deliveries: @escaping @Sendable () -> (succeeded: UInt64, failed: UInt64)
    ) {
        let directory = services.directory
        let counters = services.counters
        for kind in StreamCounters.ReadKind.allCases {
            self.counter("streams_reads_total", "Requests to read, by kind", [("kind", kind.rawValue)]) {
                counters.reads(kind)
            }
            self.counter("streams_read_bytes_total", "Bytes of bodies sent to readers", [("kind", kind.rawValue)]) {
                counters.sentBytes(kind)
            }
        }
        self.gauge("streams_live_readers", "Long-polls and event streams under way") { Double(services.liveReaders) }
        self.refusals("auth") { counters.unauthorizedCount }
        self.refusals("overload") { directory.statistics.refusedChanges }
        for (result, read) in [
            ("succeeded", { @Sendable in deliveries().succeeded }), ("failed", { @Sendable in deliveries().failed }),
        ] {
            self.counter("webhook_deliveries_total", "Webhooks sent, by result", [("result", result)], read)
        }
        self.observeStorage(directory)
        self.observeCommits(directory)
    }

    private func observeStorage(_ directory: StreamDirectory) {
        func streams(_ state: String, _ read: @escaping @Sendable (StreamDirectoryStatistics) -> Int) {
            self.gauge("streams_count", "Streams by state", [("state", state)]) { Double(read(directory.statistics)) }
        }
        streams("open") { $0.open }
        streams("closed") { $0.closed }
        streams("deleted") { $0.deletedForForks }
        func total(_ label: String, _ help: String, _ read: @escaping @Sendable (StreamDirectoryStatistics) -> UInt64) {
            self.counter(label, help) { read(directory.statistics) }
        }
        total("streams_created_total", "Streams made") { $0.created }
        total("streams_deleted_total", "Streams deleted") { $0.deleted }
        total("streams_expired_total", "Streams whose time was over") { $0.expired }
        total("streams_appends_total", "Appends with data") { $0.appends }
        total("streams_appended_messages_total", "Messages appended") { $0.appendedMessages }
        total("streams_appended_bytes_total", "Bytes appended") { $0.appendedBytes }
        total("streams_trimmed_bytes_total", "Bytes dropped by retentions") { $0.trimmedBytes }
        let limits = directory.configuration.limits
        func level(
            _ label: String, _ help: String, limit: Double?,
            _ read: @escaping @Sendable (StreamDirectoryStatistics) -> Double
        ) {
            self.gauge(label, help) { read(directory.statistics) }
            guard let limit else { return }
            let parts = label.hasSuffix("_bytes") ? (label.dropLast(6), "_limit_bytes") : (Substring(label), "_limit")
            self.gauge(parts.0 + parts.1, "The limit of \(label)") { limit }
        }
        level("streams_payload_bytes", "Bytes of all streams", limit: limits.totalBytes.map { Double($0) }) {
            Double($0.payloadBytes)
        }
        level(
            "streams_waiting_changes", "Changes that wait for the storage", limit: Double(limits.waitingChanges)
        ) { Double($0.waitingChanges) }
        level("streams_waiting_bytes", "Their size", limit: Double(limits.waitingBytes)) { Double($0.waitingBytes) }
        guard case .files = directory.configuration.mode.kind else { return }
        level("streams_tail_bytes", "Bytes not yet in files of their own", limit: Double(limits.tailBytes)) {
            Double($0.tailBytes)
        }
        self.gauge("streams_log_bytes", "Write-ahead log and metadata on disk") {
            Double(directory.statistics.logBytes)
        }
    }

    /// Groups of changes that went to the disk together; memory has none.
    private func observeCommits(_ directory: StreamDirectory) {
        guard directory.configuration.mode.kind != .memory else { return }
        self.counter("streams_commit_batches_total", "Groups of changes written together") {
            directory.statistics.commits.batches
        }
        self.counter("streams_commit_changes_total", "Changes written in groups") {
            directory.statistics.commits.changes
        }
        self.metrics.describe("streams_sync_seconds", "How long syncs of the disk took; of acid, whole transactions")
        self.metrics.observeDistribution("streams_sync_seconds") {
            let syncs = directory.statistics.commits.syncs
            return ObservedDistribution(bounds: SyncTimes.bounds, counts: syncs.buckets, sum: syncs.totalSeconds)
        }
    }
}

extension StorageMode {
    fileprivate enum Kind { case memory, files, acid }

    fileprivate var kind: Kind {
        switch self {
        case .memory, .acidInMemory: .memory
        case .fileFast, .fileDurable: .files
        case .acid: .acid
        }
    }
}
