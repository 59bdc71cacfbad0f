/// The keys of one issuer, as a JWK set publishes them.
///
/// A key is chosen by key id and algorithm, both exactly. There is no default key: only a token without a key id, and
/// only where the set holds one single key, is verified with that one.
package struct KeySet: Sendable, CustomStringConvertible {
    /// The document is no key set at all.
    package enum Malformed: String, Error, Hashable, Sendable {
        case tooLarge = "is too large"
        case notJSON = "is no JSON, or names a member twice"
        case noKeys = "has no array \"keys\""
        case noUsableKey = "has no usable key"
    }

    /// An entry that is not used.
    package struct RejectedEntry: Hashable, Sendable, CustomStringConvertible {
        package var index: Int
        package var reason: JSONWebKey.Rejection

        package var description: String { "entry \(self.index): \(self.reason.rawValue)" }
    }

    /// How many entries are looked at.
    package static let maximumKeys = 128
    /// The longest document that is parsed.
    package static let maximumBytes = 512 * 1024

    package let keys: [JSONWebKey]
    /// What is wrong with the entries that are not used: for the log.
    package let rejected: [RejectedEntry]

    package init(keys: [JSONWebKey]) {
        self.keys = keys
        self.rejected = []
    }

    /// Parses a JWK set. A bad entry is left out and named in ``rejected``; a set without a usable key is refused.
    ///
    /// - Parameter allowsSecrets: Whether shared secrets are taken: only from the configuration itself. Then a single
    ///   key may stand in place of the set, too.
    package init(parsing bytes: [UInt8], allowsSecrets: Bool = false) throws(Malformed) {
        guard bytes.count <= Self.maximumBytes else { throw .tooLarge }
        let document: JSONValue
        do throws(StrictJSONParser.Malformed) {
            document = try StrictJSONParser.parse(bytes)
        } catch {
            throw .notJSON
        }
        let entries: [JSONValue]
        if case .array(let values) = document["keys"] {
            entries = values
        } else if allowsSecrets, document["keys"] == nil, document["kty"] != nil {
            entries = [document]
        } else {
            throw .noKeys
        }
        var keys: [JSONWebKey] = []
        var rejected: [RejectedEntry] = []
        for (index, entry) in entries.enumerated() {
            if index >= Self.maximumKeys {
                rejected.append(RejectedEntry(index: index, reason: .tooMany))
                break
            }
            do throws(JSONWebKey.Rejection) {
                let key = try JSONWebKey(entry, allowsSecrets: allowsSecrets)
                // Keys of different kinds may share an id; the first of one kind has it.
                let isTaken = keys.contains {
                    Self.isSame($0.keyID, key.keyID) && !$0.algorithms.isDisjoint(with: key.algorithms)
                }
                if key.keyID != nil, isTaken { throw .duplicateKeyID }
                keys.append(key)
            } catch {
                rejected.append(RejectedEntry(index: index, reason: error))
            }
        }
        guard !keys.isEmpty else { throw .noUsableKey }
        self.keys = keys
        self.rejected = rejected
    }

    package var description: String { "KeySet(\(self.keys.count) keys)" }

    /// Whether some key has this id.
    package func contains(keyID: String) -> Bool {
        self.keys.contains { Self.isSame($0.keyID, keyID) }
    }

    /// The one key for a token's key id and algorithm.
    ///
    /// - Throws: `unknownKey` if there is none with the id, `algorithmMismatch` if that one is not for the algorithm.
    package func key(id: String?, algorithm: SigningAlgorithm) throws(TokenError) -> VerificationKey {
        guard let id else {
            guard self.keys.count == 1, let only = self.keys.first else { throw .unknownKey }
            guard let key = only.key(for: algorithm) else { throw .algorithmMismatch }
            return key
        }
        let candidates = self.keys.filter { Self.isSame($0.keyID, id) }
        guard !candidates.isEmpty else { throw .unknownKey }
        guard let key = candidates.lazy.compactMap({ $0.key(for: algorithm) }).first else { throw .algorithmMismatch }
        return key
    }

    /// Why: ids are compared by bytes; `==` takes two writings of one accented letter for equal.
    private static func isSame(_ left: String?, _ right: String?) -> Bool {
        switch (left, right) {
        case (nil, nil): true
        case (let left?, let right?): left.utf8.elementsEqual(right.utf8)
        default: false
        }
    }
}
