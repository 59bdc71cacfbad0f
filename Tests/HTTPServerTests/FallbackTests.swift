import HTTPServer
import NIOHTTP1
import NIOPosix
import Testing

/// Answers that belong to no route.
@Suite(.timeLimit(.minutes(1)))
struct FallbackTests {
    /// - Parameter origins: of `/s`, whose headers are those of the fallback.
    private func start(_ origins: CORSPolicy.Origins?) async throws -> DirectServer {
        var router = HTTPRouter()
        router.on(.GET, "/own") { _ in .reply(.text("own")) }
        var options = HTTPRouteOptions()
        options.bodyBytes = 2
        options.securityHeaders = HTTPSecurityHeaders(crossOriginResourcePolicy: "cross-origin")
        options.cors = origins.map { CORSPolicy(origins: $0, exposedHeaders: ["x-next"]) }
        router.onPrefixDirect("/s", options) { _, responder in responder.reply(.text("stream")) }
        router.fallBack(to: "/s")
        return DirectServer(
            listener: try await HTTPListener.bind(
                host: "127.0.0.1", port: 0, group: MultiThreadedEventLoopGroup.singleton, limits: HTTPLimits(),
                router: router, logger: silent))
    }

    private static let refused: [(request: String, status: String)] = [
        ("nonsense\r\n\r\n", "400 Bad Request"),
        ("GET /s HTTP/1.1\r\nbad field: x\r\n\r\n", "400 Bad Request"),
        ("GET /s HTTP/1.1\r\nx: " + String(repeating: "y", count: 70_000) + "\r\n\r\n", "431 "),
        ("GET /nowhere HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nConnection: close\r\n\r\n", "404 Not Found"),
        ("GET /nowhere HTTP/1.1\r\nOrigin: https://a.example\r\nConnection: close\r\n\r\n", "400 Bad Request"),
    ]

    @Test func theyHaveTheHeadersOfTheRouteThatIsNamed() async throws {
        let server = try await self.start(.any)
        for (request, status) in Self.refused {
            let text = try await server.exchange(request)
            #expect(text.hasPrefix("HTTP/1.1 \(status)"), "\(text)")
            for line in [
                "x-content-type-options: nosniff", "cross-origin-resource-policy: cross-origin",
                "access-control-allow-origin: *", "access-control-expose-headers: x-next",
            ] { #expect(text.contains("\r\n\(line)\r\n"), "\(status): \(text)") }
        }
        // Other routes are not opened to the pages of others by it.
        let own = try await server.exchange("GET /own HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(own.contains("nosniff") && !own.contains("access-control") && !own.contains("cross-origin"))
        // Nor do unknown paths take the limits of that route.
        let large = try await server.exchange(
            "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
        #expect(large.hasPrefix("HTTP/1.1 404 "))
        await server.stop()
    }

    @Test func aListedOriginIsNamedWhereTheRequestCouldBeRead() async throws {
        let server = try await self.start(.list(["https://a.example"]))
        for (request, status) in Self.refused {
            let text = try await server.exchange(request)
            #expect(text.hasPrefix("HTTP/1.1 \(status)"), "\(text)")
            #expect(text.contains("\r\nvary: Origin\r\n"), "\(text)")
            #expect(
                text.contains("\r\naccess-control-allow-origin: https://a.example\r\n") == request.contains("Origin: "))
        }
        await server.stop()
    }

    @Test func withoutCrossOriginAccessTheyHaveNone() async throws {
        let server = try await self.start(nil)
        for (request, _) in Self.refused {
            let text = try await server.exchange(request)
            #expect(text.contains("nosniff") && !text.contains("access-control"), "\(text)")
        }
        await server.stop()
    }
}
