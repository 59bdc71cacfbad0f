import Foundation
import NIOCore
import NIOHTTP1
import TestSupport
import Testing

/// Streams that drop their front, in the real program.
@Suite(.serialized, .timeLimit(.minutes(3))) struct StreamRetentionTests {
    private static let text = [("content-type", "text/plain")]

    /// What the files of streams take on the disk, in bytes.
    private func blocks(_ server: StreamProcess) -> Int {
        let root = server.directory + "/data/data"
        let files = FileManager.default.enumerator(atPath: root)?.compactMap { $0 as? String } ?? []
        return files.filter { $0.hasSuffix(".data") }.reduce(0) { count, name in
            var status = stat()
            return stat(root + "/" + name, &status) == 0 ? count + Int(status.st_blocks) * 512 : count
        }
    }

    private func fill(_ server: StreamProcess, _ name: String, _ count: Int) async throws {
        for number in 0..<count {
            let body = String(repeating: "\(number % 10)", count: 50_000)
            #expect(try await server.request(.POST, name, headers: Self.text, body: body).status == 204)
        }
    }

    private func earliest(_ server: StreamProcess, _ name: String) async throws -> String? {
        try await server.request(.HEAD, name).headers.first(name: "stream-earliest-offset")
    }

    @Test(arguments: ["memory", "file-fast", "file-durable", "acid"])
    func theFrontGoesByItselfAndStaysGoneAfterAKill(_ mode: String) async throws {
        let server = try StreamProcess(
            mode: mode, environment: ["DS_RETENTION__MAX_BYTES": "1000000", "DS_RETENTION__PREFIXES": "logs/"])
        try server.launch()
        try await server.waitUntilReady()
        for name in ["logs/a", "keeps"] {
            #expect(try await server.request(.PUT, name, headers: Self.text).status == 201)
            try await self.fill(server, name, 60)
        }
        let offset = "0000000000000000_0000000002000000"
        try await eventually("the front is gone", within: .seconds(20)) {
            try await self.earliest(server, "logs/a") == offset
        }
        #expect(try await self.earliest(server, "keeps") == nil)
        let page = String(buffer: try await server.request(.GET, "/metrics").body)
        #expect(page.contains("streams_trimmed_bytes_total 2000000"))
        if mode.hasPrefix("file") {
            // A checkpoint comes within five seconds.
            try await eventually("the room is given back", within: .seconds(30)) { self.blocks(server) < 4_200_000 }
        }
        guard mode != "memory" else { return }
        server.end(SIGKILL)
        try server.launch()
        try await server.waitUntilReady()
        #expect(try await self.earliest(server, "logs/a") == offset)
        #expect(try await server.request(.GET, "logs/a?offset=0000000000000000_0000000001950000").status == 410)
        let kept = String(buffer: try await server.request(.GET, "logs/a?offset=-1").body)
        #expect(kept.utf8.count == 1_000_000 && kept.hasPrefix("000") && kept.hasSuffix("999"))
        #expect(try await server.request(.GET, "keeps").body.readableBytes == 3_000_000)
        server.end(SIGTERM)
    }

    @Test func listingsExportsAndImportsKnowIt() async throws {
        let environment = ["DS_ADMIN__ENABLED": "true"]
        let server = try StreamProcess(mode: "file-durable", environment: environment)
        try server.launch()
        try await server.waitUntilReady()
        let bounds = [("stream-retention-bytes", "120000"), ("stream-retention-seconds", "86400")]
        #expect(try await server.request(.PUT, "a", headers: Self.text + bounds).status == 201)
        try await self.fill(server, "a", 10)
        let offset = "0000000000000000_0000000000350000"
        try await eventually("the front is gone", within: .seconds(20)) {
            try await self.earliest(server, "a") == offset
        }
        let listing = String(buffer: try await server.request(.GET, "/admin/streams").body)
        server.end(SIGTERM)
        for text in [listing, try await server.run("streams", "list", "--json").output] {
            #expect(text.contains("\"earliest_offset\":\"\(offset)\""))
            #expect(text.contains("\"retention_bytes\":120000") && text.contains("\"retention_seconds\":86400"))
            #expect(text.contains("\"total_bytes\":150000"))
        }
        #expect(try await server.run("streams", "list").output.contains("\tfrom \(offset)"))
        let document = server.directory + "/export.json"
        #expect(try await server.run("streams", "export", "--output", document).status == 0)
        let other = try StreamProcess(mode: "acid", environment: environment)
        #expect(try await other.run("streams", "import", "--input", document).status == 0)
        try other.launch()
        try await other.waitUntilReady()
        #expect(try await other.request(.PUT, "a", headers: Self.text + bounds).status == 200)
        #expect(try await other.request(.PUT, "a", headers: Self.text).status == 409)
        #expect(try await other.request(.GET, "a").body.readableBytes == 150_000)
        other.end(SIGTERM)
    }
}
