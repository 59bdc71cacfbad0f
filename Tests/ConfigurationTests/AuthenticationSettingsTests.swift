import Identity
import Testing

@testable import Configuration

@Suite("Authentication settings")
struct AuthenticationSettingsTests {
    private func problems(_ changes: [String: String?]) -> [String] {
        Environments.problems(changes.merging(["AUTH_MODE": nil]) { given, _ in given })
    }

    private static let secret = String(repeating: "k", count: 64)

    @Test func modesHaveNames() throws {
        #expect(try Environments.load(["AUTH_MODE": "insecure"]).tokenPolicy?.isInsecure == true)
        for value in ["Insecure", "none", "secure "] {
            #expect(
                self.problems(["AUTH_MODE": value]) == [
                    "AUTH_MODE has invalid value: \"\(value)\". Must be one of [\"secure\", \"insecure\"]"
                ])
        }
    }

    @Test(arguments: [nil, "", "secure"])
    func secureModeIsTheDefaultAndNeedsAlgorithmAndKey(mode: String?) throws {
        #expect(
            Environments.problems(["AUTH_MODE": mode]) == ["AUTH_JWT_ALG not set", "AUTH_JWT_KEY not set"])
        let settings = try Environments.load([
            "AUTH_MODE": mode, "AUTH_JWT_ALG": "HS512", "AUTH_JWT_KEY": Self.secret, "AUTH_JWT_ISS": "i",
            "AUTH_JWT_AUD": "a", "AUTH_JWT_NAMESPACE": "https://example.com",
        ])
        guard case .secure(let key, let issuer, let audience) = settings.tokenPolicy?.mode else {
            Issue.record("not secure")
            return
        }
        #expect(key.algorithm == .hs512)
        #expect(issuer == "i")
        #expect(audience == "a")
        #expect(settings.tokenPolicy?.namespace == "https://example.com")
    }

    @Test func algorithmsAreTheNineInCapitals() {
        let all = SigningAlgorithm.satellite.map(\.rawValue)
        #expect(all == ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512"])
        for value in ["none", "hs256", "PS256", "EdDSA", "HS256 "] {
            #expect(
                self.problems(["AUTH_JWT_ALG": value, "AUTH_JWT_KEY": Self.secret]) == [
                    "AUTH_JWT_ALG has invalid value: \"\(value)\". Must be one of [\"HS256\", \"HS384\", \"HS512\", "
                        + "\"RS256\", \"RS384\", \"RS512\", \"ES256\", \"ES384\", \"ES512\"]"
                ])
        }
    }

    @Test(arguments: [("HS256", 32), ("HS384", 48), ("HS512", 64)])
    func secretsHaveALeastLength(algorithm: String, minimum: Int) {
        let text = "AUTH_JWT_KEY has to be at least \(minimum) bytes long for \(algorithm)"
        let short = String(repeating: "k", count: minimum - 1)
        #expect(self.problems(["AUTH_JWT_ALG": algorithm, "AUTH_JWT_KEY": short]) == [text])
        #expect(self.problems(["AUTH_JWT_ALG": algorithm, "AUTH_JWT_KEY": short + "k"]) == [])
        // What counts is the length after decoding: one byte less than enough, then enough.
        for (length, problems) in [(minimum - 1, [text]), (minimum, [])] {
            let letters = String(repeating: "A", count: (length * 8 + 5) / 6)
            #expect(
                self.problems([
                    "AUTH_JWT_ALG": algorithm, "AUTH_JWT_KEY": letters, "AUTH_JWT_KEY_IS_BASE64_ENCODED": "true",
                ]) == problems)
        }
    }

    @Test func brokenBase64IsReported() {
        #expect(
            self.problems([
                "AUTH_JWT_ALG": "HS256", "AUTH_JWT_KEY": "%%%", "AUTH_JWT_KEY_IS_BASE64_ENCODED": "1",
            ]) == ["AUTH_JWT_KEY has invalid base64 encoding"])
        #expect(
            self.problems([
                "AUTH_JWT_ALG": "HS256", "AUTH_JWT_KEY": Self.secret, "AUTH_JWT_KEY_IS_BASE64_ENCODED": "perhaps",
            ]) == [#"AUTH_JWT_KEY_IS_BASE64_ENCODED has invalid value: "perhaps". Must be one of ["true", "false"]"#])
    }

    @Test func publicKeysMustFit() throws {
        _ = try Environments.load([
            "AUTH_MODE": nil, "AUTH_JWT_ALG": "ES256", "AUTH_JWT_KEY": Environments.publicKey,
        ])
        for algorithm in ["RS256", "ES384", "ES512"] {
            #expect(
                self.problems(["AUTH_JWT_ALG": algorithm, "AUTH_JWT_KEY": Environments.publicKey]) == [
                    "AUTH_JWT_KEY is not a valid key for AUTH_JWT_ALG=\(algorithm) or it has invalid format."
                ])
        }
    }

    @Test(arguments: [
        "AUTH_JWT_ALG", "AUTH_JWT_KEY", "AUTH_JWT_KEY_IS_BASE64_ENCODED", "AUTH_JWT_ISS", "AUTH_JWT_AUD",
    ])
    func insecureModeRejectsTheRestButTheNamespace(name: String) throws {
        #expect(
            Environments.problems([name: "x"]) == [
                "\(name) is not valid in Insecure auth mode. Did you forget to set AUTH_MODE=secure?"
            ])
        #expect(Environments.problems([name: " "]) == [])
        #expect(try Environments.load(["AUTH_JWT_NAMESPACE": "ns"]).tokenPolicy?.namespace == "ns")
    }

    @Test func authenticationIsNobodysBusinessWithoutTheSatelliteFront() throws {
        let settings = try Settings.load(environment: [
            "PENSTOCK_FRONTS": "shapes", "DATABASE_URL": "postgresql://u@h/d", "ELECTRIC_SECRET": "s",
            "AUTH_MODE": "nonsense",
        ])
        #expect(settings.tokenPolicy == nil)
        #expect(settings.proxy == nil)
        #expect(settings.writeMode == nil)
    }
}
