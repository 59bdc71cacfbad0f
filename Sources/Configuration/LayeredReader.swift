/// Reads keys of the stream server from layers, later ones first, and gathers what is wrong with them.
struct LayeredReader {
    /// A value and where it comes from.
    struct Found {
        var content: ConfigurationLayer.Content
        var label: String
        /// Index of the layer.
        var layer: Int
        /// The path by which it was found: an older one perhaps.
        var path: String
        var isBuiltIn: Bool

        /// The text, or a list written as one.
        var text: String {
            switch self.content {
            case .text(let text): text
            case .list(let values): values.joined(separator: ",")
            }
        }
    }

    let layers: [ConfigurationLayer]
    private(set) var problems: [ConfigurationReport.Problem] = []

    init(layers: [ConfigurationLayer]) {
        self.layers = layers
    }

    /// The value that counts: of the last layer that has one, and there the present name before older ones.
    func find(_ key: StreamKey) -> Found? {
        for (index, layer) in self.layers.enumerated().reversed() {
            for path in key.paths {
                guard let entry = layer.entries[path] else { continue }
                return Found(
                    content: entry.content, label: entry.label, layer: index, path: path, isBuiltIn: layer.isBuiltIn)
            }
        }
        return nil
    }

    /// What a key is called in a message about its absence.
    func label(_ key: StreamKey) -> String { self.find(key)?.label ?? key.environmentName }

    mutating func report(_ label: String, _ text: String, details: [String] = []) {
        guard !self.problems.contains(where: { $0.variable == label }) else { return }
        self.problems.append(
            ConfigurationReport.Problem(variable: label, text: text, details: details, isRequired: true))
    }

    mutating func report(_ key: StreamKey, _ text: String) { self.report(self.label(key), text) }

    mutating func invalid(_ found: Found, _ hint: String) {
        self.report(found.label, "has invalid value: \(ValueParsing.quoted(found.text)). \(hint)")
    }

    /// The text of a key; nil if it is not set or blank.
    func text(_ key: StreamKey) -> String? {
        self.find(key).flatMap { ValueParsing.isBlank($0.text) ? nil : $0.text }
    }

    mutating func integer(_ key: StreamKey, in range: ClosedRange<Int>) -> Int? {
        guard let found = self.find(key) else { return nil }
        if let number = ValueParsing.integer(found.text), range.contains(number) { return number }
        let limit =
            range.upperBound == .max
            ? "of \(range.lowerBound) or more" : "from \(range.lowerBound) to \(range.upperBound)"
        self.invalid(found, "Must be a whole number \(limit)")
        return nil
    }

    mutating func boolean(_ key: StreamKey) -> Bool? {
        guard let found = self.find(key) else { return nil }
        if let value = ValueParsing.boolean(found.text) { return value }
        self.invalid(found, "Must be one of [\"true\", \"false\"]")
        return nil
    }

    /// One of some names; `also` holds names that mean one of them.
    mutating func choice<Value: RawRepresentable<String> & CaseIterable>(
        _ key: StreamKey, also: [String: Value] = [:]
    ) -> Value? {
        guard let found = self.find(key) else { return nil }
        if let value = Value(rawValue: found.text) ?? also[found.text] { return value }
        self.invalid(found, "Must be one of \(ValueParsing.list(Value.allCases.map(\.rawValue)))")
        return nil
    }

    /// A list, its parts trimmed; nil if it is not set. Empty parts are kept.
    func list(_ key: StreamKey, separator: Character = ",") -> [String]? {
        guard let found = self.find(key) else { return nil }
        switch found.content {
        case .list(let values): return values
        case .text(let text):
            if ValueParsing.isBlank(text) { return [] }
            return text.split(separator: separator, omittingEmptySubsequences: false).map(Self.trimmed)
        }
    }

    static func trimmed(_ text: some StringProtocol) -> String {
        var rest = Substring(text)
        while rest.first?.isWhitespace == true { rest.removeFirst() }
        while rest.last?.isWhitespace == true { rest.removeLast() }
        return String(rest)
    }
}
