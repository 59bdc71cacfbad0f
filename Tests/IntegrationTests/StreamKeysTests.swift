import AsyncHTTPClient
import ChildProcesses
import Foundation
import NIOCore
import NIOHTTP1
import NIOSSL
import TestSupport
import Testing

/// Certificates and keys of the real program, and what makes it read them again.
@Suite(.serialized, .timeLimit(.minutes(2))) struct StreamKeysTests {
    /// The status of an answer over TLS from a server whose certificate must be this one; nil if it is another.
    private func status(port: Int, trusting certificate: String) async throws -> Int? {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(certificate)
        let client = HTTPClient(
            eventLoopGroupProvider: .singleton, configuration: HTTPClient.Configuration(tlsConfiguration: tls))
        let response = try? await client.execute(
            HTTPClientRequest(url: "https://localhost:\(port)/healthz"), timeout: .seconds(10))
        try await client.shutdown()
        return response.map { Int($0.status.code) }
    }

    @Test func hangUpTakesUpANewCertificateAndABrokenOneChangesNothing() async throws {
        let authority = try TestAuthority()
        for name in ["one", "two"] { try await authority.issue(name) }
        try authority.copy("one", to: "server")
        let server = try StreamProcess(
            mode: "memory",
            environment: [
                "DS_TRANSPORT__MODE": "tls", "DS_TRANSPORT__TLS__CERT_PATH": authority.path("server.pem"),
                "DS_TRANSPORT__TLS__KEY_PATH": authority.path("server.key"),
            ])
        try server.launch()
        try await eventually("the server listens", within: .seconds(60)) {
            try await self.status(port: server.port, trusting: authority.path("one.pem")) == 200
        }
        #expect(try await self.status(port: server.port, trusting: authority.path("two.pem")) == nil)

        try Data("broken".utf8).write(to: URL(fileURLWithPath: authority.path("server.pem")), options: .atomic)
        server.signal(SIGHUP)
        try await eventually("the log names the broken certificate", within: .seconds(20)) {
            server.log.contains("reading certificates and keys again")
                && server.log.contains("certificate not loaded, the old one stays in use")
        }
        #expect(try await self.status(port: server.port, trusting: authority.path("one.pem")) == 200)

        try authority.copy("two", to: "server")
        server.signal(SIGHUP)
        try await eventually("the new certificate serves", within: .seconds(20)) {
            try await self.status(port: server.port, trusting: authority.path("two.pem")) == 200
        }
        server.end(SIGTERM)
    }

    @Test func keysOfTokensComeOverTLSFromAPrivateAuthority() async throws {
        let authority = try TestAuthority()
        try await authority.issue("issuer")
        let party = TokenParty()
        let issuer = try await SecureDocument(
            party.keySet, certificate: authority.path("issuer.pem"), key: authority.path("issuer.key"))
        let environment = [
            "DS_AUTH__MODE": "jwt", "DS_AUTH__JWKS_URL": "https://localhost:\(issuer.port)/jwks.json",
        ]
        let token = [("authorization", "Bearer \(try party.token())")]
        let server = try StreamProcess(
            mode: "memory", environment: environment.merging(["DS_HTTP__OUTGOING_CA_PATH": authority.path("issuer.pem")]) { $1 })
        try server.launch()
        try await server.waitUntilReady()
        #expect(try await server.request(.PUT, "a", headers: token).status == 201)
        #expect(try await server.request(.PUT, "b").status == 401)
        server.end(SIGTERM)
        // An authority that nobody named is not believed.
        let stranger = try StreamProcess(mode: "memory", environment: environment)
        try stranger.launch()
        try await stranger.waitUntilReady()
        #expect(try await stranger.request(.PUT, "a", headers: token).status == 503)
        stranger.end(SIGTERM)
        await issuer.stop()
    }

    @Test func theKeyOfWebhooksIsReplacedBesideARunningServer() async throws {
        let server = try StreamProcess(mode: "file-durable")
        try server.launch()
        try await server.waitUntilReady()
        func published() async throws -> [String] {
            struct Keys: Decodable {
                struct Key: Decodable { var kid: String }
                var keys: [Key]
            }
            let answer = try await server.request(.GET, "__ds/jwks.json")
            return try JSONDecoder().decode(Keys.self, from: Data(answer.body.readableBytesView)).keys.map(\.kid)
        }
        let first = try await published()
        #expect(first.count == 1)
        let outcome = try await server.run("streams", "rotate-webhook-key")
        #expect(outcome.status == 0, "\(outcome.output)")
        let new = String(outcome.output.prefix { $0 != " " })
        #expect(new.hasPrefix("ds_") && !first.contains(new))
        #expect(try await published() == first)
        server.signal(SIGHUP)
        try await eventually("the new key is published", within: .seconds(20)) { try await published() == [new] + first }
        server.end(SIGTERM)
        try server.launch()
        try await server.waitUntilReady()
        #expect(try await published() == [new] + first)
        server.end(SIGTERM)
    }
}
