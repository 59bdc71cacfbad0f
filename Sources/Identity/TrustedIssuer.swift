/// An issuer whose tokens are taken, and the keys it signs them with.
package struct TrustedIssuer: Sendable {
    /// Where the key of a token comes from.
    package enum Keys: Sendable {
        /// Keys of the configuration, one for each algorithm. The token's key id is not looked at.
        case fixed([VerificationKey])
        /// A published set; nil while it has not been fetched.
        case published(KeySet?)
    }

    /// The values of `iss` that name it; empty if the claim is not checked.
    package var names: [String]
    /// The values of `aud` of which a token must have one; empty if the claim is not checked.
    package var audiences: [String]
    /// The algorithms its tokens may be signed with.
    package var algorithms: Set<SigningAlgorithm>
    package var keys: Keys

    package init(
        names: [String] = [], audiences: [String] = [], algorithms: Set<SigningAlgorithm>, keys: Keys
    ) {
        self.names = names
        self.audiences = audiences
        self.algorithms = algorithms
        self.keys = keys
    }

    /// The one key for a token.
    func key(id: String?, algorithm: SigningAlgorithm) throws(TokenError) -> VerificationKey {
        guard self.algorithms.contains(algorithm) else { throw .algorithmMismatch }
        switch self.keys {
        case .fixed(let keys):
            guard let key = keys.first(where: { $0.algorithm == algorithm }) else { throw .algorithmMismatch }
            return key
        case .published(let set?): return try set.key(id: id, algorithm: algorithm)
        case .published(nil): throw .keysUnavailable
        }
    }
}
