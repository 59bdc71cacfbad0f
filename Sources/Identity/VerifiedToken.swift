/// Who a token speaks for, once it has passed.
package struct VerifiedToken: Hashable, Sendable {
    /// The user id. Blank only where the policy does not require one.
    package let userID: String
    /// When the token ends (`exp`). Always present in secure mode.
    package let expiresAt: UnixTime?
    /// When the token was issued (`iat`). Always present in secure mode.
    package let issuedAt: UnixTime?
    /// All claims of the token.
    package let claims: [String: JSONValue]

    package init(userID: String, expiresAt: UnixTime?, issuedAt: UnixTime?, claims: [String: JSONValue]) {
        self.userID = userID
        self.expiresAt = expiresAt
        self.issuedAt = issuedAt
        self.claims = claims
    }
}
