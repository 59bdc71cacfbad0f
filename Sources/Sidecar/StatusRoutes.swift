import ChangeFeed
import Configuration
import HTTPServer
import NIOCore
import NIOHTTP1
import Observability
import PostgresClient
import PostgresWire
import SatelliteEndpoint
import WriteBack

/// Health and metrics over HTTP.
struct StatusRoutes {
    let parts: SidecarParts
    let metrics: MetricsRegistry
    /// Where streams are served, too.
    let streams: StreamServer?
    let ending: EndingNotice

    func add(to router: inout HTTPRouter) {
        let parts = self.parts
        let metrics = self.metrics
        let streams = self.streams
        let ending = self.ending
        self.observe()
        router.on(.GET, "/api/status") { _ in
            if parts.isReady { return .reply(.text("Connection to Postgres is up!")) }
            // The spelling is the legacy service's, and scripts look for it.
            return .reply(.text("Initializing connection to Posgres...", status: .serviceUnavailable))
        }
        router.onProbe("/healthz") { _ in .reply(.text("ok")) }
        router.onProbe("/readyz") { _ in
            if ending.isGiven { parts.health.report(EndingNotice.health) }
            if let streams { parts.health.report(streams.health) }
            if let mirror = parts.mirror.value { parts.health.report(MirrorWiring.health(mirror)) }
            let (isReady, json) = parts.readiness()
            var reply = HTTPReply.json(json, status: isReady ? .ok : .serviceUnavailable)
            reply.headers.add(name: "cache-control", value: "no-store")
            return .reply(reply)
        }
        router.onProbe("/metrics") { _ in
            .reply(
                HTTPReply(
                    status: .ok, headers: ["content-type": "text/plain; version=0.0.4; charset=utf-8"],
                    body: ByteBuffer(string: metrics.render())))
        }
        let isTunnelOn = parts.settings.proxy?.isTunnelEnabled == true
        if !isTunnelOn {
            router.on(.GET, "/proxy") { _ in
                .reply(
                    .text("Migrations proxy is not configured to accept WebSocket connections", status: .notFound))
            }
        }
    }

    /// Gauges that are read when somebody asks.
    private func observe() {
        let parts = self.parts
        let ending = self.ending
        func gauge(_ label: String, _ help: String, _ read: @escaping @Sendable () -> Double) {
            self.metrics.describe(label, help)
            self.metrics.observe(label, dimensions: [], read: read)
        }
        gauge("penstock_ready", "1 when clients can be served") { parts.isReady && !ending.isGiven ? 1 : 0 }
        gauge("feed_lag_bytes", "WAL that has been written and not been received") {
            Double(parts.feed.health.lagBytes ?? 0)
        }
        gauge("feed_transactions_received", "Transactions received since the start") {
            Double(parts.feed.health.transactions)
        }
        gauge("feed_transactions_repeated", "Transactions that came again and were dropped") {
            Double(parts.feed.health.duplicates)
        }
        gauge("feed_log_bytes", "Size of the change log on disk") { Double(parts.feed.health.logBytes ?? 0) }
        gauge("feed_cache_bytes", "Transactions held in memory") { Double(parts.feed.health.cacheBytes ?? 0) }
        gauge("feed_position", "WAL position of the newest transaction") {
            Double(parts.feed.health.position?.rawValue ?? 0)
        }
        gauge("feed_epoch", "Counts how often the change log began anew") { Double(parts.feed.health.epoch ?? 0) }
        for state in ["unknown", "absent", "creating", "connecting", "catching_up", "streaming", "lagging", "lost"] {
            self.metrics.observe("feed_slot_state", dimensions: [("state", state)]) {
                parts.feed.health.label == state ? 1 : 0
            }
        }
        gauge("migration_capture", "1 when event triggers capture migrations, 0 when clients lose data by them") {
            parts.capture.isCapturing == false ? 0 : 1
        }
        gauge("satellite_misfit_tables", "Electrified tables that changed without a captured migration") {
            Double(parts.hub.misfits.count)
        }
        gauge("satellite_clients", "Authenticated Satellite connections") { Double(parts.hub.clientCount) }
        gauge("writes_waiting", "Client transactions that wait to be written") {
            Double(parts.writer.status.waitingTransactions)
        }
        gauge("writes_waiting_bytes", "Their size") { Double(parts.writer.status.waitingBytes) }
        gauge("writes_applied", "Client transactions written since the start") { Double(parts.writer.status.applied) }
        gauge("writes_rejected", "Client transactions that the database refused") {
            Double(parts.writer.status.rejected)
        }
        gauge("writes_retried", "Attempts that were made again") { Double(parts.writer.status.retries) }
        gauge("postgres_pool_connections", "Open connections of the pool") {
            Double(parts.pool.status.openConnections)
        }
        gauge("postgres_pool_waiters", "Tasks that wait for a connection") { Double(parts.pool.status.waiters) }
    }
}
