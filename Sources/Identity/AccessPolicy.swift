import ExactText

/// What a request does to a stream.
package enum AccessClass: String, CaseIterable, Hashable, Sendable {
    case read, append, create, delete, admin

    /// The class of a request on a stream by its method; nil for methods that no token is needed for, or that do not
    /// exist.
    package init?(method: String) {
        switch method {
        case "GET", "HEAD": self = .read
        case "POST": self = .append
        case "PUT": self = .create
        case "DELETE": self = .delete
        default: return nil
        }
    }
}

/// One rule: who has one of the scopes may do these things below this path.
package struct AccessRule: Hashable, Sendable {
    package var classes: Set<AccessClass>
    /// A path of whole segments: `/orders` covers `/orders` and `/orders/1`, `/orders/` only the latter, `/` everything.
    package var pathPrefix: String
    /// One of them is enough; empty if any valid token is.
    package var scopes: [String]

    package init(classes: Set<AccessClass>, pathPrefix: String, scopes: [String]) {
        self.classes = classes
        self.pathPrefix = pathPrefix
        self.scopes = scopes
    }

    /// Whether the rule is about this path. Bytes count.
    func covers(path: String) -> Bool {
        let prefix = Array(self.pathPrefix.utf8)
        let path = Array(path.utf8)
        guard path.starts(with: prefix) else { return false }
        return prefix.last == UInt8(ascii: "/") || path.count == prefix.count || path[prefix.count] == UInt8(ascii: "/")
    }
}

/// What a request may do, decided from the claims of its token.
///
/// Without rules every valid token may do everything. With rules, the ones with the longest path that covers the request
/// decide; a request that no rule covers is forbidden.
package struct AccessPolicy: Hashable, Sendable {
    package var rules: [AccessRule]
    /// The claim that holds the scopes: a text with blanks between them, or a list.
    package var scopeClaim: String
    /// Claims that are handed on as headers.
    package var claimHeaders: [ClaimHeader]
    /// `realm` of the challenge.
    package var realm: String

    package init(
        rules: [AccessRule] = [], scopeClaim: String = "scope", claimHeaders: [ClaimHeader] = [],
        realm: String = "durable-streams"
    ) {
        self.rules = rules
        self.scopeClaim = scopeClaim
        self.claimHeaders = claimHeaders
        self.realm = realm
    }

    /// Names, in small letters, of headers that nobody but this service may set: copies in a request are removed before
    /// anything else, whether it has a token or not.
    package var reservedHeaders: Set<String> { Set(self.claimHeaders.map { $0.header.lowercased() }) }

    /// Decides about a request.
    ///
    /// - Parameters:
    ///   - access: What it does.
    ///   - path: The name of the stream behind a slash, decoded: the same text the stream is looked up by.
    ///   - token: Its token, verified; or why there is none.
    package func decide(
        _ access: AccessClass, path: String, token: Result<VerifiedToken?, TokenError>
    ) -> AccessDecision {
        let verified: VerifiedToken
        switch token {
        case .success(let token?): verified = token
        case .success(nil): return .unauthorized(challenge: "Bearer realm=\"\(self.quoted)\"")
        case .failure(let error) where error.code == .keysUnavailable: return .unavailable
        case .failure(let error):
            let reason = error.code == .expired ? ", error_description=\"The token has expired\"" : ""
            return .unauthorized(challenge: "Bearer realm=\"\(self.quoted)\", error=\"invalid_token\"\(reason)")
        }
        let scopes = self.scopes(of: verified)
        let grant = AccessGrant(
            subject: verified.userID.isEmpty ? nil : verified.userID, expiresAt: verified.expiresAt, scopes: scopes,
            headers: self.claimHeaders.compactMap { header in
                header.value(in: verified.claims).map { AccessGrant.Header(name: header.header, value: $0) }
            })
        if self.rules.isEmpty { return .allow(grant) }
        let covering = self.rules.filter { $0.classes.contains(access) && $0.covers(path: path) }
        let longest = covering.map(\.pathPrefix.utf8.count).max() ?? 0
        let deciding = covering.filter { $0.pathPrefix.utf8.count == longest }
        if deciding.contains(where: { $0.scopes.isEmpty || !scopes.isDisjoint(with: $0.scopes) }) {
            return .allow(grant)
        }
        let wanted = ExactSet(deciding.flatMap(\.scopes)).sorted().joined(separator: " ")
        let scope = wanted.isEmpty ? "" : ", scope=\"\(wanted)\""
        return .forbidden(challenge: "Bearer realm=\"\(self.quoted)\", error=\"insufficient_scope\"\(scope)")
    }

    /// The scopes of a token.
    package func scopes(of token: VerifiedToken) -> ExactSet {
        switch ClaimHeader.claim(self.scopeClaim, in: token.claims) {
        case .string(let text)?: ExactSet(text.split(separator: " ").map(String.init))
        case .array(let values)?: ExactSet(values.compactMap(\.stringValue))
        default: []
        }
    }

    private var quoted: String { self.realm.filter { $0 != "\"" && $0 != "\\" } }
}

/// The outcome of ``AccessPolicy/decide(_:path:token:)``.
package enum AccessDecision: Hashable, Sendable {
    case allow(AccessGrant)
    /// 401 with this `WWW-Authenticate`.
    case unauthorized(challenge: String)
    /// 403 with this `WWW-Authenticate`.
    case forbidden(challenge: String)
    /// 503: the keys of the issuer cannot be had, so nothing can be said about the token.
    case unavailable

    /// The status of the response; nil when the request goes on.
    package var status: Int? {
        switch self {
        case .allow: nil
        case .unauthorized: 401
        case .forbidden: 403
        case .unavailable: 503
        }
    }
}

/// What a request that may go on carries with it.
package struct AccessGrant: Hashable, Sendable {
    package struct Header: Hashable, Sendable {
        package var name: String
        package var value: String

        package init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    /// `sub`, nil when the token has none.
    package var subject: String?
    /// When live responses have to end.
    package var expiresAt: UnixTime?
    package var scopes: ExactSet
    /// Headers to add to the request, after ``AccessPolicy/reservedHeaders`` were removed from it.
    package var headers: [Header]

    package init(subject: String?, expiresAt: UnixTime?, scopes: ExactSet, headers: [Header]) {
        self.subject = subject
        self.expiresAt = expiresAt
        self.scopes = scopes
        self.headers = headers
    }
}

/// A claim that is handed on as a header, as `sub=X-JWT-Sub`.
package struct ClaimHeader: Hashable, Sendable {
    /// A top-level claim, or a path of claims with dots between them.
    package var claim: String
    package var header: String

    package init(claim: String, header: String) {
        self.claim = claim
        self.header = header
    }

    /// The claim of this name; one that has dots in its own name comes before a path.
    static func claim(_ name: String, in claims: [String: JSONValue]) -> JSONValue? {
        if let value = claims[name] { return value }
        var value: JSONValue = .object(claims)
        for part in name.split(separator: ".", omittingEmptySubsequences: false) {
            guard let member = value[String(part)] else { return nil }
            value = member
        }
        return value
    }

    /// The value of the header; nil if there is no such claim, or if it is not plain enough for a header: anything but
    /// texts, numbers and booleans, and every text that a header cannot hold as it is.
    package func value(in claims: [String: JSONValue]) -> String? {
        let text: String
        switch Self.claim(self.claim, in: claims) {
        case .string(let value)?: text = value
        case .integer(let value)?: text = String(value)
        case .bool(let value)?: text = String(value)
        default: return nil
        }
        guard !text.isEmpty, text.utf8.count <= 4096, text.utf8.allSatisfy({ (0x20...0x7e).contains($0) }),
            text.utf8.first != 0x20, text.utf8.last != 0x20
        else { return nil }
        return text
    }
}
