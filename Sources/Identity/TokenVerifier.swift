import Crypto

/// Verifies tokens: a pure function of policy, token and time.
///
/// The keys and their algorithms come from the policy alone. Of the header only `alg` and `crit` are read, and `kid` as
/// a name to look up among the keys of an issuer: `jwk`, `jku`, `x5u` and the rest are what the sender says about its
/// own key, and have no say here. Signed modes insist on the one canonical writing of a token; insecure mode accepts what careless makers of unsigned tokens produce.
package struct TokenVerifier: Sendable {
    package let policy: TokenPolicy

    package init(policy: TokenPolicy) {
        self.policy = policy
    }

    /// Verifies a token.
    ///
    /// - Parameters:
    ///   - token: The text the client sent.
    ///   - now: The time to judge `exp`, `nbf` and `iat` by.
    package func verify(_ token: String, now: UnixTime) throws(TokenError) -> VerifiedToken {
        var token = token
        return try self.verify(bytes: token.withUTF8 { Array($0) }, now: now)
    }

    /// A short digest of a token that may be logged: it tells equal tokens apart from different ones and no more.
    package static func fingerprint(of token: String) -> String {
        let digits = Array("0123456789abcdef")
        return SHA256.hash(data: Array(token.utf8)).prefix(6).reduce(into: "") { text, byte in
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 0xf)])
        }
    }

    private func verify(bytes: [UInt8], now: UnixTime) throws(TokenError) -> VerifiedToken {
        guard bytes.count <= self.policy.maximumTokenBytes else { throw .malformed }
        let segments = bytes.split(separator: UInt8(ascii: "."), maxSplits: 3, omittingEmptySubsequences: false)
        let claims: [String: JSONValue]
        switch self.policy.mode {
        case .secure(let key, let issuer, let audience):
            claims = try self.signedClaims(segments, of: bytes, key: key)
            try Self.checkPresence(in: claims, issuer: issuer, audience: audience)
            try self.checkTimes(in: claims, now: now)
            try Self.check(issuers: issuer.map { [$0] } ?? [], audiences: audience.map { [$0] } ?? [], in: claims)
        case .trusted(let issuers):
            claims = try self.trustedClaims(segments, of: bytes, issuers: issuers, now: now)
        case .insecure:
            claims = try self.unsignedClaims(segments)
            try self.checkTimes(in: claims, now: now)
        }
        return VerifiedToken(
            userID: try self.userID(in: claims),
            expiresAt: claims["exp"]?.numberValue.map(UnixTime.init(seconds:)),
            issuedAt: claims["iat"]?.numberValue.map(UnixTime.init(seconds:)),
            claims: claims)
    }

    // MARK: Reading

    /// What the header of a signed token says, of the little that is listened to.
    private struct Header {
        var algorithm: String
        /// `kid` as it stands there. It is a name to look up, nothing else.
        var keyID: JSONValue?
    }

    private static func header(_ segments: [ArraySlice<UInt8>]) throws(TokenError) -> Header {
        guard segments.count == 3 else { throw .malformed }
        guard let header = Base64.decodeCanonicalURL(segments[0]) else { throw .malformed }
        let members = try Self.object(header)
        guard let algorithm = members["alg"]?.stringValue else { throw .malformed }
        // Why: `crit` lists extensions that a recipient must understand, and we understand none.
        guard members["crit"] == nil else { throw .malformed }
        return Header(algorithm: algorithm, keyID: members["kid"])
    }

    private func signedClaims(
        _ segments: [ArraySlice<UInt8>], of bytes: [UInt8], key: VerificationKey
    ) throws(TokenError) -> [String: JSONValue] {
        let header = try Self.header(segments)
        guard header.algorithm == key.algorithm.rawValue else { throw .algorithmMismatch }
        try Self.checkSignature(segments, of: bytes, key: key)
        guard let payload = Base64.decodeCanonicalURL(segments[1]) else { throw .malformed }
        return try Self.object(payload)
    }

    private static func checkSignature(
        _ segments: [ArraySlice<UInt8>], of bytes: [UInt8], key: VerificationKey
    ) throws(TokenError) {
        guard let signature = Base64.decodeCanonicalURL(segments[2]) else { throw .malformed }
        let signed = Array(bytes[..<segments[1].endIndex])
        guard key.isValid(signature: signature, over: signed) else { throw .invalidSignature }
    }

    /// The header and the signature, if any, are ignored; `header.payload` and `header.payload.` are both fine.
    private func unsignedClaims(_ segments: [ArraySlice<UInt8>]) throws(TokenError) -> [String: JSONValue] {
        guard segments.count == 2 || segments.count == 3 else { throw .malformed }
        guard let payload = Base64.decodeTolerant(segments[1]) else { throw .malformed }
        return try Self.object(payload)
    }

    private static func object(_ bytes: [UInt8]) throws(TokenError) -> [String: JSONValue] {
        do throws(StrictJSONParser.Malformed) {
            if case .object(let members) = try StrictJSONParser.parse(bytes) { return members }
        } catch {
            // Falls through: no JSON is as good as no object.
        }
        throw .malformed
    }

    // MARK: Issuers

    /// The claims of a token of one of several issuers.
    ///
    /// With several, the unverified `iss` says whose keys to take, and nothing more: a token is verified with the keys
    /// of the issuer it claims to be of, or not at all.
    private func trustedClaims(
        _ segments: [ArraySlice<UInt8>], of bytes: [UInt8], issuers: [TrustedIssuer], now: UnixTime
    ) throws(TokenError) -> [String: JSONValue] {
        let request = try Self.keyRequest(segments, issuers: issuers)
        let issuer = issuers[request.issuer]
        let key = try issuer.key(id: request.keyID, algorithm: request.algorithm)
        try Self.checkSignature(segments, of: bytes, key: key)
        guard let payload = Base64.decodeCanonicalURL(segments[1]) else { throw .malformed }
        let claims = try Self.object(payload)
        var required = ["exp"]
        if !issuer.names.isEmpty { required.append("iss") }
        if !issuer.audiences.isEmpty { required.append("aud") }
        for claim in required where claims[claim] == nil { throw .missingClaim(claim) }
        try self.checkTimes(in: claims, now: now)
        try Self.check(issuers: issuer.names, audiences: issuer.audiences, in: claims)
        return claims
    }

    /// Which key a token asks for, before anything of it is believed.
    package struct KeyRequest: Hashable, Sendable {
        /// Index in the issuers of the policy.
        package var issuer: Int
        package var keyID: String?
        package var algorithm: SigningAlgorithm
    }

    /// Which key a token asks for. Throws what ``verify(_:now:)`` would throw up to there.
    package func keyRequest(of token: String) throws(TokenError) -> KeyRequest {
        var token = token
        let bytes = token.withUTF8 { Array($0) }
        guard bytes.count <= self.policy.maximumTokenBytes, case .trusted(let issuers) = self.policy.mode else {
            throw .malformed
        }
        let segments = bytes.split(separator: UInt8(ascii: "."), maxSplits: 3, omittingEmptySubsequences: false)
        return try Self.keyRequest(segments, issuers: issuers)
    }

    private static func keyRequest(
        _ segments: [ArraySlice<UInt8>], issuers: [TrustedIssuer]
    ) throws(TokenError) -> KeyRequest {
        let header = try Self.header(segments)
        if let keyID = header.keyID, keyID.stringValue == nil { throw .malformed }
        guard let algorithm = SigningAlgorithm(rawValue: header.algorithm),
            issuers.contains(where: { $0.algorithms.contains(algorithm) })
        else { throw .algorithmMismatch }
        var index = 0
        if issuers.count != 1 {
            guard let payload = Base64.decodeCanonicalURL(segments[1]) else { throw .malformed }
            let claims = try Self.object(payload)
            guard claims["iss"] != nil else { throw .missingClaim("iss") }
            guard
                let match = issuers.firstIndex(where: { issuer in
                    issuer.names.contains { Self.isExactly(claims["iss"], $0) }
                })
            else { throw .invalidClaim("iss") }
            index = match
        }
        guard issuers[index].algorithms.contains(algorithm) else { throw .algorithmMismatch }
        return KeyRequest(issuer: index, keyID: header.keyID?.stringValue, algorithm: algorithm)
    }

    // MARK: Claims

    private static func checkPresence(
        in claims: [String: JSONValue], issuer: String?, audience: String?
    ) throws(TokenError) {
        var required = ["iat", "exp"]
        if issuer != nil { required.append("iss") }
        if audience != nil { required.append("aud") }
        for claim in required where claims[claim] == nil { throw .missingClaim(claim) }
    }

    private func checkTimes(in claims: [String: JSONValue], now: UnixTime) throws(TokenError) {
        let drift = self.policy.clockDriftSeconds
        if let issued = try Self.time("iat", in: claims), issued > now.seconds + drift { throw .invalidClaim("iat") }
        if let start = try Self.time("nbf", in: claims), start > now.seconds + drift { throw .notYetValid }
        if let end = try Self.time("exp", in: claims), end < now.seconds - drift { throw .expired }
    }

    private static func time(_ name: String, in claims: [String: JSONValue]) throws(TokenError) -> Double? {
        guard let claim = claims[name] else { return nil }
        guard let seconds = claim.numberValue, seconds.isFinite else { throw .invalidClaim(name) }
        return seconds
    }

    /// Empty lists are not checked.
    private static func check(
        issuers: [String], audiences: [String], in claims: [String: JSONValue]
    ) throws(TokenError) {
        if !issuers.isEmpty, !issuers.contains(where: { Self.isExactly(claims["iss"], $0) }) {
            throw .invalidClaim("iss")
        }
        guard !audiences.isEmpty else { return }
        let values: [JSONValue?]
        if case .array(let list) = claims["aud"] { values = list } else { values = [claims["aud"]] }
        let isMeant = values.contains { value in audiences.contains { Self.isExactly(value, $0) } }
        guard isMeant else { throw .invalidClaim("aud") }
    }

    /// Why: `==` on strings takes different spellings of one accented letter for equal; here bytes count.
    private static func isExactly(_ claim: JSONValue?, _ expected: String) -> Bool {
        claim?.stringValue.map { $0.utf8.elementsEqual(expected.utf8) } ?? false
    }

    private func userID(in claims: [String: JSONValue]) throws(TokenError) -> String {
        var scope = claims
        if let namespace = self.policy.namespace {
            guard case .object(let members) = claims[namespace] else { throw .missingUserID }
            scope = members
        }
        let claim = scope["sub"].flatMap { $0 == .null ? nil : $0 } ?? scope["user_id"]
        if claim == nil, !self.policy.requiresUserID { return "" }
        guard let userID = claim?.stringValue, !userID.allSatisfy(\.isWhitespace) else { throw .missingUserID }
        return userID
    }
}
