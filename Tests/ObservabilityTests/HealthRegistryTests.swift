import Observability
import Testing

@Suite("Health")
struct HealthRegistryTests {
    @Test func anEmptyRegistryIsNotReady() {
        let (isReady, json) = HealthRegistry().readiness()
        #expect(!isReady)
        #expect(json == #"{"ready":false,"components":[]}"#)
    }

    @Test func expectedComponentsHoldReadinessBack() {
        let health = HealthRegistry(expecting: ["feed", "database", "feed"])
        health.report(HealthStatus(name: "database", ready: true, detail: "connected"))
        #expect(!health.readiness().isReady)
        #expect(
            health.readiness().json
                == #"{"ready":false,"components":[{"name":"database","ready":true,"detail":"connected"},"#
                + #"{"name":"feed","ready":false,"detail":"has not reported yet"}]}"#)
        health.report(HealthStatus(name: "feed", ready: true, detail: "streaming", facts: ["lag_bytes": "0"]))
        #expect(health.readiness().isReady)
        #expect(health.readiness().json.contains(#""detail":"streaming","facts":{"lag_bytes":"0"}}"#))
    }

    @Test func oneComponentOutOfOrderIsEnough() {
        let health = HealthRegistry()
        health.report(HealthStatus(name: "a", ready: true, detail: "fine"))
        health.report(HealthStatus(name: "b", ready: true, detail: "fine"))
        #expect(health.readiness().isReady)
        health.report(HealthStatus(name: "b", ready: false, detail: "slot lost", remedy: "Restart \"it\"\n\u{1}"))
        #expect(!health.readiness().isReady)
        #expect(health.readiness().json.hasSuffix(#""detail":"slot lost","remedy":"Restart \"it\"\n\u0001"}]}"#))
        health.remove("b")
        #expect(health.readiness().isReady)
        #expect(health.statuses.map(\.name) == ["a"])
    }
}
