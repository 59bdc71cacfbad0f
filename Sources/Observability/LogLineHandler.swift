import Logging

/// Prints events in a ``LogFormat``, each as one line and one write.
///
/// What is logged passes a redactor, so that a slip at a call site does not put a secret on disk, and control
/// characters are escaped, so that nobody can forge a line.
package struct LogLineHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let format: LogFormat
    private let sink: any LogSink
    private let clock: @Sendable () -> Int64

    /// Makes a handler.
    ///
    /// - Parameters:
    ///   - level: The lowest level that is printed.
    ///   - format: How a line looks.
    ///   - sink: Where lines go.
    ///   - clock: Microseconds since 1970 for the time of a line.
    package init(
        level: Logger.Level,
        format: LogFormat = .text,
        sink: any LogSink = StandardErrorSink.shared,
        clock: @escaping @Sendable () -> Int64 = SystemTime.microseconds
    ) {
        self.logLevel = level
        self.format = format
        self.sink = sink
        self.clock = clock
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var merged = self.metadata
        if let provided = self.metadataProvider?.get() { merged.merge(provided) { _, new in new } }
        if let given = event.metadata { merged.merge(given) { _, new in new } }
        self.sink.write(
            self.format.line(
                at: self.clock(), event.level, event.message.description, error: event.error.map { "\($0)" },
                merged.sorted { $0.key < $1.key }.map { ($0.key, LogFormat.Value($0.value)) }))
    }
}
