import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import TestSupport
import Testing

/// The end of a process that serves streams beside a database.
@Suite(.timeLimit(.minutes(1)))
struct StreamShutdownTests {
    @Test func endsInOrderWhileTheDatabaseIsStillAwaited() async throws {
        let server = try StreamProcess(
            mode: "memory",
            environment: [
                "PENSTOCK_FRONTS": "streams,satellite", "AUTH_MODE": "insecure", "PG_PROXY_PASSWORD": "unused",
                "ELECTRIC_WRITE_TO_PG_MODE": "direct_writes", "HTTP_PORT": String(try SidecarProcess.freePort()),
                "DATABASE_URL": "postgresql://nobody@127.0.0.1:\(try SidecarProcess.freePort())/none?sslmode=disable",
            ])
        try server.launch()
        try await eventually("streams are served without the database", within: .seconds(30)) {
            (try? await server.request(.PUT, "a", headers: [("content-type", "text/plain")]))?.status == 201
        }
        let events = try await HTTPClient.shared.execute(
            HTTPClientRequest(url: "http://127.0.0.1:\(server.port)/v1/stream/a?offset=-1&live=sse"), timeout: .seconds(30))
        #expect(events.status == .ok)
        #expect(server.end(SIGTERM) == 0)
        // The reader's stream was ended, not cut off: a broken body would throw.
        let body = try await events.body.collect(upTo: 1 << 20)
        #expect(String(buffer: body).contains("\"upToDate\":true"))
        #expect(!server.log.contains("CancellationError"))
    }
}
