import CoreMetrics
import Synchronization

/// A counter that only rises, wrapping at the largest value as Prometheus expects of counters.
final class CounterValue: CounterHandler {
    private let value = Atomic<Int64>(0)

    func increment(by amount: Int64) {
        // Why: a counter that falls looks like a restart to whoever computes rates.
        guard amount > 0 else { return }
        self.value.wrappingAdd(amount, ordering: .relaxed)
    }

    func reset() { self.value.store(0, ordering: .relaxed) }

    var current: Double { Double(self.value.load(ordering: .relaxed)) }
}

/// A counter of fractions.
final class FractionCounterValue: FloatingPointCounterHandler {
    private let value = AtomicDouble()

    func increment(by amount: Double) {
        guard amount > 0, amount.isFinite else { return }
        self.value.add(amount)
    }

    func reset() { self.value.store(0) }

    var current: Double { self.value.load() }
}

/// A value that goes up and down: a meter, or a recorder that does not aggregate.
final class GaugeValue: MeterHandler, RecorderHandler {
    private let value = AtomicDouble()

    func set(_ value: Int64) { self.value.store(Double(value)) }
    func set(_ value: Double) { self.value.store(value) }
    func increment(by amount: Double) { if amount.isFinite { self.value.add(amount) } }
    func decrement(by amount: Double) { if amount.isFinite { self.value.add(-amount) } }
    func record(_ value: Int64) { self.set(value) }
    func record(_ value: Double) { self.set(value) }

    var current: Double { self.value.load() }
}

/// A histogram at one moment, kept elsewhere.
package struct ObservedDistribution: Sendable {
    /// Upper bounds of the buckets.
    package var bounds: [Double]
    /// How many observations fell into each bucket, not cumulative; one more than there are bounds.
    package var counts: [UInt64]
    package var sum: Double

    package init(bounds: [Double], counts: [UInt64], sum: Double) {
        self.bounds = bounds
        self.counts = counts
        self.sum = sum
    }
}

/// Observations sorted into buckets. Timers record nanoseconds and are kept in seconds.
final class HistogramValue: TimerHandler, RecorderHandler {
    /// A reading of the whole histogram at one moment.
    struct Reading {
        /// How many observations fell into each bucket, the last one being above every bound.
        var counts: [UInt64]
        var sum: Double
    }

    let bounds: [Double]
    private let reading: Mutex<Reading>

    init(bounds: [Double]) {
        self.bounds = bounds
        self.reading = Mutex(Reading(counts: Array(repeating: 0, count: bounds.count + 1), sum: 0))
    }

    func recordNanoseconds(_ duration: Int64) { self.record(Double(max(0, duration)) / 1_000_000_000) }
    func record(_ value: Int64) { self.record(Double(value)) }

    func record(_ value: Double) {
        guard value.isFinite else { return }
        let index = self.bounds.firstIndex { value <= $0 } ?? self.bounds.count
        self.reading.withLock { reading in
            reading.counts[index] &+= 1
            reading.sum += value
        }
    }

    var current: Reading { self.reading.withLock { $0 } }
}

/// A number with atomic addition.
private final class AtomicDouble: Sendable {
    private let bits = Atomic<UInt64>(0)

    func load() -> Double { Double(bitPattern: self.bits.load(ordering: .relaxed)) }

    func store(_ value: Double) { self.bits.store(value.bitPattern, ordering: .relaxed) }

    func add(_ amount: Double) {
        var old = self.bits.load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let result = self.bits.compareExchange(expected: old, desired: new, ordering: .relaxed)
            if result.exchanged { return }
            old = result.original
        }
    }
}
