import ExactText

/// Reads the flows between streams and tables: from variables, and from `[[mirror]]` in files.
struct MirrorSettingsLoader {
    /// The flows that are known by name.
    static let builtInFlows: [String: MirrorFlow] = [
        "items": MirrorFlow(
            name: "items", direction: .tableToStream, source: .name("items"), target: "pg-items"),
        "session-events": MirrorFlow(
            name: "session-events", direction: .streamToTable, source: .name("session-events"),
            target: "session_events"),
    ]

    private static let keys: Set<String> = [
        "name", "direction", "source", "target", "mode", "key", "columns", "batch_size", "batch_ms", "workers",
        "dead_letter_table", "start",
    ]

    /// The variable of a key.
    static func variable(_ key: String) -> String { "PENSTOCK_MIRROR_" + key.uppercased() }

    private let environment: [String: String]
    private(set) var problems: [ConfigurationReport.Problem] = []

    init(environment: [String: String]) {
        self.environment = environment
    }

    /// - Parameters:
    ///   - flows: What the last file that has any says, with its name.
    /// - Returns: Nil if there are no flows.
    mutating func load(flows: [[String: ConfigurationNode]], file: String) -> MirrorSettings? {
        let defaults = self.defaults()
        var result: [MirrorFlow] = []
        for name in ValueParsing.commaSeparated(self.text("flows") ?? "") {
            guard var flow = Self.builtInFlows[name] else {
                let known = ValueParsing.list(Self.builtInFlows.keys.sorted())
                self.report(
                    Self.variable("flows"),
                    "has invalid value: \(ValueParsing.quoted(name)). Must be a list of \(known)")
                continue
            }
            flow.batchSize = defaults.batchSize
            flow.batchDelay = defaults.batchDelay
            flow.workers = defaults.workers
            flow.deadLetterTable = defaults.deadLetterTable
            flow.start = defaults.start
            result.append(flow)
        }
        for (index, members) in flows.enumerated() {
            let title = members["name"].flatMap(ConfigurationLayer.text) ?? "flow \(index + 1)"
            for key in members.keys.sorted() where !Self.keys.contains(key) {
                self.report(
                    "mirror.\(key) of \(title) (\(file))",
                    "is unknown." + NearestName.hint(for: key, in: Self.keys, separator: "."))
            }
            if members["name"].flatMap(ConfigurationLayer.text) == nil {
                self.report("mirror.name of \(title) (\(file))", "not set. Every flow needs a name of its own")
            }
            let flow = self.flow(name: title, members, defaults) { "mirror.\($0) of \(title) (\(file))" }
            if let flow { result.append(flow) }
        }
        let own = ["direction", "source", "target", "mode", "key", "columns"]
        if own.contains(where: { self.text($0) != nil }) {
            var members: [String: ConfigurationNode] = [:]
            for key in own { members[key] = self.text(key).map(ConfigurationNode.text) }
            if let flow = self.flow(name: "environment", members, defaults, label: Self.variable) {
                result.append(flow)
            }
        }
        self.checkTogether(result)
        return result.isEmpty ? nil : MirrorSettings(flows: result)
    }

    mutating func report(_ label: String, _ text: String) {
        guard !self.problems.contains(where: { $0.variable == label }) else { return }
        self.problems.append(
            ConfigurationReport.Problem(variable: label, text: text, details: [], isRequired: true))
    }

    private func text(_ key: String) -> String? {
        self.environment[Self.variable(key)].flatMap { ValueParsing.isBlank($0) ? nil : $0 }
    }

    /// What holds for flows that say nothing else.
    private mutating func defaults() -> MirrorFlow {
        var members: [String: ConfigurationNode] = [:]
        for key in ["batch_size", "batch_ms", "workers", "dead_letter_table", "start"] {
            members[key] = self.text(key).map(ConfigurationNode.text)
        }
        var flow = MirrorFlow(name: "", direction: .streamToTable, source: .name(""), target: "")
        self.addLimits(to: &flow, members, label: Self.variable)
        return flow
    }

    private mutating func addLimits(
        to flow: inout MirrorFlow, _ members: [String: ConfigurationNode], label: (String) -> String
    ) {
        func number(_ key: String, _ range: ClosedRange<Int>) -> Int? {
            guard let text = members[key].map({ ConfigurationLayer.text($0) ?? "" }) else { return nil }
            if let number = ValueParsing.integer(text), range.contains(number) { return number }
            self.report(
                label(key),
                """
                has invalid value: \(ValueParsing.quoted(text)). Must be a whole number from \(range.lowerBound) \
                to \(range.upperBound)
                """)
            return nil
        }
        if let size = number("batch_size", 1...100_000) { flow.batchSize = size }
        if let delay = number("batch_ms", 0...600_000) { flow.batchDelay = .milliseconds(delay) }
        if let workers = number("workers", 1...256) { flow.workers = workers }
        if let start: MirrorFlow.Start = self.choice(members, "start", label) { flow.start = start }
        if let table = members["dead_letter_table"].map({ ConfigurationLayer.text($0) ?? "" }) {
            if !Self.isTable(table) { self.reportTable(label("dead_letter_table"), table) }
            flow.deadLetterTable = table
        }
    }

    private mutating func choice<Value: RawRepresentable<String> & CaseIterable>(
        _ members: [String: ConfigurationNode], _ key: String, _ label: (String) -> String
    ) -> Value? {
        guard let text = members[key].map({ ConfigurationLayer.text($0) ?? "" }) else { return nil }
        if let value = Value(rawValue: text) { return value }
        let names = ValueParsing.list(Value.allCases.map(\.rawValue))
        self.report(label(key), "has invalid value: \(ValueParsing.quoted(text)). Must be one of \(names)")
        return nil
    }

    private mutating func reportTable(_ label: String, _ text: String) {
        self.report(
            label,
            "has invalid value: \(ValueParsing.quoted(text)). Must be the name of a table, as orders or public.orders")
    }

    // MARK: One flow

    private mutating func flow(
        name: String, _ members: [String: ConfigurationNode], _ defaults: MirrorFlow, label: (String) -> String
    ) -> MirrorFlow? {
        var flow = defaults
        flow.name = name
        flow.direction = self.choice(members, "direction", label) ?? .streamToTable
        flow.mode = self.choice(members, "mode", label) ?? .events
        flow.target = members["target"].flatMap(ConfigurationLayer.text) ?? ""
        flow.key = self.texts(members, "key", label) ?? []
        flow.columns = self.columns(members, label)
        self.addLimits(to: &flow, members, label: label)
        let source = self.source(members, flow.direction, label)
        if flow.target.isEmpty { self.report(label("target"), "not set") }
        switch flow.direction {
        case .streamToTable:
            if !flow.target.isEmpty, !Self.isTable(flow.target) { self.reportTable(label("target"), flow.target) }
        case .tableToStream:
            if !flow.target.isEmpty, !Self.isStream(flow.target) {
                self.report(
                    label("target"),
                    "has invalid value: \(ValueParsing.quoted(flow.target)). Must be the name of a stream")
            }
            if flow.mode == .upsert {
                self.report(label("mode"), "is upsert, which is for tables. Leave it out where the target is a stream")
            }
        }
        if flow.mode == .upsert, flow.direction == .streamToTable {
            if flow.key.isEmpty { self.report(label("key"), "not set. The mode upsert needs the columns of the key") }
            if flow.columns.isEmpty {
                self.report(label("columns"), "not set. The mode upsert needs the columns and where their values are")
            }
            let names = Set(flow.columns.map(\.name))
            if !flow.columns.isEmpty, let column = flow.key.first(where: { !names.contains($0) }) {
                self.report(label("key"), "names \(ValueParsing.quoted(column)), which is none of the columns")
            }
        }
        guard let source else { return nil }
        flow.source = source
        return flow
    }

    private mutating func texts(
        _ members: [String: ConfigurationNode], _ key: String, _ label: (String) -> String
    ) -> [String]? {
        switch members[key] {
        case nil: return nil
        case .array(let values)?:
            let texts = values.compactMap(ConfigurationLayer.text)
            if texts.count == values.count { return texts }
        case let node?:
            if let text = ConfigurationLayer.text(node) { return ValueParsing.commaSeparated(text) }
        }
        self.report(label(key), "has to be a text or a list of texts")
        return nil
    }

    private mutating func source(
        _ members: [String: ConfigurationNode], _ direction: MirrorFlow.Direction, _ label: (String) -> String
    ) -> MirrorFlow.Source? {
        let names = self.texts(members, "source", label) ?? []
        guard let first = names.first else {
            self.report(label("source"), "not set")
            return nil
        }
        if direction == .tableToStream {
            if names.count == 1, Self.isTable(first) { return .name(first) }
            self.report(label("source"), "has to be the name of one table, as orders or public.orders")
            return nil
        }
        if names.count == 1 {
            if first.contains("*") || first.contains("?") {
                if Self.isStream(first.replacing("*", with: "x").replacing("?", with: "x")) { return .pattern(first) }
            } else if first.hasSuffix("/") {
                if Self.isStream(String(first.dropLast())) { return .prefix(first) }
            } else if Self.isStream(first) {
                return .name(first)
            }
        } else if names.allSatisfy({ Self.isStream($0) && !$0.contains("*") && !$0.contains("?") }),
            Set(names).count == names.count
        {
            return .list(names)
        }
        self.report(
            label("source"),
            """
            has invalid value: \(ValueParsing.quoted(names.joined(separator: ","))). Must be the name of a stream, a list \
            of names, a prefix such as orders/, or a pattern such as orders/*/events
            """)
        return nil
    }

    private mutating func columns(
        _ members: [String: ConfigurationNode], _ label: (String) -> String
    ) -> [MirrorFlow.Column] {
        var pairs: [(String, String)] = []
        switch members["columns"] {
        case nil: return []
        case .table(let table)?:
            for (path, node) in table.sorted(by: { $0.key < $1.key }) {
                pairs.append((path, ConfigurationLayer.text(node) ?? ""))
            }
        case .text(let text)?:
            for part in ValueParsing.commaSeparated(text) {
                let halves = part.split(separator: "=", omittingEmptySubsequences: false).map(LayeredReader.trimmed)
                pairs.append(halves.count == 2 ? (halves[0], halves[1]) : (part, ""))
            }
        default: pairs = [("", "")]
        }
        var columns: [MirrorFlow.Column] = []
        for (path, name) in pairs {
            let parts = (path.hasPrefix("$.") ? String(path.dropFirst(2)) : path)
                .split(separator: ".", omittingEmptySubsequences: false).map(String.init)
            guard !parts.contains(""), Self.isIdentifier(name), !columns.contains(where: { $0.name == name }) else {
                self.report(
                    label("columns"),
                    """
                    has invalid value: \(ValueParsing.quoted("\(path)=\(name)")). Must lead from paths such as value.title \
                    to columns, each column once
                    """)
                continue
            }
            columns.append(MirrorFlow.Column(path: parts, name: name))
        }
        return columns
    }

    // MARK: Names

    static func isIdentifier(_ text: String) -> Bool {
        (1...63).contains(text.utf8.count) && !text.utf8.contains { $0 < 0x20 || $0 == 0x22 || $0 == 0x7f }
    }

    /// `table` or `schema.table`.
    static func isTable(_ text: String) -> Bool {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        return (1...2).contains(parts.count)
            && parts.allSatisfy { Self.isIdentifier($0) && !$0.contains(where: \.isWhitespace) && !$0.contains("/") }
    }

    static func isStream(_ text: String) -> Bool {
        let segments = text.split(separator: "/", omittingEmptySubsequences: false)
        return !text.isEmpty && text.utf8.count <= 1024 && segments.first != "__ds"
            && !segments.contains { ["", ".", ".."].contains($0) } && !text.utf8.contains { $0 < 0x20 || $0 == 0x7f }
    }

    private mutating func checkTogether(_ flows: [MirrorFlow]) {
        var names: ExactSet = []
        for flow in flows where !names.insert(flow.name).inserted {
            self.report(
                "mirror \(ValueParsing.quoted(flow.name))", "is the name of two flows. Give each a name of its own")
        }
        func table(_ name: String) -> String { name.contains(".") ? name : "public." + name }
        for out in flows where out.direction == .tableToStream {
            guard case .name(let source) = out.source else { continue }
            for back in flows where back.direction == .streamToTable {
                if table(back.target).isExactly(table(source)), back.source.matches(out.target) {
                    self.report(
                        "mirror \(ValueParsing.quoted(out.name))",
                        "and the flow \(ValueParsing.quoted(back.name)) feed each other without end. Give one another target"
                    )
                }
            }
        }
    }
}
