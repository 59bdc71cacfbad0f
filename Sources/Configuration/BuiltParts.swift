/// The parts of the service that can be asked for before they exist.
package enum Part: String, CaseIterable, Hashable, Sendable {
    case logicalPublisher, migrationsProxy, tunnel, shapes, streams, traces, statsd, usageReports, ddlxPermissions,
        mirror
}

extension Settings {
    /// The parts that exist in this version. A part that is built is added here, and the service stops apologising.
    package static let builtParts: Set<Part> = [.mirror, .streams]

    /// The fronts that are on and exist. If there are none, the process has nothing to do.
    package func servedFronts(builtParts: Set<Part> = Settings.builtParts) -> Set<Front> {
        self.fronts.enabled.filter { front in
            switch front {
            case .satellite: true
            case .shapes: builtParts.contains(.shapes)
            case .streams: builtParts.contains(.streams)
            }
        }
    }

    /// What these settings ask for that is not among the parts, as sentences for the log.
    func missing(from parts: Set<Part>) -> [String] {
        var texts: [String] = []
        func need(_ part: Part, when wanted: Bool, _ text: String) {
            if wanted, !parts.contains(part) { texts.append(text) }
        }
        if case .logicalReplication = self.writeMode {
            need(
                .logicalPublisher, when: true,
                """
                ELECTRIC_WRITE_TO_PG_MODE=logical_replication is not built yet: nothing listens for the subscription of \
                the database, and writes of clients are made directly, as with ELECTRIC_WRITE_TO_PG_MODE=direct_writes.
                """)
        }
        if let proxy = self.proxy {
            let place = proxy.listen.map { "on port \($0.port)" } ?? "for it"
            need(
                .migrationsProxy, when: true,
                """
                The migrations proxy is not built yet: nothing listens \(place). \
                Run migrations on the database itself.
                """)
            need(
                .tunnel, when: proxy.isTunnelEnabled,
                "The tunnel to the migrations proxy (PG_PROXY_PORT=http) is not built yet: /proxy answers 404.")
        }
        need(
            .shapes, when: self.fronts.contains(.shapes),
            "The shapes front is not built yet: /v1/shape is not served.")
        need(
            .streams, when: self.fronts.contains(.streams),
            "The streams front is not built yet: /v1/stream is not served.")
        need(
            .mirror, when: self.mirror != nil,
            "The mirror between streams and tables is not built yet: its flows do not run.")
        need(
            .traces, when: self.telemetry.traceExport != nil,
            "Export of traces (OTEL_EXPORT) is not built yet: no traces leave the process.")
        need(
            .statsd, when: self.telemetry.statsdHost != nil,
            "StatsD (STATSD_HOST) is not built yet: metrics are at /metrics.")
        need(
            .usageReports, when: self.telemetry.wantsUsageReports,
            "Usage reports (ELECTRIC_TELEMETRY) are not built: nothing is reported to anybody.")
        let flags = ["grant", "revoke", "assign", "unassign"].map { "proxy_ddlx_\($0)" }
        let wanted = flags.filter(self.features.isEnabled)
        need(
            .ddlxPermissions, when: !wanted.isEmpty,
            "Feature flags not built yet: \(wanted.joined(separator: ", ")).")
        return texts
    }
}
