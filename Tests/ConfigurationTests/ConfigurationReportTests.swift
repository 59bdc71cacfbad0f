import Foundation
import Testing

@testable import Configuration

@Suite("The report of configuration errors")
struct ConfigurationReportTests {
    private func golden(_ name: String, file: String = #filePath) throws -> String {
        let folder = URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent("Golden")
        return try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
    }

    private func report(_ environment: [String: String]) throws -> ConfigurationReport {
        try #require(throws: ConfigurationReport.self) { try Settings.load(environment: environment) }
    }

    @Test func everythingThatIsWrongIsInOneReport() throws {
        let report = try self.report([
            "PENSTOCK_FRONTS": "satellite", "DATABASE_URL": "mysql://u:hunter2@host/db", "AUTH_JWT_ALG": "RS256",
            "AUTH_JWT_KEY": "hunter2", "LOG_LEVEL": "loud\n", "ELECTRIC_WRITE_TO_PG_MODE": "",
            "PG_PROXY_PORT": "HTTP:X", "ELECTRIC_TXN_CACHE_SIZE": "lots", "HTTP_PORT": "0",
        ])
        #expect(report.render(color: false) == (try self.golden("everything.txt")))
        #expect(!report.render(color: false).contains("hunter2"))
        #expect(report.exitCode == 1)
        #expect("\(report)" == report.render(color: false))
    }

    @Test func wrongSizesAloneAreNotCalledRequired() throws {
        let report = try self.report(
            Environments.minimal.merging(["ELECTRIC_TXN_CACHE_SIZE": "", "ELECTRIC_RESUMABLE_WAL_WINDOW": "2T"]) { $1 })
        #expect(report.render(color: false) == (try self.golden("sizes.txt")))
    }

    @Test func colourWrapsTheWholeReport() throws {
        let report = try self.report(["PENSTOCK_FRONTS": "shapes", "ELECTRIC_INSECURE": "true"])
        let plain = report.render(color: false)
        #expect(report.render(color: true) == "\u{1b}[31m" + plain + "\u{1b}[0m")
        for line in plain.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            #expect(line.hasPrefix("▓ "))
        }
    }

    @Test func otherCaptionsHaveTheSameFrame() throws {
        let boxes = [
            ErrorBox(
                caption: .initialisation, intro: "Cannot open a socket on port 5133.\nAnother process has it.",
                hint: "Stop that process, or set HTTP_PORT."),
            ErrorBox(caption: .connection, intro: "The database refuses the connection."),
            ErrorBox(caption: .databaseConfiguration, intro: "wal_level is replica."),
            ErrorBox(caption: .notImplemented, intro: "Not yet."),
            ErrorBox(
                caption: .module("Satellite"), intro: "It stopped.",
                entries: [ErrorBox.Entry(name: "session", text: "ended", details: ["first", "", "second"])]),
        ]
        let text = boxes.map { $0.render(color: false) }.joined(separator: "\n") + ErrorBox.shutdownLine + "\n"
        #expect(text == (try self.golden("captions.txt")))
    }
}
