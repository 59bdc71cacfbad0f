/// What is logged, in the syntax of `RUST_LOG`: `info`, or `debug,http=warn,store::log=off`.
package struct LogFilter: Hashable, Sendable {
    package enum Level: Int, CaseIterable, Hashable, Sendable, Comparable {
        case off, error, warn, info, debug, trace

        package static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }

        /// Names in any case, and the numbers 0 to 5.
        init?(name: String) {
            switch name.lowercased() {
            case "off", "0": self = .off
            case "error", "1": self = .error
            case "warn", "2": self = .warn
            case "info", "3": self = .info
            case "debug", "4": self = .debug
            case "trace", "5": self = .trace
            default: return nil
            }
        }

        /// The nearest of our own levels. There is none below `debug`, and nothing is above `emergency`.
        package var logLevel: LogSettings.Level {
            switch self {
            case .off: .emergency
            case .error: .error
            case .warn: .warning
            case .info: .info
            case .debug, .trace: .debug
            }
        }
    }

    /// For whatever no target names.
    package var level: Level
    /// Levels of targets; the longest name that a target begins with counts.
    package var targets: [String: Level]

    package init(level: Level = .info, targets: [String: Level] = [:]) {
        self.level = level
        self.targets = targets
    }

    /// Parses a filter; nil for what is none. Conditions on spans (`target[span{field}]`) are left out, their target
    /// counts. A filter without a level of its own logs errors only, as it does where the syntax comes from.
    init?(parsing text: String) {
        var level: Level?
        var targets: [String: Level] = [:]
        for part in ValueParsing.commaSeparated(Self.withoutSpans(text)) {
            let halves = part.split(separator: "=", omittingEmptySubsequences: false).map(String.init)
            switch halves.count {
            case 1:
                if let found = Level(name: halves[0]) {
                    level = found
                } else if Self.isTarget(halves[0]) {
                    targets[halves[0]] = .trace
                } else {
                    return nil
                }
            case 2:
                guard let found = Level(name: halves[1]), Self.isTarget(halves[0]) else { return nil }
                targets[halves[0]] = found
            default: return nil
            }
        }
        guard level != nil || !targets.isEmpty else { return nil }
        self.level = level ?? .error
        self.targets = targets
    }

    /// The level for a target.
    package func level(for target: String) -> Level {
        let match = self.targets.keys.filter { target.hasPrefix($0) }.max { $0.utf8.count < $1.utf8.count }
        return match.flatMap { self.targets[$0] } ?? self.level
    }

    private static func withoutSpans(_ text: String) -> String {
        var depth = 0
        return text.filter { character in
            if character == "[" { depth += 1 }
            defer { if character == "]" { depth = max(0, depth - 1) } }
            return depth == 0
        }
    }

    private static func isTarget(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: ":"), UInt8(ascii: "-"),
                    UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }
}
