import Synchronization

/// What a component says about itself.
package struct HealthStatus: Hashable, Sendable {
    /// The component: `database`, `replication`, `change log`.
    package var name: String
    /// Whether it can do its part for a client right now.
    package var ready: Bool
    /// How it stands, in a few words. No secrets: the text is served to whoever asks.
    package var detail: String
    /// What an operator can do about it, when there is something.
    package var remedy: String?
    /// Figures and names that belong to the state: lag in bytes, slot, schema version.
    package var facts: [String: String]

    package init(
        name: String, ready: Bool, detail: String, remedy: String? = nil, facts: [String: String] = [:]
    ) {
        self.name = name
        self.ready = ready
        self.detail = detail
        self.remedy = remedy
        self.facts = facts
    }
}

/// Gathers what the components report and answers whether the service is ready.
///
/// The service is ready when every component that is expected has reported and every reported one is ready. A registry
/// nobody has reported to is not ready.
package final class HealthRegistry: Sendable {
    private let components: Mutex<[String: HealthStatus]>

    /// Makes a registry.
    ///
    /// - Parameter expecting: Components that count as not ready until their first report.
    package init(expecting names: [String] = []) {
        let waiting = names.map { ($0, HealthStatus(name: $0, ready: false, detail: "has not reported yet")) }
        self.components = Mutex(Dictionary(waiting) { first, _ in first })
    }

    /// Takes the new state of a component, in place of its former one.
    package func report(_ status: HealthStatus) {
        self.components.withLock { $0[status.name] = status }
    }

    /// Forgets a component that has been stopped for good.
    package func remove(_ name: String) {
        self.components.withLock { _ = $0.removeValue(forKey: name) }
    }

    /// What every component reported last, by name.
    package var statuses: [HealthStatus] {
        self.components.withLock { $0.values.sorted { $0.name < $1.name } }
    }

    /// Whether the service is ready, and the answer for `/readyz` that says why.
    package func readiness() -> (isReady: Bool, json: String) {
        let statuses = self.statuses
        let isReady = !statuses.isEmpty && statuses.allSatisfy(\.ready)
        var json = "{\"ready\":\(isReady),\"components\":["
        json += statuses.map(Self.json(of:)).joined(separator: ",")
        json += "]}"
        return (isReady, json)
    }

    private static func json(of status: HealthStatus) -> String {
        var json = "{\"name\":\(Self.quoted(status.name)),\"ready\":\(status.ready)"
        json += ",\"detail\":\(Self.quoted(status.detail))"
        if let remedy = status.remedy { json += ",\"remedy\":\(Self.quoted(remedy))" }
        if !status.facts.isEmpty {
            let facts = status.facts.sorted { $0.key < $1.key }
                .map { "\(Self.quoted($0.key)):\(Self.quoted($0.value))" }
            json += ",\"facts\":{\(facts.joined(separator: ","))}"
        }
        return json + "}"
    }

    private static func quoted(_ text: String) -> String {
        var quoted = ""
        JSONText.write(text, to: &quoted)
        return quoted
    }
}
