import HTTPServer
import NIOCore
import NIOHTTP1
import Testing

@testable import SatelliteEndpoint

@Suite struct SatelliteRouteTests {
    struct Example: Sendable, CustomTestStringConvertible {
        var name: String
        var headers: [(String, String)] = SatelliteRouteTests.upgrade
        var offers: [String] = []
        var method: HTTPMethod = .GET
        var version: HTTPVersion = .http1_1
        var status: String?
        /// Nil: the upgrade is accepted.
        var refusal: (status: HTTPResponseStatus, text: String)?
        var chosen: String?
        var testDescription: String { self.name }
    }

    static let upgrade = [
        ("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    static let badRequest = (HTTPResponseStatus.badRequest, "Bad request")
    static let missing = (HTTPResponseStatus.badRequest, "Missing satellite websocket subprotocol")
    static func version(_ version: String) -> (HTTPResponseStatus, String) {
        (.badRequest, "Cannot connect satellite version \(version): this server requires >= 0.10.0 and <= 0.12.1")
    }
    private static func without(_ name: String) -> [(String, String)] { self.upgrade.filter { $0.0 != name } }

    static let examples: [Example] = [
        Example(name: "client of today", offers: ["electric.0.12"], chosen: "electric.0.12"),
        Example(name: "older", offers: ["electric.0.10"], chosen: "electric.0.10"),
        Example(name: "older", offers: ["electric.0.11"], chosen: "electric.0.11"),
        Example(name: "among others", offers: ["graphql, electric.0.12", "chat"], chosen: "electric.0.12"),
        Example(name: "not an upgrade", headers: [], offers: ["electric.0.12"], refusal: badRequest),
        Example(name: "no key", headers: without("sec-websocket-key"), offers: ["electric.0.12"], refusal: badRequest),
        Example(
            name: "short key", headers: without("sec-websocket-key") + [("sec-websocket-key", "abc==")],
            offers: ["electric.0.12"], refusal: badRequest),
        Example(
            name: "key that is not base64",
            headers: without("sec-websocket-key") + [("sec-websocket-key", "????????????????????? ==")],
            offers: ["electric.0.12"], refusal: badRequest),
        Example(
            name: "two keys", headers: upgrade + [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")],
            offers: ["electric.0.12"], refusal: badRequest),
        Example(
            name: "old WebSocket", headers: without("sec-websocket-version") + [("sec-websocket-version", "8")],
            offers: ["electric.0.12"], refusal: badRequest),
        Example(name: "HEAD", offers: ["electric.0.12"], method: .HEAD, refusal: badRequest),
        Example(name: "HTTP/1.0", offers: ["electric.0.12"], version: .http1_0, refusal: badRequest),
        Example(name: "the upgrade is checked before the protocol", headers: [], refusal: badRequest),
        Example(name: "no protocol", refusal: missing),
        Example(name: "another protocol", offers: ["electric"], refusal: missing),
        Example(name: "two offers", offers: ["electric.0.12", "electric.0.11"], refusal: missing),
        Example(name: "no number", offers: ["electric.x.12"], refusal: missing),
        Example(name: "three numbers", offers: ["electric.0.12.1"], refusal: missing),
        Example(name: "leading zero", offers: ["electric.0.012"], refusal: missing),
        Example(name: "sign", offers: ["electric.0.+12"], refusal: missing),
        Example(name: "long", offers: ["electric.0.123456789012345678"], refusal: missing),
        Example(name: "too old", offers: ["electric.0.9"], refusal: version("0.9.0")),
        Example(name: "too new", offers: ["electric.0.13"], refusal: version("0.13.0")),
        Example(name: "major", offers: ["electric.1.12"], refusal: version("1.12.0")),
        Example(name: "large", offers: ["electric.0.12345678901234567"], refusal: version("0.12345678901234567.0")),
        Example(name: "the protocol is checked before the state", status: "subscribing", refusal: missing),
        Example(
            name: "the version is checked before the state", offers: ["electric.0.13"], status: "subscribing",
            refusal: version("0.13.0")),
        Example(
            name: "not ready", offers: ["electric.0.12"], status: "establishing_repl_conn",
            refusal: (.serviceUnavailable, "Postgres connection is not ready: establishing_repl_conn...")),
    ]

    @Test(arguments: examples) func checksRunInTheirOrder(example: Example) async {
        let endpoint = EndpointHarness.withoutDatabase()
        var headers = HTTPHeaders(example.headers)
        for offer in example.offers { headers.add(name: "sec-websocket-protocol", value: offer) }
        let request = HTTPRequest(
            head: HTTPRequestHead(version: example.version, method: example.method, uri: "/ws", headers: headers),
            body: ByteBuffer())
        switch SatelliteRoute.answer(request, services: endpoint.shared, logger: silent, status: example.status) {
        case .reply(let reply):
            #expect(reply.status == example.refusal?.status)
            #expect(String(buffer: reply.body) == example.refusal?.text)
            #expect(reply.headers.first(name: "content-type")?.hasPrefix("text/plain") == true)
        case .webSocket(let subprotocol, _):
            #expect(example.refusal == nil)
            #expect(subprotocol == example.chosen)
        }
        await endpoint.stop()
    }
}
