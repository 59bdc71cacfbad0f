import Crypto
import Identity
import Testing

@Suite("Signing algorithms and keys")
struct SigningAlgorithmTests {
    @Test(arguments: SigningAlgorithm.allCases)
    func everyAlgorithmVerifiesItsOwnTokens(algorithm: SigningAlgorithm) throws {
        let issuer = try TestIssuer(algorithm)
        let token = try issuer.verifier().verify(issuer.token(), now: TestIssuer.now)
        #expect(token.userID == "alice")
        #expect(token.issuedAt == UnixTime(seconds: 1_700_000_000))
        #expect(token.expiresAt == UnixTime(seconds: 1_700_003_600))
        #expect(token.claims["exp"] == .integer(1_700_003_600))
    }

    @Test(arguments: TokenVector.all)
    func tokensOfAnotherImplementationVerify(vector: TokenVector) throws {
        let algorithm = try #require(SigningAlgorithm(rawValue: vector.algorithm))
        let key = try VerificationKey(algorithm: algorithm, text: vector.key)
        let verifier = TokenVerifier(policy: TokenPolicy(mode: .secure(key: key, issuer: nil, audience: nil)))
        #expect(try verifier.verify(vector.token, now: TestIssuer.now).userID == "vector-user")
        #expect(throws: TokenError(like: .expired)) {
            try verifier.verify(vector.token, now: UnixTime(seconds: 1_700_003_603))
        }
    }

    @Test(arguments: SigningAlgorithm.allCases)
    func aTokenOfAnotherKeyOfTheSameAlgorithmIsRefused(algorithm: SigningAlgorithm) throws {
        let token = try TestIssuer(algorithm).token()
        let verifier = try TestIssuer(algorithm).verifier()
        #expect(throws: TokenError(like: .invalidSignature)) { try verifier.verify(token, now: TestIssuer.now) }
    }

    @Test(arguments: SigningAlgorithm.allCases)
    func aChangedBitInAnySegmentIsRefused(algorithm: SigningAlgorithm) throws {
        let issuer = try TestIssuer(algorithm)
        let verifier = try issuer.verifier()
        let token = try issuer.token()
        let bytes = Array(token.utf8)
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<40 {
            var forged = bytes
            let index = Int.random(in: 0..<forged.count, using: &generator)
            forged[index] ^= 1 << UInt8.random(in: 0..<6, using: &generator)
            let text = String(decoding: forged, as: UTF8.self)
            #expect(throws: TokenError.self, "changed at \(index)") {
                try verifier.verify(text, now: TestIssuer.now)
            }
        }
    }

    @Test(arguments: [(SigningAlgorithm.hs256, 32), (.hs384, 48), (.hs512, 64)])
    func secretsBelowTheDigestLengthAreRefused(algorithm: SigningAlgorithm, minimum: Int) throws {
        _ = try VerificationKey(algorithm: algorithm, text: String(repeating: "k", count: minimum))
        let error = #expect(throws: VerificationKey.KeyError.self) {
            try VerificationKey(algorithm: algorithm, text: String(repeating: "k", count: minimum - 1))
        }
        #expect(error?.text == "has to be at least \(minimum) bytes long for \(algorithm.rawValue)")
    }

    @Test func base64SecretsAreMeasuredAfterDecoding() throws {
        // 32 bytes of 0xff, with and without padding.
        let padded = String(repeating: "/", count: 42) + "8="
        let bare = String(repeating: "/", count: 42) + "8"
        let key = try VerificationKey(algorithm: .hs256, text: padded, isBase64Encoded: true)
        let token = try #require(DevelopmentToken.make(userID: "u", key: key, issuedAt: TestIssuer.now))
        for text in [padded, bare] {
            let key = try VerificationKey(algorithm: .hs256, text: text, isBase64Encoded: true)
            let policy = TokenPolicy(mode: .secure(key: key, issuer: nil, audience: nil))
            #expect(try TokenVerifier(policy: policy).verify(token, now: TestIssuer.now).userID == "u")
        }
        #expect(throws: VerificationKey.KeyError.tooShort(minimumBytes: 32, algorithm: .hs256)) {
            try VerificationKey(algorithm: .hs256, text: String(repeating: "A", count: 40), isBase64Encoded: true)
        }
    }

    @Test(arguments: ["not base64!", "AAA=A", "A", "AA_-", "AAAA==="])
    func brokenBase64SecretsAreRefused(text: String) {
        #expect(throws: VerificationKey.KeyError.invalidBase64) {
            try VerificationKey(algorithm: .hs256, text: text, isBase64Encoded: true)
        }
    }

    @Test func publicKeysMustSuitTheAlgorithm() throws {
        let keys = try SigningAlgorithm.allCases.filter { $0.family != .hmac }.map { try TestIssuer($0) }
        for issuer in keys {
            for algorithm in SigningAlgorithm.allCases where algorithm.family != .hmac {
                let suits =
                    issuer.algorithm == algorithm || (issuer.algorithm.family == .rsa && algorithm.family == .rsa)
                let key = try? VerificationKey(algorithm: algorithm, text: issuer.configuredKey)
                #expect((key != nil) == suits, "\(issuer.algorithm) key for \(algorithm)")
            }
        }
    }

    @Test(arguments: ["", "secret", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"])
    func whatIsNoPublicKeyIsRefused(text: String) {
        for algorithm in SigningAlgorithm.allCases where algorithm.family != .hmac {
            let error = #expect(throws: VerificationKey.KeyError.self) {
                try VerificationKey(algorithm: algorithm, text: text)
            }
            #expect(
                error?.text == "is not a valid key for AUTH_JWT_ALG=\(algorithm.rawValue) or it has invalid format.")
        }
    }

    @Test func aPrivateKeyIsNoPublicKey() throws {
        let pem = P256.Signing.PrivateKey().pemRepresentation
        #expect(throws: VerificationKey.KeyError.unusable(algorithm: .es256)) {
            try VerificationKey(algorithm: .es256, text: pem)
        }
    }

    @Test(arguments: [SigningAlgorithm.rs256, .es256, .es512])
    func aDocumentOnOneLineWithWrittenLineBreaksIsUnderstood(algorithm: SigningAlgorithm) throws {
        let issuer = try TestIssuer(algorithm)
        let folded = issuer.configuredKey.split(separator: "\n").joined(separator: #"\n"#)
        let key = try VerificationKey(algorithm: algorithm, text: folded)
        let policy = TokenPolicy(mode: .secure(key: key, issuer: nil, audience: nil))
        #expect(try TokenVerifier(policy: policy).verify(issuer.token(), now: TestIssuer.now).userID == "alice")
    }

    @Test func aKeyNeverPrintsItself() throws {
        let secret = "a-very-secret-text-of-32-bytes-or-more"
        let policy = TokenPolicy(
            mode: .secure(key: try VerificationKey(algorithm: .hs256, text: secret), issuer: nil, audience: nil))
        var dumped = ""
        dump(policy, to: &dumped)
        #expect(!dumped.contains("very-secret"))
        #expect(!"\(policy)".contains("very-secret"))
        #expect(!String(reflecting: policy).contains("very-secret"))
    }
}
