import ArgumentParser
import Configuration
import DurableStreams
import Foundation
import Sidecar
import StreamDirectory

/// `penstock streams`
struct StreamsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "streams", abstract: "List, export and import the streams on a disk.",
        discussion: """
            Reads the same settings as `penstock serve`. Except for rotate-webhook-key, the server must not run on the \
            same directory.
            """,
        subcommands: [List.self, Export.self, Import.self, RotateWebhookKey.self])

    /// Where the settings come from.
    struct Source: ParsableArguments {
        @Option(help: "Profile of the stream server.")
        var profile: String?

        @Option(help: "A TOML file with settings of the stream server.")
        var config: String?

        /// - Parameter makesStorage: Whether it is made where there is none.
        func open(makesStorage: Bool = false) throws -> StreamArchive {
            try StreamArchive(self.settings(), makesStorage: makesStorage, notice: Self.tell)
        }

        /// Beside the output.
        static func tell(_ sentence: String) {
            FileHandle.standardError.write(Data((sentence + "\n").utf8))
        }

        func settings() throws -> StreamServerSettings {
            var environment = ProcessInfo.processInfo.environment
            // A database is of no interest here, and asking for streams turns them on.
            environment["PENSTOCK_FRONTS"] = "streams"
            let settings: Settings
            do {
                settings = try Settings.load(
                    sources: ConfigurationSources(environment: environment, profile: self.profile, file: self.config))
            } catch {
                throw ValidationError(error.render(color: false))
            }
            guard let streams = settings.streams else { throw ValidationError("No streams are configured.") }
            return streams
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List all streams, sorted by name.")
        @OptionGroup var source: Source
        @Flag(help: "As JSON, with all that is known of each.")
        var json = false

        func run() throws {
            let archive = try self.source.open()
            if self.json {
                print(try archive.listJSON())
                return
            }
            for listing in archive.listings() {
                let state = listing.view.isClosed ? "closed" : "open"
                let start = listing.view.earliest > 0 ? "\tfrom \(listing.view.earliestOffset)" : ""
                print(
                    "\(listing.view.name)\t\(listing.view.contentType.text)\t\(state)\t\(listing.messageCount) messages\t\(listing.byteCount) bytes"
                        + start)
            }
        }
    }

    struct Export: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Write streams into one JSON document.")
        @OptionGroup var source: Source
        @Option(help: "The file to write; standard output without it.")
        var output: String?
        @Option(name: .customLong("stream"), help: "A stream to export; may be given several times. All without it.")
        var streams: [String] = []

        func run() throws {
            let archive = try self.source.open()
            guard let output = self.output else {
                try archive.export(names: self.streams, version: Penstock.configuration.version) {
                    FileHandle.standardOutput.write(Data($0.utf8))
                }
                return
            }
            // Only a whole document gets the name.
            let temporary = output + ".part"
            guard FileManager.default.createFile(atPath: temporary, contents: nil),
                let file = FileHandle(forWritingAtPath: temporary)
            else { throw ValidationError("Cannot write \(temporary).") }
            do {
                try archive.export(names: self.streams, version: Penstock.configuration.version) {
                    try file.write(contentsOf: Data($0.utf8))
                }
                try file.synchronize()
                try file.close()
                guard rename(temporary, output) == 0 else { throw ValidationError("Cannot write \(output).") }
            } catch {
                unlink(temporary)
                throw error
            }
        }
    }

    struct RotateWebhookKey: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rotate-webhook-key", abstract: "Replace the key that signs webhooks.",
            discussion: "A server that runs takes the new key up on SIGHUP, and otherwise with its next start.")
        @OptionGroup var source: Source
        @Flag(help: "Sign with the new key at once, without publishing it first: when the old one has leaked.")
        var urgent = false

        func run() throws {
            let rotation = try WebhookKeyRotation(try self.source.settings(), isUrgent: self.urgent)
            print("\(rotation.id) signs from \(Timestamp.text(milliseconds: rotation.usedFrom))")
        }
    }

    struct Import: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Bring the streams of an export in; their offsets are given anew.")
        @OptionGroup var source: Source
        @Option(help: "The file to read; standard input without it.")
        var input: String?
        @Option(help: "What happens to streams that exist already: skip, fail or replace.")
        var onConflict: StreamArchive.Conflict = .fail

        func run() throws {
            let data: Data
            if let input = self.input {
                guard let contents = FileManager.default.contents(atPath: input) else {
                    throw ValidationError("Cannot read \(input).")
                }
                data = contents
            } else {
                data = FileHandle.standardInput.readDataToEndOfFile()
            }
            let archive = try self.source.open(makesStorage: true)
            let report = try archive.importDocument(data, onConflict: self.onConflict)
            for name in report.expired { Source.tell("The stream \(name) was left out: its time is over.") }
            for sentence in report.notes { Source.tell(sentence) }
            print(
                "\(report.imported) imported, \(report.replaced) of them replaced, \(report.skipped) skipped"
                    + (report.expired.isEmpty ? "" : ", \(report.expired.count) left out"))
            if !report.isWhole { throw ExitCode.failure }
        }
    }
}

extension StreamArchive.Conflict: ExpressibleByArgument {}
