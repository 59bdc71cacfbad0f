import Foundation
import ChildProcesses
import TestSupport

/// What all benchmarks share: one private cluster, and how the sidecar is started on it.
final class Bench: @unchecked Sendable {
    // Why unchecked: benchmarks run one after the other, on one thread each.
    static let database = "postgres"
    static let slot = "electric_replication_out_postgres"

    let cluster: TestCluster
    let directory: String
    let isQuick: Bool
    let packageDirectory: String
    private let binary: String
    private var tables = 0
    private(set) var figures: [Figure] = []

    init(isQuick: Bool, packageDirectory: String) async throws {
        self.isQuick = isQuick
        self.packageDirectory = packageDirectory
        let environment = ProcessInfo.processInfo.environment
        self.binary = environment["PENSTOCK_BIN"] ?? "\(packageDirectory)/.build/release/penstock"
        guard FileManager.default.isExecutableFile(atPath: self.binary) else {
            throw BenchmarkError("there is no sidecar at \(self.binary); run make build")
        }
        guard let directory = environment["PENSTOCK_BENCH_DIRECTORY"] else {
            throw BenchmarkError("PENSTOCK_BENCH_DIRECTORY is not set; use Benchmarks/run")
        }
        self.directory = directory
        // The server, which runs as another user, has to reach the socket in it.
        chmod(directory, 0o755)
        self.cluster = try await TestCluster.start(
            settings: [
                "penstock.databases": Self.database, "penstock.socket": self.directory + "/penstock.sock",
                "penstock.reconnect_interval": "100ms",
                // What a server has that is used in earnest; autovacuum would make short runs differ.
                "fsync": "on", "full_page_writes": "on", "shared_buffers": "512MB", "max_wal_size": "8GB",
                "checkpoint_timeout": "30min", "autovacuum": "off",
            ], preloadExtension: true)
    }

    func close() async {
        await self.cluster.destroy()
    }

    func note(_ figure: Figure) {
        self.figures.append(figure)
        let ratio = figure.ratio.map { ", ratio \(Format.decimal($0, digits: 2))" } ?? ""
        let limit = figure.limit.isEmpty ? "" : ", limit \(figure.limit)"
        Self.say("  \(figure.name): \(figure.value)\(limit)\(ratio)")
    }

    static func say(_ text: String) {
        FileHandle.standardError.write(Data((text + "\n").utf8))
    }

    // MARK: The database

    func connect() throws -> DatabaseSession { try DatabaseSession(self.cluster.url(database: Self.database)) }

    /// Arguments by which programs of Postgres reach the cluster over its Unix socket.
    var connectionArguments: [String] {
        ["-h", self.cluster.socketDirectory, "-p", String(self.cluster.port), "-U", "postgres"]
    }

    /// Runs a program to its end and returns its output.
    @discardableResult
    func run(_ arguments: [String], input: String = "") throws -> String {
        let outcome = try ChildProcess.runBlocking(arguments, input: input)
        guard outcome.status == 0 else {
            throw BenchmarkError("\(arguments[0]) ended with \(outcome.status):\n\(outcome.output.suffix(2_000))")
        }
        return outcome.output
    }

    /// Makes an electrified table of its own; the sidecar must have set the database up before.
    func makeTable(_ session: DatabaseSession) throws -> String {
        self.tables += 1
        let name = "items_\(self.tables)"
        try session.run("CREATE TABLE \(name) (id int8 PRIMARY KEY, content text NOT NULL, n int4 NOT NULL)")
        try session.run("CALL electric.electrify('public', '\(name)')")
        return name
    }

    // MARK: The sidecar

    var dataDirectory: String { self.directory + "/data" }

    func startSidecar(transport: String? = nil, isAwaited: Bool = true) throws -> SidecarProcess {
        var environment = [
            "DATABASE_URL": "postgresql://postgres@127.0.0.1:\(self.cluster.port)/\(Self.database)",
            "DATABASE_REQUIRE_SSL": "false", "AUTH_MODE": "insecure", "PG_PROXY_PASSWORD": "x",
            "ELECTRIC_WRITE_TO_PG_MODE": "direct_writes", "LOG_LEVEL": "warning",
            "PENSTOCK_DATA_DIR": self.dataDirectory, "PENSTOCK_SOCKET": self.directory + "/penstock.sock",
            "PENSTOCK_SOCKET_PEERS": "postgres",
        ]
        environment["PENSTOCK_TRANSPORT"] = transport ?? "extension"
        let sidecar = try SidecarProcess(
            binary: self.binary, environment: environment, log: self.directory + "/sidecar.log")
        if isAwaited { try sidecar.waitUntilReady() }
        return sidecar
    }
}
