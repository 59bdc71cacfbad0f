import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import TestSupport
import Testing

/// `/metrics` of the real program.
@Suite(.serialized, .timeLimit(.minutes(2))) struct StreamMetricsTests {
    private func samples(_ server: StreamProcess) async throws -> [String: Double] {
        let page = String(buffer: try await server.request(.GET, "/metrics").body)
        var samples: [String: Double] = [:]
        for line in page.split(separator: "\n") where !line.hasPrefix("#") {
            let parts = line.split(separator: " ")
            samples[String(parts[0])] = Double(parts[1])
        }
        return samples
    }

    @Test func whatStreamsAndTheirReadersDoIsCounted() async throws {
        let server = try StreamProcess(mode: "file-durable")
        try server.launch()
        try await server.waitUntilReady()
        let text = [("content-type", "text/plain")]
        for name in ["a", "b"] { #expect(try await server.request(.PUT, name, headers: text).status == 201) }
        for body in ["one", "three"] {
            #expect(try await server.request(.POST, "a", headers: text, body: body).status == 204)
        }
        let closing = [("stream-closed", "true")]
        #expect(try await server.request(.POST, "b", headers: closing).status == 204)
        #expect(try await server.request(.GET, "a").status == 200)
        #expect(try await server.request(.GET, "a?offset=-1&live=long-poll").status == 200)
        #expect(try await server.request(.GET, "b?offset=-1&live=sse").status == 200)
        #expect(try await server.request(.GET, "none").status == 404)

        let samples = try await self.samples(server)
        #expect(samples[#"streams_count{state="open"}"#] == 1)
        #expect(samples[#"streams_count{state="closed"}"#] == 1)
        #expect(samples["streams_created_total"] == 2)
        #expect(samples["streams_appends_total"] == 2)
        #expect(samples["streams_appended_bytes_total"] == 8)
        #expect(samples["streams_payload_bytes"] == 8)
        for kind in ["catch_up", "long_poll", "sse"] {
            #expect(samples["streams_reads_total{kind=\"\(kind)\"}"] == 1, "\(kind)")
        }
        #expect(samples[#"streams_read_bytes_total{kind="catch_up"}"#] == 8)
        #expect(samples[#"streams_read_bytes_total{kind="long_poll"}"#] == 8)
        #expect(samples[#"streams_read_bytes_total{kind="sse"}"#] ?? 0 > 0)
        #expect(samples["streams_live_readers"] == 0)
        #expect(samples[#"http_responses_total{class="4xx"}"#] == 1)
        #expect(samples[#"http_responses_total{class="2xx"}"#] ?? 0 >= 8)
        #expect(samples["streams_commit_changes_total"] == 5)
        #expect(samples["streams_sync_seconds_count"] ?? 0 >= 1)
        #expect(samples["streams_waiting_limit_bytes"] ?? 0 > 0)
        #expect(samples[#"webhook_deliveries_total{result="failed"}"#] == 0)
        for reason in ["auth", "overload", "body_budget", "body_size", "connections"] {
            #expect(samples["http_refusals_total{reason=\"\(reason)\"}"] == 0, "\(reason)")
        }
        server.end(SIGTERM)
    }

    @Test func limitsAreToldAsTheyWereSet() async throws {
        let server = try StreamProcess(mode: "memory", environment: ["DS_LIMITS__MAX_MEMORY_BYTES": "20000"])
        try await server.whileRunning {
            let samples = try await self.samples(server)
            #expect(samples["streams_payload_limit_bytes"] == 20_000)
            #expect(samples["streams_waiting_changes_limit"] == 65_536)
        }
    }

    @Test func requestsWithoutATokenAreCounted() async throws {
        let server = try StreamProcess(
            mode: "memory",
            environment: [
                "DS_AUTH__MODE": "jwt", "DS_AUTH__STATIC_KEY": String(repeating: "k", count: 32),
                "DS_AUTH__ALGORITHMS": "HS256",
            ])
        try server.launch()
        try await server.waitUntilReady()
        #expect(try await server.request(.PUT, "a").status == 401)
        #expect(try await self.samples(server)[#"http_refusals_total{reason="auth"}"#] == 1)
        server.end(SIGTERM)
    }

    @Test func oneBudgetOfBodiesServesAllPorts() async throws {
        let other = try SidecarProcess.freePort()
        let server = try StreamProcess(
            mode: "memory",
            environment: [
                "HTTP_PORT": "\(other)", "DS_LIMITS__MAX_REQUEST_BODY_BYTES": "1000000",
                "DS_LIMITS__MAX_BUFFERED_BODY_BYTES": "1000000",
            ])
        try server.launch()
        try await server.waitUntilReady()
        #expect(try await server.request(.PUT, "a", headers: [("content-type", "text/plain")]).status == 201)
        // Most of a body is held on one port.
        let held = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: other).get()
        let head = "POST /v1/stream/a HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 900000\r\n\r\n"
        try await held.writeAndFlush(ByteBuffer(string: head + String(repeating: "x", count: 800_000)))
        try await eventually("the body is held", within: .seconds(20)) {
            try await self.samples(server)["http_body_bytes"] == 800_000
        }
        // The other port refuses what does not fit beside it.
        let body = String(repeating: "y", count: 400_000)
        let text = [("content-type", "text/plain")]
        let refused = try await server.request(.POST, "a", headers: text, body: body)
        #expect(refused.status == 503 && refused.headers.contains(name: "retry-after"))
        #expect(try await self.samples(server)[#"http_refusals_total{reason="body_budget"}"#] == 1)
        try await held.close()
        try await eventually("the body is let go", within: .seconds(20)) {
            try await self.samples(server)["http_body_bytes"] == 0
        }
        #expect(try await server.request(.POST, "a", headers: text, body: body).status == 204)
        server.end(SIGTERM)
    }
}
