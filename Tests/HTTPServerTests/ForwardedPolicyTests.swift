import HTTPServer
import NIOCore
import NIOHTTP1
import Testing
import WebAddresses

struct ForwardedPolicyTests {
    struct Example: Sendable, CustomTestStringConvertible {
        var name: String
        var family: ForwardedPolicy.Family
        var peer = "10.1.2.3"
        var hasCertificate = false
        var headers: [(String, String)]
        var expected = ForwardedClient()
        /// Names of what the handler sees.
        var kept: [String] = []
        var testDescription: String { self.name }
    }

    static let ignored: ForwardedClient = {
        var client = ForwardedClient()
        client.wasIgnored = true
        return client
    }()

    static let examples: [Example] = [
        Example(
            name: "off strips everything, silently", family: .none,
            headers: [
                ("X-Forwarded-For", "1.2.3.4"), ("FORWARDED", "for=1.2.3.4"), ("x-forwarded-anything", "y"),
                ("X-User", "root"), ("Accept", "*/*"),
            ], kept: ["Accept"]),
        Example(
            name: "stranger", family: .xForwarded, peer: "192.0.2.1", hasCertificate: true,
            headers: [("X-Forwarded-For", "1.2.3.4"), ("X-User", "root"), ("Host", "h")], expected: ignored,
            kept: ["Host"]),
        Example(
            name: "first entry", family: .xForwarded,
            headers: [
                ("X-Forwarded-For", " 1.2.3.4 , 10.0.0.1"), ("X-Forwarded-Proto", "HTTPS, http"),
                ("X-Forwarded-Host", "a.example:8443"), ("Forwarded", "for=9.9.9.9"),
            ],
            expected: ForwardedClient(address: "1.2.3.4", scheme: "https", host: "a.example:8443"),
            kept: ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"]),
        Example(
            name: "v4-mapped peer", family: .xForwarded, peer: "::ffff:10.1.2.3",
            headers: [("X-Forwarded-For", "2001:db8::1")], expected: ForwardedClient(address: "2001:db8::1"),
            kept: ["X-Forwarded-For"]),
        Example(
            name: "nonsense values say nothing", family: .xForwarded,
            headers: [
                ("X-Forwarded-For", "evil.example"), ("X-Forwarded-Proto", "javascript"),
                ("X-Forwarded-Host", "a.example/path@b\""),
            ], kept: ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"]),
        Example(
            name: "empty first entry", family: .xForwarded, headers: [("X-Forwarded-For", ", 1.2.3.4")],
            kept: ["X-Forwarded-For"]),
        Example(
            name: "port beside an address", family: .xForwarded, headers: [("X-Forwarded-For", "[2001:db8::2]:443")],
            expected: ForwardedClient(address: "2001:db8::2"), kept: ["X-Forwarded-For"]),
        Example(
            name: "port out of range", family: .xForwarded,
            headers: [("X-Forwarded-For", "1.2.3.4:99999"), ("X-Forwarded-Host", "h:70000")],
            kept: ["X-Forwarded-For", "X-Forwarded-Host"]),
        Example(
            name: "short form of an address", family: .xForwarded, headers: [("X-Forwarded-For", "127.1")],
            kept: ["X-Forwarded-For"]),
        Example(
            name: "RFC 7239", family: .forwarded,
            headers: [
                ("Forwarded", "For=\"[2001:db8::7]:4711\"; proto=https;host=\"b.example\";by=_hidden, for=6.6.6.6"),
                ("X-Forwarded-For", "5.5.5.5"),
            ],
            expected: ForwardedClient(address: "2001:db8::7", scheme: "https", host: "b.example"), kept: ["Forwarded"]),
        Example(
            name: "unknown and obfuscated", family: .forwarded, headers: [("Forwarded", "for=unknown;proto=http")],
            expected: ForwardedClient(scheme: "http"), kept: ["Forwarded"]),
        Example(
            name: "comma inside quotes", family: .forwarded, headers: [("Forwarded", "for=\"1.2.3.4, 9.9.9.9\"")],
            kept: ["Forwarded"]),
        Example(
            name: "named twice", family: .forwarded, headers: [("Forwarded", "for=1.2.3.4;for=9.9.9.9")],
            kept: ["Forwarded"]),
        Example(
            name: "quote without an end", family: .forwarded, headers: [("Forwarded", "for=1.2.3.4;host=\"b")],
            kept: ["Forwarded"]),
        Example(
            name: "identity without a certificate", family: .forwarded, headers: [("X-User", "alice")]),
        Example(
            name: "identity with a certificate", family: .forwarded, hasCertificate: true,
            headers: [("x-user", "alice")],
            expected: ForwardedClient(identity: "alice"), kept: ["x-user"]),
        Example(
            name: "two identities", family: .forwarded, hasCertificate: true,
            headers: [("X-User", "alice"), ("x-USER", "root")]),
    ]

    @Test(arguments: examples) func clientIsWhatATrustedPeerSays(example: Example) throws {
        let policy = ForwardedPolicy(
            family: example.family, trusted: [try #require(IPNetwork("10.0.0.0/8"))], identityHeader: "X-User")
        var headers = HTTPHeaders(example.headers)
        let peer = try SocketAddress(ipAddress: example.peer, port: 5)
        let client = policy.apply(to: &headers, peer: peer, hasVerifiedCertificate: example.hasCertificate)
        #expect(client == example.expected)
        #expect(headers.map(\.name) == example.kept)
    }
}
