/// A JWS signing algorithm the service can be configured for.
///
/// The raw value is the exact text of the `alg` header member; there is no case folding.
package enum SigningAlgorithm: String, CaseIterable, Hashable, Sendable {
    case hs256 = "HS256"
    case hs384 = "HS384"
    case hs512 = "HS512"
    case rs256 = "RS256"
    case rs384 = "RS384"
    case rs512 = "RS512"
    case es256 = "ES256"
    case es384 = "ES384"
    case es512 = "ES512"
    /// EdDSA on the curve Ed25519; no other curve is understood.
    case eddsa = "EdDSA"

    /// The algorithms that `AUTH_JWT_ALG` of the Satellite front takes.
    package static let satellite: [SigningAlgorithm] = [
        .hs256, .hs384, .hs512, .rs256, .rs384, .rs512, .es256, .es384, .es512,
    ]

    /// What kind of key the algorithm takes.
    package enum Family: Hashable, Sendable {
        /// A secret shared between issuer and service.
        case hmac
        /// An RSA public key, PKCS #1 v1.5 padding.
        case rsa
        /// An elliptic curve public key on the one curve that belongs to the algorithm.
        case ecdsa
        /// An Edwards curve public key.
        case eddsa
    }

    /// The family of the algorithm.
    package var family: Family {
        switch self {
        case .hs256, .hs384, .hs512: .hmac
        case .rs256, .rs384, .rs512: .rsa
        case .es256, .es384, .es512: .ecdsa
        case .eddsa: .eddsa
        }
    }

    /// The shortest secret accepted for an HMAC algorithm (the length of its digest), nil for the other families.
    package var minimumSecretBytes: Int? {
        switch self {
        case .hs256: 32
        case .hs384: 48
        case .hs512: 64
        default: nil
        }
    }
}
