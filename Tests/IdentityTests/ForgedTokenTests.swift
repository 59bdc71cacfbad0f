import Crypto
import CryptoExtras
import Testing

@testable import Identity

/// One way to forge a token, and what it must be refused with.
struct Forgery: Sendable, CustomTestStringConvertible {
    var name: String
    var token: String
    var code: TokenError.Code

    var testDescription: String { self.name }
}

@Suite("Forged tokens")
struct ForgedTokenTests {
    private static func hmac(_ text: String, key: [UInt8]) -> String {
        let code = HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: SymmetricKey(data: key))
        return text + "." + Base64.encodeURL(code)
    }

    private static func signedPart(header: String, payload: String = TestIssuer.payload) -> String {
        Base64.encodeURL(header.utf8) + "." + Base64.encodeURL(payload.utf8)
    }

    @Test func noAlgorithmButTheConfiguredOneIsTaken() throws {
        for issuer in try [SigningAlgorithm.hs256, .rs256, .es256].map(TestIssuer.init) {
            let verifier = try issuer.verifier()
            let names = [
                "none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", " RS256", "PS256", "ed25519", "ES256K", "HS1",
            ]
            for name in names + SigningAlgorithm.allCases.map(\.rawValue) where name != issuer.algorithm.rawValue {
                // Properly signed by the right key: the name alone must be reason enough.
                let token = try issuer.token(header: #"{"alg":"\#(name)"}"#)
                #expect(throws: TokenError(like: .algorithmMismatch), "\(name)") {
                    try verifier.verify(token, now: TestIssuer.now)
                }
                let unsigned = Self.signedPart(header: #"{"alg":"\#(name)"}"#)
                for token in [unsigned + ".", unsigned, unsigned + ".AAAA"] {
                    #expect(throws: TokenError.self, "\(name)") { try verifier.verify(token, now: TestIssuer.now) }
                }
            }
        }
    }

    @Test func thePublicKeyIsNoSecret() throws {
        let issuer = try TestIssuer(.rs256)
        let key = try _RSA.Signing.PublicKey(pemRepresentation: issuer.configuredKey)
        let primitives = try key.getKeyPrimitives()
        let jwk = """
            {"e":"\(Base64.encodeURL(primitives.publicExponent))","kty":"RSA",\
            "n":"\(Base64.encodeURL(primitives.modulus))"}
            """
        let pem = issuer.configuredKey
        let secrets: [[UInt8]] = [
            Array(pem.utf8), Array((pem + "\n").utf8), Array((" " + pem).utf8), Array(("\n\n" + pem).utf8),
            Array(key.derRepresentation), Array(key.pkcs1DERRepresentation), Array(jwk.utf8), [],
        ]
        let verifier = try issuer.verifier()
        for secret in secrets {
            for (algorithm, code) in [("HS256", TokenError.Code.algorithmMismatch), ("RS256", .invalidSignature)] {
                let token = Self.hmac(Self.signedPart(header: #"{"alg":"\#(algorithm)"}"#), key: secret)
                #expect(throws: TokenError(like: code)) { try verifier.verify(token, now: TestIssuer.now) }
            }
        }
    }

    @Test(arguments: SigningAlgorithm.allCases)
    func emptyZeroAndMisshapenSignaturesAreRefused(algorithm: SigningAlgorithm) throws {
        let issuer = try TestIssuer(algorithm)
        let verifier = try issuer.verifier()
        let signed = Self.signedPart(header: #"{"alg":"\#(algorithm.rawValue)"}"#)
        let genuine = try issuer.signature(over: signed)
        let zero = [UInt8](repeating: 0, count: genuine.count)
        var signatures: [[UInt8]] = [
            [], zero, [0], Array(genuine.dropLast()), genuine + [0], [0] + genuine, genuine + genuine,
        ]
        if algorithm == .es256 {
            // The group order in place of r and s, and the DER form instead of the raw one.
            let order: [UInt8] =
                [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0] + [UInt8](repeating: 0xff, count: 8)
                + [0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51]
            signatures.append(order + order)
            signatures.append(Array(genuine.prefix(32)) + order)
            signatures.append(Array(try P256.Signing.ECDSASignature(rawRepresentation: genuine).derRepresentation))
        }
        for signature in signatures {
            #expect(throws: TokenError(like: .invalidSignature), "\(signature.count) bytes") {
                try verifier.verify(signed + "." + Base64.encodeURL(signature), now: TestIssuer.now)
            }
        }
        #expect(
            try verifier.verify(signed + "." + Base64.encodeURL(genuine), now: TestIssuer.now).userID == "alice")
    }

    @Test func oneTokenHasOneWriting() throws {
        // The signatures of this algorithm leave unused bits in the last letter: 64 bytes are 86 letters.
        let issuer = try TestIssuer(.es256)
        let verifier = try issuer.verifier()
        let token = try issuer.token()
        let parts = token.split(separator: ".").map(String.init)
        #expect(try verifier.verify(token, now: TestIssuer.now).userID == "alice")

        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        let last = try #require(parts[2].last.flatMap { alphabet.firstIndex(of: $0) })
        let sameBytes = String(parts[2].dropLast()) + String(alphabet[last | 1])
        let padded = "\(parts[0]).\(parts[1]).\(parts[2])=="
        let otherAlphabet = parts[2].map { $0 == "-" ? "+" : $0 == "_" ? "/" : $0 }
        var forms = [
            "\(parts[0]).\(parts[1]).\(sameBytes)", padded, " " + token, token + " ", token + "\n", token + ".",
            "." + token, "\(parts[0]).\(parts[1])", parts[0], "", ".", "..", "...", token + "." + token,
            "\(parts[0])..\(parts[2])", ".\(parts[1]).\(parts[2])", "Bearer " + token, token + "\u{0}",
            "\(parts[0]).\(parts[1])\n.\(parts[2])", "{\"protected\":\"\(parts[0])\"}",
        ]
        if String(otherAlphabet) != parts[2] { forms.append("\(parts[0]).\(parts[1]).\(String(otherAlphabet))") }
        for form in forms {
            #expect(throws: TokenError.self, "\(form.prefix(20))") { try verifier.verify(form, now: TestIssuer.now) }
        }
        #expect(throws: TokenError(like: .malformed)) {
            try verifier.verify("\(parts[0]).\(parts[1]).\(sameBytes)", now: TestIssuer.now)
        }
        #expect(throws: TokenError(like: .malformed)) { try verifier.verify(padded, now: TestIssuer.now) }
    }

    @Test(arguments: [
        #"{"alg":"HS256","alg":"HS256"}"#, #"{"alg":"none","alg":"HS256"}"#, #"{"alg":"HS256","\u0061lg":"none"}"#,
        #"{"alg":"HS256","kid":"a","kid":"b"}"#, #"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        #"{"alg":"HS256","crit":[]}"#,
        #"{"alg":"HS256","crit":["b64"],"b64":false}"#, #"{"alg":"HS256","crit":null}"#, #"{"alg":["HS256"]}"#,
        #"{"alg":null}"#, #"{"typ":"JWT"}"#, "{}", "[]", #""HS256""#, "", "null", #"{"alg":"HS256"} x"#,
        #"{"alg":"HS256",}"#, #"{'alg':'HS256'}"#, #"{"alg":"HS256"#, "\u{feff}{\"alg\":\"HS256\"}",
    ])
    func headersThatAreNotPlainAreRefusedThoughSigned(header: String) throws {
        let issuer = try TestIssuer(.hs256)
        let token = try issuer.token(header: header)
        #expect(throws: TokenError(like: .malformed)) { try issuer.verifier().verify(token, now: TestIssuer.now) }
    }

    @Test func whatAHeaderSaysAboutItsKeyHasNoEffect() throws {
        let issuer = try TestIssuer(.es256)
        let verifier = try issuer.verifier()
        let attacker = P256.Signing.PrivateKey()
        let point = attacker.publicKey.rawRepresentation
        let x = Base64.encodeURL(point.prefix(32))
        let y = Base64.encodeURL(point.suffix(32))
        let members = [
            #""jwk":{"kty":"EC","crv":"P-256","x":"\#(x)","y":"\#(y)"}"#,
            #""jku":"http://127.0.0.1:1/keys""#, #""x5u":"http://127.0.0.1:1/cert""#, #""x5c":["AAAA"]"#,
            #""kid":"../../../../dev/null""#, #""kid":"' UNION SELECT 'key' --""#, #""kid":"","typ":"at+jwt""#,
        ]
        for member in members {
            let header = #"{"alg":"ES256",\#(member)}"#
            let signed = Self.signedPart(header: header)
            let forged = Base64.encodeURL(try attacker.signature(for: Array(signed.utf8)).rawRepresentation)
            #expect(throws: TokenError(like: .invalidSignature), "\(member)") {
                try verifier.verify(signed + "." + forged, now: TestIssuer.now)
            }
            #expect(try verifier.verify(issuer.token(header: header), now: TestIssuer.now).userID == "alice")
        }
    }

    @Test func anOversizedTokenIsRefusedBeforeItIsRead() throws {
        let issuer = try TestIssuer(.hs256)
        let verifier = try issuer.verifier()
        let filler = String(repeating: "x", count: 1 << 20)
        let token = try issuer.token(payload: #"{"sub":"alice","iat":1700000000,"exp":1700003600,"x":"\#(filler)"}"#)
        #expect(throws: TokenError(like: .malformed)) { try verifier.verify(token, now: TestIssuer.now) }

        var policy = verifier.policy
        policy.maximumTokenBytes = token.utf8.count
        #expect(try TokenVerifier(policy: policy).verify(token, now: TestIssuer.now).userID == "alice")
        policy.maximumTokenBytes -= 1
        #expect(throws: TokenError(like: .malformed)) {
            try TokenVerifier(policy: policy).verify(token, now: TestIssuer.now)
        }
    }

    @Test(arguments: [
        #"{"sub":"alice","sub":"bob","iat":1700000000,"exp":1700003600}"#,
        #"{"sub":"alice","iat":1700000000,"exp":1,"exp":1700003600}"#,
        #"{"sub":"alice","iat":1700000000,"exp":1700003600,"x":{"a":1,"a":2}}"#, "[]", "", "null", "{", "\"alice\"",
        #"{"sub":"alice","iat":1700000000,"exp":NaN}"#, #"{"sub":"alice","iat":1700000000,"exp":Infinity}"#,
        #"{"sub":"alice","iat":1700000000,"exp":1e999}"#, #"{"sub":"\ud800","iat":1700000000,"exp":1700003600}"#,
        #"{"sub":"alice","iat":01700000000,"exp":1700003600}"#,
    ])
    func payloadsThatAreNotPlainAreRefusedThoughSigned(payload: String) throws {
        let issuer = try TestIssuer(.hs256)
        let token = try issuer.token(payload: payload)
        #expect(throws: TokenError(like: .malformed)) { try issuer.verifier().verify(token, now: TestIssuer.now) }
    }

    @Test func deepNestingEndsInAnError() throws {
        let issuer = try TestIssuer(.hs256)
        let verifier = try issuer.verifier()
        func nested(_ depth: Int) -> String {
            let brackets = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
            return #"{"sub":"alice","iat":1700000000,"exp":1700003600,"x":\#(brackets)}"#
        }
        #expect(try verifier.verify(issuer.token(payload: nested(31)), now: TestIssuer.now).userID == "alice")
        for depth in [33, 10_000] {
            let token = try issuer.token(payload: nested(depth))
            #expect(throws: TokenError(like: .malformed)) { try verifier.verify(token, now: TestIssuer.now) }
        }
    }

    @Test func everyTextIsFixedAndHoldsNothingOfTheToken() throws {
        let issuer = try TestIssuer(.hs256)
        let verifier = try issuer.verifier(issuer: "right", audience: "right")
        let marker = "LEAK-MARKER"
        let payloads = [
            #"{"sub":"\#(marker)"}"#, #"{"sub":"\#(marker)","iat":"\#(marker)","exp":1,"iss":"a","aud":"a"}"#,
            #"{"sub":"u","iat":1,"exp":1700003600,"iss":"\#(marker)","aud":"right"}"#,
            #"{"sub":"u","iat":1,"exp":1700003600,"iss":"right","aud":"\#(marker)"}"#,
            #"{"sub":["\#(marker)"],"iat":1,"exp":1700003600,"iss":"right","aud":"right"}"#, marker,
        ]
        for payload in payloads {
            let token = try issuer.token(payload: payload)
            let error = #expect(throws: TokenError.self) { try verifier.verify(token, now: TestIssuer.now) }
            #expect(error.map { "\($0) \($0.text) \(String(reflecting: $0))" }?.contains(marker) == false)
        }
    }

    @Test func fingerprintsTellTokensApartWithoutShowingThem() throws {
        let issuer = try TestIssuer(.hs256)
        let token = try issuer.token()
        let print = TokenVerifier.fingerprint(of: token)
        #expect(print == TokenVerifier.fingerprint(of: token))
        #expect(print != TokenVerifier.fingerprint(of: token + "."))
        #expect(print.utf8.count == 12)
        // SHA-256 of the empty text begins so.
        #expect(TokenVerifier.fingerprint(of: "") == "e3b0c44298fc")
    }
}
