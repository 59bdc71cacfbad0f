import Foundation
import NIOCore
import Satellite
import Synchronization
import TestSupport

/// Writes of clients until they come back in the stream, against the same INSERT over plain connections.
struct WriteBenchmark {
    let bench: Bench
    private var singles: Int { self.bench.isQuick ? 200 : 1_000 }
    private var burst: Int { self.bench.isQuick ? 1_000 : 5_000 }

    init(_ bench: Bench) {
        self.bench = bench
    }

    func run() throws {
        let session = try self.bench.connect()
        let sidecar = try self.bench.startSidecar()
        defer { sidecar.stop() }
        let table = try self.bench.makeTable(session)
        try SatelliteSubscriber.waitUntilKnown(table, port: sidecar.port)
        try self.measureSingles(sidecar, table, session)
        for clients in [1, 10] { try self.measureBurst(sidecar, table, clients: clients) }
    }

    // MARK: One at a time

    private func measureSingles(_ sidecar: SidecarProcess, _ table: String, _ session: DatabaseSession) throws {
        let client = try SatelliteSubscriber.start(port: sidecar.port, clientID: "writes-single", table: table)
        var source = WriteSource(table: table, firstRow: 1)
        try client.send(source.relation)
        var ours = Samples()
        for number in 0..<self.singles + 20 {
            let frames = source.frames(count: 1)
            let goal = client.scanner.ownTransactions + 1
            let start = Clock.now
            try client.socket.send(frames)
            try client.pump { client.scanner.ownTransactions >= goal }
            if number >= 20 { ours.append(client.lastReceipt - start) }
        }
        var limits = Samples()
        try session.run("PREPARE plain AS INSERT INTO \(table) VALUES ($1, $2, $3)")
        for number in 0..<self.singles + 20 {
            let start = Clock.now
            try session.run("EXECUTE plain(\(50_000_000 + number), 'some text of a row', 1)")
            if number >= 20 { limits.append(Clock.now - start) }
        }
        self.bench.note(
            Figure(
                "client write → its echo, p50", Format.milliseconds(ours.p50),
                limit: "plain INSERT \(Format.milliseconds(limits.p50))", ratio: ours.p50 / limits.p50))
        self.bench.note(
            Figure(
                "client write → its echo, p99", Format.milliseconds(ours.p99),
                limit: "plain INSERT \(Format.milliseconds(limits.p99))", ratio: ours.p99 / limits.p99))
    }

    // MARK: Bursts

    private func measureBurst(_ sidecar: SidecarProcess, _ table: String, clients count: Int) throws {
        let each = self.burst / count
        let clients = try (0..<count).map {
            try SatelliteSubscriber.start(port: sidecar.port, clientID: "writes-\(count)-\($0)")
        }
        let start = Clock.now
        var threads: [Worker<Void>] = []
        for (number, client) in clients.enumerated() {
            let firstRow = 1_000_000 * count + each * number
            threads.append(
                Worker {
                    var source = WriteSource(table: table, firstRow: firstRow)
                    try client.send(source.relation)
                    var sent = 0
                    while sent < each {
                        let part = min(20, each - sent)
                        try client.socket.send(source.frames(count: part))
                        sent += part
                    }
                })
            threads.append(Worker { try client.pump { client.scanner.ownTransactions >= each } })
        }
        for thread in threads { try thread.join() }
        let rate = Double(each * count) / (Clock.now - start)
        let limit = try self.pgbench(table, clients: count)
        self.bench.note(
            Figure(
                "\(Format.count(Double(self.burst))) writes of \(count == 1 ? "1 client" : "\(count) clients") at once",
                Format.rate(rate, "tx"), limit: "pgbench, plain INSERT \(Format.rate(limit, "tx"))",
                ratio: rate / limit))
    }

    private func pgbench(_ table: String, clients: Int) throws -> Double {
        let session = try self.bench.connect()
        try session.run("CREATE SEQUENCE IF NOT EXISTS bench_ids START 100000000 CACHE 50")
        let script = self.bench.directory + "/insert.sql"
        try Data("INSERT INTO \(table) VALUES (nextval('bench_ids'), 'some text of a row', 1);\n".utf8)
            .write(to: URL(fileURLWithPath: script))
        let output = try self.bench.run(
            [self.bench.cluster.program("pgbench"), "-n", "-M", "prepared", "-c", String(clients), "-j", "2"]
                + ["-t", String(self.burst / clients), "-f", script] + self.bench.connectionArguments
                + [Bench.database])
        guard let line = output.split(separator: "\n").first(where: { $0.hasPrefix("tps = ") }),
            let rate = line.split(separator: " ").dropFirst(2).first.flatMap({ Double($0) })
        else { throw BenchmarkError("pgbench did not tell its rate: \(output.suffix(300))") }
        return rate
    }
}

/// Makes the transactions of one client: an insert each.
private struct WriteSource {
    let table: String
    private var row: Int

    init(table: String, firstRow: Int) {
        self.table = table
        self.row = firstRow
    }

    var relation: SatelliteMessage {
        var relation = Electric_Satellite_SatRelation()
        relation.schemaName = "public"
        relation.tableName = self.table
        relation.relationID = 1
        relation.columns = [("id", "INT8", true), ("content", "TEXT", false), ("n", "INT4", false)].map {
            var column = Electric_Satellite_SatRelationColumn()
            column.name = $0
            column.type = $1
            column.primaryKey = $2
            return column
        }
        return .relation(relation)
    }

    mutating func frames(count: Int) -> ByteBuffer {
        var frames = ByteBuffer()
        for _ in 0..<count { WebSocketClient.appendFrame(self.next().encoded(), to: &frames) }
        return frames
    }

    private mutating func next() -> SatelliteMessage {
        self.row += 1
        let lsn = withUnsafeBytes(of: UInt64(self.row).bigEndian) { Array($0) }.protobufField
        let time = UInt64(Date().timeIntervalSince1970 * 1_000)
        var begin = Electric_Satellite_SatOpBegin()
        begin.lsn = lsn
        begin.commitTimestamp = time
        var insert = Electric_Satellite_SatOpInsert()
        insert.relationID = 1
        insert.rowData.nullsBitmask = [UInt8(0)].protobufField
        insert.rowData.values = [String(self.row), "some text of a row", "1"].map { Array($0.utf8).protobufField }
        var commit = Electric_Satellite_SatOpCommit()
        commit.lsn = lsn
        commit.commitTimestamp = time
        var log = Electric_Satellite_SatOpLog()
        log.ops = [.begin(begin), .insert(insert), .commit(commit)].map {
            (operation: Electric_Satellite_SatTransOp.OneOf_Op) in
            var entry = Electric_Satellite_SatTransOp()
            entry.op = operation
            return entry
        }
        return .opLog(log)
    }
}
