import Foundation
import NIOCore
import NIOHTTP1
import TestSupport
import Testing

/// `penstock streams import` that is killed: the streams are those from before, or those of the document.
@Suite(.serialized, .timeLimit(.minutes(4))) struct StreamImportTests {
    private static let names = ["a", "b/c", "d"]
    private static let json = [("content-type", "application/json")]
    private static let count = 60

    private static func bodies(_ server: StreamProcess) async throws -> [String] {
        var bodies: [String] = []
        for name in Self.names {
            let answer = try await server.request(.GET, name)
            let isClosed = answer.headers.first(name: "stream-closed") == "true"
            bodies.append("\(answer.status) \(String(buffer: answer.body))\(isClosed ? " closed" : "")")
        }
        return bodies
    }

    @Test(arguments: ["file-durable", "acid"])
    func aKilledReplacementIsWholeOrNotAtAll(_ mode: String) async throws {
        // The document: what another server held.
        let origin = try StreamProcess(mode: mode)
        let document = origin.directory + "/export.json"
        let new = try await origin.whileRunning {
            for name in Self.names {
                _ = try await origin.request(.PUT, name, headers: Self.json)
                for number in 0..<Self.count {
                    let last = number == Self.count - 1 && name == "d" ? [("stream-closed", "true")] : []
                    let answer = try await origin.request(.POST, name, headers: Self.json + last, body: "[\(number)]")
                    #expect(answer.status == 204)
                }
            }
            return try await Self.bodies(origin)
        }
        #expect(try await origin.run("streams", "export", "--output", document).status == 0)

        var outcomes: Set<Bool> = []
        for delay in [0, 30, 60, 90, 120, 160, 200, 300, 500] {
            let server = try StreamProcess(mode: mode)
            let old = try await server.whileRunning {
                for name in Self.names {
                    _ = try await server.request(.PUT, name, headers: Self.json, body: "[\"old\",\"\(name)\"]")
                }
                return try await Self.bodies(server)
            }
            let child = try server.spawn(["streams", "import", "--input", document, "--on-conflict", "replace"])
            // Where in its work the kill meets it is up to chance.
            try await Task.sleep(for: .milliseconds(delay))
            kill(child, SIGKILL)
            var status: Int32 = 0
            while waitpid(child, &status, 0) < 0 && errno == EINTR {}
            let found = try await server.whileRunning { try await Self.bodies(server) }
            #expect(found == old || found == new, "killed after \(delay) ms: \(found)")
            outcomes.insert(found == new)
            #expect(!FileManager.default.fileExists(atPath: server.directory + "/data/import.pending"))
            #expect(try await server.run("streams", "import", "--input", document, "--on-conflict", "replace").status == 0)
            #expect(!FileManager.default.fileExists(atPath: server.directory + "/data/import.pending"))
            #expect(try await server.whileRunning { try await Self.bodies(server) } == new)
        }
        #expect(outcomes.contains(false))
    }

    @Test func whatForksNeedIsNotReplaced() async throws {
        let server = try StreamProcess(mode: "file-durable")
        let document = server.directory + "/export.json"
        let before = try await server.whileRunning {
            for name in Self.names { _ = try await server.request(.PUT, name, headers: Self.json, body: "[1]") }
            let fork = [("stream-forked-from", "/v1/stream/d")]
            #expect(try await server.request(.PUT, "fork", headers: fork).status == 201)
            return try await Self.bodies(server)
        }
        #expect(try await server.run("streams", "export", "--output", document).status == 0)
        let outcome = try await server.run("streams", "import", "--input", document, "--on-conflict", "replace")
        #expect(outcome.status != 0 && outcome.output.contains("has forks"))
        #expect(try await server.whileRunning { try await Self.bodies(server) } == before)
    }
}
