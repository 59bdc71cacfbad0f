import Foundation

/// Memory of the sidecar after its start, and of clients that are connected and hear nothing.
struct MemoryBenchmark {
    let bench: Bench
    private var clients: Int { self.bench.isQuick ? 300 : 1_000 }

    init(_ bench: Bench) {
        self.bench = bench
    }

    func run() throws {
        let session = try self.bench.connect()
        let sidecar = try self.bench.startSidecar()
        defer { sidecar.stop() }
        let idle = try sidecar.process.residentBytes()
        self.bench.note(Figure("memory after start", "\(Format.decimal(Double(idle) / 1_048_576, digits: 1)) MB"))
        let table = try self.bench.makeTable(session)
        try SatelliteSubscriber.waitUntilKnown(table, port: sidecar.port)

        // The first clients pay for what is made once.
        var held: [SatelliteSubscriber] = []
        for number in 0..<50 {
            held.append(try SatelliteSubscriber.start(port: sidecar.port, clientID: "idle-\(number)", table: table))
        }
        let before = try sidecar.process.residentBytes()
        for number in 0..<self.clients {
            held.append(try SatelliteSubscriber.start(port: sidecar.port, clientID: "idle-\(50 + number)", table: table))
        }
        usleep(500_000)
        let mine = Double(try sidecar.process.residentBytes() - before) / Double(self.clients) / 1_024
        withExtendedLifetime(held) {}

        let server = try BareServerProcess(log: self.bench.directory + "/bare.log")
        defer { server.stop() }
        var sockets: [WebSocketClient] = []
        for _ in 0..<50 { sockets.append(try WebSocketClient(port: server.port, path: "/", subprotocol: nil)) }
        let bareBefore = try server.process.residentBytes()
        for _ in 0..<self.clients {
            sockets.append(try WebSocketClient(port: server.port, path: "/", subprotocol: nil))
        }
        usleep(200_000)
        let bare = Double(try server.process.residentBytes() - bareBefore) / Double(self.clients) / 1_024
        withExtendedLifetime(sockets) {}
        self.bench.note(
            Figure(
                "memory for each idle client (\(Format.count(Double(self.clients))), subscribed)",
                "\(Format.decimal(mine, digits: 1)) KB", limit: "bare NIO WebSocket \(Format.decimal(bare, digits: 1)) KB",
                ratio: mine / bare, aim: "≤ 1.5×"))
    }
}
