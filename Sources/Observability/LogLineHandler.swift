import Logging

/// Prints `time metadata [level] message`, each event as one line and one write.
///
/// What is logged passes a redactor, so that a slip at a call site does not put a secret on disk, and control
/// characters are escaped, so that nobody can forge a line.
package struct LogLineHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let sink: any LogSink
    private let clock: @Sendable () -> Int64

    /// Makes a handler.
    ///
    /// - Parameters:
    ///   - level: The lowest level that is printed.
    ///   - sink: Where lines go.
    ///   - clock: Microseconds since 1970 for the time of a line.
    package init(
        level: Logger.Level,
        sink: any LogSink = StandardErrorSink.shared,
        clock: @escaping @Sendable () -> Int64 = SystemTime.microseconds
    ) {
        self.logLevel = level
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

        var line = Timestamp.text(microseconds: self.clock())
        line += " "
        for (key, value) in merged.sorted(by: { $0.key < $1.key }) {
            line += Redaction.escaped(key, quoting: true)
            line += "="
            line += Redaction.isSecret(key: key) ? Redaction.mask : Self.text(of: value)
            line += " "
        }
        line += "[\(event.level.rawValue)] "
        line += Redaction.escaped(Redaction.redacted(event.message.description))
        if let error = event.error {
            line += ": "
            line += Redaction.escaped(Redaction.redacted("\(error)"))
        }
        line += "\n"
        self.sink.write(line)
    }

    private static func text(of value: Logger.MetadataValue) -> String {
        switch value {
        case .string(let text): Redaction.escaped(Redaction.redacted(text), quoting: true)
        case .stringConvertible(let value): Redaction.escaped(Redaction.redacted(value.description), quoting: true)
        case .array(let values): "[" + values.map(Self.text(of:)).joined(separator: ",") + "]"
        case .dictionary(let values):
            "{"
                + values.sorted { $0.key < $1.key }.map { key, value in
                    let text = Redaction.isSecret(key: key) ? Redaction.mask : Self.text(of: value)
                    return "\(Redaction.escaped(key, quoting: true)):\(text)"
                }.joined(separator: ",") + "}"
        }
    }
}
