import Crypto
import Foundation
import Identity

/// An issuer with one key: signs tokens and publishes the key.
struct SigningParty: Sendable {
    let keyID: String
    private let key = P256.Signing.PrivateKey()

    init(_ keyID: String) { self.keyID = keyID }

    private static func base64(_ data: some DataProtocol) -> String {
        Data(data).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    private var entry: String {
        let point = self.key.publicKey.rawRepresentation
        return """
            {"kty":"EC","crv":"P-256","kid":"\(self.keyID)","x":"\(Self.base64(point.prefix(32)))",\
            "y":"\(Self.base64(point.suffix(32)))"}
            """
    }

    static func document(_ parties: SigningParty...) -> String {
        #"{"keys":[\#(parties.map(\.entry).joined(separator: ","))]}"#
    }

    func token() throws -> String {
        let signed =
            Self.base64(Data(#"{"alg":"ES256","kid":"\#(self.keyID)"}"#.utf8)) + "."
            + Self.base64(Data(#"{"sub":"alice","iss":"i","aud":"a","exp":1700003600}"#.utf8))
        return signed + "." + Self.base64(try self.key.signature(for: Data(signed.utf8)).rawRepresentation)
    }

    static let now = UnixTime(seconds: 1_700_000_000)
    static let policy = TokenPolicy(
        mode: .trusted([TrustedIssuer(names: ["i"], audiences: ["a"], algorithms: [.es256], keys: .published(nil))]))
}
