import ArgumentParser
import Configuration
import Foundation
import Logging
import Observability
import Sidecar

/// `penstock serve`
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Serve clients, configured by environment variables (the default).")

    @Option(help: "Profile of the stream server: default, dev, prod, prod-tls, prod-mtls, or a file in config/.")
    var profile: String?

    @Option(help: "A TOML file with settings of the stream server.")
    var config: String?

    func run() async throws {
        let settings = try Service.loadSettings(profile: self.profile, file: self.config)
        try await Service.run(settings)
    }
}

/// What the serving commands share.
enum Service {
    /// Settings from the environment; prints the report and ends the process if they are wrong.
    static func loadSettings(profile: String? = nil, file: String? = nil) throws -> Settings {
        do {
            return try Settings.load(
                sources: ConfigurationSources(
                    environment: ProcessInfo.processInfo.environment, profile: profile, file: file))
        } catch {
            Self.fail(error.render(color: Self.hasColor), code: error.exitCode)
        }
    }

    static func run(
        _ settings: Settings, onListening: @escaping @Sendable (Int) -> Void = { _ in },
        onReady: @escaping @Sendable () async throws -> Void = {}
    ) async throws {
        let log = settings.log
        ObservabilityBootstrap.startLogging(format: LogFormat(log.format)) { label in
            Logger.Level(configurationName: log.level(of: label).rawValue) ?? .info
        }
        let metrics = MetricsRegistry()
        ObservabilityBootstrap.startMetrics(metrics)
        let sidecar = Sidecar(
            settings: settings, logger: Logger(label: "penstock"), metrics: metrics, onListening: onListening,
            onReady: onReady)
        do {
            try await sidecar.run()
        } catch let error as Sidecar.StartError {
            let box = ErrorBox(caption: error.caption, intro: "\(error.text).", hint: "\(error.hint).")
            Self.fail(box.render(color: Self.hasColor), code: 1)
        }
    }

    private static var hasColor: Bool { isatty(STDERR_FILENO) == 1 }

    private static func fail(_ text: String, code: Int32) -> Never {
        FileHandle.standardError.write(Data("\(text)\n".utf8))
        exit(code)
    }
}
