import Identity
import Testing

@testable import Configuration

@Suite("Tokens of the stream server")
struct StreamAuthSettingsTests {
    typealias Streams = StreamEnvironments

    private static let base = ["DS_AUTH__MODE": "jwt", "DS_AUTH__AUDIENCES": "durable-streams"]

    private func auth(_ more: [String: String]) throws -> StreamAuthSettings {
        try #require(try Streams.load(Self.base.merging(more) { $1 }).auth)
    }

    private func problems(_ more: [String: String]) -> [String] { Streams.problems(Self.base.merging(more) { $1 }) }

    @Test func aPublishedKeySetIsOneSource() throws {
        let auth = try self.auth([
            "DS_AUTH__ISSUER": "durable-streams-test, other", "DS_AUTH__JWKS_URL": "https://id.example/keys",
            "DS_AUTH__AUDIENCES": "a,b", "DS_AUTH__CLOCK_SKEW_SECS": "5", "DS_AUTH__SCOPE_CLAIM": "realm.scopes",
            "DS_AUTH__TOKEN_COOKIE": "token",
            "DS_AUTH__TOKEN_QUERY": "access_token",
            "DS_AUTH__SCOPES": "read:/=streams.read; append,create:/orders=orders.write|admin; admin:/=*",
        ])
        #expect(auth.issuer.names == ["durable-streams-test", "other"])
        #expect(auth.issuer.audiences == ["a", "b"])
        #expect(auth.issuer.algorithms == [.rs256, .es256, .eddsa])
        #expect(auth.keySource == .url("https://id.example/keys", allowsInsecureLoopback: false))
        #expect(auth.clockSkewSeconds == 5)
        #expect(auth.tokenPolicy.clockDriftSeconds == 5)
        #expect(!auth.tokenPolicy.requiresUserID)
        #expect(auth.extractor == TokenExtractor(cookie: "token", query: "access_token"))
        #expect(auth.access.scopeClaim == "realm.scopes")
        #expect(
            auth.access.rules == [
                AccessRule(classes: [.read], pathPrefix: "/", scopes: ["streams.read"]),
                AccessRule(classes: [.append, .create], pathPrefix: "/orders", scopes: ["orders.write", "admin"]),
                AccessRule(classes: [.admin], pathPrefix: "/", scopes: []),
            ])
        #expect(try self.auth(["DS_AUTH__JWKS_FILE": "/keys.json"]).keySource == .file("/keys.json"))
        #expect(
            try self.auth(["DS_AUTH__JWKS_URL": "http://127.0.0.1:1/k", "DS_AUTH__ALLOW_INSECURE_JWKS": "true"])
                .keySource == .url("http://127.0.0.1:1/k", allowsInsecureLoopback: true))
    }

    @Test func aStaticKeyIsAPublicKeyASecretOrJSON() throws {
        let pem = try self.auth(["DS_AUTH__STATIC_KEY": Environments.publicKey])
        #expect(pem.issuer.algorithms == [.es256])
        #expect(pem.keySource == .configured)
        let secret = try self.auth([
            "DS_AUTH__STATIC_KEY": String(repeating: "k", count: 48), "DS_AUTH__ALGORITHMS": "HS256,HS384",
        ])
        #expect(secret.issuer.algorithms == [.hs256, .hs384])
        let json = #"{"kty":"oct","k":"\#(String(repeating: "A", count: 43))","kid":"a"}"#
        let set = try self.auth(["DS_AUTH__STATIC_KEY": json, "DS_AUTH__ALGORITHMS": "HS256"])
        #expect(set.issuer.algorithms == [.hs256])
        guard case .published(let keys?) = set.issuer.keys else {
            Issue.record("no set")
            return
        }
        #expect(keys.contains(keyID: "a"))
    }

    @Test(
        arguments: [
            (
                [:],
                "DS_AUTH__JWKS_URL not set. One of DS_AUTH__STATIC_KEY, DS_AUTH__JWKS_FILE, DS_AUTH__JWKS_URL is needed"
            ),
            (
                ["DS_AUTH__JWKS_FILE": "/f", "DS_AUTH__JWKS_URL": "https://x/k"],
                "DS_AUTH__JWKS_URL is set beside another key. Only one of DS_AUTH__STATIC_KEY, DS_AUTH__JWKS_FILE, DS_AUTH__JWKS_URL is taken"
            ),
            (
                ["DS_AUTH__JWKS_URL": "http://id.example/k"],
                "DS_AUTH__JWKS_URL has invalid value. Must be an https URL without credentials"
            ),
            (
                ["DS_AUTH__JWKS_URL": "http://127.0.0.1/k"],
                "DS_AUTH__JWKS_URL has invalid value. Must be an https URL without credentials"
            ),
            (
                ["DS_AUTH__JWKS_URL": "https://u:hunter2@x/k"],
                "DS_AUTH__JWKS_URL has invalid value. Must be an https URL without credentials"
            ),
            (
                ["DS_AUTH__JWKS_FILE": "/f", "DS_AUTH__ALGORITHMS": "RS256,HS256"],
                "DS_AUTH__ALGORITHMS names an HS algorithm, which needs DS_AUTH__STATIC_KEY: a published key is no secret"
            ),
            (
                ["DS_AUTH__JWKS_FILE": "/f", "DS_AUTH__CLOCK_SKEW_SECS": "601"],
                "DS_AUTH__CLOCK_SKEW_SECS has invalid value: \"601\". Must be a whole number from 0 to 600"
            ),
            (["DS_AUTH__STATIC_KEY": "hunter2"], "DS_AUTH__STATIC_KEY has to be at least 32 bytes long for HS256"),
            (
                ["DS_AUTH__STATIC_KEY": "-----BEGIN hunter2"],
                "DS_AUTH__STATIC_KEY is no public key in PEM, or one of too few bits. RSA, P-256, P-384, P-521 and Ed25519 are taken"
            ),
            (["DS_AUTH__STATIC_KEY": "{\"keys\":[]}"], "DS_AUTH__STATIC_KEY has no usable key"),
            (["DS_AUTH__STATIC_KEY": "{hunter2"], "DS_AUTH__STATIC_KEY is no JSON, or names a member twice"),
            (
                ["DS_AUTH__STATIC_KEY": Environments.publicKey, "DS_AUTH__ALGORITHMS": "RS256"],
                "DS_AUTH__ALGORITHMS names algorithms that the key does not fit, which is one for ES256"
            ),
            (
                ["DS_AUTH__JWKS_FILE": "/f", "DS_AUTH__TOKEN_QUERY": "offset"],
                "DS_AUTH__TOKEN_QUERY has invalid value: \"offset\". Must be a name of letters, digits, _, - and ., and not one of the protocol's own"
            ),
            (
                ["DS_AUTH__JWKS_FILE": "/f", "DS_AUTH__CLAIM_HEADERS": "sub=Authorization"],
                "DS_AUTH__CLAIM_HEADERS has invalid value: \"sub=Authorization\". Must be a list such as sub=X-JWT-Sub, of header fields that neither HTTP nor the protocol has a use for, or Producer-Id"
            ),
            (
                ["DS_AUTH__JWKS_FILE": "/f", "DS_AUTH__CLAIM_HEADERS": "sub=stream-ttl"],
                "DS_AUTH__CLAIM_HEADERS has invalid value: \"sub=stream-ttl\". Must be a list such as sub=X-JWT-Sub, of header fields that neither HTTP nor the protocol has a use for, or Producer-Id"
            ),
            (
                ["DS_AUTH__JWKS_FILE": "/f", "DS_AUTH__CLAIM_HEADERS": "sub=X-A,org=x-a"],
                "DS_AUTH__CLAIM_HEADERS names \"x-a\" twice"
            ),
        ] as [([String: String], String)])
    func whatIsWrongIsReportedWithoutTheKey(environment: [String: String], problem: String) {
        let problems = self.problems(environment)
        #expect(problems == [problem])
        #expect(!problems.joined().contains("hunter2"))
    }

    @Test(arguments: [
        "read", "read:/", "read:orders=x", "write:/=x", "read:/=", "read:/=a||b", "read:/=*|a", ":/=x", "read:/=a b",
    ])
    func rulesThatCannotBeReadAreRefused(rule: String) {
        #expect(StreamSettingsLoader.rule(rule) == nil)
        let problems = self.problems(["DS_AUTH__JWKS_FILE": "/f", "DS_AUTH__SCOPES": "read:/=x;\(rule)"])
        #expect(problems.count == 1)
        #expect(problems.first?.hasPrefix("DS_AUTH__SCOPES has invalid value: \"\(rule)\"") == true)
    }

    @Test(arguments: ["PS256", "none", "rs256"])
    func unknownAlgorithmsAreRefused(name: String) {
        let problems = self.problems(["DS_AUTH__JWKS_FILE": "/f", "DS_AUTH__ALGORITHMS": name])
        #expect(problems.first?.hasPrefix("DS_AUTH__ALGORITHMS has invalid value: \"\(name)\"") == true)
    }

    @Test func settingsOfTokensWithoutTheModeAreAMistake() {
        for name in ["DS_AUTH__ISSUER", "DS_AUTH__STATIC_KEY", "DS_AUTH__JWKS_URL", "DS_AUTH__SCOPES"] {
            #expect(
                Streams.problems([name: "https://x"]) == [
                    "\(name) is set, while no tokens are asked for. Set DS_AUTH__MODE=jwt or remove it"
                ])
        }
        #expect(Streams.problems(["DS_AUTH__MODE": "none"]) == [])
    }

    @Test func theKeyNeverPrints() throws {
        let secret = "very-secret-text-that-is-long-enough-for-it"
        let settings = try Settings.load(environment: Self.base.merging(["DS_AUTH__STATIC_KEY": secret]) { $1 })
        var dumped = ""
        dump(settings, to: &dumped)
        for text in [dumped, "\(settings)", String(reflecting: settings)] { #expect(!text.contains("very-secret")) }
    }
}
