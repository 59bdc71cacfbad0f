import Identity
import SwiftConfiguration

/// Reads variables one by one and gathers what is wrong with them.
struct EnvironmentReader {
    private let provider: EnvironmentVariablesProvider
    private(set) var problems: [ConfigurationReport.Problem] = []

    init(environment: [String: String]) {
        let secrets = Set(Variable.allCases.filter(\.isSecret).map(\.rawValue))
        self.provider = EnvironmentVariablesProvider(
            environmentVariables: environment, secretsSpecifier: .specific(secrets))
    }

    /// The text of a variable as it is, nil when it does not exist.
    func raw(_ variable: Variable) -> String? {
        // Why: looking up a name in a snapshot of the environment has nothing to throw for.
        (try? self.provider.environmentValue(forName: variable.rawValue)) ?? nil
    }

    /// The text of a variable; nil when it is blank, which counts as not set.
    func text(_ variable: Variable) -> String? {
        self.raw(variable).flatMap { ValueParsing.isBlank($0) ? nil : $0 }
    }

    /// Notes a problem. Only the first one of each variable is kept.
    mutating func report(
        _ variable: Variable, _ text: String, details: [String] = [], isRequired: Bool = true
    ) {
        guard !self.problems.contains(where: { $0.variable == variable.rawValue }) else { return }
        self.problems.append(
            ConfigurationReport.Problem(
                variable: variable.rawValue, text: text, details: details, isRequired: isRequired))
    }

    /// Notes a problem of a variable that is not read here.
    mutating func report(name: String, _ text: String) {
        self.problems.append(
            ConfigurationReport.Problem(variable: name, text: text, details: [], isRequired: true))
    }

    /// A text that has to be there when `condition` holds.
    mutating func required(_ variable: Variable, when condition: Bool = true) -> String? {
        let text = self.text(variable)
        if text == nil, condition { self.report(variable, "not set") }
        return text
    }

    mutating func boolean(_ variable: Variable) -> Bool? {
        guard let text = self.text(variable) else { return nil }
        if let value = ValueParsing.boolean(text) { return value }
        self.report(
            variable, "has invalid value: \(ValueParsing.quoted(text)). Must be one of [\"true\", \"false\"]")
        return nil
    }

    mutating func port(_ variable: Variable) -> UInt16? {
        guard let text = self.text(variable) else { return nil }
        if let port = ValueParsing.port(text) { return port }
        self.report(
            variable, "has invalid value: \(ValueParsing.quoted(text)). Must be a port number from 1 to 65535")
        return nil
    }

    /// A size. Here an empty text is an error, as it always was.
    mutating func size(_ variable: Variable, default defaultValue: ByteCount) -> ByteCount {
        guard let text = self.raw(variable) else { return defaultValue }
        if let size = ByteCount(size: text) { return size }
        self.report(variable, "has invalid value: \(ValueParsing.quoted(text))", isRequired: false)
        return defaultValue
    }

    /// One of the values of an enumeration.
    mutating func choice<Value: RawRepresentable<String>>(
        _ variable: Variable, listed: [String], default defaultValue: Value
    ) -> Value {
        guard let text = self.text(variable) else { return defaultValue }
        if let value = Value(rawValue: text) { return value }
        self.reportChoice(variable, text, listed: listed)
        return defaultValue
    }

    mutating func reportChoice(_ variable: Variable, _ text: String, listed: [String]) {
        self.report(
            variable,
            "has invalid value: \(ValueParsing.quoted(text)). Must be one of \(ValueParsing.list(listed))")
    }
}
