/// One line of the result: what was measured, and the limit that was measured beside it.
struct Figure: Sendable {
    var name: String
    var value: String
    var limit: String
    var ratio: Double?
    /// What the design asks of the ratio.
    var aim: String

    init(_ name: String, _ value: String, limit: String = "", ratio: Double? = nil, aim: String = "") {
        self.name = name
        self.value = value
        self.limit = limit
        self.ratio = ratio
        self.aim = aim
    }

    private var cells: [String] {
        [self.name, self.value, self.limit, self.ratio.map { "\(Format.decimal($0, digits: 2))×" } ?? "", self.aim]
    }

    /// A table that can be pasted into a Markdown page.
    static func table(_ figures: [Figure]) -> String {
        let heading = ["What", "Penstock", "Limit, same run", "Ratio", "Aim"]
        let rows = [heading, heading.map { _ in "---" }] + figures.map(\.cells)
        return rows.map { "| " + $0.joined(separator: " | ") + " |" }.joined(separator: "\n")
    }
}

/// Numbers for people.
enum Format {
    static func decimal(_ value: Double, digits: Int) -> String {
        guard value.isFinite else { return "?" }
        var scale = 1
        for _ in 0..<digits { scale *= 10 }
        let scaled = Int((value * Double(scale)).rounded())
        guard digits > 0 else { return String(scaled) }
        let fraction = String(abs(scaled) % scale)
        let zeros = String(repeating: "0", count: digits - fraction.count)
        return "\(scaled < 0 ? "-" : "")\(abs(scaled) / scale).\(zeros)\(fraction)"
    }

    /// With three significant digits: `1.25 million`, `48,300`, `812`.
    static func count(_ value: Double) -> String {
        if value >= 999_500 { return "\(Self.decimal(value / 1e6, digits: 2)) million" }
        guard value >= 999.5 else { return Self.decimal(value, digits: value < 10 ? 1 : 0) }
        let rounded = value >= 9_995 ? Int((value / 100).rounded()) * 100 : Int((value / 10).rounded()) * 10
        let rest = String(rounded % 1_000)
        return "\(rounded / 1_000),\(String(repeating: "0", count: 3 - rest.count))\(rest)"
    }

    static func rate(_ perSecond: Double, _ unit: String) -> String { "\(Self.count(perSecond)) \(unit)/s" }

    static func milliseconds(_ seconds: Double) -> String { "\(Self.decimal(seconds * 1_000, digits: 2)) ms" }
}

/// Times of single events.
struct Samples: Sendable {
    private(set) var seconds: [Double] = []

    mutating func append(_ value: Double) { self.seconds.append(value) }
    mutating func append(_ other: Samples) { self.seconds.append(contentsOf: other.seconds) }

    func percentile(_ fraction: Double) -> Double {
        guard !self.seconds.isEmpty else { return .nan }
        let sorted = self.seconds.sorted()
        return sorted[min(sorted.count - 1, Int(Double(sorted.count) * fraction))]
    }

    var p50: Double { self.percentile(0.5) }
    var p99: Double { self.percentile(0.99) }
    var summary: String {
        "p50 \(Format.milliseconds(self.p50)), p99 \(Format.milliseconds(self.p99))"
    }
}
