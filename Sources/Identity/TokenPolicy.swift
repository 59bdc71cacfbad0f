/// What a token must satisfy.
package struct TokenPolicy: Sendable {
    /// Whether signatures are checked.
    package enum Mode: Sendable {
        /// The signature must verify with the key; `iss` and `aud` must equal these values where they are set.
        case secure(key: VerificationKey, issuer: String?, audience: String?)
        /// The token must be signed by one of these issuers with one of its keys. `exp` is required; `iat` is not.
        case trusted([TrustedIssuer])
        /// Nothing is signed: whoever connects is who they say they are. For development.
        case insecure
    }

    package var mode: Mode
    /// The top-level claim under which the user id is looked up, nil for the top level itself.
    package var namespace: String?
    /// How far the clocks of issuer and service may differ.
    package var clockDriftSeconds: Double
    /// A longer token is refused before anything of it is looked at.
    package var maximumTokenBytes: Int
    /// Whether a token without a user id is refused.
    package var requiresUserID: Bool

    package init(
        mode: Mode, namespace: String? = nil, clockDriftSeconds: Double = 2, maximumTokenBytes: Int = 32 * 1024,
        requiresUserID: Bool = true
    ) {
        self.requiresUserID = requiresUserID
        self.mode = mode
        self.namespace = namespace
        self.clockDriftSeconds = clockDriftSeconds
        self.maximumTokenBytes = maximumTokenBytes
    }

    /// Whether tokens are taken unsigned.
    package var isInsecure: Bool {
        if case .insecure = self.mode { true } else { false }
    }
}
