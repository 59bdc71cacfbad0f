import Foundation
import NIOCore
import TestSupport

/// Single-row transactions to one client and to many.
///
/// Once as they are committed, where Postgres sets the pace; and once committed beforehand, while the sidecar is
/// suspended, against a bare NIO server that writes frames of the same size and waits for no acknowledgements.
struct FanoutBenchmark {
    let bench: Bench
    private let writers = 4
    private let scriptLength = 50
    private var rows: Int { self.bench.isQuick ? 2_000 : 10_000 }

    init(_ bench: Bench) {
        self.bench = bench
    }

    func run() throws {
        let session = try self.bench.connect()
        let sidecar = try self.bench.startSidecar()
        defer { sidecar.stop() }
        let table = try self.bench.makeTable(session)
        try SatelliteSubscriber.waitUntilKnown(table, port: sidecar.port)
        var nextRow = 0
        try self.oneTransaction(session, sidecar, table, &nextRow)
        for count in [1, 50] {
            var clients: [SatelliteSubscriber] = []
            for number in 0..<count {
                clients.append(
                    try SatelliteSubscriber.start(
                        port: sidecar.port, clientID: "fanout-\(count)-\(number)", table: table))
            }
            let audience = Audience(clients, rows: self.rows)

            let live = audience.start()
            let begin = Clock.now
            try self.insert(table, &nextRow)
            let liveRate = Double(self.rows) / (try live.join() - begin)

            let bytesBefore = clients[0].socket.receivedBytes
            sidecar.process.signal(SIGSTOP)
            let insertBegin = Clock.now
            let drained = audience.start()
            do {
                try self.insert(table, &nextRow)
            } catch {
                sidecar.process.signal(SIGCONT)
                throw error
            }
            let resume = Clock.now
            sidecar.process.signal(SIGCONT)
            let insertRate = Double(self.rows) / (resume - insertBegin)
            let drainedRate = Double(self.rows) / (try drained.join() - resume)
            let bytes = (clients[0].socket.receivedBytes - bytesBefore) / self.rows

            let bareRate = try self.bare(clients: count, frameBytes: bytes)
            let who = count == 1 ? "1 client" : "each of \(count) clients"
            self.bench.note(
                Figure(
                    "single-row transactions to \(who), as they are committed", Format.rate(liveRate, "rows"),
                    limit: "commits alone \(Format.rate(insertRate, "rows"))", ratio: liveRate / insertRate))
            self.bench.note(
                Figure(
                    "single-row transactions to \(who), committed beforehand", Format.rate(drainedRate, "rows"),
                    limit: "bare NIO, same bytes \(Format.rate(bareRate, "frames"))", ratio: drainedRate / bareRate,
                    aim: "≥ 0.7×"))
        }
    }

    /// One transaction with many rows to many clients, from the COMMIT to the last byte at the last client; against the same bytes from
    /// a bare server, from the request on. The median of several.
    private func oneTransaction(
        _ session: DatabaseSession, _ sidecar: SidecarProcess, _ table: String, _ nextRow: inout Int
    ) throws {
        let clientCount = self.bench.isQuick ? 50 : 200
        let rows = 2_000
        let rounds = 11
        let clients = try (0..<clientCount).map {
            try SatelliteSubscriber.start(port: sidecar.port, clientID: "one-\($0)", table: table)
        }
        let audience = Audience(clients, rows: rows)
        var times: [Double] = []
        var bytes = 0
        for _ in 0..<rounds {
            let before = clients[0].socket.receivedBytes
            let end = audience.start()
            try session.run(
                "BEGIN; INSERT INTO \(table) SELECT i, 'some text of a row', 1 FROM generate_series(\(nextRow), \(nextRow + rows - 1)) i")
            nextRow += rows
            let begin = Clock.now
            try session.run("COMMIT")
            times.append(try end.join() - begin)
            bytes = clients[0].socket.receivedBytes - before
        }
        let server = try BareServerProcess(log: self.bench.directory + "/bare.log")
        defer { server.stop() }
        let sockets = try (0..<clientCount).map { _ in
            try WebSocketClient(port: server.port, path: "/", subprotocol: nil)
        }
        // Frames as long as the bare server can make them.
        let frames = bytes / 60_000 + 1
        var request = ByteBuffer()
        WebSocketClient.appendFrame(BareServer.request(frames: frames, bytes: bytes / frames), to: &request)
        var bare: [Double] = []
        for _ in 0..<rounds {
            let begin = Clock.now
            for socket in sockets { try socket.send(request) }
            var counts = [Int](repeating: 0, count: clientCount)
            var waiting = Poller(sockets.map(\.descriptor))
            while try waiting.wait(ready: { index in
                try sockets[index].receive()
                while try sockets[index].nextMessage() != nil { counts[index] += 1 }
                return counts[index] < frames
            }) {}
            bare.append(Clock.now - begin)
        }
        let mine = times.sorted()[rounds / 2]
        let theirs = bare.sorted()[rounds / 2]
        self.bench.note(
            Figure(
                "one transaction of \(Format.count(Double(rows))) rows to \(clientCount) clients, COMMIT to last byte",
                "\(Format.decimal(mine * 1_000, digits: 1)) ms",
                limit: "bare NIO, same bytes \(Format.decimal(theirs * 1_000, digits: 1)) ms", ratio: theirs / mine,
                aim: "≥ 0.7×"))
    }

    /// Inserts ``rows`` rows, a transaction each, over several connections.
    private func insert(_ table: String, _ nextRow: inout Int) throws {
        let url = self.bench.cluster.url(database: Bench.database)
        let each = self.rows / self.writers
        let scriptLength = self.scriptLength
        let first = nextRow
        nextRow += self.rows
        let threads = (0..<self.writers).map { writer in
            Worker {
                let session = try DatabaseSession(url)
                try session.run("SET synchronous_commit = off")
                var row = first + writer * each
                let end = row + each
                while row < end {
                    var script = ""
                    for id in row..<min(row + scriptLength, end) {
                        script += "BEGIN; INSERT INTO \(table) VALUES (\(id), 'some text of a row', 1); COMMIT;"
                    }
                    try session.run(script)
                    row += scriptLength
                }
            }
        }
        for thread in threads { try thread.join() }
    }

    /// Frames a second that each client gets from a server that does nothing else.
    private func bare(clients count: Int, frameBytes: Int) throws -> Double {
        let server = try BareServerProcess(log: self.bench.directory + "/bare.log")
        defer { server.stop() }
        let sockets = try (0..<count).map { _ in try WebSocketClient(port: server.port, path: "/", subprotocol: nil) }
        // Enough to last for a while also with one client.
        let rows = max(self.rows, 500_000 / count)
        let begin = Clock.now
        for socket in sockets {
            var frame = ByteBuffer()
            WebSocketClient.appendFrame(BareServer.request(frames: rows, bytes: frameBytes), to: &frame)
            try socket.send(frame)
        }
        var counts = [Int](repeating: 0, count: count)
        var waiting = Poller(sockets.map(\.descriptor))
        while try waiting.wait(ready: { index in
            try sockets[index].receive()
            while try sockets[index].nextMessage() != nil { counts[index] += 1 }
            return counts[index] < rows
        }) {}
        return Double(rows) / (Clock.now - begin)
    }
}

/// Clients that one thread reads for.
private struct Audience: @unchecked Sendable {
    // Why unchecked: one thread at a time reads; the clients are passed to it and back.
    private let clients: [SatelliteSubscriber]
    private let rows: Int

    init(_ clients: [SatelliteSubscriber], rows: Int) {
        self.clients = clients
        self.rows = rows
    }

    /// Reads until each client has got all rows; the outcome is the time when the last one had.
    func start() -> Worker<Double> {
        let goals = self.clients.map { $0.scanner.rows + self.rows }
        return Worker {
            var waiting = Poller(self.clients.map(\.socket.descriptor))
            while try waiting.wait(ready: { index in
                try self.clients[index].pumpOnce()
                return self.clients[index].scanner.rows < goals[index]
            }) {}
            return Clock.now
        }
    }
}

/// Waits for many sockets at once.
struct Poller {
    private var descriptors: [pollfd]
    private var open: Int

    init(_ sockets: [Int32]) {
        self.descriptors = sockets.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        self.open = sockets.count
    }

    /// Waits once. `ready` says whether the socket is still of interest; returns whether any is.
    mutating func wait(ready: (Int) throws -> Bool) throws -> Bool {
        guard self.open > 0 else { return false }
        let count = poll(&self.descriptors, nfds_t(self.descriptors.count), 60_000)
        if count < 0, errno == EINTR { return true }
        guard count > 0 else { throw BenchmarkError("the clients got nothing for a minute") }
        for index in self.descriptors.indices where self.descriptors[index].revents != 0 {
            self.descriptors[index].revents = 0
            if try !ready(index) {
                // poll(2) passes over negative descriptors.
                self.descriptors[index].fd = -1
                self.open -= 1
            }
        }
        return self.open > 0
    }
}
