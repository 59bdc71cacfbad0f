import Foundation
import TestSupport

/// How fast a backlog of WAL becomes a durable log of the sidecar, over both transports, against pg_recvlogical reading
/// the same WAL with the same plugin.
struct BacklogBenchmark {
    let bench: Bench
    private let rowsEach = 10_000
    private var transactions: Int { self.bench.isQuick ? 40 : 200 }
    private var rounds: Int { self.bench.isQuick ? 1 : 2 }
    private var rows: Double { Double(self.transactions * self.rowsEach) }

    init(_ bench: Bench) {
        self.bench = bench
    }

    func run() throws {
        // The first start sets the database up and makes the slot.
        try self.bench.startSidecar().stop()
        let session = try self.bench.connect()
        try session.run(
            """
            CREATE TABLE narrow (id int4 PRIMARY KEY, a int4, b text);
            ALTER PUBLICATION electric_publication ADD TABLE narrow
            """)
        let sidecar = try self.bench.startSidecar()
        sidecar.stop()
        try self.bench.run(["cp", "-a", self.bench.dataDirectory, self.bench.directory + "/data-before"])
        try self.makeBacklog(session)
        guard let target = try session.run("SELECT pg_current_wal_insert_lsn()") else { return }
        try session.run("INSERT INTO narrow VALUES (-1, 0, 'the end')")
        guard let end = try session.run("SELECT pg_current_wal_flush_lsn()") else { return }
        for copy in 0..<self.rounds * 2 + self.rounds {
            try session.runRetrying("SELECT pg_copy_logical_replication_slot('\(Bench.slot)', 'bench_copy_\(copy)')")
        }

        var received: [Double] = []
        var pushed: [Double] = []
        var pulled: [Double] = []
        for round in 0..<self.rounds {
            received.append(try self.receive(slot: "bench_copy_\(round * 3)", end: end, session))
            pushed.append(
                try self.follow("extension", slot: "bench_copy_\(round * 3 + 1)", target: target, session))
            pulled.append(
                try self.follow("replication", slot: "bench_copy_\(round * 3 + 2)", target: target, session))
        }
        try session.run("DROP TABLE narrow")
        let limit = Self.mean(received)
        let limitText = "pg_recvlogical \(Format.rate(limit, "rows"))"
        let size = "\(Format.count(self.rows)) rows"
        self.bench.note(
            Figure(
                "backlog of \(size), extension", Format.rate(Self.mean(pushed), "rows"), limit: limitText,
                ratio: Self.mean(pushed) / limit, aim: "≥ 4×"))
        self.bench.note(
            Figure(
                "backlog of \(size), replication connection", Format.rate(Self.mean(pulled), "rows"),
                limit: limitText, ratio: Self.mean(pulled) / limit, aim: "≥ 0.95×"))
    }

    private static func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

    private func makeBacklog(_ session: DatabaseSession) throws {
        try session.run("SET synchronous_commit = off")
        for number in 0..<self.transactions {
            let first = number * self.rowsEach
            try session.run(
                """
                INSERT INTO narrow SELECT i, i % 100, 'value ' || i
                FROM generate_series(\(first), \(first + self.rowsEach - 1)) AS i
                """)
        }
        try session.run("SET synchronous_commit = on")
    }

    /// Rows a second of pg_recvlogical.
    private func receive(slot: String, end: String, _ session: DatabaseSession) throws -> Double {
        let start = Clock.now
        try self.bench.run(
            [self.bench.cluster.program("pg_recvlogical")] + self.bench.connectionArguments + [
                "-d", Bench.database, "--start", "--no-loop", "-S", slot, "-f", "/dev/null", "-o", "proto_version=1",
                "-o", "publication_names=electric_publication", "--endpos", end,
            ])
        let seconds = Clock.now - start
        try session.runRetrying("SELECT pg_drop_replication_slot('\(slot)')")
        return self.rows / seconds
    }

    /// Rows a second of the sidecar, from the beginning of the stream until the last transaction is durable in its log.
    private func follow(
        _ transport: String, slot: String, target: String, _ session: DatabaseSession
    ) throws -> Double {
        // The slot and the log as they were before the backlog.
        try session.runRetrying("SELECT pg_drop_replication_slot('\(Bench.slot)')")
        try session.run("SELECT pg_copy_logical_replication_slot('\(slot)', '\(Bench.slot)')")
        try session.run("SELECT pg_drop_replication_slot('\(slot)')")
        try self.bench.run(["rm", "-rf", self.bench.dataDirectory])
        try self.bench.run(["cp", "-a", self.bench.directory + "/data-before", self.bench.dataDirectory])

        let goal = SidecarProcess.position(target)
        let sidecar = try self.bench.startSidecar(transport: transport, isAwaited: false)
        defer { sidecar.stop() }
        var start = Clock.now
        try Clock.wait("the stream to begin", every: 0.001) {
            let status = try sidecar.status()
            let isStreaming =
                status.contains("\"state\":\"catching_up\"") || status.contains("\"state\":\"streaming\"")
            if !isStreaming { start = Clock.now }
            return isStreaming
        }
        try Clock.wait("the backlog", seconds: 120, every: 0.002) {
            SidecarProcess.position(SidecarProcess.fact("durable_position", in: try sidecar.status())) > goal
        }
        return self.rows / (Clock.now - start)
    }
}
