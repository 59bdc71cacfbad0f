import Crypto
import CryptoExtras

/// The one key that tokens are verified with, bound to the one algorithm it may be used for.
///
/// The algorithm never comes from a token. A key prints as its algorithm alone.
package struct VerificationKey: Sendable, CustomStringConvertible, CustomReflectable {
    /// Why a key was refused. The texts belong behind the name of the variable that holds the key.
    package enum KeyError: Error, Hashable, Sendable {
        /// The secret is shorter than the digest of its algorithm.
        case tooShort(minimumBytes: Int, algorithm: SigningAlgorithm)
        /// The text is not the base64 it was declared to be.
        case invalidBase64
        /// The text is no public key in PEM, or one of another kind, curve or too small a size.
        case unusable(algorithm: SigningAlgorithm)

        /// What is wrong, without anything of the key itself.
        package var text: String {
            switch self {
            case .tooShort(let minimum, let algorithm):
                "has to be at least \(minimum) bytes long for \(algorithm.rawValue)"
            case .invalidBase64:
                "has invalid base64 encoding"
            case .unusable(let algorithm):
                "is not a valid key for AUTH_JWT_ALG=\(algorithm.rawValue) or it has invalid format."
            }
        }
    }

    private enum Material: Sendable {
        case secret(SymmetricKey)
        case rsa(_RSA.Signing.PublicKey)
        case p256(P256.Signing.PublicKey)
        case p384(P384.Signing.PublicKey)
        case p521(P521.Signing.PublicKey)
        case ed25519(Curve25519.Signing.PublicKey)
    }

    /// The only algorithm this key verifies.
    package let algorithm: SigningAlgorithm
    private let material: Material

    /// Makes a key from the text of the configuration.
    ///
    /// - Parameters:
    ///   - algorithm: The configured algorithm.
    ///   - text: The secret (HMAC) or the public key in PEM (RSA, ECDSA).
    ///   - isBase64Encoded: Whether an HMAC secret is written in base64, standard alphabet, padding optional. Other
    ///     families ignore it.
    package init(
        algorithm: SigningAlgorithm, text: String, isBase64Encoded: Bool = false
    ) throws(KeyError) {
        guard algorithm.family == .hmac else {
            try self.init(algorithm: algorithm, pem: text)
            return
        }
        guard isBase64Encoded else {
            try self.init(algorithm: algorithm, secret: Array(text.utf8))
            return
        }
        guard let secret = Base64.decodeStandard(text) else { throw .invalidBase64 }
        try self.init(algorithm: algorithm, secret: secret)
    }

    /// Makes an HMAC key of raw bytes.
    package init(algorithm: SigningAlgorithm, secret: [UInt8]) throws(KeyError) {
        guard let minimum = algorithm.minimumSecretBytes else { throw .unusable(algorithm: algorithm) }
        guard secret.count >= minimum else { throw .tooShort(minimumBytes: minimum, algorithm: algorithm) }
        self.algorithm = algorithm
        self.material = .secret(SymmetricKey(data: secret))
    }

    /// Makes an RSA or ECDSA key of a PEM document.
    ///
    /// A document on one line whose line breaks are written `\n` is understood: that is what many secret stores and
    /// environment files make of it.
    package init(algorithm: SigningAlgorithm, pem: String) throws(KeyError) {
        let document = Self.unfolded(pem)
        do {
            switch algorithm {
            case .rs256, .rs384, .rs512:
                self.material = .rsa(try _RSA.Signing.PublicKey(pemRepresentation: document))
            case .es256:
                self.material = .p256(try P256.Signing.PublicKey(pemRepresentation: document))
            case .es384:
                self.material = .p384(try P384.Signing.PublicKey(pemRepresentation: document))
            case .es512:
                self.material = .p521(try P521.Signing.PublicKey(pemRepresentation: document))
            case .eddsa:
                self.material = .ed25519(try Curve25519.Signing.PublicKey(pemRepresentation: document))
            case .hs256, .hs384, .hs512:
                throw KeyError.unusable(algorithm: algorithm)
            }
        } catch {
            // Why: the library's own error may quote the document.
            throw .unusable(algorithm: algorithm)
        }
        self.algorithm = algorithm
    }

    /// Makes an RSA key of its numbers, big-endian. Fewer than 2048 bits are refused, and more than 16384, whose
    /// verification would take somebody else's time.
    init(algorithm: SigningAlgorithm, modulus: [UInt8], exponent: [UInt8]) throws(KeyError) {
        let modulus = Array(modulus.drop { $0 == 0 })
        let exponent = Array(exponent.drop { $0 == 0 })
        let bits = modulus.count * 8 - (modulus.first?.leadingZeroBitCount ?? 0)
        guard algorithm.family == .rsa, (2048...16384).contains(bits), modulus.last.map({ $0 & 1 == 1 }) == true,
            (1...4).contains(exponent.count), exponent.last.map({ $0 & 1 == 1 }) == true, exponent != [1],
            let key = try? _RSA.Signing.PublicKey(n: modulus, e: exponent)
        else { throw .unusable(algorithm: algorithm) }
        self.algorithm = algorithm
        self.material = .rsa(key)
    }

    /// Makes an elliptic curve key of its point: both coordinates in full length, one behind the other; for Ed25519
    /// the 32 bytes of the key.
    init(algorithm: SigningAlgorithm, point: [UInt8]) throws(KeyError) {
        do {
            switch algorithm {
            case .es256: self.material = .p256(try P256.Signing.PublicKey(rawRepresentation: point))
            case .es384: self.material = .p384(try P384.Signing.PublicKey(rawRepresentation: point))
            case .es512: self.material = .p521(try P521.Signing.PublicKey(rawRepresentation: point))
            case .eddsa: self.material = .ed25519(try Curve25519.Signing.PublicKey(rawRepresentation: point))
            default: throw KeyError.unusable(algorithm: algorithm)
            }
        } catch {
            throw .unusable(algorithm: algorithm)
        }
        self.algorithm = algorithm
    }

    /// The algorithm of the weakest digest that the public key in a PEM document fits; nil if it is none.
    package static func algorithm(ofPEM pem: String) -> SigningAlgorithm? {
        [SigningAlgorithm.rs256, .es256, .es384, .es512, .eddsa].first {
            (try? VerificationKey(algorithm: $0, pem: pem)) != nil
        }
    }

    package var description: String { "VerificationKey(\(self.algorithm.rawValue))" }

    package var customMirror: Mirror { Mirror(self, children: ["algorithm": self.algorithm]) }

    /// Whether `signature` was made over `signed` by the holder of this key. Secrets are compared in constant time.
    func isValid(signature: [UInt8], over signed: [UInt8]) -> Bool {
        switch self.material {
        case .secret(let key):
            switch self.algorithm {
            case .hs384: return HMAC<SHA384>.isValidAuthenticationCode(signature, authenticating: signed, using: key)
            case .hs512: return HMAC<SHA512>.isValidAuthenticationCode(signature, authenticating: signed, using: key)
            default: return HMAC<SHA256>.isValidAuthenticationCode(signature, authenticating: signed, using: key)
            }
        case .rsa(let key):
            let signature = _RSA.Signing.RSASignature(rawRepresentation: signature)
            switch self.algorithm {
            case .rs384:
                return key.isValidSignature(
                    signature, for: SHA384.hash(data: signed), padding: .insecurePKCS1v1_5)
            case .rs512:
                return key.isValidSignature(
                    signature, for: SHA512.hash(data: signed), padding: .insecurePKCS1v1_5)
            default:
                return key.isValidSignature(
                    signature, for: SHA256.hash(data: signed), padding: .insecurePKCS1v1_5)
            }
        case .p256(let key):
            guard let signature = try? P256.Signing.ECDSASignature(rawRepresentation: signature) else { return false }
            return key.isValidSignature(signature, for: SHA256.hash(data: signed))
        case .p384(let key):
            guard let signature = try? P384.Signing.ECDSASignature(rawRepresentation: signature) else { return false }
            return key.isValidSignature(signature, for: SHA384.hash(data: signed))
        case .p521(let key):
            guard let signature = try? P521.Signing.ECDSASignature(rawRepresentation: signature) else { return false }
            return key.isValidSignature(signature, for: SHA512.hash(data: signed))
        case .ed25519(let key):
            return signature.count == 64 && key.isValidSignature(signature, for: signed)
        }
    }

    /// Signs with an HMAC key, for tokens made by the service itself in development. Nil for public keys.
    func sign(_ text: [UInt8]) -> [UInt8]? {
        guard case .secret(let key) = self.material else { return nil }
        switch self.algorithm {
        case .hs384: return Array(HMAC<SHA384>.authenticationCode(for: text, using: key))
        case .hs512: return Array(HMAC<SHA512>.authenticationCode(for: text, using: key))
        default: return Array(HMAC<SHA256>.authenticationCode(for: text, using: key))
        }
    }

    private static func unfolded(_ pem: String) -> String {
        guard !pem.utf8.contains(UInt8(ascii: "\n")) else { return pem }
        var lines: [String] = []
        var line = ""
        var escaped = false
        for character in pem {
            if escaped {
                escaped = false
                if character == "n" {
                    lines.append(line)
                    line = ""
                } else if character != "r" {
                    line.append("\\")
                    line.append(character)
                }
            } else if character == "\\" {
                escaped = true
            } else {
                line.append(character)
            }
        }
        lines.append(line)
        return lines.joined(separator: "\n")
    }
}
