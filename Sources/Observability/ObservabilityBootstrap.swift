import CoreMetrics
import Logging

extension Logger.Level {
    /// The level behind a name of the `LOG_LEVEL` variable, nil for a name it does not know.
    ///
    /// The names of the legacy service count too: what is above `error` there is `critical` here.
    package init?(configurationName name: String) {
        switch name {
        case "emergency", "alert", "critical": self = .critical
        case "error": self = .error
        case "warning", "warn": self = .warning
        case "notice": self = .notice
        case "info": self = .info
        case "debug": self = .debug
        default: return nil
        }
    }
}

/// Sets up the process for logging and metrics. To be called once, first of all.
package enum ObservabilityBootstrap {
    /// Sends the events of every logger of the process through ``LogLineHandler``.
    package static func startLogging(level: Logger.Level, sink: any LogSink = StandardErrorSink.shared) {
        Self.startLogging(format: .text, sink: sink) { _ in level }
    }

    /// - Parameter level: the lowest level that is printed of a logger with this label.
    package static func startLogging(
        format: LogFormat, sink: any LogSink = StandardErrorSink.shared,
        level: @escaping @Sendable (_ label: String) -> Logger.Level
    ) {
        LoggingSystem.bootstrap(
            { label, provider in
                var handler = LogLineHandler(level: level(label), format: format, sink: sink)
                handler.metadataProvider = provider
                return handler
            }, metadataProvider: nil)
    }

    /// Makes `registry` the home of every metric of the process.
    package static func startMetrics(_ registry: MetricsRegistry) {
        MetricsSystem.bootstrap(registry)
    }
}
