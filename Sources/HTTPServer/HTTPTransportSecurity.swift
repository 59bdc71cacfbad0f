import NIOSSL

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Versions of HTTP that a listener speaks. HTTP/2 is spoken behind TLS only.
package enum HTTPProtocolVersion: String, Hashable, Sendable {
    case http1
    case http2

    /// Name in the TLS handshake (RFC 7301).
    package var alpn: String { self == .http1 ? "http/1.1" : "h2" }
}

/// Where a listener finds its certificate, and whom it lets in.
package struct HTTPTransportSecurity: Hashable, Sendable {
    package enum Version: String, Hashable, Sendable, Comparable {
        case tls12 = "1.2"
        case tls13 = "1.3"

        package static func < (one: Version, other: Version) -> Bool { one.rawValue < other.rawValue }

        var nio: TLSVersion { self == .tls12 ? .tlsv12 : .tlsv13 }
    }

    /// PEM file: the certificate, and behind it those that lead to the root.
    package var certificateChainPath: String
    /// PEM file with one private key.
    package var privateKeyPath: String
    /// PEM file of authorities. With it, every client must show a certificate that leads to one of them.
    package var clientAuthorityPath: String?
    package var minimumVersion: Version
    package var maximumVersion: Version

    package init(
        certificateChainPath: String, privateKeyPath: String, clientAuthorityPath: String? = nil,
        minimumVersion: Version = .tls13, maximumVersion: Version = .tls13
    ) {
        self.certificateChainPath = certificateChainPath
        self.privateKeyPath = privateKeyPath
        self.clientAuthorityPath = clientAuthorityPath
        self.minimumVersion = minimumVersion
        self.maximumVersion = maximumVersion
    }

    var paths: [String] {
        [self.certificateChainPath, self.privateKeyPath] + (self.clientAuthorityPath.map { [$0] } ?? [])
    }

    /// Checks every file and makes what connections need; throws ``TLSFileError``.
    ///
    /// - Returns: besides it, when the first certificate of the chain ends, in seconds since 1970.
    func makeContext(versions: [HTTPProtocolVersion]) throws -> (context: NIOSSLContext, expiry: Int64) {
        let chain = try Self.certificates(in: self.certificateChainPath)
        let keyBytes = try Self.contents(of: self.privateKeyPath)
        guard let key = try? NIOSSLPrivateKey(bytes: keyBytes, format: .pem) else {
            throw TLSFileError(.notPEM, self.privateKeyPath)
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = self.minimumVersion.nio
        configuration.maximumTLSVersion = self.maximumVersion.nio
        configuration.applicationProtocols = versions.map(\.alpn)
        if let path = self.clientAuthorityPath {
            configuration.trustRoots = .certificates(try Self.certificates(in: path))
            // A client has no host name to check.
            configuration.certificateVerification = .noHostnameVerification
            configuration.sendCANameList = true
        }
        do {
            let expiry = chain.map { Int64($0.notValidAfter) }.min() ?? 0
            return (try NIOSSLContext(configuration: configuration), expiry)
        } catch {
            // Everything else was checked before.
            throw TLSFileError(.keyMismatch, self.privateKeyPath)
        }
    }

    private static func certificates(in path: String) throws -> [NIOSSLCertificate] {
        guard let certificates = try? NIOSSLCertificate.fromPEMBytes(Self.contents(of: path)), !certificates.isEmpty
        else {
            // The reason, if it is not the contents.
            _ = try Self.contents(of: path)
            throw TLSFileError(.notPEM, path)
        }
        return certificates
    }

    private static func contents(of path: String) throws -> [UInt8] {
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw TLSFileError(errno == EACCES ? .unreadable : .missing, path)
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw TLSFileError(.notRegularFile, path) }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw TLSFileError(.unreadable, path) }
        defer { close(descriptor) }
        // More than any chain needs; a wrong path must not fill the memory.
        let limit = 4 * 1024 * 1024
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65_536)
        while bytes.count <= limit {
            let count = read(descriptor, &piece, piece.count)
            guard count >= 0 else { throw TLSFileError(.unreadable, path) }
            guard count > 0 else { return bytes }
            bytes += piece[0..<count]
        }
        throw TLSFileError(.notPEM, path)
    }
}

/// What is wrong with a file of the transport security. Names the path, never the contents.
package struct TLSFileError: Error, Hashable, CustomStringConvertible {
    package enum Code: String, Hashable, Sendable {
        case missing = "does not exist"
        case notRegularFile = "is not a regular file"
        case unreadable = "cannot be read"
        case notPEM = "holds nothing usable in PEM form"
        case keyMismatch = "is not the key of the certificate"
    }

    package let code: Code
    package let path: String

    init(_ code: Code, _ path: String) {
        self.code = code
        self.path = path
    }

    package var description: String { "\(self.path) \(self.code.rawValue)" }
}
