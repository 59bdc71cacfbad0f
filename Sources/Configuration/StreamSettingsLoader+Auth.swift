import Identity

extension StreamSettingsLoader {
    private enum AuthMode: String, CaseIterable {
        case none, jwt
    }

    private static let authKeys = StreamKey.allCases.filter { $0.rawValue.hasPrefix("auth.") && $0 != .authMode }

    mutating func auth() -> StreamAuthSettings? {
        let mode: AuthMode = self.reader.choice(.authMode) ?? .none
        guard mode == .jwt else {
            // Why: somebody who configures tokens and forgets the mode would believe the streams protected.
            for key in Self.authKeys where self.reader.text(key) != nil {
                self.reader.report(
                    key,
                    "is set, while no tokens are asked for. Set \(StreamKey.authMode.environmentName)=jwt or remove it")
            }
            return nil
        }
        let issuers = self.names(.authIssuer)
        let audiences = self.names(.authAudiences)
        let skew = self.reader.integer(.authClockSkewSecs, in: 0...600) ?? 60
        let algorithms = self.algorithms()
        let allowsInsecure = self.reader.boolean(.authAllowInsecureJWKS) ?? false
        let extractor = self.extractor()
        var access = AccessPolicy(rules: self.rules(), claimHeaders: self.claimHeaders())
        if let claim = self.reader.text(.authScopeClaim) { access.scopeClaim = claim }
        if audiences.isEmpty {
            self.warnings.append(
                "Tokens for every audience are taken (\(StreamKey.authAudiences.environmentName) is not set).")
        }
        let sources: [StreamKey] = [.authStaticKey, .authJWKSFile, .authJWKSURL]
        let given = sources.filter { self.reader.text($0) != nil }
        guard given.count == 1, let source = given.first, let text = self.reader.text(source) else {
            let names = sources.map(\.environmentName).joined(separator: ", ")
            if given.isEmpty {
                self.reader.report(StreamKey.authJWKSURL.environmentName, "not set. One of \(names) is needed")
            }
            for key in given.dropFirst() {
                self.reader.report(key, "is set beside another key. Only one of \(names) is taken")
            }
            return nil
        }
        var issuer = TrustedIssuer(
            names: issuers, audiences: audiences, algorithms: Set(algorithms ?? [.rs256, .es256, .eddsa]),
            keys: .published(nil))
        var keySource = StreamAuthSettings.KeySource.configured
        switch source {
        case .authStaticKey:
            guard let (keys, allowed) = self.staticKeys(text, algorithms: algorithms) else { return nil }
            issuer.keys = keys
            issuer.algorithms = allowed
        case .authJWKSFile: keySource = .file(text)
        default:
            keySource = .url(text, allowsInsecureLoopback: allowsInsecure)
            if !KeySetURL.isAllowed(text, allowsInsecureLoopback: allowsInsecure),
                let found = self.reader.find(.authJWKSURL)
            {
                // Not echoed: a URL may hold credentials.
                self.reader.report(found.label, "has invalid value. Must be an https URL without credentials")
            }
        }
        if source != .authStaticKey, let algorithms, algorithms.contains(where: { $0.family == .hmac }) {
            self.reader.report(
                .authAlgorithms,
                "names an HS algorithm, which needs \(StreamKey.authStaticKey.environmentName): a published key is no secret"
            )
        }
        return StreamAuthSettings(
            issuer: issuer, keySource: keySource, clockSkewSeconds: skew, access: access, extractor: extractor)
    }

    private func names(_ key: StreamKey) -> [String] {
        (self.reader.list(key) ?? []).filter { !$0.isEmpty }
    }

    private mutating func algorithms() -> [SigningAlgorithm]? {
        let names = self.names(.authAlgorithms)
        if names.isEmpty { return nil }
        let algorithms = names.compactMap(SigningAlgorithm.init(rawValue:))
        if algorithms.count < names.count, let found = self.reader.find(.authAlgorithms) {
            self.reader.invalid(
                found, "Must be a list of \(ValueParsing.list(SigningAlgorithm.allCases.map(\.rawValue)))")
        }
        return algorithms
    }

    /// Keys of the configuration: a document in PEM, a key or key set in JSON, or else a secret. Never echoed.
    private mutating func staticKeys(
        _ text: String, algorithms: [SigningAlgorithm]?
    ) -> (TrustedIssuer.Keys, Set<SigningAlgorithm>)? {
        let trimmed = LayeredReader.trimmed(text)
        if trimmed.hasPrefix("{") {
            do throws(KeySet.Malformed) {
                let set = try KeySet(parsing: Array(trimmed.utf8), allowsSecrets: true)
                let usable = set.keys.reduce(into: Set<SigningAlgorithm>()) { $0.formUnion($1.algorithms) }
                let allowed = algorithms.map { usable.intersection($0) } ?? usable
                if allowed.isEmpty { self.reader.report(.authStaticKey, "holds no key for the configured algorithms") }
                return (.published(set), allowed)
            } catch {
                self.reader.report(.authStaticKey, error.rawValue)
                return nil
            }
        }
        if trimmed.hasPrefix("-----BEGIN") {
            guard let natural = VerificationKey.algorithm(ofPEM: trimmed) else {
                self.reader.report(
                    .authStaticKey,
                    "is no public key in PEM, or one of too few bits. RSA, P-256, P-384, P-521 and Ed25519 are taken")
                return nil
            }
            let wanted = algorithms ?? [natural]
            let keys = wanted.compactMap { try? VerificationKey(algorithm: $0, pem: trimmed) }
            if keys.count < wanted.count {
                self.reader.report(
                    .authAlgorithms, "names algorithms that the key does not fit, which is one for \(natural.rawValue)")
            }
            return (.fixed(keys), Set(keys.map(\.algorithm)))
        }
        let wanted = algorithms ?? [.hs256]
        var keys: [VerificationKey] = []
        for algorithm in wanted {
            do throws(VerificationKey.KeyError) {
                keys.append(try VerificationKey(algorithm: algorithm, secret: Array(text.utf8)))
            } catch .tooShort(let minimum, let algorithm) {
                self.reader.report(
                    .authStaticKey, "has to be at least \(minimum) bytes long for \(algorithm.rawValue)")
            } catch {
                self.reader.report(
                    .authStaticKey, "has to be a public key in PEM or a key in JSON for \(algorithm.rawValue)")
            }
        }
        return (.fixed(keys), Set(keys.map(\.algorithm)))
    }

    // MARK: Where tokens stand

    private mutating func extractor() -> TokenExtractor {
        var extractor = TokenExtractor()
        if let name = self.reader.text(.authTokenCookie) {
            extractor.cookie = name
            if !Self.isHeaderName(name), let found = self.reader.find(.authTokenCookie) {
                self.reader.invalid(found, "Must be the name of a cookie")
            }
        }
        if let name = self.reader.text(.authTokenQuery), let found = self.reader.find(.authTokenQuery) {
            extractor.query = name
            let isPlain = name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
            if !isPlain || ["offset", "live", "cursor"].contains(name) {
                self.reader.invalid(
                    found, "Must be a name of letters, digits, _, - and ., and not one of the protocol's own")
            }
        }
        return extractor
    }

    private mutating func claimHeaders() -> [ClaimHeader] {
        var headers: [ClaimHeader] = []
        for text in self.names(.authClaimHeaders) {
            let halves = text.split(separator: "=", omittingEmptySubsequences: false).map(LayeredReader.trimmed)
            guard halves.count == 2, !halves[0].isEmpty, Self.isHeaderName(halves[1]),
                !Self.isTaken(halves[1].lowercased())
            else {
                self.reader.report(
                    .authClaimHeaders,
                    """
                    has invalid value: \(ValueParsing.quoted(text)). Must be a list such as sub=X-JWT-Sub, of header \
                    fields that neither HTTP nor the protocol has a use for, or Producer-Id
                    """)
                continue
            }
            guard !headers.contains(where: { $0.header.lowercased() == halves[1].lowercased() }) else {
                self.reader.report(.authClaimHeaders, "names \(ValueParsing.quoted(halves[1])) twice")
                continue
            }
            headers.append(ClaimHeader(claim: halves[0], header: halves[1]))
        }
        return headers
    }

    /// Whether a header field has a meaning already, so that a claim in its place would change what a request or its answer
    /// says. `Producer-Id` may be a claim: then nobody writes as somebody else's producer.
    private static func isTaken(_ name: String) -> Bool {
        let beginnings = [
            "accept", "access-control-", "content-", "cross-origin-", "if-", "proxy-", "sec-", "stream-",
            "x-content-type-", "x-forwarded-",
        ]
        let names: Set = [
            "age", "allow", "authorization", "cache-control", "connection", "cookie", "date", "etag", "expect",
            "expires", "forwarded", "host", "keep-alive", "last-event-id", "last-modified", "location", "origin",
            "producer-epoch", "producer-expected-seq", "producer-received-seq", "producer-seq", "range", "retry-after",
            "server", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary",
            "webhook-signature", "www-authenticate",
        ]
        return names.contains(name) || beginnings.contains { name.hasPrefix($0) }
    }

    // MARK: Rules

    private mutating func rules() -> [AccessRule] {
        let texts = (self.reader.list(.authScopes, separator: ";") ?? []).filter { !$0.isEmpty }
        return texts.compactMap { text in
            if let rule = Self.rule(text) { return rule }
            self.reader.report(
                .authScopes,
                """
                has invalid value: \(ValueParsing.quoted(text)). Must be rules such as \
                read,append:/orders=orders.read|orders.write, separated by semicolons
                """)
            return nil
        }
    }

    /// `read,append:/orders=orders.read|orders.write`
    static func rule(_ text: String) -> AccessRule? {
        guard let colon = text.firstIndex(of: ":"), let equals = text.lastIndex(of: "="), colon < equals else {
            return nil
        }
        let names = text[..<colon].split(separator: ",", omittingEmptySubsequences: false).map(LayeredReader.trimmed)
        let path = LayeredReader.trimmed(text[text.index(after: colon)..<equals])
        let scopes = text[text.index(after: equals)...].split(separator: "|", omittingEmptySubsequences: false)
            .map(LayeredReader.trimmed)
        var classes: Set<AccessClass> = []
        for name in names {
            if name == "*" {
                classes.formUnion(AccessClass.allCases)
            } else if let access = AccessClass(rawValue: name) {
                classes.insert(access)
            } else {
                return nil
            }
        }
        guard path.first == "/", !scopes.isEmpty,
            scopes.allSatisfy({
                !$0.isEmpty && $0.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != 0x22 && $0 != 0x5c }
            })
        else { return nil }
        if scopes.contains("*") {
            return scopes == ["*"] ? AccessRule(classes: classes, pathPrefix: path, scopes: []) : nil
        }
        return AccessRule(classes: classes, pathPrefix: path, scopes: scopes)
    }
}
