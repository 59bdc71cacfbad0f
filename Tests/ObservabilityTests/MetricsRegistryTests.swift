import CoreMetrics
import Testing

@testable import Observability

@Suite("Metrics registry")
struct MetricsRegistryTests {
    private let registry = MetricsRegistry()

    /// The samples of the page, without its comments and the registry's own metrics.
    private var samples: [String] {
        self.registry.render().split(separator: "\n").map(String.init)
            .filter { !$0.hasPrefix("#") && !$0.hasPrefix("metrics_") }
    }

    @Test func thePageIsInTheTextFormat() {
        self.registry.describe("sessions_opened", "Sessions opened\nsince the start")
        Counter(label: "sessions_opened", dimensions: [("front", "satellite")], factory: self.registry).increment(by: 3)
        Counter(label: "sessions_opened", dimensions: [("front", "a\"\\\n")], factory: self.registry).increment()
        Meter(label: "feed_lag_bytes", factory: self.registry).set(12.5)
        FloatingPointCounter(label: "cpu_seconds_total", factory: self.registry).increment(by: 0.25)
        #expect(
            self.registry.render() == """
                # TYPE cpu_seconds_total counter
                cpu_seconds_total 0.25
                # TYPE feed_lag_bytes gauge
                feed_lag_bytes 12.5
                # HELP sessions_opened_total Sessions opened\\nsince the start
                # TYPE sessions_opened_total counter
                sessions_opened_total{front="a\\"\\\\\\n"} 1
                sessions_opened_total{front="satellite"} 3
                # HELP metrics_series_capped_total Requests for a series that exceeded the cardinality limit
                # TYPE metrics_series_capped_total counter
                metrics_series_capped_total 0
                # HELP metrics_name_conflicts_total Requests for a metric whose name is of another kind
                # TYPE metrics_name_conflicts_total counter
                metrics_name_conflicts_total 0

                """)
    }

    @Test func whatOthersCountIsReadWhenAsked() {
        self.registry.observeCounter("appends", dimensions: [("mode", "acid")]) { 3 }
        self.registry.observeCounter("reads_total") { 4 }
        self.registry.observeDistribution("sync_seconds") {
            ObservedDistribution(bounds: [0.5, 1], counts: [2, 0, 1], sum: 3.5)
        }
        // A name keeps its kind.
        self.registry.observe("reads_total") { 5 }
        #expect(
            self.samples == [
                #"appends_total{mode="acid"} 3"#, "reads_total 4", #"sync_seconds_bucket{le="0.5"} 2"#,
                #"sync_seconds_bucket{le="1"} 2"#, #"sync_seconds_bucket{le="+Inf"} 3"#, "sync_seconds_sum 3.5",
                "sync_seconds_count 3",
            ])
        #expect(self.registry.render().contains("# TYPE appends_total counter"))
        #expect(self.registry.render().contains("# TYPE sync_seconds histogram"))
    }

    @Test func countersOfOneNameAndLabelsAreOneSeries() {
        for _ in 0..<3 {
            Counter(label: "x", dimensions: [("b", "2"), ("a", "1")], factory: self.registry).increment()
            Counter(label: "x_total", dimensions: [("a", "1"), ("b", "2")], factory: self.registry).increment(by: 2)
        }
        Counter(label: "x", dimensions: [("a", "1"), ("b", "2")], factory: self.registry).increment(by: -5)
        #expect(self.samples == [#"x_total{a="1",b="2"} 9"#])
    }

    @Test func timersAreHistogramsInSeconds() {
        let timer = Timer(label: "store_fsync", dimensions: [("engine", "file")], factory: self.registry)
        timer.recordNanoseconds(100_000)
        timer.recordMilliseconds(3)
        timer.recordSeconds(100)
        timer.recordNanoseconds(-1)
        let samples = self.samples
        #expect(samples.count == MetricsRegistry.timerBounds.count + 3)
        #expect(samples.contains(#"store_fsync_seconds_bucket{engine="file",le="0.0001"} 2"#))
        #expect(samples.contains(#"store_fsync_seconds_bucket{engine="file",le="0.0025"} 2"#))
        #expect(samples.contains(#"store_fsync_seconds_bucket{engine="file",le="0.005"} 3"#))
        #expect(samples.contains(#"store_fsync_seconds_bucket{engine="file",le="60"} 3"#))
        #expect(samples.contains(#"store_fsync_seconds_bucket{engine="file",le="+Inf"} 4"#))
        #expect(samples.contains(#"store_fsync_seconds_sum{engine="file"} 100.0031"#))
        #expect(samples.contains(#"store_fsync_seconds_count{engine="file"} 4"#))
    }

    @Test func recordersAggregateOrKeepTheLastValue() {
        let sizes = Recorder(label: "frame_bytes", factory: self.registry)
        sizes.record(1)
        sizes.record(5000)
        sizes.record(Double.nan)
        let last = Recorder(label: "depth", aggregate: false, factory: self.registry)
        last.record(7)
        last.record(4)
        let samples = self.samples
        #expect(samples.first == "depth 4")
        #expect(samples.contains(#"frame_bytes_bucket{le="1"} 1"#))
        #expect(samples.contains(#"frame_bytes_bucket{le="4096"} 1"#))
        #expect(samples.contains(#"frame_bytes_bucket{le="16384"} 2"#))
        #expect(samples.contains("frame_bytes_sum 5001"))
        #expect(samples.contains("frame_bytes_count 2"))
    }

    @Test func metersGoUpAndDown() {
        let meter = Meter(label: "open", factory: self.registry)
        meter.set(10)
        meter.increment(by: 2.5)
        meter.decrement()
        meter.increment(by: Double.infinity)
        #expect(self.samples == ["open 11.5"])
    }

    @Test func observedGaugesAreReadWhenThePageIsMade() {
        let counter = Counter(label: "reads", factory: self.registry)
        self.registry.observe("queue_bytes", dimensions: [("queue", "feed")]) {
            counter.increment()
            return 3
        }
        #expect(self.registry.render().contains(#"queue_bytes{queue="feed"} 3"# + "\n"))
        self.registry.observe("queue_bytes", dimensions: [("queue", "feed")]) { .infinity }
        #expect(self.samples.contains(#"queue_bytes{queue="feed"} +Inf"#))
        #expect(self.samples.contains("reads_total 1"))
    }

    @Test func labelCombinationsAreBounded() {
        let registry = MetricsRegistry(limits: .init(families: 10, seriesPerFamily: 5))
        for user in 0..<1000 {
            Counter(label: "seen", dimensions: [("user", "u\(user)")], factory: registry).increment()
        }
        let lines = registry.render().split(separator: "\n")
        let series = lines.filter { $0.hasPrefix("seen_total{") }
        #expect(series.count == 6)
        #expect(series.contains(#"seen_total{user="other"} 995"#))
        #expect(series.contains(#"seen_total{user="u0"} 1"#))
        #expect(lines.contains("metrics_series_capped_total 995"))
    }

    @Test func namesAreBounded() {
        let registry = MetricsRegistry(limits: .init(families: 3, seriesPerFamily: 5))
        for index in 0..<100 { Counter(label: "n\(index)", factory: registry).increment() }
        registry.observe("n200") { 1 }
        let lines = registry.render().split(separator: "\n")
        #expect(lines.filter { $0.hasPrefix("n") }.count == 3)
        #expect(lines.contains("metrics_series_capped_total 98"))
    }

    @Test func aNameIsOfOneKind() {
        Meter(label: "thing", factory: self.registry).set(1)
        let timer = Recorder(label: "thing", factory: self.registry)
        timer.record(5)
        self.registry.observe("thing") { 9 }
        #expect(self.samples == ["thing 9"])
        #expect(self.registry.render().contains("metrics_name_conflicts_total 1\n"))
    }

    @Test(arguments: [
        ("a.b-c/d", "a_b_c_d"), ("9lives", "_9lives"), ("", "_"), ("ok:name", "ok:name"), ("größe", "gr__e"),
    ])
    func namesAreMadeFit(label: String, name: String) {
        #expect(PrometheusText.metricName(label) == name)
        Meter(label: label, dimensions: [(label, "v"), (label, "w")], factory: self.registry).set(1)
        let labelName = name.replacing(":", with: "_")
        #expect(self.samples == ["\(name){\(labelName)=\"w\"} 1"])
    }

    @Test func destroyedSeriesDisappear() {
        let gone = Counter(label: "gone", dimensions: [("a", "1")], factory: self.registry)
        let stays = Counter(label: "gone", dimensions: [("a", "2")], factory: self.registry)
        gone.increment()
        stays.increment()
        gone.destroy()
        #expect(self.samples == [#"gone_total{a="2"} 1"#])
    }

    @Test(arguments: [
        (0, "0"), (-0.5, "-0.5"), (1e14, "100000000000000"), (0.1, "0.1"), (1e300, "1e+300"), (.nan, "NaN"),
        (-.infinity, "-Inf"),
    ])
    func numbersReadBackTheSame(value: Double, text: String) {
        #expect(PrometheusText.number(value) == text)
    }

    @Test(.timeLimit(.minutes(1))) func concurrentRecordingLosesNothing() async {
        let registry = self.registry
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for index in 0..<2000 {
                        Counter(label: "c", dimensions: [("l", "\(index % 4)")], factory: registry).increment()
                        Meter(label: "m", factory: registry).increment(by: 0.5)
                        Timer(label: "t", factory: registry).recordNanoseconds(1000)
                        if index % 500 == 0, task == 0 { _ = registry.render() }
                    }
                }
            }
        }
        let samples = self.samples
        for label in 0..<4 { #expect(samples.contains("c_total{l=\"\(label)\"} 4000")) }
        #expect(samples.contains("m 8000"))
        #expect(samples.contains("t_seconds_count 16000"))
    }
}
