import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import TestSupport
import Testing

/// The end of a process that serves streams beside a database.
@Suite(.timeLimit(.minutes(1)))
struct StreamShutdownTests {
    private static let text = [("content-type", "text/plain")]

    /// A server that waits for a database, on two ports, with an empty stream `a`.
    private func launch(_ mode: String, sharedPort: Int) async throws -> StreamProcess {
        let server = try StreamProcess(
            mode: mode,
            environment: [
                "PENSTOCK_FRONTS": "streams,satellite", "AUTH_MODE": "insecure", "PG_PROXY_PASSWORD": "unused",
                "ELECTRIC_WRITE_TO_PG_MODE": "direct_writes", "HTTP_PORT": String(sharedPort),
                "DATABASE_URL": "postgresql://nobody@127.0.0.1:\(try SidecarProcess.freePort())/none?sslmode=disable",
            ])
        try server.launch()
        try await eventually("streams are served without the database", within: .seconds(30)) {
            (try? await server.request(.PUT, "a", headers: Self.text))?.status == 201
        }
        return server
    }

    @Test func endsInOrderWhileTheDatabaseIsStillAwaited() async throws {
        let server = try await self.launch("memory", sharedPort: try SidecarProcess.freePort())
        let events = try await HTTPClient.shared.execute(
            HTTPClientRequest(url: "http://127.0.0.1:\(server.port)/v1/stream/a?offset=-1&live=sse"),
            timeout: .seconds(30))
        #expect(events.status == .ok)
        #expect(server.end(SIGTERM) == 0)
        // The reader's stream was ended, not cut off: a broken body would throw.
        let body = try await events.body.collect(upTo: 1 << 20)
        #expect(String(buffer: body).contains("\"upToDate\":true"))
        #expect(!server.log.contains("CancellationError"))
    }

    /// An append whose body has come in part, and what sends the rest.
    private func beginUpload(
        _ server: StreamProcess
    ) async throws -> (rest: AsyncStream<ByteBuffer>.Continuation, status: Task<UInt, any Error>) {
        let (pieces, rest) = AsyncStream<ByteBuffer>.makeStream()
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(server.port)/v1/stream/a")
        request.method = .POST
        request.headers = HTTPHeaders(Self.text)
        request.body = .stream(pieces, length: .known(10))
        let status = Task { [request] in
            try await HTTPClient.shared.execute(request, timeout: .seconds(40)).status.code
        }
        rest.yield(ByteBuffer(string: "01234"))
        try await eventually("the upload has begun", within: .seconds(20)) {
            let metrics = try await server.request(.GET, "/metrics")
            return String(buffer: metrics.body).contains("\nhttp_body_bytes 5")
        }
        return (rest, status)
    }

    @Test func portsSayThatTheServiceEndsUntilItsWorkIsDone() async throws {
        let sharedPort = try SidecarProcess.freePort()
        let server = try await self.launch("file-durable", sharedPort: sharedPort)
        let unknown = try await server.request(.GET, "/nowhere")
        #expect(unknown.status == 404 && unknown.headers["cross-origin-resource-policy"] == ["cross-origin"])
        let (rest, status) = try await self.beginUpload(server)
        server.signal(SIGTERM)
        // A client may have a connection in its pool that is closed in this very moment.
        try await eventually("the port says so", within: .seconds(20)) {
            guard let ready = try? await server.request(.GET, "/readyz") else { return false }
            return ready.status == 503 && String(buffer: ready.body).contains("draining")
        }
        var shared = HTTPClientRequest(url: "http://127.0.0.1:\(sharedPort)/readyz")
        shared.headers = ["connection": "close"]
        let ready = try await HTTPClient.shared.execute(shared, timeout: .seconds(10))
        #expect(ready.status == .serviceUnavailable)
        #expect(String(buffer: try await ready.body.collect(upTo: 1 << 20)).contains("\"detail\":\"draining"))
        #expect(try await server.request(.GET, "/healthz").status == 200)
        #expect(String(buffer: try await server.request(.GET, "/metrics").body).contains("\npenstock_ready 0"))
        let append = try await server.request(.POST, "a", headers: Self.text, body: "x")
        #expect(append.status == 503 && append.headers["retry-after"] == ["1"])
        #expect(append.headers["connection"] == ["close"])
        #expect(append.headers["content-type"].first?.hasPrefix("application/problem+json") == true)
        #expect(String(buffer: append.body).contains("about to end"))
        #expect(append.headers["access-control-allow-origin"] == unknown.headers["access-control-allow-origin"])

        rest.yield(ByteBuffer(string: "56789"))
        rest.finish()
        #expect(try await status.value == 204)
        #expect(server.end(0) == 0)
        #expect(server.log.contains("stopped") && !server.log.contains("CancellationError"))

        // A kill in the midst of it costs what was not answered, and no more.
        try server.launch()
        try await eventually("the stream is back", within: .seconds(30)) {
            (try? await server.request(.GET, "a")).map { String(buffer: $0.body) } == "0123456789"
        }
        let (cutRest, cut) = try await self.beginUpload(server)
        server.signal(SIGTERM)
        try await eventually("the drain has begun", within: .seconds(20)) {
            (try? await server.request(.GET, "a"))?.status == 503
        }
        server.end(SIGKILL)
        cutRest.finish()
        await #expect(throws: (any Error).self) { try await cut.value }
        try server.launch()
        try await eventually("the stream is back again", within: .seconds(30)) {
            (try? await server.request(.GET, "a")).map { String(buffer: $0.body) } == "0123456789"
        }
        #expect(server.end(SIGTERM) == 0)
    }
}
