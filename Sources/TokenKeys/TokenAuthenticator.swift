import Identity

/// Verifies tokens of trusted issuers with keys that are fetched.
package struct TokenAuthenticator: Sendable {
    private let policy: TokenPolicy
    /// One for each issuer of the policy whose keys are published; nil for the others.
    private let sources: [KeySetSource?]

    /// - Parameters:
    ///   - policy: Of the mode `trusted`, or any other.
    ///   - sources: Where the keys of the issuers come from, in their order; missing ones are taken as nil.
    package init(policy: TokenPolicy, sources: [KeySetSource?] = []) {
        self.policy = policy
        self.sources = sources
    }

    /// Verifies a token, and waits for a fetch of keys where that may help.
    package func authenticate(_ token: String, now: UnixTime) async -> Result<VerifiedToken, TokenError> {
        do throws(TokenError) {
            guard case .trusted(var issuers) = self.policy.mode else {
                return .success(try TokenVerifier(policy: self.policy).verify(token, now: now))
            }
            let request = try TokenVerifier(policy: self.policy).keyRequest(of: token)
            guard let source = self.source(request.issuer) else {
                return .success(try TokenVerifier(policy: self.policy).verify(token, now: now))
            }
            issuers[request.issuer].keys = .published(try await source.keys(for: request.keyID))
            return .success(try self.verifier(issuers).verify(token, now: now))
        } catch {
            return .failure(error)
        }
    }

    /// Verifies a token with the keys at hand; nil if ``authenticate(_:now:)`` might know more after a fetch.
    package func authenticateAtOnce(_ token: String, now: UnixTime) -> Result<VerifiedToken, TokenError>? {
        do throws(TokenError) {
            guard case .trusted(var issuers) = self.policy.mode else {
                return .success(try TokenVerifier(policy: self.policy).verify(token, now: now))
            }
            let request = try TokenVerifier(policy: self.policy).keyRequest(of: token)
            if let source = self.source(request.issuer) {
                guard let keys = source.keysAtHand() else { return nil }
                if let id = request.keyID, !keys.contains(keyID: id) { return nil }
                issuers[request.issuer].keys = .published(keys)
            }
            return .success(try self.verifier(issuers).verify(token, now: now))
        } catch {
            return .failure(error)
        }
    }

    private func source(_ index: Int) -> KeySetSource? {
        index < self.sources.count ? self.sources[index] : nil
    }

    private func verifier(_ issuers: [TrustedIssuer]) -> TokenVerifier {
        var policy = self.policy
        policy.mode = .trusted(issuers)
        return TokenVerifier(policy: policy)
    }
}
