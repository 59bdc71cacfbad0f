import Identity
import NIOHTTP1
import Testing

@testable import TokenKeys

@Suite("Key sets over HTTP", .timeLimit(.minutes(1)))
struct HTTPKeySetFetcherTests {
    private func withServer(_ body: (LoopbackServer) async throws -> Void) async throws {
        let server = try await LoopbackServer.start()
        do {
            try await body(server)
        } catch {
            await server.stop()
            throw error
        }
        await server.stop()
    }

    private func fetch(
        _ url: String, timeout: Duration = .seconds(20), maximumBytes: Int = 1000
    ) async throws -> Result<FetchedKeySet, KeySetFetchError> {
        let fetcher = try HTTPKeySetFetcher(
            url: url, allowsInsecureLoopback: true, timeout: timeout, maximumBytes: maximumBytes)
        let result: Result<FetchedKeySet, KeySetFetchError>
        do throws(KeySetFetchError) {
            result = .success(try await fetcher.fetch())
        } catch {
            result = .failure(error)
        }
        await fetcher.shutdown()
        return result
    }

    private func code(_ result: Result<FetchedKeySet, KeySetFetchError>) -> KeySetFetchError.Code? {
        if case .failure(let error) = result { error.code } else { nil }
    }

    @Test func theDocumentComesWithItsLifetime() async throws {
        try await self.withServer { server async throws in
            server.set(
                "/keys?v=1",
                .init(
                    headers: [
                        ("Cache-Control", "public"), ("Cache-Control", "max-age=300"), ("Age", "100"),
                        ("Content-Type", "text/plain"),
                    ],
                    body: "{}"))
            server.set("/plain", .init(body: "[]"))
            let first = try await self.fetch(server.url("/keys?v=1")).get()
            #expect(first.bytes == Array("{}".utf8))
            #expect(first.lifetime == .seconds(200))
            #expect(try await self.fetch(server.url("/plain")).get().lifetime == nil)
        }
    }

    @Test func redirectsAreFollowedToTheSamePlaceAlone() async throws {
        let other = try await LoopbackServer.start()
        other.set("/keys", .init(body: "{}"))
        try await self.withServer { server async throws in
            server.set("/keys", .init(body: "{}"))
            server.set("/here", .init(status: .found, headers: [("Location", "/keys")]))
            server.set("/full", .init(status: .permanentRedirect, headers: [("Location", server.url("/here"))]))
            server.set("/there", .init(status: .found, headers: [("Location", other.url("/keys"))]))
            server.set("/host", .init(status: .found, headers: [("Location", "http://localhost:\(server.port)/keys")]))
            server.set(
                "/user", .init(status: .found, headers: [("Location", "http://u:p@127.0.0.1:\(server.port)/keys")]))
            server.set("/scheme", .init(status: .found, headers: [("Location", "file:///etc/passwd")]))
            server.set("/nowhere", .init(status: .found))
            server.set("/loop", .init(status: .found, headers: [("Location", "/loop")]))
            #expect(try await self.fetch(server.url("/full")).get().bytes == Array("{}".utf8))
            for path in ["/there", "/host", "/user", "/scheme", "/nowhere", "/loop"] {
                #expect(self.code(try await self.fetch(server.url(path))) == .redirected, "\(path)")
            }
            #expect(server.requests.filter { $0 == "/loop" }.count == 4)
            #expect(other.requests == [])
        }
        await other.stop()
    }

    @Test func sizeAndTimeAreBounded() async throws {
        try await self.withServer { server async throws in
            server.set("/huge", .init(body: String(repeating: "x", count: 1001)))
            server.set("/full", .init(body: String(repeating: "x", count: 1000)))
            server.set("/slow", .init(body: "1234567890", stallsAfter: 5))
            server.set("/silent", .init(isSilent: true))
            #expect(self.code(try await self.fetch(server.url("/huge"))) == .tooLarge)
            #expect(try await self.fetch(server.url("/full")).get().bytes.count == 1000)
            for path in ["/slow", "/silent"] {
                #expect(self.code(try await self.fetch(server.url(path), timeout: .milliseconds(300))) == .timeout)
            }
        }
    }

    @Test func otherAnswersAreFailures() async throws {
        try await self.withServer { server async throws in
            server.set("/error", .init(status: .internalServerError, body: "{}"))
            server.set("/empty", .init(status: .noContent))
            for path in ["/missing", "/error", "/empty"] {
                #expect(self.code(try await self.fetch(server.url(path))) == .status)
            }
            let url = server.url("/x")
            await server.stop()
            #expect(self.code(try await self.fetch(url)) == .unreachable)
        }
    }

    @Test func plainHTTPIsForThisMachineAndOnlyWhereItIsAllowed() {
        for (url, allows) in [
            ("http://127.0.0.1:1/k", false), ("http://id.example/k", true), ("ftp://id.example", true),
        ] {
            #expect(throws: KeySetFetchError.self) { try HTTPKeySetFetcher(url: url, allowsInsecureLoopback: allows) }
        }
    }

    @Test func theNameHoldsNoQuery() async throws {
        let fetcher = try HTTPKeySetFetcher(url: "https://id.example:8443/keys?secret=1")
        #expect(fetcher.name == "https://id.example:8443/keys")
        await fetcher.shutdown()
    }
}
