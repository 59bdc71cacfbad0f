/// Writes the text format of Prometheus.
struct PrometheusText {
    private(set) var text = ""

    /// One family with all its series, these in the order of their labels.
    mutating func family(
        _ name: String, kind: MetricsRegistry.Kind, help: String?,
        series: [MetricsRegistry.Labels: MetricsRegistry.Value]
    ) {
        self.head(name, kind: kind, help: help)
        let sorted = series.map { (labels: Self.text(of: $0.key.pairs), value: $0.value) }
            .sorted { $0.labels < $1.labels }
        for (labels, value) in sorted {
            switch value {
            case .counter(let counter): self.sample(name, labels, Self.number(counter.current))
            case .fractions(let counter): self.sample(name, labels, Self.number(counter.current))
            case .gauge(let gauge): self.sample(name, labels, Self.number(gauge.current))
            case .observed(let read): self.sample(name, labels, Self.number(read()))
            case .histogram(let histogram):
                let reading = histogram.current
                self.histogram(
                    name, labels,
                    ObservedDistribution(bounds: histogram.bounds, counts: reading.counts, sum: reading.sum))
            case .distribution(let read): self.histogram(name, labels, read())
            }
        }
    }

    /// A counter without labels.
    mutating func counter(_ name: String, _ value: UInt64, help: String) {
        self.head(name, kind: .counter, help: help)
        self.sample(name, "", String(value))
    }

    private mutating func head(_ name: String, kind: MetricsRegistry.Kind, help: String?) {
        if let help {
            self.text += "# HELP \(name) "
            for scalar in help.unicodeScalars {
                switch scalar {
                case "\\": self.text += "\\\\"
                case "\n": self.text += "\\n"
                default: self.text.unicodeScalars.append(scalar)
                }
            }
            self.text += "\n"
        }
        self.text += "# TYPE \(name) \(kind.rawValue)\n"
    }

    private mutating func sample(_ name: String, _ labels: String, _ value: String) {
        self.text += labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(labels)} \(value)\n"
    }

    private mutating func histogram(_ name: String, _ labels: String, _ reading: ObservedDistribution) {
        let prefix = labels.isEmpty ? "" : labels + ","
        var count: UInt64 = 0
        for (index, bucket) in reading.counts.enumerated() {
            count &+= bucket
            let bound = index < reading.bounds.count ? Self.number(reading.bounds[index]) : "+Inf"
            self.sample(name + "_bucket", "\(prefix)le=\"\(bound)\"", String(count))
        }
        self.sample(name + "_sum", labels, Self.number(reading.sum))
        self.sample(name + "_count", labels, String(count))
    }

    /// Whole numbers without a fraction, everything else as short as it reads back the same.
    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        if let whole = Int64(exactly: value), abs(value) < 1e15 { return String(whole) }
        return String(value)
    }

    /// `label` with everything that may not stand in the name of a metric replaced by an underscore.
    static func metricName(_ label: String) -> String {
        Self.name(label, colons: true)
    }

    /// The same for the name of a label.
    static func labelName(_ label: String) -> String {
        Self.name(label, colons: false)
    }

    private static func name(_ label: String, colons: Bool) -> String {
        var name: [UInt8] = []
        for scalar in label.unicodeScalars {
            switch scalar {
            case "a"..."z", "A"..."Z", "_": name.append(UInt8(scalar.value))
            case ":" where colons: name.append(UInt8(scalar.value))
            case "0"..."9":
                if name.isEmpty { name.append(UInt8(ascii: "_")) }
                name.append(UInt8(scalar.value))
            default: name.append(UInt8(ascii: "_"))
            }
        }
        return name.isEmpty ? "_" : String(decoding: name, as: UTF8.self)
    }

    private static func text(of pairs: [MetricsRegistry.Labels.Pair]) -> String {
        pairs.map { pair in
            var text = pair.name + "=\""
            for scalar in pair.value.unicodeScalars {
                switch scalar {
                case "\\": text += "\\\\"
                case "\"": text += "\\\""
                case "\n": text += "\\n"
                default: text.unicodeScalars.append(scalar)
                }
            }
            return text + "\""
        }.joined(separator: ",")
    }
}
