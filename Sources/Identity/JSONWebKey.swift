/// A public key of a key set, with the algorithms it may verify.
package struct JSONWebKey: Sendable, CustomStringConvertible {
    /// Why an entry of a key set is not used. None of them holds anything of the key.
    package enum Rejection: String, Error, Hashable, Sendable, CaseIterable {
        /// The entry is no object, or a member has the wrong form.
        case malformed
        /// A kind of key, a curve or an algorithm that this service does not know.
        case unsupported
        /// `use` or `key_ops` says that it is not for verifying signatures.
        case notForSignatures = "not for signatures"
        /// The entry holds private numbers: whoever publishes those has lost the key.
        case privateKey = "holds a private key"
        /// A shared secret in a set that is fetched.
        case secret = "holds a shared secret"
        /// An RSA key of fewer than 2048 bits, a point that is not on the curve, a secret that is too short.
        case unusable = "weak or invalid key"
        /// Another key with this id and algorithm came first.
        case duplicateKeyID = "key id appears twice"
        /// Beyond the number of keys that is looked at.
        case tooMany = "too many keys"
    }

    /// `kid`, nil when the entry has none.
    package let keyID: String?
    /// One bound key for each algorithm that the entry may be used with. Never empty.
    private let keys: [SigningAlgorithm: VerificationKey]

    /// The algorithms that the entry may be used with.
    package var algorithms: Set<SigningAlgorithm> { Set(self.keys.keys) }

    package var description: String { "JSONWebKey(\(self.algorithms.map(\.rawValue).sorted().joined(separator: ",")))" }

    /// The key for one algorithm; nil if the entry is not for it.
    package func key(for algorithm: SigningAlgorithm) -> VerificationKey? { self.keys[algorithm] }

    /// The longest key id that is taken.
    static let maximumKeyIDBytes = 512

    /// Reads one entry.
    ///
    /// - Parameter allowsSecrets: Whether `oct` keys are taken: only from the configuration itself.
    init(_ value: JSONValue, allowsSecrets: Bool) throws(Rejection) {
        guard case .object(let members) = value, let kind = members["kty"]?.stringValue else { throw .malformed }
        switch members["kid"] {
        case nil: self.keyID = nil
        case .string(let text)? where !text.isEmpty && text.utf8.count <= Self.maximumKeyIDBytes: self.keyID = text
        default: throw .malformed
        }
        try Self.checkPurpose(members)
        let candidates = try Self.algorithms(kind: kind, members)
        switch members["alg"] {
        case nil: self.keys = try Self.keys(candidates, members, allowsSecrets: allowsSecrets)
        case .string(let name)?:
            guard let algorithm = SigningAlgorithm(rawValue: name), candidates.contains(algorithm) else {
                throw .unsupported
            }
            self.keys = try Self.keys([algorithm], members, allowsSecrets: allowsSecrets)
        default: throw .malformed
        }
    }

    private static func checkPurpose(_ members: [String: JSONValue]) throws(Rejection) {
        switch members["use"] {
        case nil: break
        case .string("sig")?: break
        case .string?: throw .notForSignatures
        default: throw .malformed
        }
        guard let operations = members["key_ops"] else { return }
        guard case .array(let values) = operations else { throw .malformed }
        let names = values.compactMap(\.stringValue)
        guard names.count == values.count, Set(names).count == names.count else { throw .malformed }
        guard names.contains("verify") else { throw .notForSignatures }
    }

    /// The algorithms that the kind of key and its curve allow.
    private static func algorithms(
        kind: String, _ members: [String: JSONValue]
    ) throws(Rejection) -> [SigningAlgorithm] {
        switch (kind, members["crv"]?.stringValue) {
        case ("RSA", _): return [.rs256, .rs384, .rs512]
        case ("EC", "P-256"): return [.es256]
        case ("EC", "P-384"): return [.es384]
        case ("EC", "P-521"): return [.es512]
        case ("OKP", "Ed25519"): return [.eddsa]
        case ("oct", _): return [.hs256, .hs384, .hs512]
        case ("EC", nil), ("OKP", nil): throw .malformed
        default: throw .unsupported
        }
    }

    private static func keys(
        _ algorithms: [SigningAlgorithm], _ members: [String: JSONValue], allowsSecrets: Bool
    ) throws(Rejection) -> [SigningAlgorithm: VerificationKey] {
        let isSecret = algorithms.first?.family == .hmac
        if isSecret, !allowsSecrets { throw .secret }
        if !isSecret, ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].contains(where: { members[$0] != nil }) {
            throw .privateKey
        }
        var keys: [SigningAlgorithm: VerificationKey] = [:]
        for algorithm in algorithms {
            do throws(VerificationKey.KeyError) {
                keys[algorithm] = try Self.key(algorithm, members)
            } catch {
                // A secret may be long enough for one digest and not for the next.
                if !isSecret { throw .unusable }
            }
        }
        guard !keys.isEmpty else { throw .unusable }
        return keys
    }

    private static func key(
        _ algorithm: SigningAlgorithm, _ members: [String: JSONValue]
    ) throws(VerificationKey.KeyError) -> VerificationKey {
        func number(_ name: String) -> [UInt8] {
            members[name]?.stringValue.flatMap { Base64.decodeCanonicalURL($0.utf8) } ?? []
        }
        switch algorithm.family {
        case .hmac: return try VerificationKey(algorithm: algorithm, secret: number("k"))
        case .rsa: return try VerificationKey(algorithm: algorithm, modulus: number("n"), exponent: number("e"))
        case .eddsa: return try VerificationKey(algorithm: algorithm, point: number("x"))
        case .ecdsa:
            let (x, y) = (number("x"), number("y"))
            let length = algorithm == .es256 ? 32 : algorithm == .es384 ? 48 : 66
            // Coordinates come in full length: a shorter one would shift the other.
            guard x.count == length, y.count == length else { throw .unusable(algorithm: algorithm) }
            return try VerificationKey(algorithm: algorithm, point: x + y)
        }
    }
}
