import Foundation
import NIOCore
import NIOHTTP1
import TestSupport
import Testing

/// Imports that cannot come in whole, and commands on the wrong storage: what is said, and that the storage opens.
@Suite(.serialized, .timeLimit(.minutes(4))) struct StreamImportFaultTests {
    private static let past = #""expires_at":"2020-01-01T00:00:00Z""#

    /// One stream of a document.
    private static func stream(_ name: String, _ lifetime: String = "", bytes: Int = 3) -> String {
        let data = Data(repeating: UInt8(ascii: "x"), count: bytes).base64EncodedString()
        let comma = lifetime.isEmpty ? "" : ","
        return """
            {"name":"\(name)","config":{"content_type":"text/plain"\(comma)\(lifetime)},"closed":false,
            "created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z","total_bytes":\(bytes),
            "message_count":1,"next_offset":"x","messages":[{"offset":"0","data_base64":"\(data)"}]}
            """
    }

    private static func document(_ streams: [String]) -> String {
        """
        {"format_version":1,"exported_at":"2026-01-01T00:00:00Z","server_version":"0.1.0",
        "streams":[\(streams.joined(separator: ","))]}
        """
    }

    private static func write(_ document: String, as name: String, of server: StreamProcess) throws -> String {
        let path = server.directory + "/" + name
        try Data(document.utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    /// A server with the stream `here`, not running any more.
    private static func stored(
        _ mode: String, environment: [String: String] = [:]
    ) async throws -> StreamProcess {
        let server = try StreamProcess(mode: mode, environment: environment)
        let text = [("content-type", "text/plain")]
        let status = try await server.whileRunning {
            try await server.request(.PUT, "here", headers: text, body: "kept").status
        }
        #expect(status == 201)
        return server
    }

    private static func bytes(_ server: StreamProcess, _ names: String...) async throws -> [String] {
        var bodies: [String] = []
        for name in names {
            let answer = try await server.request(.GET, name)
            bodies.append(answer.status == 200 ? String(buffer: answer.body) : "\(answer.status)")
        }
        return bodies
    }

    @Test(arguments: ["file-durable", "acid"])
    func streamsWhoseTimeIsOverAreLeftOutAndSaid(_ mode: String) async throws {
        let server = try await Self.stored(mode)
        let path = try Self.write(
            Self.document([
                Self.stream("late", Self.past), Self.stream("never", #""ttl_seconds":0"#), Self.stream("new"),
                Self.stream("here", Self.past),
            ]), as: "document", of: server)
        let outcome = try await server.run("streams", "import", "--input", path)
        #expect(outcome.status == 0, "\(outcome.output)")
        #expect(outcome.output.contains("1 imported") && outcome.output.contains("3 left out"), "\(outcome.output)")
        #expect(outcome.output.contains("The stream late was left out"), "\(outcome.output)")
        let found = try await server.whileRunning { try await Self.bytes(server, "here", "late", "never", "new") }
        #expect(found == ["kept", "404", "404", "xxx"])
    }

    @Test(arguments: ["file-durable", "acid"])
    func limitsAreCheckedBeforeAnythingIsWritten(_ mode: String) async throws {
        for (limit, bytes) in [("DS_LIMITS__MAX_DISK_BYTES", 97), ("DS_LIMITS__MAX_DISK_STREAM_BYTES", 101)] {
            let server = try await Self.stored(mode, environment: [limit: "100"])
            let path = try Self.write(
                Self.document([Self.stream("big", bytes: bytes)]), as: "document", of: server)
            let outcome = try await server.run("streams", "import", "--input", path)
            #expect(outcome.status != 0 && outcome.output.contains(limit), "\(outcome.output)")
            #expect(outcome.output.contains("Nothing was imported"), "\(outcome.output)")
            #expect(!FileManager.default.fileExists(atPath: server.directory + "/data/import.pending"))
            #expect(try await server.run("streams", "list").status == 0)
            let found = try await server.whileRunning { try await Self.bytes(server, "here", "big") }
            #expect(found == ["kept", "404"])
        }
    }

    /// What an earlier version, or a change of the limits in between, has left.
    @Test(arguments: ["file-durable", "acid"])
    func aPendingImportThatCannotFinishDoesNotShutTheStorage(_ mode: String) async throws {
        let server = try await Self.stored(mode, environment: ["DS_LIMITS__MAX_DISK_STREAM_BYTES": "100"])
        let document = Self.document([
            Self.stream("big", bytes: 101), Self.stream("late", Self.past), Self.stream("new"),
        ])
        for (content, names) in [
            (document, ["big", "DS_NOTHING"]), ("no document", ["DS_NOTHING"]), (document, ["big", "DS_NOTHING"]),
        ] {
            _ = try Self.write(content, as: "data/import.pending", of: server)
            let found = try await server.whileRunning {
                try await Self.bytes(server, "here", "big", "late")
            }
            #expect(found == ["kept", "404", "404"])
            for name in names where name != "DS_NOTHING" {
                #expect(server.log.contains("The stream \(name) was not imported"), "\(server.log)")
            }
            #expect(server.log.contains("data/import.failed"), "\(server.log)")
            #expect(!FileManager.default.fileExists(atPath: server.directory + "/data/import.pending"))
        }
        #expect(try await server.whileRunning { try await Self.bytes(server, "new") } == ["xxx"])
        // Each is kept.
        for name in ["import.failed", "import.failed.2", "import.failed.3"] {
            #expect(FileManager.default.fileExists(atPath: server.directory + "/data/" + name))
        }
    }

    @Test(arguments: ["file-durable", "acid"])
    func manyStreamsShareTheSyncsOfTheDisk(_ mode: String) async throws {
        let server = try await Self.stored(mode)
        let message = #"{"offset":"0","data_base64":"eHh4"}"#
        let streams = (0..<300).map { number -> String in
            guard number % 3 == 0 else { return Self.stream("s\(number)") }
            // With messages in order, and closed.
            let more = ["YQ==", "Yg==", "Yw=="].map { #"{"offset":"0","data_base64":"\#($0)"}"# }
            return Self.stream("s\(number)").replacing(message, with: ([message] + more).joined(separator: ","))
                .replacing(#""closed":false"#, with: #""closed":true"#)
        }
        // As if cut off at its beginning, so that a server carries it out, which counts.
        _ = try Self.write(Self.document(streams), as: "data/import.pending", of: server)
        try await server.whileRunning {
            for number in 0..<300 {
                let answer = try await server.request(.GET, "s\(number)")
                #expect(String(buffer: answer.body) == (number % 3 == 0 ? "xxxabc" : "xxx"))
                #expect(answer.headers["stream-closed"] == (number % 3 == 0 ? ["true"] : []))
            }
            var counts: [String: Int] = [:]
            for line in String(buffer: try await server.request(.GET, "/metrics").body).split(separator: "\n") {
                let parts = line.split(separator: " ")
                if parts.count == 2, parts[0].hasPrefix("streams_commit_") { counts[String(parts[0])] = Int(parts[1]) }
            }
            let changes = try #require(counts["streams_commit_changes_total"])
            #expect(changes >= 900)
            #expect(try #require(counts["streams_commit_batches_total"]) < changes / 2)
        }
        #expect(!FileManager.default.fileExists(atPath: server.directory + "/data/import.pending"))
    }

    @Test func aBrokenDocumentIsRefusedWithThePlace() async throws {
        let server = try await Self.stored("file-durable")
        let cases = [
            ("{", "it is not JSON"),
            (Self.document([#"{"name":"orders"}"#]), #"of the stream orders, the member "config" is missing"#),
            (
                Self.document([
                    Self.stream("a"), Self.stream("b").replacing(#""offset":"0""#, with: #""offset":0"#),
                ]), "at streams[1].messages[0].offset, of the stream b, the value is no text"
            ),
        ]
        for (document, reason) in cases {
            let path = try Self.write(document, as: "document", of: server)
            let outcome = try await server.run("streams", "import", "--input", path)
            #expect(outcome.status != 0 && outcome.output.contains(reason), "\(outcome.output)")
            #expect(!outcome.output.contains("codingPath"), "\(outcome.output)")
        }
    }

    @Test func aDirectoryWithoutStreamsIsNotMadeByLooking() async throws {
        for mode in ["file-fast", "acid"] {
            let server = try StreamProcess(mode: mode)
            for command in [["list"], ["export"], ["rotate-webhook-key"]] {
                let outcome = try await server.run(["streams"] + command)
                #expect(outcome.status != 0 && outcome.output.contains("There are no streams in"), "\(outcome.output)")
            }
            #expect(!FileManager.default.fileExists(atPath: server.directory + "/data"))
        }
    }

    @Test func theVariableToChangeIsNamed() async throws {
        let acid = try await Self.stored("acid")
        let files = try await Self.stored("file-fast")
        let cases = [
            (acid, ["DS_STORAGE__ACID_SHARD_COUNT": "8"], "Set DS_STORAGE__ACID_SHARD_COUNT to 4"),
            (
                acid, ["DS_STORAGE__MODE": "file-fast"],
                "Set DS_STORAGE__MODE to acid and DS_STORAGE__ACID_SHARD_COUNT to 4"
            ),
            (files, ["DS_STORAGE__MODE": "acid"], "Set DS_STORAGE__MODE to file-durable or file-fast"),
        ]
        for (server, change, remedy) in cases {
            let outcome = try await server.run(["streams", "list"], environment: change)
            #expect(outcome.status != 0 && outcome.output.contains(remedy), "\(outcome.output)")
        }
    }
}
