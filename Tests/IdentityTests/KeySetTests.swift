import Testing

@testable import Identity

@Suite("Key sets")
struct KeySetTests {
    private func set(_ entries: [JSONValue], allowsSecrets: Bool = false) throws -> KeySet {
        try KeySet(parsing: Array(JSONValue.object(["keys": .array(entries)]).text.utf8), allowsSecrets: allowsSecrets)
    }

    /// Why an entry is left out when it stands beside a good one.
    private func rejection(_ entry: JSONValue, allowsSecrets: Bool = false) throws -> JSONWebKey.Rejection? {
        let good = try TestIssuer(.es256).jwk("good")
        let set = try self.set([entry, good], allowsSecrets: allowsSecrets)
        #expect(set.contains(keyID: "good"))
        #expect(set.keys.count == (set.rejected.isEmpty ? 2 : 1))
        return set.rejected.first?.reason
    }

    @Test(arguments: SigningAlgorithm.allCases)
    func aKeyVerifiesWhatItsIssuerSigns(algorithm: SigningAlgorithm) throws {
        let issuer = try TestIssuer(algorithm)
        let set = try self.set(
            [issuer.jwk("a", ["alg": .string(algorithm.rawValue), "use": .string("sig")])],
            allowsSecrets: algorithm.family == .hmac)
        let key = try set.key(id: "a", algorithm: algorithm)
        #expect(key.isValid(signature: try issuer.signature(over: "text"), over: Array("text".utf8)))
        #expect(!key.isValid(signature: try issuer.signature(over: "texts"), over: Array("text".utf8)))
        #expect(throws: TokenError(like: .unknownKey)) { try set.key(id: "b", algorithm: algorithm) }
        let other: SigningAlgorithm = algorithm == .es256 ? .es384 : .es256
        #expect(throws: TokenError(like: .algorithmMismatch)) { try set.key(id: "a", algorithm: other) }
    }

    @Test func anRSAKeyWithoutAnAlgorithmIsForAllOfThem() throws {
        let issuer = try TestIssuer(.rs256)
        let any = try self.set([issuer.jwk("a")])
        #expect(any.keys.first?.algorithms == [.rs256, .rs384, .rs512])
        let one = try self.set([issuer.jwk("a", ["alg": .string("RS512")])])
        #expect(one.keys.first?.algorithms == [.rs512])
        #expect(throws: TokenError(like: .algorithmMismatch)) { try one.key(id: "a", algorithm: .rs256) }
    }

    @Test func oneKeyServesTokensWithoutAKeyID() throws {
        let first = try TestIssuer(.es256).jwk("a")
        let second = try TestIssuer(.es384).jwk(nil)
        #expect(try self.set([first]).key(id: nil, algorithm: .es256).algorithm == .es256)
        #expect(throws: TokenError(like: .algorithmMismatch)) { try self.set([first]).key(id: nil, algorithm: .rs256) }
        let both = try self.set([first, second])
        #expect(throws: TokenError(like: .unknownKey)) { try both.key(id: nil, algorithm: .es384) }
        // A key without an id is no answer to a token that names one.
        #expect(throws: TokenError(like: .unknownKey)) { try self.set([second]).key(id: "x", algorithm: .es384) }
        #expect(throws: TokenError(like: .unknownKey)) { try self.set([second]).key(id: "", algorithm: .es384) }
    }

    @Test func whatIsNotForSignaturesIsLeftOut() throws {
        let issuer = try TestIssuer(.rs256)
        let list: (String...) -> JSONValue = { .array($0.map(JSONValue.string)) }
        let cases: [([String: JSONValue?], JSONWebKey.Rejection?)] = [
            (["use": .string("enc")], .notForSignatures), (["use": .string("sig")], nil),
            (["use": .integer(1)], .malformed),
            (["key_ops": list("verify")], nil), (["key_ops": list("encrypt")], .notForSignatures),
            (["key_ops": list("sign", "verify")], nil), (["key_ops": list()], .notForSignatures),
            (["key_ops": list("verify", "verify")], .malformed), (["key_ops": .string("verify")], .malformed),
            (["use": .string("sig"), "key_ops": list("wrapKey")], .notForSignatures),
            (["alg": .string("RSA-OAEP")], .unsupported), (["alg": .string("PS256")], .unsupported),
            (["alg": .string("HS256")], .unsupported), (["alg": .string("ES256")], .unsupported),
            (["alg": .string("none")], .unsupported), (["alg": .null], .malformed),
            (["kty": .string("RSA2")], .unsupported),
            (["kty": nil], .malformed), (["kid": .integer(1)], .malformed), (["kid": .string("")], .malformed),
            (["kid": .string(String(repeating: "k", count: 513))], .malformed),
            (["d": .string("AQAB")], .privateKey), (["p": .string("AQAB")], .privateKey),
            (["qi": .null], .privateKey), (["oth": .array([])], .privateKey), (["k": .string("AAAA")], .privateKey),
            (["x5c": .array([.string("AAAA")]), "x5t": .string("AA"), "jku": .string("http://x")], nil),
        ]
        for (members, reason) in cases {
            #expect(try self.rejection(issuer.jwk("a", members)) == reason, "\(members)")
        }
        #expect(try self.rejection(.string("x")) == .malformed)
        #expect(try self.rejection(.null) == .malformed)
    }

    @Test func weakAndBrokenKeysAreLeftOut() throws {
        let rsa = try TestIssuer(.rs256)
        let zeros = JSONValue.string(Base64.encodeURL([UInt8](repeating: 0, count: 256)))
        let small = JSONValue.string(Base64.encodeURL([0x81] + [UInt8](repeating: 0xff, count: 127)))
        let even = JSONValue.string(Base64.encodeURL([UInt8](repeating: 0xfe, count: 256)))
        let padded = JSONValue.string(Base64.encodeURL([0x00] + [UInt8](repeating: 0x7f, count: 255)))
        let huge = JSONValue.string(Base64.encodeURL([UInt8](repeating: 0xff, count: 4096)))
        for members in [
            ["n": small], ["n": zeros], ["n": even], ["n": padded], ["n": huge], ["n": nil], ["e": nil],
            ["e": .string("AQ")], ["e": .string("AQAA")], ["e": .string("AQAB=")], ["n": .string("!")],
            ["e": .string(Base64.encodeURL([1, 0, 0, 0, 1]))],
        ] as [[String: JSONValue?]] {
            #expect(try self.rejection(rsa.jwk("a", members)) == .unusable, "\(members.keys)")
        }
        let curve = try TestIssuer(.es256)
        let other = try TestIssuer(.es384).jwk("b")
        for members in [
            ["x": .string("AAAA")], ["x": nil], ["y": nil], ["x": try curve.jwk("a")["y"]], ["y": other["y"]],
            ["crv": .string("P-384")],
        ] as [[String: JSONValue?]] {
            #expect(try self.rejection(curve.jwk("a", members)) == .unusable, "\(members.keys)")
        }
        for name in ["secp256k1", "P-192", "X25519"] {
            #expect(try self.rejection(curve.jwk("a", ["crv": .string(name)])) == .unsupported)
        }
        #expect(try self.rejection(curve.jwk("a", ["crv": nil])) == .malformed)
        #expect(try self.rejection(TestIssuer(.eddsa).jwk("a", ["x": .string("AAAA")])) == .unusable)
    }

    @Test func secretsComeFromTheConfigurationAlone() throws {
        let issuer = try TestIssuer(.hs256)
        #expect(try self.rejection(issuer.jwk("a")) == .secret)
        #expect(try self.rejection(issuer.jwk("a"), allowsSecrets: true) == nil)
        #expect(try self.set([issuer.jwk("a")], allowsSecrets: true).keys.first?.algorithms == [.hs256])
        #expect(try self.rejection(issuer.jwk("a", ["k": .string("c2hvcnQ")]), allowsSecrets: true) == .unusable)
        #expect(throws: KeySet.Malformed.noUsableKey) { try self.set([issuer.jwk("a")]) }
        let alone = Array(try issuer.jwk(nil).text.utf8)
        #expect(try KeySet(parsing: alone, allowsSecrets: true).keys.count == 1)
        #expect(throws: KeySet.Malformed.noKeys) { try KeySet(parsing: alone) }
    }

    @Test func theFirstOfTwoKeysWithOneIDCounts() throws {
        let first = try TestIssuer(.es256)
        let second = try TestIssuer(.es256)
        let set = try self.set([
            first.jwk("a"), second.jwk("a"), TestIssuer(.es384).jwk("a"), second.jwk(nil), first.jwk(nil),
        ])
        #expect(set.rejected == [KeySet.RejectedEntry(index: 1, reason: .duplicateKeyID)])
        let key = try set.key(id: "a", algorithm: .es256)
        #expect(key.isValid(signature: try first.signature(over: "x"), over: Array("x".utf8)))
        #expect(try set.key(id: "a", algorithm: .es384).algorithm == .es384)
    }

    @Test func keyIDsAreComparedByBytes() throws {
        let set = try self.set([TestIssuer(.es256).jwk("\u{e9}")])
        #expect(throws: TokenError(like: .unknownKey)) { try set.key(id: "e\u{301}", algorithm: .es256) }
        #expect(throws: TokenError(like: .unknownKey)) { try set.key(id: "\u{c9}", algorithm: .es256) }
    }

    @Test func whatIsNoSetIsRefused() throws {
        let entry = try TestIssuer(.es256).jwk("a").text
        for (text, error) in [
            ("", KeySet.Malformed.notJSON), ("{", .notJSON), ("<html>", .notJSON),
            (#"{"keys":[\#(entry)]} x"#, .notJSON),
            (#"{"keys":[\#(entry)],"keys":[]}"#, .notJSON), ("[]", .noKeys), ("null", .noKeys), ("{}", .noKeys),
            (#"{"keys":{}}"#, .noKeys), (#"{"keys":[]}"#, .noUsableKey), (#"{"keys":[1,null,{}]}"#, .noUsableKey),
            (#"{"Keys":[\#(entry)]}"#, .noKeys),
        ] {
            #expect(throws: error, "\(text)") { try KeySet(parsing: Array(text.utf8)) }
        }
        #expect(throws: KeySet.Malformed.tooLarge) {
            try KeySet(parsing: [UInt8](repeating: 0x20, count: KeySet.maximumBytes + 1))
        }
        let many = try (0..<200).map { try TestIssuer(.es256).jwk("k\($0)") }
        let set = try self.set(many)
        #expect(set.keys.count == KeySet.maximumKeys)
        #expect(set.rejected.map(\.reason) == [.tooMany])
    }

    @Test func keysDoNotPrint() throws {
        let issuer = try TestIssuer(.hs256)
        let set = try self.set([issuer.jwk("a")], allowsSecrets: true)
        var dumped = ""
        dump(set, to: &dumped)
        #expect(!dumped.contains(Base64.encodeURL(issuer.configuredKey.utf8)))
        #expect("\(set) \(set.keys)" == "KeySet(1 keys) [JSONWebKey(HS256)]")
    }
}
