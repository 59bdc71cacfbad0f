import Foundation
import TestSupport

/// What the row triggers cost the application's own writes; the work is done by the extension's own benchmark.
struct TriggerBenchmark {
    let bench: Bench

    init(_ bench: Bench) {
        self.bench = bench
    }

    func run() throws {
        let output = try self.bench.run([
            "python3", self.bench.packageDirectory + "/pg_ext/test/bench_row_triggers/run.py",
            "--bindir", String(self.bench.cluster.program("postgres").dropLast("/postgres".count)),
            "--seconds", self.bench.isQuick ? "1" : "4", "--rounds", self.bench.isQuick ? "1" : "2", "--fsync", "off",
        ])
        // fsync=off insert plain     12345 tps  1.00 of plain  (...)
        var rates: [String: Double] = [:]
        for line in output.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            guard words.count > 4, words[4] == "tps", let rate = Double(words[3]) else { continue }
            rates["\(words[1]) \(words[2])"] = rate
        }
        for kind in ["insert", "update"] {
            guard let plain = rates["\(kind) plain"] else {
                throw BenchmarkError("the benchmark of the triggers printed something else:\n\(output.suffix(500))")
            }
            for (language, name, aim) in [("c", "C", "≥ 0.8×"), ("plpgsql", "PL/pgSQL", "")] {
                guard let rate = rates["\(kind) \(language)"] else { continue }
                self.bench.note(
                    Figure(
                        "single-row \(kind)s on an electrified table, \(name) triggers", Format.rate(rate, "tx"),
                        limit: "plain table \(Format.rate(plain, "tx"))", ratio: rate / plain, aim: aim))
            }
        }
    }
}
