import Testing

@testable import Identity

@Suite("Insecure mode")
struct InsecureModeTests {
    private let verifier = TokenVerifier(policy: TokenPolicy(mode: .insecure))

    @Test func unsignedTokensPassInAnyOfTheirForms() throws {
        let payload = Base64.encodeURL(#"{"sub":"u"}"#.utf8)
        let signed = try TestIssuer(.hs256).token()
        for token in ["e30.\(payload).", "e30.\(payload)", ".\(payload)", "!!.\(payload).!!", "e30.\(payload).c2ln"] {
            let verified = try self.verifier.verify(token, now: TestIssuer.now)
            #expect(verified.userID == "u")
            #expect(verified.expiresAt == nil)
            #expect(verified.issuedAt == nil)
        }
        #expect(try self.verifier.verify(signed, now: TestIssuer.now).userID == "alice")
    }

    @Test func bothAlphabetsAreReadEvenMixed() throws {
        // The client replaces the first slash only: these claims need several letters of the end of the alphabet.
        let payload = #"{"sub":"u","x":"???>>>~~~???>>>"}"#
        let url = Base64.encodeURL(payload.utf8)
        let standard = String(url.map { $0 == "_" ? "/" : $0 == "-" ? "+" : $0 })
        #expect(standard.filter { $0 == "/" }.count > 1)
        let firstSlash = try #require(standard.firstIndex(of: "/"))
        let mixed = standard.replacing("/", with: "_", maxReplacements: 1)
        #expect(mixed[firstSlash] == "_")
        let padded = standard + String(repeating: "=", count: (4 - standard.count % 4) % 4)
        for text in [url, standard, mixed, padded] {
            let token = try self.verifier.verify("eyJhbGciOiJub25lIn0.\(text).", now: TestIssuer.now)
            #expect(token.claims["x"] == .string("???>>>~~~???>>>"))
        }
    }

    @Test(arguments: ["", ".", "e30", "e30.", "e30..", "e30.%%.", "a.e30.b.c", "e30.bnVsbA.", "e30.W10"])
    func whatHoldsNoClaimsIsRefused(token: String) {
        #expect(throws: TokenError(like: .malformed)) { try self.verifier.verify(token, now: TestIssuer.now) }
    }

    @Test func timesAreCheckedWhenPresent() throws {
        func token(_ payload: String) -> String { "e30." + Base64.encodeURL(payload.utf8) }
        for (payload, code) in [
            (#"{"sub":"u","exp":1700000097}"#, TokenError.Code.expired),
            (#"{"sub":"u","nbf":1700000103}"#, .notYetValid), (#"{"sub":"u","iat":1700000103}"#, .invalidClaim),
            (#"{"sub":"u","exp":"x"}"#, .invalidClaim), (#"{"name":"u"}"#, .missingUserID), ("{}", .missingUserID),
        ] {
            let error = #expect(throws: TokenError.self) {
                try self.verifier.verify(token(payload), now: TestIssuer.now)
            }
            #expect(error?.code == code, "\(payload)")
        }
        #expect(try self.verifier.verify(token(#"{"sub":"u","exp":1700000098}"#), now: TestIssuer.now).userID == "u")
    }

    @Test func aNamespaceAppliesHereToo() throws {
        let verifier = TokenVerifier(policy: TokenPolicy(mode: .insecure, namespace: "ns"))
        let token = try #require(DevelopmentToken.make(userID: "u", issuedAt: TestIssuer.now, namespace: "ns"))
        #expect(try verifier.verify(token, now: TestIssuer.now).userID == "u")
        #expect(throws: TokenError.missingUserID) { try self.verifier.verify(token, now: TestIssuer.now) }
    }
}

@Suite("Development tokens")
struct DevelopmentTokenTests {
    @Test func anUnsignedTokenServesInsecureModeOnly() throws {
        let token = try #require(DevelopmentToken.make(userID: "u-1", issuedAt: TestIssuer.now, lifetimeSeconds: 60))
        #expect(token.hasPrefix(Base64.encodeURL(#"{"alg":"none","typ":"JWT"}"#.utf8) + "."))
        #expect(token.hasSuffix("."))
        let verified = try TokenVerifier(policy: TokenPolicy(mode: .insecure)).verify(token, now: TestIssuer.now)
        #expect(verified.userID == "u-1")
        #expect(verified.expiresAt == UnixTime(seconds: TestIssuer.now.seconds + 60))
        let secure = try TestIssuer(.hs256).verifier()
        #expect(throws: TokenError.algorithmMismatch) { try secure.verify(token, now: TestIssuer.now) }
    }

    @Test(arguments: [SigningAlgorithm.hs256, .hs384, .hs512])
    func aSignedTokenSatisfiesTheWholePolicy(algorithm: SigningAlgorithm) throws {
        let issuer = try TestIssuer(algorithm)
        let key = try VerificationKey(algorithm: algorithm, text: issuer.configuredKey)
        let made = DevelopmentToken.make(
            userID: "naïve \"quoted\" \u{1}", key: key, issuedAt: UnixTime(microseconds: 1_700_000_099_900_000),
            namespace: "ns", issuer: "i", audience: "a",
            claims: ["role": .string("admin"), "ns": .object(["x": .integer(1)]), "iss": .string("overruled")])
        let token = try #require(made)
        let verifier = try issuer.verifier(issuer: "i", audience: "a", namespace: "ns")
        let verified = try verifier.verify(token, now: TestIssuer.now)
        #expect(verified.userID == "naïve \"quoted\" \u{1}")
        #expect(verified.claims["role"] == .string("admin"))
        #expect(verified.claims["ns"]?["x"] == .integer(1))
        #expect(verified.issuedAt == UnixTime(seconds: 1_700_000_099))
    }

    @Test func aPublicKeyCannotSign() throws {
        let issuer = try TestIssuer(.es256)
        let key = try VerificationKey(algorithm: .es256, text: issuer.configuredKey)
        #expect(DevelopmentToken.make(userID: "u", key: key, issuedAt: TestIssuer.now) == nil)
    }
}
