import AsyncHTTPClient
import DurableStreams
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import StreamEndpoint
import Synchronization
import WebAddresses

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Sends webhooks over HTTP/1.1: to an address that was checked, and to no other.
///
/// The name is resolved here, every address it has must be allowed, and the connection goes to one of those, whatever
/// the name
/// resolves to a moment later. Certificates are checked against the name. Redirects and proxies are not used.
package final class HTTPWebhookSender: WebhookSender {
    /// Whether an address of the host may be called.
    package typealias AddressRule = @Sendable (WebhookURL, IPAddress) -> Bool
    package typealias Resolver = @Sendable (_ host: String, _ port: Int) throws -> [SocketAddress]

    package struct Limits: Sendable {
        /// For a whole request, from the name to the end of the answer.
        package var time: TimeAmount = .seconds(10)
        package var connectTime: TimeAmount = .seconds(5)
        /// Bytes of an answer; a longer one counts as no answer.
        package var responseBytes = 64 << 10

        package init() {}
    }

    /// Why nothing was sent, or what came is not used.
    package enum Failure: Error, Hashable, Sendable {
        case unresolved
        /// An address that may not be called.
        case address(String)
        /// The file of authorities holds none.
        case authorities(path: String)
    }

    /// Why threads of its own: a name service that hangs must hold up nothing else.
    private static let resolving: NIOThreadPool = {
        let pool = NIOThreadPool(numberOfThreads: 4)
        pool.start()
        return pool
    }()

    private let limits: Limits
    private let authorities: [NIOSSLCertificate]
    private let addressRule: AddressRule
    private let resolver: Resolver

    /// - Parameter addressRule: other than the one for webhooks in tests only, which have no public addresses.
    package init(
        limits: Limits = Limits(), resolver: @escaping Resolver = HTTPWebhookSender.resolve,
        addressRule: @escaping AddressRule = { $0.allows($1) }
    ) {
        self.limits = limits
        self.authorities = []
        self.addressRule = addressRule
        self.resolver = resolver
    }

    /// - Parameter authorityPath: PEM file of authorities to trust besides the system's.
    package init(
        authorityPath: String, resolver: @escaping Resolver = HTTPWebhookSender.resolve,
        addressRule: @escaping AddressRule = { $0.allows($1) }
    ) throws {
        guard let authorities = try? NIOSSLCertificate.fromPEMFile(authorityPath), !authorities.isEmpty else {
            throw Failure.authorities(path: authorityPath)
        }
        self.limits = Limits()
        self.authorities = authorities
        self.addressRule = addressRule
        self.resolver = resolver
    }

    package func send(
        _ request: WebhookRequest, answered: @escaping @Sendable (Result<WebhookReply, WebhookFailure>) -> Void
    ) {
        Task {
            let reply = await self.bounded(request)
            answered(reply)
        }
    }

    /// A failure when the time is over first: whatever takes longer goes on by itself and is not waited for.
    private func bounded(_ request: WebhookRequest) async -> Result<WebhookReply, WebhookFailure> {
        await withCheckedContinuation { continuation in
            let once = Mutex<CheckedContinuation<Result<WebhookReply, WebhookFailure>, Never>?>(continuation)
            let finish: @Sendable (Result<WebhookReply, WebhookFailure>) -> Void = { reply in
                once.withLock { $0.take() }?.resume(returning: reply)
            }
            let work = Task {
                do {
                    finish(.success(try await self.exchange(request)))
                } catch {
                    finish(.failure(WebhookFailure(Self.reason(error))))
                }
            }
            MultiThreadedEventLoopGroup.singleton.any().scheduleTask(in: self.limits.time) {
                work.cancel()
                finish(.failure(WebhookFailure("no answer in time")))
            }
        }
    }

    /// What went wrong, in words. Errors of the client library are named by their own words, which hold no URL.
    private static func reason(_ error: any Error) -> String {
        switch error {
        case Failure.unresolved: "the host name does not resolve"
        case Failure.address(let address): "the address \(address) may not be called"
        case is NIOTooManyBytesError: "the answer is too long"
        default: String("\(error)".prefix(200))
        }
    }

    /// Sends one request and reads its answer.
    package func exchange(_ request: WebhookRequest) async throws -> WebhookReply {
        let address = try await self.checkedAddress(of: request.url)
        var configuration = HTTPClient.Configuration()
        configuration.redirectConfiguration = .disallow
        configuration.proxy = nil
        configuration.decompression = .disabled
        configuration.httpVersion = .http1Only
        configuration.timeout = HTTPClient.Configuration.Timeout(
            connect: self.limits.connectTime, read: self.limits.time)
        if !self.authorities.isEmpty {
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.additionalTrustRoots = [.certificates(self.authorities)]
            configuration.tlsConfiguration = tls
        }
        configuration.dnsOverride = [request.url.host: address]
        // Why a client of its own: the address belongs to this request alone.
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        let result: Result<WebhookReply, any Error>
        do {
            result = .success(try await self.exchange(request, client))
        } catch {
            result = .failure(error)
        }
        try? await client.shutdown()
        return try result.get()
    }

    private func exchange(_ request: WebhookRequest, _ client: HTTPClient) async throws -> WebhookReply {
        var message = HTTPClientRequest(url: Self.text(request.url))
        message.method = .POST
        for (name, value) in request.headers { message.headers.add(name: name, value: value) }
        message.headers.replaceOrAdd(name: "connection", value: "close")
        message.body = .bytes(request.body)
        let response = try await client.execute(message, timeout: self.limits.time)
        return WebhookReply(
            status: Int(response.status.code), body: try await response.body.collect(upTo: self.limits.responseBytes))
    }

    /// The URL in the form that was checked, so that nobody reads the host in it differently.
    private static func text(_ url: WebhookURL) -> String {
        let host = url.host.utf8.contains(UInt8(ascii: ":")) ? "[\(url.host)]" : url.host
        return "\(url.isSecure ? "https" : "http")://\(host):\(url.port)\(url.target)"
    }

    // MARK: Addresses

    private func checkedAddress(of url: WebhookURL) async throws -> String {
        let resolver = self.resolver
        let (host, port) = (url.host, url.port)
        let found = try await Self.resolving.runIfActive { try resolver(host, port) }
        var checked: [String] = []
        for address in found {
            guard let text = address.ipAddress, let parsed = IPAddress(Self.withoutZone(text)), self.addressRule(url, parsed)
            else {
                throw Failure.address(address.ipAddress ?? "unknown")
            }
            checked.append(text)
        }
        // Version 4 first: what has both is more often reached by it.
        guard let address = checked.first(where: { !$0.utf8.contains(UInt8(ascii: ":")) }) ?? checked.first else {
            throw Failure.unresolved
        }
        return address
    }

    private static func withoutZone(_ text: String) -> Substring {
        text.prefix { $0 != "%" }
    }

    /// Every address of a host, from the system. Blocks.
    package static func resolve(_ host: String, _ port: Int) throws -> [SocketAddress] {
        if let address = try? SocketAddress(ipAddress: host, port: port) { return [address] }
        var hints = addrinfo()
        hints.ai_family = Self.anyFamily
        hints.ai_socktype = Self.streamType
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &list) == 0 else { throw Failure.unresolved }
        defer { freeaddrinfo(list) }
        var found: [SocketAddress] = []
        var next = list
        while let entry = next {
            if let address = SocketAddress(resolved: entry.pointee), !found.contains(address) { found.append(address) }
            next = entry.pointee.ai_next
        }
        return found
    }
}
