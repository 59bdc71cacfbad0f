import ExactText
import Foundation
import PostgresWire
import Satellite
import SatelliteClient
import Synchronization

/// A subscription to one table that comes back by itself when the connection breaks.
final class WatchSession: Sendable {
    private struct State {
        var client: SatelliteClient?
        var subscription = UUID().uuidString.lowercased()
        /// Changes are printed once the table has been.
        var prints = false
    }

    private let host: String
    private let port: Int
    private let table: String
    private let clientID: String
    private let token: String
    private let state = Mutex(State())

    init(host: String, port: Int, table: String, clientID: String, token: String) {
        self.host = host
        self.port = port
        self.table = table
        self.clientID = clientID
        self.token = token
    }

    /// Connects, subscribes and waits for the rows.
    func open() async throws {
        let client = try await self.connect(replica: nil, subscriptions: [])
        let subscription = self.state.withLock { $0.subscription }
        try await client.subscribe(id: subscription, tables: [self.table])
        try await client.waitForDelivery(of: subscription)
    }

    func close() async {
        await self.state.withLock { $0.client }?.close()
    }

    private func connect(replica: ClientReplica?, subscriptions: [String]) async throws -> SatelliteClient {
        let client = try await SatelliteClient.start(
            host: self.host, port: self.port, clientID: self.clientID, token: self.token, replica: replica,
            subscriptions: subscriptions
        ) { [weak self] replica, outcome in
            self?.changed(replica, outcome)
        }
        self.state.withLock { $0.client = client }
        return client
    }

    /// Prints changes until the task is cancelled; reconnects as often as needed.
    func follow() async throws {
        self.state.withLock { $0.prints = true }
        while let client = self.state.withLock({ $0.client }) {
            let reason = await client.waitUntilClosed()
            print("\(WatchTime.text(Date()))  disconnected (\(reason)); connecting again")
            fflush(nil)
            await self.reconnect(client.replica)
        }
    }

    private func reconnect(_ replica: ClientReplica) async {
        var pause = Duration.milliseconds(200)
        var replica = replica
        while true {
            do {
                let subscription = self.state.withLock { $0.subscription }
                if replica.position == nil {
                    let fresh = UUID().uuidString.lowercased()
                    self.state.withLock { state in
                        state.subscription = fresh
                        state.prints = false
                    }
                    try await self.open()
                    self.printTable()
                    self.state.withLock { $0.prints = true }
                } else {
                    _ = try await self.connect(replica: replica, subscriptions: [subscription])
                }
                print("\(WatchTime.text(Date()))  connected")
                fflush(nil)
                return
            } catch let refused as SatelliteClient.ReplicationRefused where refused.mustStartOver {
                print("the service says: \(refused.message); fetching the table anew")
                replica.startOver()
            } catch {
                try? await Task.sleep(for: pause)
                pause = min(pause * 2, .seconds(5))
            }
        }
    }

    func write(_ make: (ClientReplica) throws -> [SatelliteClient.Write]) async throws {
        guard let client = self.state.withLock({ $0.client }) else { return }
        try await client.waitUntilWritable()
        let writes = try make(client.replica)
        let time = try client.write(writes)
        let refusal = Task {
            _ = await client.waitUntilClosed()
        }
        defer { refusal.cancel() }
        do {
            try await client.wait(for: "the echo of the write") { $0.echoes.contains(time) }
        } catch {
            if let error = client.errors.last, error.hasMessage {
                throw SatelliteClient.Failure("the write was refused: \(error.message)")
            }
            throw error
        }
    }

    // MARK: Printing

    func printTable() {
        guard let replica = self.state.withLock({ $0.client })?.replica, let table = replica.tables[self.table] else {
            return
        }
        let rows = table.rows.sortedByKey().map { entry in
            table.columns.indices.map { Self.cell(entry.value.values[$0]) }
        }
        let layout = TableLayout(header: table.columns, rows: rows, width: TableLayout.terminalWidth)
        print(layout.text)
        print("(\(rows.count) \(rows.count == 1 ? "row" : "rows"))")
    }

    private func changed(_ replica: ClientReplica, _ outcome: ClientReplica.Outcome) {
        guard self.state.withLock({ $0.prints }), case .transaction(let applied) = outcome else { return }
        let time = WatchTime.text(Date(timeIntervalSince1970: Double(applied.timestamp) / 1_000))
        let origin = applied.origin == "postgres_1" ? "Postgres" : "client \(applied.origin)"
        if applied.isMigration { print("\(time)  migration from \(origin)") }
        for change in applied.changes where change.table.isExactly(self.table) {
            guard let table = replica.tables[change.table] else { continue }
            let columns = table.columns.indices.map { "\(table.columns[$0])=\(Self.cell(change.row.values[$0]))" }
            print("\(time)  \(change.kind.rawValue)  \(columns.joined(separator: " "))  (\(origin))")
        }
        fflush(nil)
    }

    private static func cell(_ value: [UInt8]?) -> String {
        guard let value else { return "NULL" }
        guard let text = String(validating: value, as: UTF8.self) else {
            return "\\x" + value.map { String(format: "%02x", $0) }.joined()
        }
        return text.replacingOccurrences(of: "\n", with: "\\n")
    }
}

/// Columns under each other, cut to the width of the terminal.
struct TableLayout {
    let text: String

    init(header: [String], rows: [[String]], width: Int?) {
        var widths = header.map(\.count)
        for row in rows {
            for (index, cell) in row.enumerated() { widths[index] = max(widths[index], cell.count) }
        }
        if let width, !header.isEmpty {
            // The widest column gives way until the line fits.
            while widths.reduce(0, +) + 3 * (widths.count - 1) > width, let widest = widths.max(), widest > 4,
                let index = widths.firstIndex(of: widest)
            {
                widths[index] -= 1
            }
        }
        func line(_ cells: [String]) -> String {
            cells.enumerated().map { index, cell in
                let cut = cell.count > widths[index] ? String(cell.prefix(max(0, widths[index] - 1))) + "…" : cell
                return cut + String(repeating: " ", count: widths[index] - cut.count)
            }.joined(separator: " | ")
        }
        let rule = widths.map { String(repeating: "-", count: $0) }.joined(separator: "-+-")
        self.text = ([line(header), rule] + rows.map(line)).joined(separator: "\n")
    }

    /// Nil when the output is no terminal: lines are whole then.
    static var terminalWidth: Int? {
        var size = winsize()
        guard isatty(STDOUT_FILENO) == 1, ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 20 else {
            return nil
        }
        return Int(size.ws_col)
    }
}
