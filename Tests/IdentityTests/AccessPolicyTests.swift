import ExactText
import Testing

@testable import Identity

@Suite("Access")
struct AccessPolicyTests {
    private func token(_ claims: [String: JSONValue], user: String = "alice") -> Result<VerifiedToken?, TokenError> {
        .success(
            VerifiedToken(userID: user, expiresAt: UnixTime(seconds: 100), issuedAt: nil, claims: claims))
    }

    private static let policy = AccessPolicy(rules: [
        AccessRule(classes: [.read], pathPrefix: "/", scopes: ["read"]),
        AccessRule(classes: [.append, .create], pathPrefix: "/orders", scopes: ["orders.write", "admin"]),
        AccessRule(classes: [.read], pathPrefix: "/orders/secret/", scopes: ["secret"]),
        AccessRule(classes: [.append], pathPrefix: "/orders", scopes: ["append"]),
        AccessRule(classes: [.read], pathPrefix: "/open", scopes: []),
        AccessRule(classes: Set(AccessClass.allCases), pathPrefix: "/all", scopes: ["all"]),
    ])

    @Test(
        arguments: [
            (.read, "/a", "read", nil), (.read, "/a", "", 403), (.read, "/a", "reader", 403),
            (.read, "/a", "x read y", nil), (.append, "/a", "read admin", 403), (.append, "/orders", "admin", nil),
            (.append, "/orders/1", "orders.write", nil), (.append, "/orders/1", "append", nil),
            (.create, "/orders/1", "append", 403), (.append, "/orders2", "admin", 403),
            (.append, "/order", "admin", 403),
            (.read, "/orders/secret/1", "read", 403), (.read, "/orders/secret/1", "secret", nil),
            (.read, "/orders/secret", "read", nil), (.read, "/open/1", "", nil), (.delete, "/orders", "admin", 403),
            (.admin, "/all", "all", nil), (.delete, "/all/x", "all", nil), (.admin, "/", "all", 403),
        ] as [(AccessClass, String, String, Int?)])
    func theLongestPathDecides(access: AccessClass, path: String, scopes: String, status: Int?) {
        let decision = Self.policy.decide(access, path: path, token: self.token(["scope": .string(scopes)]))
        #expect(decision.status == status)
    }

    @Test func withoutRulesAnyTokenIsEnough() {
        let policy = AccessPolicy()
        #expect(policy.decide(.admin, path: "/x", token: self.token([:])).status == nil)
        #expect(
            policy.decide(.read, path: "/x", token: .success(nil))
                == .unauthorized(challenge: #"Bearer realm="durable-streams""#))
    }

    @Test func refusalsAreChallenges() {
        let policy = Self.policy
        #expect(
            policy.decide(.read, path: "/", token: .failure(.expired))
                == .unauthorized(
                    challenge:
                        #"Bearer realm="durable-streams", error="invalid_token", error_description="The token has expired""#
                ))
        for error in [TokenError.malformed, .invalidSignature, .unknownKey] {
            #expect(
                policy.decide(.read, path: "/", token: .failure(error))
                    == .unauthorized(challenge: #"Bearer realm="durable-streams", error="invalid_token""#))
        }
        #expect(policy.decide(.read, path: "/", token: .failure(.keysUnavailable)) == .unavailable)
        #expect(policy.decide(.read, path: "/", token: .failure(.keysUnavailable)).status == 503)
        #expect(
            policy.decide(.append, path: "/orders", token: self.token([:]))
                == .forbidden(
                    challenge:
                        #"Bearer realm="durable-streams", error="insufficient_scope", scope="admin append orders.write""#
                ))
        #expect(
            policy.decide(.delete, path: "/x", token: self.token([:]))
                == .forbidden(challenge: #"Bearer realm="durable-streams", error="insufficient_scope""#))
    }

    @Test func scopesAreATextOrAListAnywhereInTheClaims() {
        func scopes(_ claim: String, _ claims: [String: JSONValue]) -> ExactSet {
            guard case .success(let token?) = self.token(claims) else { return [] }
            return AccessPolicy(scopeClaim: claim).scopes(of: token)
        }
        #expect(scopes("scope", ["scope": .string("a  b")]) == ["a", "b"])
        #expect(scopes("scp", ["scp": .array([.string("a b"), .integer(1), .string("c")])]) == ["a b", "c"])
        #expect(scopes("r.s", ["r": .object(["s": .string("a")])]) == ["a"])
        #expect(scopes("https://x.example/s", ["https://x.example/s": .string("a")]) == ["a"])
        #expect(scopes("scope", ["scope": .integer(1)]) == [])
        #expect(scopes("scope", [:]) == [])
    }

    @Test func claimsBecomeHeadersOnlyWhenTheyArePlain() {
        let policy = AccessPolicy(claimHeaders: [
            ClaimHeader(claim: "sub", header: "X-JWT-Sub"), ClaimHeader(claim: "org.id", header: "X-Org"),
            ClaimHeader(claim: "n", header: "X-N"),
        ])
        #expect(policy.reservedHeaders == ["x-jwt-sub", "x-org", "x-n"])
        func headers(_ claims: [String: JSONValue]) -> [String] {
            guard case .allow(let grant) = policy.decide(.read, path: "/", token: self.token(claims, user: "")) else {
                return ["no"]
            }
            #expect(grant.subject == nil)
            #expect(grant.expiresAt == UnixTime(seconds: 100))
            return grant.headers.map { "\($0.name): \($0.value)" }
        }
        #expect(
            headers(["sub": .string("alice"), "org": .object(["id": .integer(7)]), "n": .bool(true)])
                == ["X-JWT-Sub: alice", "X-Org: 7", "X-N: true"])
        for bad in ["a\r\nX-Admin: 1", "a\nb", "", " a", "a ", "é", "a\u{0}", String(repeating: "x", count: 5000)] {
            #expect(headers(["sub": .string(bad)]) == [], "\(bad.prefix(10))")
        }
        #expect(headers(["sub": .array([.string("a")]), "org": .string("x"), "n": .number(1.5)]) == [])
    }

    @Test(
        arguments: [
            ("GET", AccessClass.read), ("HEAD", .read), ("POST", .append), ("PUT", .create), ("DELETE", .delete),
            ("OPTIONS", nil), ("get", nil), ("PATCH", nil),
        ] as [(String, AccessClass?)])
    func methodsHaveClasses(method: String, access: AccessClass?) {
        #expect(AccessClass(method: method) == access)
    }
}

@Suite("Where tokens stand")
struct TokenExtractorTests {
    private let extractor = TokenExtractor(cookie: "token", query: "access_token")

    private func extract(
        _ authorization: [String] = [], cookies: [String] = [], target: String = "/s", access: AccessClass = .read,
        _ extractor: TokenExtractor? = nil
    ) -> TokenExtractor.Extraction {
        (extractor ?? self.extractor).extract(
            authorization: authorization, cookies: cookies, target: target, access: access)
    }

    @Test func theHeaderComesFirst() {
        let cookie = ["token=c"]
        let target = "/s?access_token=q"
        #expect(self.extract(["Bearer h"], cookies: cookie, target: target) == .token("h", .authorization))
        #expect(self.extract(["bEARER  h.h"], access: .append) == .token("h.h", .authorization))
        #expect(self.extract(cookies: cookie, target: target) == .token("c", .cookie))
        #expect(self.extract(target: target) == .token("q", .query))
        #expect(self.extract(["Basic eDp5"]) == .none)
        #expect(self.extract(["Basic eDp5"], target: target) == .token("q", .query))
        #expect(self.extract() == .none)
    }

    @Test(arguments: ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "Bearer \u{e9}", "Bearer a\"b"])
    func brokenHeadersDoNotFallThrough(header: String) {
        #expect(self.extract([header], cookies: ["token=c"]) == .malformed(.authorization))
    }

    @Test func twoTokensInOnePlaceAreNone() {
        #expect(self.extract(["Bearer a", "Bearer a"]) == .malformed(.authorization))
        #expect(self.extract(cookies: ["token=a; token=b"]) == .malformed(.cookie))
        #expect(self.extract(cookies: ["token=a", "x=1; token=a"]) == .token("a", .cookie))
        #expect(self.extract(target: "/s?access_token=a&access_token=a") == .malformed(.query))
        #expect(self.extract(target: "/s?access_token=a&acces%73_token=b") == .malformed(.query))
    }

    @Test func cookiesAndParametersAreForReadsAndByName() {
        for access in AccessClass.allCases where access != .read {
            #expect(self.extract(cookies: ["token=c"], target: "/s?access_token=q", access: access) == .none)
        }
        #expect(self.extract(cookies: ["token=c"], target: "/s?access_token=q", TokenExtractor()) == .none)
        #expect(self.extract(cookies: ["Token=c; xtoken=d; a=token=e"], target: "/s?Access_Token=q") == .none)
        #expect(self.extract(cookies: ["a=1;token=\"c\" "]) == .token("c", .cookie))
        #expect(self.extract(cookies: ["token="]) == .malformed(.cookie))
        #expect(self.extract(target: "/s?access_token=") == .malformed(.query))
        #expect(self.extract(target: "/s?access_token=a%zz") == .malformed(.query))
        #expect(self.extract(target: "/s?access_token=a%2Eb#access_token=c") == .token("a.b", .query))
    }

    @Test(arguments: [
        ("/s", "/s"), ("/s?offset=-1", "/s?offset=-1"), ("/s?access_token=q", "/s"),
        ("/s?a=1&access_token=q&b=2", "/s?a=1&b=2"), ("/s?access_token=q&access_token=r", "/s"),
        ("/s?%61ccess_token=q&a=1", "/s?a=1"), ("/s?access_token", "/s"), ("/s?a=1&access_token=q#f", "/s?a=1#f"),
        ("/s?acc%zz=q", "/s"), ("/s?xaccess_token=q", "/s?xaccess_token=q"),
        ("/s?a=access_token=q", "/s?a=access_token=q"),
    ])
    func theTokenIsTakenOutOfTheTarget(target: String, shown: String) {
        #expect(self.extractor.withoutToken(target: target) == shown)
        #expect(TokenExtractor().withoutToken(target: target) == target)
    }
}
