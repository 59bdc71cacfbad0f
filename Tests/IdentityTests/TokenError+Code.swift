@testable import Identity

extension TokenError {
    /// The error of a code that concerns no claim in particular.
    init(like code: Code) {
        switch code {
        case .malformed, .missingClaim, .invalidClaim: self = .malformed
        case .algorithmMismatch: self = .algorithmMismatch
        case .invalidSignature: self = .invalidSignature
        case .expired: self = .expired
        case .notYetValid: self = .notYetValid
        case .missingUserID: self = .missingUserID
        case .unknownKey: self = .unknownKey
        case .keysUnavailable: self = .keysUnavailable
        }
    }
}
