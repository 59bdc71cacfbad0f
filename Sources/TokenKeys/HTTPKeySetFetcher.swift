import AsyncHTTPClient
import Foundation
import Identity
import NIOCore
import NIOHTTP1
import NIOSSL

/// A key set behind an HTTPS URL.
///
/// Redirects are followed to the same scheme, host and port alone. Plain HTTP is for tests on this machine: only to the
/// loopback address, and only when it is asked for. The content type is not looked at; the parser is strict enough.
package final class HTTPKeySetFetcher: KeySetFetcher {
    /// How many redirects are followed.
    package static let maximumRedirects = 3

    package let name: String
    private let url: URL
    private let timeout: Duration
    private let maximumBytes: Int
    private let client: HTTPClient

    /// - Parameters:
    ///   - url: Where the set is published.
    ///   - allowsInsecureLoopback: Whether `http` is taken for a loopback address.
    ///   - authorityPath: PEM file of authorities to trust besides the system's.
    ///   - timeout: For a whole fetch, redirects included.
    ///   - maximumBytes: For the body.
    package init(
        url text: String, allowsInsecureLoopback: Bool = false, authorityPath: String? = nil,
        timeout: Duration = .seconds(10), maximumBytes: Int = KeySet.maximumBytes
    ) throws(KeySetFetchError) {
        guard KeySetURL.isAllowed(text, allowsInsecureLoopback: allowsInsecureLoopback), let url = URL(string: text)
        else {
            throw KeySetFetchError(.insecureURL, "the URL is not an https URL without credentials")
        }
        self.url = url
        self.name = "\(url.scheme ?? "")://\(url.host ?? "")\(url.port.map { ":\($0)" } ?? "")\(url.path)"
        self.timeout = timeout
        self.maximumBytes = maximumBytes
        var configuration = HTTPClient.Configuration()
        configuration.redirectConfiguration = .disallow
        configuration.timeout = HTTPClient.Configuration.Timeout(connect: .seconds(5), read: .seconds(10))
        configuration.connectionPool.idleTimeout = .seconds(5)
        configuration.httpVersion = .http1Only
        if let authorityPath {
            guard let authorities = try? NIOSSLCertificate.fromPEMFile(authorityPath), !authorities.isEmpty else {
                throw KeySetFetchError(.unreadable, "\(authorityPath) holds no certificates in PEM")
            }
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.additionalTrustRoots = [.certificates(authorities)]
            configuration.tlsConfiguration = tls
        }
        self.client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// Closes the connections. Nothing may be fetched afterwards.
    package func shutdown() async {
        try? await self.client.shutdown()
    }

    package func fetch() async throws(KeySetFetchError) -> FetchedKeySet {
        let timeout = self.timeout
        let result = await withTaskGroup(of: Result<FetchedKeySet, KeySetFetchError>.self) { tasks in
            tasks.addTask {
                do throws(KeySetFetchError) {
                    return .success(try await self.fetchDocument())
                } catch {
                    return .failure(error)
                }
            }
            tasks.addTask {
                try? await Task.sleep(for: timeout)
                return .failure(KeySetFetchError(.timeout, "no answer within \(timeout)"))
            }
            let first = await tasks.next()
            tasks.cancelAll()
            return first ?? .failure(KeySetFetchError(.unreachable, "cancelled"))
        }
        return try result.get()
    }

    private func fetchDocument() async throws(KeySetFetchError) -> FetchedKeySet {
        var url = self.url
        for _ in 0...Self.maximumRedirects {
            var request = HTTPClientRequest(url: url.absoluteString)
            request.headers.add(name: "accept", value: "application/jwk-set+json, application/json;q=0.9")
            request.headers.add(name: "user-agent", value: "penstock")
            do {
                let response = try await self.client.execute(request, timeout: .seconds(30))
                if (300..<400).contains(response.status.code), response.status.code != 304 {
                    url = try self.redirect(from: url, to: response.headers.first(name: "location"))
                    continue
                }
                guard response.status.code == 200 else {
                    throw KeySetFetchError(.status, "the answer has status \(response.status.code)")
                }
                let body = try await response.body.collect(upTo: self.maximumBytes)
                return FetchedKeySet(bytes: Array(body.readableBytesView), lifetime: Self.lifetime(response.headers))
            } catch {
                throw self.fetchError(error)
            }
        }
        throw KeySetFetchError(.redirected, "more than \(Self.maximumRedirects) redirects")
    }

    private func redirect(from url: URL, to location: String?) throws(KeySetFetchError) -> URL {
        guard let location, let target = URL(string: location, relativeTo: url)?.absoluteURL,
            target.scheme?.lowercased() == self.url.scheme?.lowercased(),
            target.host?.lowercased() == self.url.host?.lowercased(), target.port == self.url.port,
            target.user == nil, target.password == nil
        else { throw KeySetFetchError(.redirected, "the answer is a redirect to another place") }
        return target
    }

    private func fetchError(_ error: any Error) -> KeySetFetchError {
        switch error {
        case let error as KeySetFetchError: return error
        case is NIOTooManyBytesError:
            return KeySetFetchError(.tooLarge, "the answer is larger than \(self.maximumBytes) bytes")
        case let error as HTTPClientError:
            switch error {
            case .deadlineExceeded, .readTimeout, .connectTimeout, .tlsHandshakeTimeout:
                return KeySetFetchError(.timeout, "no answer in time")
            default: return KeySetFetchError(.unreachable, "\(error)")
            }
        default: return KeySetFetchError(.unreachable, "the connection failed (\(type(of: error)))")
        }
    }

    /// `max-age` less the time that the answer has already spent in caches.
    static func lifetime(_ headers: HTTPHeaders) -> Duration? {
        let header = headers[canonicalForm: "cache-control"].joined(separator: ",")
        guard let seconds = CacheLifetime.seconds(inCacheControl: header) else { return nil }
        let age = headers.first(name: "age").flatMap { Int64($0) } ?? 0
        // A bound that fits every arithmetic to come; the machine cuts it further.
        return .seconds(min(max(seconds - min(max(age, 0), seconds), 0), 1 << 32))
    }
}
