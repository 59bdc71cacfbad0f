/// Everything that is wrong with a configuration, in one report.
package struct ConfigurationReport: Error, Hashable, Sendable, CustomStringConvertible {
    /// One variable and what is wrong with it.
    package struct Problem: Hashable, Sendable {
        package let variable: String
        package let text: String
        /// Lines that help, such as the outline of what is expected.
        package let details: [String]
        /// Whether the service cannot do without the variable.
        package let isRequired: Bool
    }

    /// The last paragraph of the report.
    package static let reference = """
        All variables, their defaults and what they accept are listed by `penstock check --variables`
        and in docs/configuration.md.
        """

    /// Never empty.
    package let problems: [Problem]

    /// The status the process is to exit with after printing the report.
    package var exitCode: Int32 { 1 }

    /// The report as a box.
    package var box: ErrorBox {
        let required = self.problems.contains(where: \.isRequired) ? "required " : ""
        return ErrorBox(
            caption: .configuration,
            intro: "The following \(required)configuration options have invalid or missing values:",
            entries: self.problems.map {
                ErrorBox.Entry(name: $0.variable, text: $0.text, details: $0.details)
            },
            hint: Self.reference)
    }

    /// The text for the terminal, a line feed at the end.
    package func render(color: Bool) -> String { self.box.render(color: color) }

    package var description: String { self.render(color: false) }
}
