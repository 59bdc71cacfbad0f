import Configuration
import DurableStreams
import HTTPServer
import Identity
import Logging
import NIOHTTP1
import Observability
import StreamEndpoint
import TokenKeys

/// Who may do what with streams: verifies the token of each request and asks the access policy.
final class StreamGate: Sendable {
    private let settings: StreamAuthSettings
    private let authenticator: TokenAuthenticator
    private let source: KeySetSource?
    private let fetcher: HTTPKeySetFetcher?
    private let root: String
    private let names: StreamNameRules
    private let logger: Logger

    /// - Parameter authorityPath: PEM file of authorities to trust besides the system's, for the URL of the keys.
    init(
        _ settings: StreamAuthSettings, root: String, names: StreamNameRules, authorityPath: String?, logger: Logger
    ) throws {
        self.settings = settings
        self.root = root
        self.names = names
        self.logger = logger
        let report: @Sendable (KeySetSource.Event) -> Void = { event in
            switch event {
            case .fetched(let source, let keys, let rejected):
                logger.info(
                    "token keys read",
                    metadata: ["source": "\(source)", "keys": "\(keys)", "rejected": "\(rejected.count)"])
            case .failed(let source, let error, let failures, let hasKeys):
                logger.warning(
                    "token keys cannot be read; trying again",
                    metadata: [
                        "source": "\(source)", "error": "\(error)", "failures": "\(failures)",
                        "older_keys_in_use": "\(hasKeys)",
                    ])
            }
        }
        switch settings.keySource {
        case .configured:
            self.fetcher = nil
            self.source = nil
        case .file(let path):
            self.fetcher = nil
            self.source = KeySetSource(
                fetcher: FileKeySetFetcher(path: path), policy: KeySetState.localPolicy, report: report)
        case .url(let url, let allowsInsecureLoopback):
            let fetcher = try HTTPKeySetFetcher(
                url: url, allowsInsecureLoopback: allowsInsecureLoopback, authorityPath: authorityPath)
            self.fetcher = fetcher
            self.source = KeySetSource(fetcher: fetcher, report: report)
        }
        self.authenticator = TokenAuthenticator(policy: settings.tokenPolicy, sources: [self.source])
    }

    /// Keeps the keys up to date until cancelled.
    func run() async {
        await self.source?.run()
        await self.fetcher?.shutdown()
    }

    /// Reads the keys once more, where they come from outside.
    func reload() { self.source?.reload() }

    /// Names of the header fields that claims become.
    var identityFields: [String] { self.settings.access.reservedHeaders.sorted() }

    var authorizer: StreamServices.Authorizer {
        { request, operation, name, decided in self.decide(request, operation, name, decided) }
    }

    private func decide(
        _ request: HTTPRequest, _ operation: StreamServices.Operation, _ name: String,
        _ decided: @escaping @Sendable (StreamServices.Permission) -> Void
    ) {
        let access = Self.access(operation)
        let headers = request.head.headers
        let found = self.settings.extractor.extract(
            authorization: headers["authorization"], cookies: headers["cookie"], target: request.head.uri,
            access: access)
        let now = UnixTime(microseconds: SystemTime.microseconds())
        switch found {
        case .none:
            decided(self.permission(access, name, request, .success(nil)))
        case .malformed:
            decided(self.permission(access, name, request, .failure(.malformed)))
        case .token(let token, _):
            if let result = self.authenticator.authenticateAtOnce(token, now: now) {
                decided(self.permission(access, name, request, result.map { $0 }))
                return
            }
            Task {
                let result = await self.authenticator.authenticate(token, now: now)
                decided(self.permission(access, name, request, result.map { $0 }))
            }
        }
    }

    private static func access(_ operation: StreamServices.Operation) -> AccessClass {
        switch operation {
        case .read: .read
        case .append: .append
        case .create: .create
        case .delete: .delete
        case .subscribe: .admin
        }
    }

    private func permission(
        _ access: AccessClass, _ name: String, _ request: HTTPRequest, _ token: Result<VerifiedToken?, TokenError>
    ) -> StreamServices.Permission {
        if case .failure(let error) = token {
            self.logger.info("a token was refused", metadata: ["reason": "\(error.text)", "stream": "\(name)"])
        }
        let decision = self.settings.access.decide(access, path: "/" + name, token: token)
        guard case .allow(let grant) = decision else { return .refused(self.refusal(decision, request)) }
        // A fork shows what its source holds.
        if access == .create, let source = request.head.headers.first(name: StreamHeaderName.forkedFrom),
            let sourceName = try? self.names.name(forkSource: source, root: self.root)
        {
            let reading = self.settings.access.decide(.read, path: "/" + sourceName, token: token)
            guard case .allow = reading else { return .refused(self.refusal(reading, request)) }
        }
        return .granted(
            until: grant.expiresAt.map { UInt64(max(0, min(self.end(of: $0), 1e12)) * 1000) },
            identity: HTTPHeaders(grant.headers.map { ($0.name, $0.value) }))
    }

    /// When live reads end, in seconds since 1970: with the token. One that is over by this clock, and taken because clocks
    /// differ, lasts for as long as it is taken; otherwise its reader would come back at once, again and again.
    private func end(of expiry: UnixTime) -> Double {
        let now = UnixTime(microseconds: SystemTime.microseconds()).seconds
        return expiry.seconds > now ? expiry.seconds : expiry.seconds + Double(self.settings.clockSkewSeconds)
    }

    private func refusal(_ decision: AccessDecision, _ request: HTTPRequest) -> StreamResponse {
        let isHead = request.head.method == .HEAD
        func response(_ error: StreamError, challenge: String?) -> StreamResponse {
            var response = StreamResponse.error(error, instance: request.rawPath, isHead: isHead)
            if let challenge {
                response.headers.removeAll { $0.name == "WWW-Authenticate" }
                response.headers.append(("WWW-Authenticate", challenge))
            }
            return response
        }
        switch decision {
        case .unauthorized(let challenge):
            return response(StreamError(.unauthorized, "The request needs a valid token."), challenge: challenge)
        case .forbidden(let challenge):
            return response(StreamError(.forbidden, "The token does not allow this."), challenge: challenge)
        case .unavailable, .allow:
            return response(
                StreamError(.unavailable, "The keys of the issuer cannot be had now.", retryAfterSeconds: 1),
                challenge: nil)
        }
    }
}
