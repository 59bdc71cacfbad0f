/// Why a token was refused.
///
/// The text is for the log. Nothing of the token appears in it: a claim is somebody's data, and the peer is told
/// nothing at all.
package struct TokenError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kind of refusal.
    package enum Code: String, Hashable, Sendable, CaseIterable {
        /// No token by form: segments, encoding, JSON, size, a critical extension.
        case malformed
        /// The header names another algorithm than the configured one.
        case algorithmMismatch = "algorithm_mismatch"
        case invalidSignature = "invalid_signature"
        case missingClaim = "missing_claim"
        case expired
        case notYetValid = "not_yet_valid"
        case invalidClaim = "invalid_claim"
        case missingUserID = "missing_user_id"
        /// The issuer has no key with the id the token names, or the token names none where there are several.
        case unknownKey = "unknown_key"
        /// The keys of the issuer cannot be had at present: not the token's fault.
        case keysUnavailable = "keys_unavailable"
    }

    package let code: Code
    /// The registered claim concerned, for `missingClaim` and `invalidClaim`.
    package let claim: String?

    private init(_ code: Code, claim: String? = nil) {
        self.code = code
        self.claim = claim
    }

    package static let malformed = TokenError(.malformed)
    static let algorithmMismatch = TokenError(.algorithmMismatch)
    static let invalidSignature = TokenError(.invalidSignature)
    static let expired = TokenError(.expired)
    static let notYetValid = TokenError(.notYetValid)
    package static let unknownKey = TokenError(.unknownKey)
    package static let keysUnavailable = TokenError(.keysUnavailable)
    static let missingUserID = TokenError(.missingUserID)
    static func missingClaim(_ claim: String) -> TokenError { TokenError(.missingClaim, claim: claim) }
    static func invalidClaim(_ claim: String) -> TokenError { TokenError(.invalidClaim, claim: claim) }

    /// The sentence for the log.
    package var text: String {
        switch self.code {
        case .malformed: "Invalid token"
        case .algorithmMismatch: "Signing algorithm mismatch"
        case .invalidSignature: "Invalid token signature"
        case .missingClaim: "Missing required \"\(self.claim ?? "")\" claim"
        case .expired: "Expired token"
        case .notYetValid: "Token is not yet valid"
        case .invalidClaim: "Invalid \"\(self.claim ?? "")\" claim value"
        case .unknownKey: "Unknown signing key"
        case .keysUnavailable: "The keys of the issuer are not available"
        case .missingUserID: "Missing or invalid 'user_id'"
        }
    }

    package var description: String { self.text }
}
