import Foundation
import Synchronization

/// From commit to a WebSocket client, against commit to a client that listens for notifications. The committing code is
/// the same; half of the notifications are measured before the sidecar runs and half after.
struct LatencyBenchmark {
    let bench: Bench
    private var commits: Int { self.bench.isQuick ? 500 : 2_000 }
    private let warmUp = 50

    init(_ bench: Bench) {
        self.bench = bench
    }

    func run() throws {
        let writer = try self.bench.connect()
        // The first start sets the database up.
        let first = try self.bench.startSidecar()
        let table = try self.bench.makeTable(writer)
        first.stop()

        var limits = [false: Samples(), true: Samples()]
        var ours = [false: Samples(), true: Samples()]
        var row = 0
        for isSynchronous in [true, false] {
            limits[isSynchronous]?.append(try self.notifications(writer, table, isSynchronous, &row))
        }
        let sidecar = try self.bench.startSidecar()
        let client = try SatelliteSubscriber.start(port: sidecar.port, clientID: "latency", table: table)
        for isSynchronous in [true, false] {
            ours[isSynchronous]?.append(try self.frames(client, writer, table, isSynchronous, &row))
        }
        sidecar.stop()
        for isSynchronous in [true, false] {
            limits[isSynchronous]?.append(try self.notifications(writer, table, isSynchronous, &row))
        }
        for isSynchronous in [true, false] {
            guard let mine = ours[isSynchronous], let limit = limits[isSynchronous] else { continue }
            let name = "commit → WebSocket frame, synchronous_commit \(isSynchronous ? "on" : "off")"
            self.bench.note(
                Figure(
                    name + ", p50", Format.milliseconds(mine.p50), limit: "NOTIFY \(Format.milliseconds(limit.p50))",
                    ratio: mine.p50 / limit.p50))
            self.bench.note(
                Figure(
                    name + ", p99", Format.milliseconds(mine.p99), limit: "NOTIFY \(Format.milliseconds(limit.p99))",
                    ratio: mine.p99 / limit.p99, aim: "≤ 1.5×"))
        }
    }

    /// Commits one row and returns when the commit was sent.
    private func commit(_ writer: DatabaseSession, _ table: String, _ row: inout Int) throws -> Double {
        row += 1
        try writer.run("BEGIN; INSERT INTO \(table) VALUES (\(row), 'some text of a row', 1); NOTIFY bench")
        let sent = Clock.now
        try writer.run("COMMIT")
        return sent
    }

    /// What the receiving thread tells the committing one.
    private final class Arrival: Sendable {
        private let time = Mutex(0.0)
        private let semaphore = DispatchSemaphore(value: 0)

        func signal(_ time: Double) {
            self.time.withLock { $0 = time }
            self.semaphore.signal()
        }

        func wait() throws -> Double {
            guard self.semaphore.wait(timeout: .now() + 10) == .success else {
                throw BenchmarkError("a commit did not arrive in 10 s")
            }
            return self.time.withLock { $0 }
        }
    }

    private func measure(
        _ writer: DatabaseSession, _ table: String, _ isSynchronous: Bool, _ count: Int, _ row: inout Int,
        _ arrival: Arrival
    ) throws -> Samples {
        try writer.run("SET synchronous_commit = \(isSynchronous ? "on" : "off")")
        var samples = Samples()
        for number in 0..<self.warmUp + count {
            let sent = try self.commit(writer, table, &row)
            let received = try arrival.wait()
            if number >= self.warmUp { samples.append(received - sent) }
        }
        return samples
    }

    private func notifications(
        _ writer: DatabaseSession, _ table: String, _ isSynchronous: Bool, _ row: inout Int
    ) throws -> Samples {
        let count = self.commits / 2
        let total = count + self.warmUp
        let listener = try self.bench.connect()
        try listener.run("LISTEN bench")
        let arrival = Arrival()
        let thread = Worker {
            for _ in 0..<total {
                guard try listener.waitForNotification(seconds: 10) else { throw BenchmarkError("no notification") }
                arrival.signal(Clock.now)
            }
        }
        let samples = try self.measure(writer, table, isSynchronous, count, &row, arrival)
        try thread.join()
        return samples
    }

    private func frames(
        _ client: SatelliteSubscriber, _ writer: DatabaseSession, _ table: String, _ isSynchronous: Bool,
        _ row: inout Int
    ) throws -> Samples {
        let total = self.commits + self.warmUp
        let arrival = Arrival()
        let thread = Worker {
            let before = client.scanner.transactions
            var seen = 0
            while seen < total {
                try client.pumpOnce()
                let now = client.scanner.transactions - before
                for _ in seen..<now { arrival.signal(client.lastReceipt) }
                seen = now
            }
        }
        let samples = try self.measure(writer, table, isSynchronous, self.commits, &row, arrival)
        try thread.join()
        return samples
    }
}
