/// A message to the operator in a frame that stands out from the log: what went wrong at start-up, and what to do.
package struct ErrorBox: Hashable, Sendable {
    /// What kind of trouble it is: the text in the frame.
    package enum Caption: Hashable, Sendable {
        /// Variables are missing or wrong.
        case configuration
        /// The machine refuses something: a port in use, a name that does not resolve.
        case initialisation
        /// A peer cannot be reached or refuses; usually retried.
        case connection
        /// The database is not set up as needed.
        case databaseConfiguration
        /// Something asked for does not exist (yet).
        case notImplemented
        /// A part of the service, by name.
        case module(String)

        package var text: String {
            switch self {
            case .configuration: "CONFIGURATION ERROR"
            case .initialisation: "INITIALISATION ERROR"
            case .connection: "CONNECTION ERROR"
            case .databaseConfiguration: "DATABASE CONFIGURATION ERROR"
            case .notImplemented: "NOT IMPLEMENTED ERROR"
            case .module(let name): "MODULE ERROR: \(name)"
            }
        }
    }

    /// One thing that is wrong.
    package struct Entry: Hashable, Sendable {
        /// What it concerns: the name of a variable.
        package var name: String
        /// What is wrong with it; follows the name on the line.
        package var text: String
        /// Further lines, indented below an empty line.
        package var details: [String]

        package init(name: String, text: String, details: [String] = []) {
            self.name = name
            self.text = text
            self.details = details
        }
    }

    /// The line that goes out after a fatal box, when the process ends.
    package static let shutdownLine = "••• Shutting down •••"

    package var caption: Caption
    /// The lines below the frame.
    package var intro: String
    package var entries: [Entry]
    /// The closing lines.
    package var hint: String?

    package init(caption: Caption, intro: String, entries: [Entry] = [], hint: String? = nil) {
        self.caption = caption
        self.intro = intro
        self.entries = entries
        self.hint = hint
    }

    /// The whole message with a line feed at the end; red where `color` is set.
    package func render(color: Bool) -> String {
        let margin = "▓ "
        let text = self.lines.map { margin + $0 + "\n" }.joined()
        return color ? "\u{1b}[31m\(text)\u{1b}[0m" : text
    }

    private var lines: [String] {
        let caption = "  \(self.caption.text)  "
        var lines = [
            "┌" + String(repeating: "─", count: caption.count) + "┐",
            "│" + caption + "│",
            "┕" + String(repeating: "━", count: caption.count) + "┙",
            "",
        ]
        lines += Self.lines(of: self.intro)
        for entry in self.entries {
            lines.append("")
            lines += Self.lines(of: "  * \(entry.name) \(entry.text)")
            if !entry.details.isEmpty {
                lines.append("")
                lines += entry.details.map { $0.isEmpty ? "" : "    " + $0 }
            }
        }
        if let hint = self.hint {
            lines.append("")
            lines += Self.lines(of: hint)
        }
        return lines
    }

    private static func lines(of text: String) -> [String] {
        text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }
}
