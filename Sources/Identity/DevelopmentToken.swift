/// Makes tokens for development and tests.
package enum DevelopmentToken {
    /// Makes a token for `userID`.
    ///
    /// - Parameters:
    ///   - userID: Goes into `sub`, under the namespace when there is one.
    ///   - key: An HMAC key to sign with. Nil makes an unsigned token (`alg` is `none`), which only insecure mode takes.
    ///   - issuedAt: The time for `iat`.
    ///   - lifetimeSeconds: `exp` lies this long after `issuedAt`.
    ///   - namespace: The claim that holds the user id, nil for the top level.
    ///   - issuer: `iss`.
    ///   - audience: `aud`.
    ///   - claims: Further top-level claims. The ones named above win over these.
    /// - Returns: The token, or nil if the key is a public key: those cannot sign.
    package static func make(
        userID: String,
        key: VerificationKey? = nil,
        issuedAt: UnixTime,
        lifetimeSeconds: Double = 24 * 60 * 60,
        namespace: String? = nil,
        issuer: String? = nil,
        audience: String? = nil,
        claims: [String: JSONValue] = [:]
    ) -> String? {
        var claims = claims
        if let namespace {
            var members: [String: JSONValue] = [:]
            if case .object(let given) = claims[namespace] { members = given }
            members["sub"] = .string(userID)
            claims[namespace] = .object(members)
        } else {
            claims["sub"] = .string(userID)
        }
        claims["iat"] = Self.wholeSeconds(issuedAt.seconds)
        claims["exp"] = Self.wholeSeconds(issuedAt.seconds + lifetimeSeconds)
        if let issuer { claims["iss"] = .string(issuer) }
        if let audience { claims["aud"] = .string(audience) }

        let algorithm = key?.algorithm.rawValue ?? "none"
        let header = JSONValue.object(["alg": .string(algorithm), "typ": .string("JWT")]).text
        let signed = Base64.encodeURL(header.utf8) + "." + Base64.encodeURL(JSONValue.object(claims).text.utf8)
        guard let key else { return signed + "." }
        guard let signature = key.sign(Array(signed.utf8)) else { return nil }
        return signed + "." + Base64.encodeURL(signature)
    }

    /// Rounded down, as `iat` in the future would be refused.
    private static func wholeSeconds(_ seconds: Double) -> JSONValue {
        Int64(exactly: seconds.rounded(.down)).map(JSONValue.integer) ?? .number(seconds)
    }
}
