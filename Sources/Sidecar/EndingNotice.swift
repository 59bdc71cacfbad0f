import Observability
import Synchronization

/// Says that the service was told to end, to those who answer for its readiness.
final class EndingNotice: Sendable {
    private let given = Atomic<Bool>(false)

    var isGiven: Bool { self.given.load(ordering: .relaxed) }

    func give() { self.given.store(true, ordering: .relaxed) }

    static let text = "draining: the service is about to end"

    /// For the health of the whole service, once the notice is given.
    static let health = HealthStatus(name: "shutdown", ready: false, detail: EndingNotice.text)
}
