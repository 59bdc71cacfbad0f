import ArgumentParser
import Configuration
import DevelopmentCluster
import Foundation
import PostgresClient
import Sidecar

/// `penstock dev`
struct DevCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dev",
        abstract: "Start a private Postgres with the extension and a service on it, for trying out and developing.",
        discussion:
            "Everything is on the loopback address, tokens are not checked. Ctrl-C stops all of it; the data stays.")

    @Option(help: "Where the data lives.")
    var dataDir = "./penstock-data"

    @Option(help: "Port of the HTTP listener.")
    var port: UInt16 = 5133

    @Option(help: "How changes come out of the database: auto, extension or replication.")
    var transport = "auto"

    @Option(help: "Lowest level that is logged: error, warning, info or debug.")
    var logLevel = "warning"

    func run() async throws {
        guard let transport = FeedSettings.Transport(rawValue: self.transport) else {
            throw ValidationError("--transport is one of auto, extension, replication")
        }
        guard let level = LogSettings.Level(rawValue: self.logLevel) else {
            throw ValidationError("--log-level is one of error, warning, info, debug")
        }
        // Why not quoted: the path goes into a shell's command line of pg_ctl and into postgresql.conf.
        guard !self.dataDir.contains(where: { "\"'\\\n".contains($0) }) else {
            throw ValidationError("--data-dir may hold neither quotes nor backslashes")
        }
        for name in ProcessInfo.processInfo.environment.keys.sorted()
        where name.hasPrefix("PENSTOCK_MIRROR_") || name.hasPrefix("DS_") {
            Self.say("\(name) has no effect here; it is for `penstock serve`")
        }
        let cluster: DevelopmentCluster
        do {
            cluster = try await DevelopmentCluster.start(directory: self.dataDir) { Self.say($0) }
        } catch let failure as DevelopmentCluster.Failure {
            FileHandle.standardError.write(Data("penstock dev: \(failure)\n".utf8))
            throw ExitCode.failure
        }
        var settings = Settings.development(
            database: DatabaseSettings(
                host: .network("127.0.0.1"), port: UInt16(cluster.port), user: DevelopmentCluster.user,
                database: DevelopmentCluster.database, tls: .local),
            dataDirectory: cluster.directory, socketPath: cluster.socketPath, httpPort: self.port,
            fronts: [.satellite, .streams], transport: transport, logLevel: level)
        settings.feed.socketPeers = [.userName(cluster.serverAccount)]
        let outcome: Result<Void, any Error>
        do {
            let port = self.port
            try await Service.run(
                settings,
                onReady: {
                    try await cluster.loadSample()
                    Self.greet(cluster, port: port)
                })
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        Self.say("stopping Postgres")
        try cluster.stop()
        try outcome.get()
    }

    private static func say(_ text: String) {
        print("penstock dev: \(text)")
        fflush(nil)
    }

    private static func greet(_ cluster: DevelopmentCluster, port: UInt16) {
        let program = CommandLine.arguments.first ?? "penstock"
        let suffix = port == 5133 ? "" : " --url ws://127.0.0.1:\(port)"
        print(
            """

            Penstock is up.

              Postgres      \(cluster.url)
              Satellite     ws://127.0.0.1:\(port)/ws
              streams       http://127.0.0.1:\(port)/v1/stream/NAME
              health        http://127.0.0.1:\(port)/readyz
              metrics       http://127.0.0.1:\(port)/metrics
              data          \(cluster.directory)

            Watch the sample table in another terminal:

              \(program) watch items\(suffix)

            and write to it in a third:

              psql \(cluster.url) -c "INSERT INTO items (id, content) VALUES (gen_random_uuid(), 'hello')"

            Or write as a client does:

              \(program) watch items\(suffix) --insert id=uuid content='from a client'

            Ctrl-C stops everything; the data stays.

            """)
        fflush(nil)
    }
}
