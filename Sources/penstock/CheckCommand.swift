import ArgumentParser
import Configuration
import DatabaseSetup
import Foundation
import Logging
import Observability
import PostgresClient
import Sidecar

/// `penstock check`
struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Say what a database lacks for the service, and how to mend it.",
        discussion:
            "Reads the same environment variables as `penstock serve`. Exits with 1 if the service could not run.")

    @Flag(help: "List all environment variables instead.")
    var variables = false

    func run() async throws {
        if self.variables {
            Self.printVariables()
            return
        }
        let settings = try Service.loadSettings()
        ObservabilityBootstrap.startLogging(level: .error)
        guard let database = settings.database else {
            print("DATABASE_URL is not set: there is no database to check.")
            return
        }
        let mode: SetupCheck.WriteMode = settings.writeMode == .directWrites ? .direct : .logical
        let lines = await SetupCheck.run(ConnectionParameters(database), writeMode: mode)
        for line in lines {
            let mark = line.ok ? "ok  " : (line.isFatal ? "FAIL" : "warn")
            print("\(mark)  \(line.title): \(line.detail)")
            for remedy in line.remedy?.split(separator: "\n") ?? [] { print("        \(remedy)") }
        }
        for sentence in settings.unavailable { print("note  \(sentence)") }
        if lines.contains(where: \.isFatal) { throw ExitCode.failure }
    }

    private static func printVariables() {
        for variable in DocumentedVariable.all {
            print("\(variable.name)")
            print("    \(variable.summary)")
            if let value = variable.defaultValue { print("    default: \(value)") }
        }
    }
}
