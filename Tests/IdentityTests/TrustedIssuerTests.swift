import Crypto
import CryptoExtras
import Testing

@testable import Identity

@Suite("Tokens of trusted issuers")
struct TrustedIssuerTests {
    /// Two issuers with several keys each, one of them shared by id and not by key.
    private struct World {
        let rsa: TestIssuer
        let curve: TestIssuer
        let edwards: TestIssuer
        let stranger: TestIssuer
        let encryption: TestIssuer
        let verifier: TokenVerifier

        init(drift: Double = 60) throws {
            self.rsa = try TestIssuer(.rs256)
            self.curve = try TestIssuer(.es256)
            self.edwards = try TestIssuer(.eddsa)
            self.stranger = try TestIssuer(.es256)
            self.encryption = try TestIssuer(.rs256)
            let first = JSONValue.array([
                try self.rsa.jwk("rsa", ["alg": .string("RS256"), "use": .string("sig")]), try self.curve.jwk("ec"),
                try self.edwards.jwk("ed"), try self.encryption.jwk("enc", ["use": .string("enc")]),
            ])
            let second = JSONValue.array([try self.stranger.jwk("other"), try self.stranger.jwk("shared")])
            func set(_ keys: JSONValue) throws -> KeySet {
                try KeySet(parsing: Array(JSONValue.object(["keys": keys]).text.utf8))
            }
            self.verifier = TokenVerifier(
                policy: TokenPolicy(
                    mode: .trusted([
                        TrustedIssuer(
                            names: ["https://one.example", "one"], audiences: ["streams", "api"],
                            algorithms: [.rs256, .es256, .eddsa], keys: .published(try set(first))),
                        TrustedIssuer(
                            names: ["https://two.example"], audiences: ["streams"], algorithms: [.es256],
                            keys: .published(try set(second))),
                    ]), clockDriftSeconds: drift, requiresUserID: false))
        }

        func refusal(_ token: String) -> TokenError.Code? {
            do throws(TokenError) {
                _ = try self.verifier.verify(token, now: TestIssuer.now)
                return nil
            } catch {
                return error.code
            }
        }
    }

    private static func payload(
        iss: String = #""https://one.example""#, aud: String = #""streams""#, exp: String = "1700003600",
        more: String = ""
    ) -> String {
        #"{"sub":"alice","iss":\#(iss),"aud":\#(aud),"exp":\#(exp)\#(more)}"#
    }

    @Test func goodTokensPass() throws {
        let world = try World()
        let good: [(TestIssuer, String, String)] = [
            (world.rsa, #"{"alg":"RS256","kid":"rsa"}"#, Self.payload()),
            (world.curve, #"{"alg":"ES256","kid":"ec","typ":"JWT"}"#, Self.payload(iss: #""one""#)),
            (world.edwards, #"{"alg":"EdDSA","kid":"ed"}"#, Self.payload(aud: #"["x","api"]"#)),
            (world.stranger, #"{"alg":"ES256","kid":"other"}"#, Self.payload(iss: #""https://two.example""#)),
            // Within the skew of the clocks.
            (world.rsa, #"{"alg":"RS256","kid":"rsa"}"#, Self.payload(exp: "1700000041")),
            (world.rsa, #"{"alg":"RS256","kid":"rsa"}"#, Self.payload(more: #","nbf":1700000160,"iat":1700000159"#)),
        ]
        for (issuer, header, payload) in good {
            let verified = try world.verifier.verify(
                issuer.token(header: header, payload: payload), now: TestIssuer.now)
            #expect(verified.userID == "alice")
            #expect(verified.expiresAt != nil)
        }
        // A token of a machine has no user.
        let machine = try world.rsa.token(
            header: #"{"alg":"RS256","kid":"rsa"}"#,
            payload: #"{"iss":"one","aud":"api","exp":1700003600}"#)
        #expect(try world.verifier.verify(machine, now: TestIssuer.now).userID == "")
    }

    @Test func forgedTokensAreRefusedForTheRightReason() throws {
        let world = try World()
        let (rsa, curve, stranger) = (world.rsa, world.curve, world.stranger)
        func token(_ issuer: TestIssuer, _ header: String, _ payload: String = Self.payload()) throws -> String {
            try issuer.token(header: header, payload: payload)
        }
        func signed(_ header: String, _ payload: String = Self.payload()) -> String {
            Base64.encodeURL(header.utf8) + "." + Base64.encodeURL(payload.utf8)
        }
        let good = try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#)
        let parts = good.split(separator: ".").map(String.init)
        let curveHeader = signed(#"{"alg":"ES256","kid":"ec"}"#)
        let raw = try curve.signature(over: curveHeader)
        let der = Array(try P256.Signing.ECDSASignature(rawRepresentation: raw).derRepresentation)
        let hmacHeader = signed(#"{"alg":"HS256","kid":"rsa"}"#)
        let hmac = HMAC<SHA256>.authenticationCode(
            for: Array(hmacHeader.utf8), using: SymmetricKey(data: Array(rsa.configuredKey.utf8)))
        let point = try stranger.jwk("ec").text
        let huge = Self.payload(more: #","x":"\#(String(repeating: "x", count: 40_000))""#)

        let forgeries: [Forgery] = [
            // Algorithms.
            Forgery(
                name: "public key as a secret", token: hmacHeader + "." + Base64.encodeURL(hmac),
                code: .algorithmMismatch),
            Forgery(name: "none", token: signed(#"{"alg":"none","kid":"rsa"}"#) + ".", code: .algorithmMismatch),
            Forgery(name: "none, no signature", token: signed(#"{"alg":"none"}"#), code: .malformed),
            Forgery(name: "None", token: signed(#"{"alg":"None","kid":"rsa"}"#) + ".", code: .algorithmMismatch),
            Forgery(name: "PS256", token: try token(rsa, #"{"alg":"PS256","kid":"rsa"}"#), code: .algorithmMismatch),
            Forgery(
                name: "RS512 for a key of RS256", token: try token(rsa, #"{"alg":"RS512","kid":"rsa"}"#),
                code: .algorithmMismatch),
            Forgery(
                name: "ES256 with an RSA key", token: try token(curve, #"{"alg":"ES256","kid":"rsa"}"#),
                code: .algorithmMismatch),
            Forgery(
                name: "EdDSA with an EC key", token: try token(world.edwards, #"{"alg":"EdDSA","kid":"ec"}"#),
                code: .algorithmMismatch),
            Forgery(
                name: "an algorithm of the other issuer",
                token: try token(rsa, #"{"alg":"RS256","kid":"other"}"#, Self.payload(iss: #""https://two.example""#)),
                code: .algorithmMismatch),
            // Keys.
            Forgery(name: "unknown key", token: try token(curve, #"{"alg":"ES256","kid":"nope"}"#), code: .unknownKey),
            Forgery(name: "no key id among several", token: try token(curve, #"{"alg":"ES256"}"#), code: .unknownKey),
            Forgery(
                name: "key of the other issuer", token: try token(stranger, #"{"alg":"ES256","kid":"other"}"#),
                code: .unknownKey),
            Forgery(
                name: "key for encryption", token: try token(world.encryption, #"{"alg":"RS256","kid":"enc"}"#),
                code: .unknownKey),
            Forgery(
                name: "key id that is no text", token: try token(rsa, #"{"alg":"RS256","kid":["rsa"]}"#),
                code: .malformed),
            Forgery(name: "empty key id", token: try token(rsa, #"{"alg":"RS256","kid":""}"#), code: .unknownKey),
            Forgery(
                name: "key id with a blank", token: try token(rsa, #"{"alg":"RS256","kid":"rsa "}"#), code: .unknownKey),
            Forgery(
                name: "this issuer's token with the other's name",
                token: try token(
                    curve, #"{"alg":"ES256","kid":"shared"}"#, Self.payload(iss: #""https://two.example""#)),
                code: .invalidSignature),
            Forgery(
                name: "key in the header", token: try token(stranger, #"{"alg":"ES256","kid":"ec","jwk":\#(point)}"#),
                code: .invalidSignature),
            Forgery(
                name: "key in the header, no id", token: try token(stranger, #"{"alg":"ES256","jwk":\#(point)}"#),
                code: .unknownKey),
            Forgery(
                name: "address of a key", code: .unknownKey,
                token: try token(
                    stranger, #"{"alg":"ES256","kid":"x","jku":"http://127.0.0.1:1/k","x5u":"http://127.0.0.1:1/c"}"#)),
            Forgery(
                name: "certificate", token: try token(stranger, #"{"alg":"ES256","kid":"ec","x5c":["AAAA"]}"#),
                code: .invalidSignature),
            // Claims.
            Forgery(
                name: "expired",
                token: try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#, Self.payload(exp: "1700000039")), code: .expired),
            Forgery(
                name: "not yet",
                token: try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#, Self.payload(more: #","nbf":1700000161"#)),
                code: .notYetValid),
            Forgery(
                name: "issued tomorrow",
                token: try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#, Self.payload(more: #","iat":1700086500"#)),
                code: .invalidClaim),
            Forgery(
                name: "other audience",
                token: try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#, Self.payload(aud: #"["web"]"#)),
                code: .invalidClaim),
            Forgery(
                name: "audience of the other issuer alone",
                token: try token(
                    stranger, #"{"alg":"ES256","kid":"other"}"#,
                    Self.payload(iss: #""https://two.example""#, aud: #""api""#)),
                code: .invalidClaim),
            Forgery(
                name: "other issuer",
                token: try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#, Self.payload(iss: #""https://one.example/""#)),
                code: .invalidClaim),
            Forgery(
                name: "issuers in a list",
                token: try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#, Self.payload(iss: #"["one"]"#)),
                code: .invalidClaim),
            Forgery(
                name: "no issuer",
                token: try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#, #"{"aud":"api","exp":1700003600}"#),
                code: .missingClaim),
            Forgery(
                name: "no audience",
                token: try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#, #"{"iss":"one","exp":1700003600}"#),
                code: .missingClaim),
            Forgery(
                name: "no end", token: try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#, #"{"iss":"one","aud":"api"}"#),
                code: .missingClaim),
            Forgery(
                name: "end as a text",
                token: try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#, Self.payload(exp: #""1700003600""#)),
                code: .invalidClaim),
            Forgery(
                name: "a claim twice",
                token: try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#, Self.payload(more: #","iss":"one""#)),
                code: .malformed),
            Forgery(
                name: "user of another kind",
                token: try token(
                    rsa, #"{"alg":"RS256","kid":"rsa"}"#, #"{"sub":1,"iss":"one","aud":"api","exp":1700003600}"#),
                code: .missingUserID),
            // Form.
            Forgery(
                name: "header member twice", token: try token(rsa, #"{"alg":"RS256","kid":"rsa","kid":"rsa"}"#),
                code: .malformed),
            Forgery(
                name: "critical extension",
                token: try token(rsa, #"{"alg":"RS256","kid":"rsa","crit":["b64"],"b64":true}"#), code: .malformed),
            Forgery(name: "huge", token: try token(rsa, #"{"alg":"RS256","kid":"rsa"}"#, huge), code: .malformed),
            Forgery(name: "trailing segment", token: good + ".AAAA", code: .malformed),
            Forgery(name: "trailing byte", token: good + "A", code: .invalidSignature),
            Forgery(name: "trailing bytes", token: good + "AAAA", code: .invalidSignature),
            Forgery(name: "trailing blank", token: good + " ", code: .malformed),
            Forgery(name: "padding", token: good + "==", code: .malformed),
            Forgery(name: "other alphabet", token: "\(parts[0]).\(parts[1]).++//", code: .malformed),
            Forgery(name: "no signature", token: "\(parts[0]).\(parts[1]).", code: .invalidSignature),
            Forgery(
                name: "changed payload",
                token: "\(parts[0]).\(Base64.encodeURL(Self.payload(more: " ").utf8)).\(parts[2])",
                code: .invalidSignature),
            Forgery(name: "nothing", token: "", code: .malformed),
            // Signatures of curves.
            Forgery(name: "DER", token: curveHeader + "." + Base64.encodeURL(der), code: .invalidSignature),
            Forgery(
                name: "r and s are zero", token: curveHeader + "." + Base64.encodeURL([UInt8](repeating: 0, count: 64)),
                code: .invalidSignature),
            Forgery(
                name: "r is zero",
                token: curveHeader + "." + Base64.encodeURL([UInt8](repeating: 0, count: 32) + raw[32...]),
                code: .invalidSignature),
            Forgery(
                name: "one byte too many", token: curveHeader + "." + Base64.encodeURL(raw + [0]),
                code: .invalidSignature),
            Forgery(
                name: "EdDSA of zeros",
                token: signed(#"{"alg":"EdDSA","kid":"ed"}"#) + "."
                    + Base64.encodeURL([UInt8](repeating: 0, count: 64)),
                code: .invalidSignature),
            Forgery(
                name: "EdDSA too long", token: try token(world.edwards, #"{"alg":"EdDSA","kid":"ed"}"#) + "AAAA",
                code: .invalidSignature),
        ]
        #expect(world.refusal(good) == nil)
        for forgery in forgeries { #expect(world.refusal(forgery.token) == forgery.code, "\(forgery.name)") }
    }

    @Test func oneIssuerWithOneKeyNeedsNoKeyID() throws {
        let issuer = try TestIssuer(.es256)
        let set = try KeySet(parsing: Array(JSONValue.object(["keys": .array([issuer.jwk("a")])]).text.utf8))
        func verifier(_ keys: TrustedIssuer.Keys) -> TokenVerifier {
            TokenVerifier(policy: TokenPolicy(mode: .trusted([TrustedIssuer(algorithms: [.es256], keys: keys)])))
        }
        let plain = try issuer.token()
        let named = try issuer.token(header: #"{"alg":"ES256","kid":"b"}"#)
        #expect(try verifier(.published(set)).verify(plain, now: TestIssuer.now).userID == "alice")
        #expect(throws: TokenError(like: .unknownKey)) {
            try verifier(.published(set)).verify(named, now: TestIssuer.now)
        }
        #expect(throws: TokenError(like: .keysUnavailable)) {
            try verifier(.published(nil)).verify(plain, now: TestIssuer.now)
        }
        // A key of the configuration is meant whatever the token calls it.
        let fixed = TrustedIssuer.Keys.fixed([try VerificationKey(algorithm: .es256, pem: issuer.configuredKey)])
        #expect(try verifier(fixed).verify(named, now: TestIssuer.now).userID == "alice")
        #expect(throws: TokenError(like: .invalidSignature)) {
            try verifier(fixed).verify(TestIssuer(.es256).token(), now: TestIssuer.now)
        }
        #expect(throws: TokenError(like: .malformed)) {
            try TokenVerifier(policy: TokenPolicy(mode: .trusted([]))).keyRequest(of: "x")
        }
        #expect(throws: TokenError(like: .algorithmMismatch)) {
            try TokenVerifier(policy: TokenPolicy(mode: .trusted([]))).verify(plain, now: TestIssuer.now)
        }
    }
}

extension Forgery {
    fileprivate init(name: String, code: TokenError.Code, token: String) {
        self.init(name: name, token: token, code: code)
    }
}
