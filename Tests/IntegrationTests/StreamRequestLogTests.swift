import Foundation
import NIOCore
import NIOHTTP1
import TestSupport
import Testing

/// The lines that the real program writes for requests.
@Suite(.serialized, .timeLimit(.minutes(2))) struct StreamRequestLogTests {
    private struct Line {
        var members: [String: Any]
        subscript(_ name: String) -> String? { self.members[name] as? String }
        func number(_ name: String) -> Int? { self.members[name] as? Int }
    }

    private func serve(_ environment: [String: String]) async throws -> StreamProcess {
        let server = try StreamProcess(mode: "file-durable", environment: environment)
        try server.launch()
        try await server.waitUntilReady()
        return server
    }

    /// All lines of the log; each must be an object.
    private func lines(_ server: StreamProcess) throws -> [Line] {
        try server.log.split(separator: "\n").map { line in
            let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            return Line(members: try #require(object))
        }
    }

    @Test func everyRequestHasOneLine() async throws {
        let server = try await self.serve([
            "DS_OBSERVABILITY__LOG_FORMAT": "json", "DS_OBSERVABILITY__REQUEST_LOG": "true",
        ])
        let text = [("content-type", "text/plain"), ("user-agent", "tester/1 \"quoted\"")]
        #expect(try await server.request(.PUT, "a%20b/c", headers: text).status == 201)
        #expect(try await server.request(.POST, "a%20b/c", headers: text, body: "three").status == 204)
        #expect(try await server.request(.HEAD, "a%20b/c").status == 200)
        #expect(try await server.request(.GET, "a%20b/c?offset=-1").status == 200)
        #expect(try await server.request(.GET, "a%20b/c?offset=now&live=long-poll").status == 204)
        #expect(try await server.request(.POST, "a%20b/c", headers: [("stream-closed", "true")]).status == 204)
        #expect(try await server.request(.GET, "a%20b/c?offset=-1&live=sse").status == 200)
        #expect(try await server.request(.DELETE, "a%20b/c").status == 204)
        #expect(try await server.request(.GET, "none?offset=-1&token=hunter2").status == 404)
        #expect(try await server.request(.GET, "/healthz").status == 200)
        #expect(try await server.request(.GET, "/nowhere").status == 404)
        #expect(server.end(SIGTERM) == 0)

        let requests = try self.lines(server).filter { $0["message"] == "request" && $0["url.path"] != "/readyz" }
        #expect(
            requests.map { $0["ds.operation"] } == [
                "create", "append", "head", "read", "poll", "append", "subscribe", "delete", "read", "health", nil,
            ])
        #expect(
            requests.map { $0.number("http.response.status_code") } == [
                201, 204, 200, 200, 204, 204, 200, 204, 404, 200, 404,
            ])
        #expect(requests.map { $0["ds.live_mode"] }.compactMap { $0 } == ["long-poll", "sse"])
        for line in requests.prefix(8) {
            #expect(line["ds.stream_id"] == "a b/c")
            #expect(line["url.path"] == "/v1/stream/a%20b/c")
            #expect(line["ds.storage.backend"] == "file-durable")
        }
        for line in requests {
            #expect(line["client.address"] == "127.0.0.1")
            #expect(line["url.scheme"] == "http")
            #expect(line["network.protocol.version"] == "1.1")
            #expect(try #require(line.number("event.duration")) > 0)
            #expect(line["level"] == "info")
            #expect(line["penstock.response.is_whole"] == nil)
        }
        #expect(requests[0]["user_agent.original"] == "tester/1 \"quoted\"")
        #expect(requests[1].number("http.request.body.size") == 5)
        #expect(requests[3].number("http.response.body.size") == 5)
        #expect(try #require(requests[6].number("http.response.body.size")) > 100)
        #expect(requests[8]["ds.error_code"] == "NOT_FOUND")
        #expect(requests[8]["error.type"] == "NOT_FOUND")
        #expect(requests[8]["ds.error_class"] == "client")
        #expect(!server.log.contains("hunter2"))
    }

    @Test func tokensAreInNoLine() async throws {
        let key = "the secret of the tests, longer than 32 bytes"
        let server = try await self.serve([
            "DS_OBSERVABILITY__REQUEST_LOG": "true", "RUST_LOG": "trace", "DS_AUTH__MODE": "jwt",
            "DS_AUTH__STATIC_KEY": key, "DS_AUTH__ALGORITHMS": "HS256", "DS_AUTH__TOKEN_QUERY": "access",
            "DS_AUTH__TOKEN_COOKIE": "session",
        ])
        let token = "eyJhbGciOiJIUzI1NiJ9.hunter2.hunter3"
        #expect(try await server.request(.GET, "a?access=\(token)").status == 401)
        #expect(try await server.request(.GET, "a?access=hunter2").status == 401)
        #expect(try await server.request(.GET, "a", headers: [("authorization", "Bearer \(token)")]).status == 401)
        #expect(try await server.request(.GET, "a", headers: [("cookie", "session=\(token)")]).status == 401)
        #expect(try await server.request(.GET, "mistaken/\(token)").status == 401)
        #expect(server.end(SIGTERM) == 0)
        let log = server.log
        #expect(log.split(separator: "\n").filter { $0.hasSuffix("[info] request") && $0.contains("=401 ") }.count == 5)
        for secret in ["hunter2", "hunter3", key] { #expect(!log.contains(secret)) }
    }

    @Test func withoutBeingAskedForThereAreNone() async throws {
        for environment in [[:], ["DS_OBSERVABILITY__REQUEST_LOG": "true", "RUST_LOG": "info,penstock.requests=error"]] {
            let server = try await self.serve(environment)
            #expect(try await server.request(.GET, "none").status == 404)
            #expect(server.end(SIGTERM) == 0)
            #expect(server.log.contains("[info] stopped"))
            #expect(!server.log.contains("url.path"))
        }
    }

    @Test func aReaderThatLeavesIsToldApart() async throws {
        let server = try await self.serve([
            "DS_OBSERVABILITY__LOG_FORMAT": "json", "DS_OBSERVABILITY__REQUEST_LOG": "true",
        ])
        #expect(try await server.request(.PUT, "left", headers: [("content-type", "text/plain")]).status == 201)
        let reader = try ChildProcess.spawn(
            ["/usr/bin/curl", "-sN", "http://127.0.0.1:\(server.port)/v1/stream/left?offset=-1&live=sse"],
            environment: [:], output: "\(server.directory)/events")
        try await eventually("the reader has its first event", within: .seconds(30)) {
            (try? String(contentsOfFile: "\(server.directory)/events", encoding: .utf8))?.contains("upToDate") == true
        }
        kill(reader, SIGKILL)
        var status: Int32 = 0
        waitpid(reader, &status, 0)
        try await eventually("the request is over", within: .seconds(30)) {
            try self.lines(server).contains {
                $0["ds.operation"] == "subscribe" && $0["penstock.response.is_whole"] == "false"
                    && $0.number("http.response.status_code") == 200
            }
        }
        server.end(SIGKILL)
    }
}
