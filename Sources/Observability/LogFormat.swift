import Logging

/// How a line of the log looks.
package enum LogFormat: String, CaseIterable, Sendable {
    /// `time key=value ... [level] message`.
    case text
    /// One JSON object.
    case json

    /// What stands beside the message. Redacted and escaped when it is written.
    enum Value {
        case text(String)
        case number(Int64)
        case list([Value])
        case members([(key: String, value: Value)])

        init(_ value: Logger.MetadataValue) {
            switch value {
            case .string(let text): self = .text(text)
            case .stringConvertible(let value): self = .text(value.description)
            case .array(let values): self = .list(values.map(Value.init))
            case .dictionary(let values):
                self = .members(values.sorted { $0.key < $1.key }.map { ($0.key, Value($0.value)) })
            }
        }
    }

    /// One event as a line, its line feed included.
    func line(
        at microseconds: Int64, _ level: Logger.Level, _ message: String, error: String? = nil,
        _ fields: [(key: String, value: Value)]
    ) -> String {
        switch self {
        case .text: Self.textLine(microseconds, level, message, error, fields)
        case .json: Self.jsonLine(microseconds, level, message, error, fields)
        }
    }

    // MARK: Text

    private static func textLine(
        _ microseconds: Int64, _ level: Logger.Level, _ message: String, _ error: String?,
        _ fields: [(key: String, value: Value)]
    ) -> String {
        var line = Timestamp.text(microseconds: microseconds)
        line += " "
        for (key, value) in fields {
            line += Redaction.escaped(key, quoting: true)
            line += "="
            line += Redaction.isSecret(key: key) ? Redaction.mask : Self.text(of: value)
            line += " "
        }
        line += "[\(level.rawValue)] "
        line += Redaction.escaped(Redaction.redacted(message))
        if let error {
            line += ": "
            line += Redaction.escaped(Redaction.redacted(error))
        }
        line += "\n"
        return line
    }

    private static func text(of value: Value) -> String {
        switch value {
        case .text(let text): Redaction.escaped(Redaction.redacted(text), quoting: true)
        case .number(let number): String(number)
        case .list(let values): "[" + values.map(Self.text(of:)).joined(separator: ",") + "]"
        case .members(let members):
            "{"
                + members.map { key, value in
                    let text = Redaction.isSecret(key: key) ? Redaction.mask : Self.text(of: value)
                    return "\(Redaction.escaped(key, quoting: true)):\(text)"
                }.joined(separator: ",") + "}"
        }
    }

    // MARK: JSON

    /// Members that every line has; a field of such a name gets an underscore in front.
    private static let ownMembers: Set<String> = ["time", "level", "message", "error"]

    private static func jsonLine(
        _ microseconds: Int64, _ level: Logger.Level, _ message: String, _ error: String?,
        _ fields: [(key: String, value: Value)]
    ) -> String {
        var line = "{\"time\":\"\(Timestamp.text(microseconds: microseconds))\",\"level\":\"\(level.rawValue)\",\"message\":"
        JSONText.write(Redaction.redacted(message), to: &line)
        if let error {
            line += ",\"error\":"
            JSONText.write(Redaction.redacted(error), to: &line)
        }
        for (key, value) in fields {
            line += ","
            Self.write(key: Self.ownMembers.contains(key) ? "_" + key : key, value, to: &line)
        }
        line += "}\n"
        return line
    }

    private static func write(key: String, _ value: Value, to line: inout String) {
        JSONText.write(key, to: &line)
        line += ":"
        Self.write(Redaction.isSecret(key: key) ? .text(Redaction.mask) : value, to: &line)
    }

    private static func write(_ value: Value, to line: inout String) {
        switch value {
        case .text(let text): JSONText.write(Redaction.redacted(text), to: &line)
        case .number(let number): line += String(number)
        case .list(let values):
            line += "["
            for (index, value) in values.enumerated() {
                if index > 0 { line += "," }
                Self.write(value, to: &line)
            }
            line += "]"
        case .members(let members):
            line += "{"
            for (index, member) in members.enumerated() {
                if index > 0 { line += "," }
                Self.write(key: member.key, member.value, to: &line)
            }
            line += "}"
        }
    }
}
