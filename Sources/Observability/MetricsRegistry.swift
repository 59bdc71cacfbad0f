import CoreMetrics
import Synchronization

/// The metrics of the process, held in memory and rendered in the text format of Prometheus.
///
/// Names and labels are bounded. A family has at most ``Limits/seriesPerFamily`` label combinations; further ones share
/// one series whose label values are all `other`, and the sum over the family stays right. Handlers are made once and
/// kept by their users, so that recording takes no lock of the registry.
package final class MetricsRegistry: MetricsFactory {
    /// How much the registry holds.
    package struct Limits: Sendable {
        package var families = 500
        package var seriesPerFamily = 100

        package init(families: Int = 500, seriesPerFamily: Int = 100) {
            self.families = families
            self.seriesPerFamily = seriesPerFamily
        }
    }

    /// Upper bounds of the buckets of timers, in seconds: from a wakeup to a timeout.
    package static let timerBounds: [Double] = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
    ]
    /// Upper bounds of the buckets of recorders, which hold sizes and counts: powers of four up to a gibibyte.
    package static let recorderBounds: [Double] = (0...15).map { Double(1 << (2 * $0)) }

    enum Kind: String, Sendable {
        case counter, gauge, histogram
    }

    enum Value: Sendable {
        case counter(CounterValue)
        case fractions(FractionCounterValue)
        case gauge(GaugeValue)
        case histogram(HistogramValue)
        case observed(@Sendable () -> Double)
        case distribution(@Sendable () -> ObservedDistribution)

        var handler: AnyObject? {
            switch self {
            case .counter(let handler): handler
            case .fractions(let handler): handler
            case .gauge(let handler): handler
            case .histogram(let handler): handler
            case .observed, .distribution: nil
            }
        }
    }

    struct Labels: Hashable, Sendable {
        var pairs: [Pair]

        struct Pair: Hashable, Sendable {
            var name: String
            var value: String
        }
    }

    struct Family: Sendable {
        var kind: Kind
        var series: [Labels: Value]
    }

    private struct State {
        var families: [String: Family] = [:]
        var help: [String: String] = [:]
        /// Requests that ended in the shared series, or in none at all.
        var capped: UInt64 = 0
        /// Requests for a name that is taken by another kind.
        var conflicts: UInt64 = 0
    }

    private let limits: Limits
    private let state = Mutex(State())

    package init(limits: Limits = Limits()) {
        self.limits = limits
    }

    /// Sets the help text of a metric, by the name it is made with.
    package func describe(_ label: String, _ help: String) {
        let name = PrometheusText.metricName(label)
        self.state.withLock { state in
            for name in [name, Self.name(label, of: .counter), Self.timerName(label)] { state.help[name] = help }
        }
    }

    /// Adds a gauge that is read when the metrics are rendered. A later one of the same name and labels replaces it.
    package func observe(
        _ label: String, dimensions: [(String, String)] = [], read: @escaping @Sendable () -> Double
    ) {
        self.observe(PrometheusText.metricName(label), .gauge, dimensions, .observed(read))
    }

    /// The same for a counter that somebody else keeps: it only rises.
    package func observeCounter(
        _ label: String, dimensions: [(String, String)] = [], read: @escaping @Sendable () -> UInt64
    ) {
        self.observe(Self.name(label, of: .counter), .counter, dimensions, .observed { Double(read()) })
    }

    /// The same for a histogram that somebody else keeps.
    package func observeDistribution(
        _ label: String, dimensions: [(String, String)] = [], read: @escaping @Sendable () -> ObservedDistribution
    ) {
        self.observe(PrometheusText.metricName(label), .histogram, dimensions, .distribution(read))
    }

    private func observe(_ name: String, _ kind: Kind, _ dimensions: [(String, String)], _ value: Value) {
        let labels = Self.labels(dimensions)
        self.state.withLock { state in
            guard let family = Self.family(name, kind: kind, in: &state, limits: self.limits) else { return }
            guard family.series[labels] != nil || family.series.count < self.limits.seriesPerFamily else {
                state.capped &+= 1
                return
            }
            state.families[name]?.series[labels] = value
        }
    }

    /// Everything there is, in the text format of Prometheus, version 0.0.4.
    package func render() -> String {
        // Why: readers are foreign code and are called without the lock.
        let (families, help, capped, conflicts) = self.state.withLock { state in
            (state.families, state.help, state.capped, state.conflicts)
        }
        var text = PrometheusText()
        for (name, family) in families.sorted(by: { $0.key < $1.key }) where !family.series.isEmpty {
            text.family(name, kind: family.kind, help: help[name], series: family.series)
        }
        text.counter(
            "metrics_series_capped_total", capped, help: "Requests for a series that exceeded the cardinality limit")
        text.counter(
            "metrics_name_conflicts_total", conflicts, help: "Requests for a metric whose name is of another kind")
        return text.text
    }

    // MARK: MetricsFactory

    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        let value = self.value(Self.name(label, of: .counter), .counter, dimensions) { .counter(CounterValue()) }
        if case .counter(let handler) = value { return handler }
        return CounterValue()
    }

    package func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        let name = Self.name(label, of: .counter)
        let value = self.value(name, .counter, dimensions) { .fractions(FractionCounterValue()) }
        if case .fractions(let handler) = value { return handler }
        return FractionCounterValue()
    }

    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        let value = self.value(Self.name(label, of: .gauge), .gauge, dimensions) { .gauge(GaugeValue()) }
        if case .gauge(let handler) = value { return handler }
        return GaugeValue()
    }

    package func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        guard aggregate else {
            let value = self.value(Self.name(label, of: .gauge), .gauge, dimensions) { .gauge(GaugeValue()) }
            if case .gauge(let handler) = value { return handler }
            return GaugeValue()
        }
        let name = Self.name(label, of: .histogram)
        let value = self.value(name, .histogram, dimensions) {
            .histogram(HistogramValue(bounds: Self.recorderBounds))
        }
        if case .histogram(let handler) = value { return handler }
        return HistogramValue(bounds: Self.recorderBounds)
    }

    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        let value = self.value(Self.timerName(label), .histogram, dimensions) {
            .histogram(HistogramValue(bounds: Self.timerBounds))
        }
        if case .histogram(let handler) = value { return handler }
        return HistogramValue(bounds: Self.timerBounds)
    }

    package func destroyCounter(_ handler: any CounterHandler) { self.destroy(handler) }
    package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { self.destroy(handler) }
    package func destroyMeter(_ handler: any MeterHandler) { self.destroy(handler) }
    package func destroyRecorder(_ handler: any RecorderHandler) { self.destroy(handler) }
    package func destroyTimer(_ handler: any TimerHandler) { self.destroy(handler) }

    // MARK: Series

    /// The series of these labels, made when there is none; nil when the name is of another kind or there are too many
    /// names. The caller then hands out a handler that belongs to nobody.
    private func value(
        _ name: String, _ kind: Kind, _ dimensions: [(String, String)], make: () -> Value
    ) -> Value? {
        let labels = Self.labels(dimensions)
        return self.state.withLock { state in
            guard let family = Self.family(name, kind: kind, in: &state, limits: self.limits) else { return nil }
            if let value = family.series[labels] { return value }
            var labels = labels
            if family.series.count >= self.limits.seriesPerFamily {
                state.capped &+= 1
                for index in labels.pairs.indices { labels.pairs[index].value = "other" }
                if let value = family.series[labels] { return value }
            }
            let value = make()
            state.families[name]?.series[labels] = value
            return value
        }
    }

    private static func family(
        _ name: String, kind: Kind, in state: inout State, limits: Limits
    ) -> Family? {
        if let family = state.families[name] {
            if family.kind == kind { return family }
            state.conflicts &+= 1
            return nil
        }
        guard state.families.count < limits.families else {
            state.capped &+= 1
            return nil
        }
        let family = Family(kind: kind, series: [:])
        state.families[name] = family
        return family
    }

    private func destroy(_ handler: AnyObject) {
        self.state.withLock { state in
            for (name, family) in state.families {
                guard let labels = family.series.first(where: { $0.value.handler === handler })?.key else { continue }
                state.families[name]?.series[labels] = nil
                return
            }
        }
    }

    private static func labels(_ dimensions: [(String, String)]) -> Labels {
        // Why: Prometheus refuses a whole page for one repeated label, so the last value wins here.
        var values: [String: String] = [:]
        for (name, value) in dimensions { values[PrometheusText.labelName(name)] = value }
        return Labels(pairs: values.sorted { $0.key < $1.key }.map { Labels.Pair(name: $0.key, value: $0.value) })
    }

    private static func name(_ label: String, of kind: Kind) -> String {
        let name = PrometheusText.metricName(label)
        return kind == .counter && !name.hasSuffix("_total") ? name + "_total" : name
    }

    private static func timerName(_ label: String) -> String {
        let name = PrometheusText.metricName(label)
        return name.hasSuffix("_seconds") ? name : name + "_seconds"
    }
}
