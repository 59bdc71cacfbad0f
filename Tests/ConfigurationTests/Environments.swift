@testable import Configuration

/// Environments for tests.
enum Environments {
    /// The least a legacy installation in direct mode has.
    static let minimal: [String: String] = [
        "DATABASE_URL": "postgresql://electric:db-password@localhost:5432/app",
        "ELECTRIC_WRITE_TO_PG_MODE": "direct_writes",
        "PG_PROXY_PASSWORD": "proxy-password",
        "AUTH_MODE": "insecure",
    ]

    /// A P-256 public key.
    static let publicKey = """
        -----BEGIN PUBLIC KEY-----
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpsUaJ9Etvw09tFu2QCnqiIfWPQpk
        Z/bY1dT0uoA9vVqAyngPokljII2kOTSSyHJyBNs771Jo4uoUWhtt+GqYuw==
        -----END PUBLIC KEY-----
        """

    /// Loads the minimal environment with changes; a nil value removes a variable.
    static func load(
        _ changes: [String: String?] = [:], builtParts: Set<Part> = Set(Part.allCases)
    ) throws(ConfigurationReport) -> Settings {
        try Settings.load(environment: Self.minimal(with: changes), builtParts: builtParts)
    }

    /// The problems of the minimal environment with changes, as `NAME text`.
    static func problems(_ changes: [String: String?]) -> [String] {
        self.problems(of: self.minimal(with: changes))
    }

    /// The problems of an environment, as `NAME text`.
    static func problems(of environment: [String: String]) -> [String] {
        do throws(ConfigurationReport) {
            _ = try Settings.load(environment: environment)
            return []
        } catch {
            return error.problems.map { "\($0.variable) \($0.text)" }
        }
    }

    static func minimal(with changes: [String: String?]) -> [String: String] {
        var environment = self.minimal
        for (name, value) in changes { environment[name] = value }
        return environment
    }
}
