import ArgumentParser
import ExactText
import Foundation
import Identity
import PostgresWire
import SatelliteClient
import Synchronization

/// `penstock watch`
struct WatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Show a table and each change of it as it arrives, as a client of the service.",
        discussion:
            "With --insert, --update or --delete it writes a row first, as a client does, and waits for its echo.")

    @Argument(help: "The table.")
    var table: String

    @Option(help: "The service.")
    var url = "ws://127.0.0.1:5133"

    @Option(help: "A token; by default an unsigned one, for AUTH_MODE=insecure.")
    var token: String?

    @Option(help: "The user's id in the unsigned token.")
    var user = "developer"

    @Option(help: "The client's id; by default a new one.")
    var clientID: String?

    @Flag(help: "Print the table and leave.")
    var once = false

    @Option(
        parsing: .upToNextOption,
        help:
            "Insert a row: column=value ...; a value of `uuid` for a uuid column makes one, `now` for a timestamp the time."
    )
    var insert: [String] = []

    @Option(parsing: .upToNextOption, help: "Update a row: its key (or column=key), then column=value ...")
    var update: [String] = []

    @Option(help: "Delete the row with this key.")
    var delete: String?

    func validate() throws {
        let kinds = [!self.insert.isEmpty, !self.update.isEmpty, self.delete != nil].count { $0 }
        guard kinds < 2 else { throw ValidationError("one of --insert, --update and --delete at a time") }
    }

    func run() async throws {
        let (host, port) = try self.address()
        let token =
            self.token
            ?? DevelopmentToken.make(userID: self.user, issuedAt: UnixTime(seconds: Date().timeIntervalSince1970)) ?? ""
        let session = WatchSession(
            host: host, port: port, table: self.table, clientID: self.clientID ?? UUID().uuidString.lowercased(),
            token: token)
        do {
            try await session.open()
            if self.hasWrites {
                try await session.write { replica in try self.writes(replica) }
                print("written, and come back from Postgres")
                await session.close()
                return
            }
            session.printTable()
            if self.once {
                await session.close()
                return
            }
            print("\nwatching \(self.table); Ctrl-C leaves")
            try await session.follow()
        } catch let failure as SatelliteClient.Failure {
            FileHandle.standardError.write(Data("penstock watch: \(failure)\n".utf8))
            throw ExitCode.failure
        }
    }

    private var hasWrites: Bool { !self.insert.isEmpty || !self.update.isEmpty || self.delete != nil }

    private func address() throws -> (String, Int) {
        guard let components = URLComponents(string: self.url), let host = components.host,
            components.scheme == "ws" || components.scheme == "http"
        else { throw ValidationError("--url has the form ws://host:port") }
        return (host, components.port ?? 5133)
    }

    private func writes(_ replica: ClientReplica) throws -> [SatelliteClient.Write] {
        guard let table = replica.tables[self.table] else { throw ValidationError("there is no table \(self.table)") }
        if !self.insert.isEmpty {
            var values: [String: String?] = [:]
            for (column, value) in try Self.pairs(self.insert[...]) {
                values[column] = Self.value(value, type: Self.type(of: column, table))
            }
            return [.insert(table: self.table, values)]
        }
        if let key = self.update.first {
            var values: [String: String?] = [:]
            for (column, value) in try Self.pairs(self.update.dropFirst()) {
                values[column] = Self.value(value, type: Self.type(of: column, table))
            }
            return [.update(table: self.table, key: Self.key(key, table), values)]
        }
        return [.delete(table: self.table, key: Self.key(self.delete ?? "", table))]
    }

    /// The key alone, or `column=key` with the name of the key's column.
    private static func key(_ text: String, _ table: ClientReplica.Table) -> String {
        guard table.rows[text] == nil, table.primaryKey.count == 1, let index = table.primaryKey.first else { return text }
        let prefix = table.columns[index] + "="
        return text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : text
    }

    private static func type(of column: String, _ table: ClientReplica.Table) -> String {
        table.columns.firstIndex(of: column).map { table.types[$0] } ?? ""
    }

    private static func value(_ value: String?, type: String) -> String? {
        switch (value, type) {
        case ("uuid", "uuid"): return UUID().uuidString.lowercased()
        case ("now", "timestamptz"): return WatchTime.text(Date()) + "Z"
        case ("now", "timestamp"): return WatchTime.text(Date())
        case ("true", "bool"): return "t"
        case ("false", "bool"): return "f"
        default: return value
        }
    }

    /// `column=value`; nothing behind the sign is the empty text, and `column` alone is NULL.
    private static func pairs(_ texts: ArraySlice<String>) throws -> [(String, String?)] {
        try texts.map { text in
            let halves = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard !halves[0].isEmpty else { throw ValidationError("\(text) is not of the form column=value") }
            return (halves[0], halves.count > 1 ? halves[1] : nil)
        }
    }
}

/// Times as people and Postgres read them.
enum WatchTime {
    static func text(_ date: Date) -> String {
        var seconds = time_t(date.timeIntervalSince1970)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        let milliseconds = Int(date.timeIntervalSince1970 * 1_000) % 1_000
        return String(
            format: "%04d-%02d-%02d %02d:%02d:%02d.%03d", Int(parts.tm_year) + 1_900, Int(parts.tm_mon) + 1,
            Int(parts.tm_mday), Int(parts.tm_hour), Int(parts.tm_min), Int(parts.tm_sec), milliseconds)
    }
}
