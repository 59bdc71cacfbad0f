import TOMLKit

/// A TOML document as a tree of values of our own.
indirect enum ConfigurationNode: Hashable, Sendable {
    case text(String)
    case integer(Int)
    case boolean(Bool)
    case array([ConfigurationNode])
    case table([String: ConfigurationNode])
    /// A number with a fraction, a date or a time: nothing here takes one.
    case foreign(String)

    /// The document does not follow the rules of TOML.
    struct SyntaxError: Error, Hashable {
        var line: Int
        var column: Int
        var text: String
    }

    /// Parses a document.
    static func parse(_ text: String) throws(SyntaxError) -> ConfigurationNode {
        // Why: the library sees the document as a C string.
        if let index = text.utf8.firstIndex(of: 0) {
            let line = text.utf8[..<index].count { $0 == 0x0a } + 1
            throw SyntaxError(line: line, column: 1, text: "zero bytes are not allowed")
        }
        return try TOMLDocument.parse(text)
    }
}

/// The way from the library's values to ours.
private enum TOMLDocument {
    static func parse(_ text: String) throws(ConfigurationNode.SyntaxError) -> ConfigurationNode {
        do {
            return Self.table(try TOMLTable(string: text))
        } catch let error as TOMLParseError {
            throw ConfigurationNode.SyntaxError(
                line: error.source.begin.line, column: error.source.begin.column,
                text: Self.sentence(error.description))
        } catch {
            throw ConfigurationNode.SyntaxError(line: 1, column: 1, text: "cannot be read")
        }
    }

    /// The message on one line, not too long. The library names keys and single letters, not values.
    private static func sentence(_ text: String) -> String {
        let lead = "Error while "
        let rest = text.hasPrefix(lead) ? text.dropFirst(lead.count) : text[...]
        return String(rest.prefix(160).map { $0.isNewline ? " " : $0 })
    }

    private static func table(_ table: TOMLTable) -> ConfigurationNode {
        var members: [String: ConfigurationNode] = [:]
        for key in table.keys {
            if let value = table[key] { members[key] = Self.node(value) }
        }
        return .table(members)
    }

    private static func node(_ value: any TOMLValueConvertible) -> ConfigurationNode {
        switch value.type {
        case .table: value.table.map(Self.table) ?? .foreign("table")
        case .array:
            value.array.map { array in .array((0..<array.count).map { Self.node(array[$0]) }) } ?? .foreign("array")
        case .string: value.string.map(ConfigurationNode.text) ?? .foreign("string")
        case .int: value.int.map(ConfigurationNode.integer) ?? .foreign("integer")
        case .bool: value.bool.map(ConfigurationNode.boolean) ?? .foreign("boolean")
        case .double: .foreign("number with a fraction")
        case .date, .time, .dateTime: .foreign("date or time")
        }
    }
}
/// One place that settings come from: a file, the environment, or what a profile brings along.
struct ConfigurationLayer {
    enum Content: Hashable, Sendable {
        case text(String)
        case list([String])
    }

    struct Entry: Hashable, Sendable {
        var content: Content
        /// How the setting is called in messages.
        var label: String
    }

    /// Name of the place for messages; nil for the environment.
    var name: String?
    /// Whether it is part of the program.
    var isBuiltIn = false
    var entries: [String: Entry] = [:]
    /// The flows of `[[mirror]]`, nil if the place says nothing of them.
    var flows: [[String: ConfigurationNode]]?

    /// A layer of what a profile brings along.
    init(profile: String, _ values: [StreamKey: Content]) {
        self.name = "profile \(profile)"
        self.isBuiltIn = true
        for (key, content) in values {
            self.entries[key.rawValue] = Entry(content: content, label: "\(key.rawValue) (profile \(profile))")
        }
    }

    /// A layer of environment variables.
    ///
    /// - Parameter takesOldestNames: Whether names without a prefix are read: only where nothing else could mean them.
    init(environment: [String: String], takesOldestNames: Bool) {
        func value(_ name: String) -> String? {
            environment[name].flatMap { ValueParsing.isBlank($0) ? nil : $0 }
        }
        for key in StreamKey.allCases {
            for path in key.paths {
                let name = StreamKey.environmentName(of: path)
                // An empty directory is a mistake worth naming, not a way to say nothing.
                let text = key == .storageDataDir ? environment[name] : value(name)
                if let text { self.entries[path] = Entry(content: .text(text), label: name) }
            }
            guard takesOldestNames, !key.paths.contains(where: { self.entries[$0] != nil }),
                let name = key.oldestNames.first(where: { value($0) != nil }), let text = value(name)
            else { continue }
            self.entries[key.rawValue] = Entry(content: .text(text), label: name)
        }
        if let filter = value("RUST_LOG") {
            self.entries[StreamKey.observabilityRustLog.rawValue] = Entry(content: .text(filter), label: "RUST_LOG")
        }
    }

    /// A layer of a TOML document. Keys that do not exist and values that cannot be meant are reported.
    init(file: String, root: ConfigurationNode, report: (_ label: String, _ text: String) -> Void) {
        self.name = file
        guard case .table(let members) = root else { return }
        for (name, node) in members.sorted(by: { $0.key < $1.key }) {
            if name == "mirror" {
                self.flows = Self.flows(node)
                if self.flows == nil {
                    report("mirror (\(file))", "has to be a list of tables: [[mirror]]")
                }
            } else {
                self.add(path: name, node, file: file, report: report)
            }
        }
    }

    private static func flows(_ node: ConfigurationNode) -> [[String: ConfigurationNode]]? {
        guard case .array(let entries) = node else { return nil }
        var flows: [[String: ConfigurationNode]] = []
        for entry in entries {
            guard case .table(let members) = entry else { return nil }
            flows.append(members)
        }
        return flows
    }

    private mutating func add(
        path: String, _ node: ConfigurationNode, file: String, report: (_ label: String, _ text: String) -> Void
    ) {
        let label = "\(path) (\(file))"
        if case .table(let members) = node {
            if StreamKey.knownPaths.contains(path) {
                report(label, "has to be a value, not a section")
            } else if members.isEmpty, !StreamKey.knownPaths.contains(where: { $0.hasPrefix(path + ".") }) {
                report(label, "is unknown." + StreamKey.hint(forSection: path))
            }
            for (name, member) in members.sorted(by: { $0.key < $1.key }) {
                self.add(path: path + "." + name, member, file: file, report: report)
            }
            return
        }
        guard StreamKey.knownPaths.contains(path) else {
            report(label, "is unknown." + StreamKey.hint(forPath: path))
            return
        }
        switch node {
        case .array(let values):
            var texts: [String] = []
            for value in values {
                guard let text = Self.text(value) else {
                    report(label, "has to be a list of texts")
                    return
                }
                texts.append(text)
            }
            self.entries[path] = Entry(content: .list(texts), label: label)
        case .foreign(let kind): report(label, "has to be a text, a whole number, a boolean or a list, not a \(kind)")
        default:
            if let text = Self.text(node) { self.entries[path] = Entry(content: .text(text), label: label) }
        }
    }

    static func text(_ node: ConfigurationNode) -> String? {
        switch node {
        case .text(let text): text
        case .integer(let number): String(number)
        case .boolean(let value): String(value)
        default: nil
        }
    }
}
