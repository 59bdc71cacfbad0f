import Foundation
import TestSupport

/// The first rows of a subscription, against psql copying the same query.
struct InitialSyncBenchmark {
    let bench: Bench
    private let rows = 100_000
    private var rounds: Int { self.bench.isQuick ? 2 : 5 }

    init(_ bench: Bench) {
        self.bench = bench
    }

    func run() throws {
        let session = try self.bench.connect()
        let sidecar = try self.bench.startSidecar()
        defer { sidecar.stop() }
        let table = try self.bench.makeTable(session)
        try SatelliteSubscriber.waitUntilKnown(table, port: sidecar.port)
        try session.run(
            "INSERT INTO \(table) SELECT i, 'some text of row ' || i, 1 FROM generate_series(1, \(self.rows)) AS i")
        try session.run("ANALYZE \(table); ANALYZE electric.shadow__public__\(table); CHECKPOINT")
        var ours = Samples()
        var limits = Samples()
        for round in 0..<self.rounds {
            let client = try SatelliteSubscriber.start(port: sidecar.port, clientID: "initial-\(round)")
            let before = client.scanner.rows
            let start = Clock.now
            try client.subscribe(to: table)
            ours.append(Clock.now - start)
            guard client.scanner.rows - before == self.rows else {
                throw BenchmarkError("\(client.scanner.rows - before) rows of \(self.rows) came")
            }
            limits.append(try self.copy(table))
        }
        let mine = Double(self.rows) / ours.p50
        let limit = Double(self.rows) / limits.p50
        self.bench.note(
            Figure(
                "initial sync of \(Format.count(Double(self.rows))) rows", Format.rate(mine, "rows"),
                limit: "psql COPY of the same query \(Format.rate(limit, "rows"))", ratio: mine / limit, aim: "≥ 0.6×"))
    }

    /// Seconds that psql needs, by its own clock.
    private func copy(_ table: String) throws -> Double {
        let output = try self.bench.run(
            [self.bench.cluster.program("psql"), "-X", "-q"] + self.bench.connectionArguments + [
                "-d", Bench.database, "-f", "-",
            ],
            input: """
                \\o /dev/null
                \\timing on
                COPY (SELECT s."_tags", t.id, t.content, t.n FROM public.\(table) AS t LEFT JOIN \
                electric.shadow__public__\(table) AS s ON s.id = t.id) TO STDOUT;
                """)
        // Time: 123.456 ms (...)
        guard let line = output.split(separator: "\n").last(where: { $0.hasPrefix("Time:") }),
            let milliseconds = line.split(separator: " ").dropFirst().first.flatMap({ Double($0) })
        else { throw BenchmarkError("psql did not tell the time: \(output.suffix(200))") }
        return milliseconds / 1_000
    }
}
