import Crypto
import CryptoExtras

@testable import Identity

/// An issuer with a fresh key: signs any header and payload text, well formed or not.
struct TestIssuer: Sendable {
    private enum Key: Sendable {
        case secret([UInt8])
        case rsa(_RSA.Signing.PrivateKey)
        case p256(P256.Signing.PrivateKey)
        case p384(P384.Signing.PrivateKey)
        case p521(P521.Signing.PrivateKey)
        case ed25519(Curve25519.Signing.PrivateKey)
    }

    let algorithm: SigningAlgorithm
    /// What would be in the configuration: the secret or the public key in PEM.
    let configuredKey: String
    private let key: Key

    init(_ algorithm: SigningAlgorithm) throws {
        self.algorithm = algorithm
        switch algorithm.family {
        case .hmac:
            let letters = Array("abcdefghijklmnopqrstuvwxyz0123456789".utf8)
            let secret = (0..<(algorithm.minimumSecretBytes ?? 0)).map { _ in
                letters[Int.random(in: 0..<letters.count)]
            }
            self.key = .secret(secret)
            self.configuredKey = String(decoding: secret, as: UTF8.self)
        case .rsa:
            let key = try _RSA.Signing.PrivateKey(keySize: .bits2048)
            self.key = .rsa(key)
            self.configuredKey = key.publicKey.pemRepresentation
        case .ecdsa where algorithm == .es256:
            let key = P256.Signing.PrivateKey()
            self.key = .p256(key)
            self.configuredKey = key.publicKey.pemRepresentation
        case .ecdsa where algorithm == .es384:
            let key = P384.Signing.PrivateKey()
            self.key = .p384(key)
            self.configuredKey = key.publicKey.pemRepresentation
        case .eddsa:
            let key = Curve25519.Signing.PrivateKey()
            self.key = .ed25519(key)
            self.configuredKey = key.publicKey.pemRepresentation
        case .ecdsa:
            let key = P521.Signing.PrivateKey()
            self.key = .p521(key)
            self.configuredKey = key.publicKey.pemRepresentation
        }
    }

    /// The verifier of a service configured for this issuer.
    func verifier(
        issuer: String? = nil, audience: String? = nil, namespace: String? = nil
    ) throws -> TokenVerifier {
        let key = try VerificationKey(algorithm: self.algorithm, text: self.configuredKey)
        return TokenVerifier(
            policy: TokenPolicy(
                mode: .secure(key: key, issuer: issuer, audience: audience), namespace: namespace))
    }

    func signature(over text: String) throws -> [UInt8] {
        let data = Array(text.utf8)
        switch self.key {
        case .secret(let secret):
            let key = SymmetricKey(data: secret)
            switch self.algorithm {
            case .hs384: return Array(HMAC<SHA384>.authenticationCode(for: data, using: key))
            case .hs512: return Array(HMAC<SHA512>.authenticationCode(for: data, using: key))
            default: return Array(HMAC<SHA256>.authenticationCode(for: data, using: key))
            }
        case .rsa(let key):
            switch self.algorithm {
            case .rs384:
                return Array(
                    try key.signature(for: SHA384.hash(data: data), padding: .insecurePKCS1v1_5).rawRepresentation)
            case .rs512:
                return Array(
                    try key.signature(for: SHA512.hash(data: data), padding: .insecurePKCS1v1_5).rawRepresentation)
            default:
                return Array(
                    try key.signature(for: SHA256.hash(data: data), padding: .insecurePKCS1v1_5).rawRepresentation)
            }
        case .p256(let key): return Array(try key.signature(for: SHA256.hash(data: data)).rawRepresentation)
        case .p384(let key): return Array(try key.signature(for: SHA384.hash(data: data)).rawRepresentation)
        case .p521(let key): return Array(try key.signature(for: SHA512.hash(data: data)).rawRepresentation)
        case .ed25519(let key): return Array(try key.signature(for: data))
        }
    }

    /// The key as an entry of a key set. `members` are added, or replace what is there; nil takes a member away.
    func jwk(_ keyID: String?, _ members: [String: JSONValue?] = [:]) throws -> JSONValue {
        var entry: [String: JSONValue] = [:]
        func point(_ curve: String, _ raw: some Sequence<UInt8>) {
            let bytes = Array(raw)
            entry["kty"] = .string("EC")
            entry["crv"] = .string(curve)
            entry["x"] = .string(Base64.encodeURL(bytes.prefix(bytes.count / 2)))
            entry["y"] = .string(Base64.encodeURL(bytes.suffix(bytes.count / 2)))
        }
        switch self.key {
        case .secret(let secret):
            entry["kty"] = .string("oct")
            entry["k"] = .string(Base64.encodeURL(secret))
        case .rsa(let key):
            let numbers = try key.publicKey.getKeyPrimitives()
            entry["kty"] = .string("RSA")
            entry["n"] = .string(Base64.encodeURL(numbers.modulus))
            entry["e"] = .string(Base64.encodeURL(numbers.publicExponent))
        case .p256(let key): point("P-256", key.publicKey.rawRepresentation)
        case .p384(let key): point("P-384", key.publicKey.rawRepresentation)
        case .p521(let key): point("P-521", key.publicKey.rawRepresentation)
        case .ed25519(let key):
            entry["kty"] = .string("OKP")
            entry["crv"] = .string("Ed25519")
            entry["x"] = .string(Base64.encodeURL(key.publicKey.rawRepresentation))
        }
        if let keyID { entry["kid"] = .string(keyID) }
        for (name, value) in members { entry[name] = value }
        return .object(entry)
    }

    /// A token of the given texts, signed.
    func token(header: String? = nil, payload: String = TestIssuer.payload) throws -> String {
        let header = header ?? #"{"alg":"\#(self.algorithm.rawValue)","typ":"JWT"}"#
        let signed = Base64.encodeURL(header.utf8) + "." + Base64.encodeURL(payload.utf8)
        return signed + "." + Base64.encodeURL(try self.signature(over: signed))
    }

    /// The time every test of this target takes for the present.
    static let now = UnixTime(seconds: 1_700_000_100)
    /// Good claims at that time.
    static let payload = #"{"sub":"alice","iat":1700000000,"exp":1700003600}"#
}
