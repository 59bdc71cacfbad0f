import ArgumentParser
import Foundation
import Identity

/// `penstock token`
struct TokenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Make a token for development.",
        discussion: "Unsigned, for AUTH_MODE=insecure; or signed with the HMAC key of AUTH_JWT_KEY or --key-file.")

    @Option(help: "The user's id, the claim `sub`.")
    var user = "developer"

    @Option(help: "HS256, HS384 or HS512; needs a key.")
    var algorithm: String?

    @Option(help: "File that holds the key; otherwise the environment variable AUTH_JWT_KEY does.")
    var keyFile: String?

    @Option(help: "Seconds that the token is valid.")
    var lifetime = 86_400.0

    @Option(help: "Claim under which the user's id goes (AUTH_JWT_NAMESPACE).")
    var namespace: String?

    @Option(help: "The claim `iss`.")
    var issuer: String?

    @Option(help: "The claim `aud`.")
    var audience: String?

    func run() throws {
        let now = UnixTime(seconds: Date().timeIntervalSince1970)
        guard
            let token = DevelopmentToken.make(
                userID: self.user, key: try self.key(), issuedAt: now, lifetimeSeconds: self.lifetime,
                namespace: self.namespace, issuer: self.issuer, audience: self.audience)
        else { throw ValidationError("tokens can be signed with HS256, HS384 and HS512 here") }
        print(token)
    }

    private func key() throws -> VerificationKey? {
        let name = self.algorithm ?? (self.keyFile == nil ? nil : "HS256")
        guard let name else { return nil }
        guard let algorithm = SigningAlgorithm(rawValue: name.uppercased()) else {
            throw ValidationError("--algorithm is HS256, HS384 or HS512")
        }
        var text = ProcessInfo.processInfo.environment["AUTH_JWT_KEY"] ?? ""
        if let keyFile {
            guard let contents = try? String(contentsOfFile: keyFile, encoding: .utf8) else {
                throw ValidationError("the file \(keyFile) cannot be read as text")
            }
            text = contents
            if text.hasSuffix("\n") { text.removeLast() }
        }
        guard !text.isEmpty else { throw ValidationError("set AUTH_JWT_KEY or give --key-file") }
        do {
            return try VerificationKey(algorithm: algorithm, text: text, isBase64Encoded: false)
        } catch {
            throw ValidationError("the key \(error.text)")
        }
    }
}
