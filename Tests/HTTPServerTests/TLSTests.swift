import Foundation
import HTTPServer
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)))
struct TLSTests {
    let certificates: TestCertificates

    init() throws { self.certificates = try TestCertificates() }

    private func security(
        clientAuthority: String? = nil, _ minimum: HTTPTransportSecurity.Version = .tls12
    ) -> HTTPTransportSecurity {
        HTTPTransportSecurity(
            certificateChainPath: self.certificates.path("server.pem"),
            privateKeyPath: self.certificates.path("server.key"),
            clientAuthorityPath: clientAuthority.map { self.certificates.path($0) }, minimumVersion: minimum,
            maximumVersion: .tls13)
    }

    private func start(
        _ security: HTTPTransportSecurity, checkEvery interval: TimeAmount = .hours(1),
        _ handler: @escaping HTTPRouter.DirectHandler = { request, responder in
            responder.reply(
                .text("\(request.isSecure) \(request.origin ?? "-") \(request.certificateSubject ?? "nobody")"))
        }
    ) async throws -> DirectServer {
        var options = HTTPListenerOptions()
        options.security = security
        options.securityCheckInterval = interval
        return try await DirectServer.start(options: options, handler)
    }

    /// What the server answers, over TLS; the subject of its certificate comes back as well.
    private func exchange(
        _ server: DirectServer, certificate: String? = nil, version: TLSVersion? = nil
    ) async throws -> (bytes: [UInt8], certificate: NIOSSLCertificate?) {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = .file(self.certificates.path("authority.pem"))
        configuration.certificateVerification = .noHostnameVerification
        if let version {
            configuration.minimumTLSVersion = version
            configuration.maximumTLSVersion = version
        }
        if let certificate {
            configuration.certificateChain = try NIOSSLCertificate.fromPEMFile(
                self.certificates.path("\(certificate).pem")
            )
            .map { .certificate($0) }
            configuration.privateKey = .privateKey(
                try NIOSSLPrivateKey(file: self.certificates.path("\(certificate).key"), format: .pem))
        }
        let context = try NIOSSLContext(configuration: configuration)
        let collected = TLSCollector()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: "localhost"))
                    try pipeline.addHandler(TLSCollectorHandler(collected))
                }
            }
            .connect(host: "127.0.0.1", port: server.port).get()
        try? await channel.writeAndFlush(
            ByteBuffer(string: "GET /s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
        try? await channel.closeFuture.get()
        return collected.state.withLock { ($0.bytes, $0.certificate) }
    }

    @Test(arguments: [TLSVersion.tlsv12, .tlsv13]) func bothVersionsAreSpoken(version: TLSVersion) async throws {
        let server = try await self.start(self.security())
        let text = String(decoding: try await self.exchange(server, version: version).bytes, as: UTF8.self)
        #expect(text.hasSuffix("true https://localhost nobody"))
        await server.stop()
    }

    @Test func olderVersionThanAllowedIsRefused() async throws {
        let server = try await self.start(self.security(.tls13))
        #expect(try await self.exchange(server, version: .tlsv12).bytes.isEmpty)
        #expect(try await !self.exchange(server, version: .tlsv13).bytes.isEmpty)
        await server.stop()
    }

    @Test func onlyClientsOfTheAuthorityGetIn() async throws {
        try self.certificates.issue("alice", by: "authority", subject: "/O=Example, Inc/OU=Ops/CN=alice")
        try self.certificates.issue("mallory", by: "stranger", subject: "/CN=alice")
        let server = try await self.start(self.security(clientAuthority: "authority.pem"))
        let text = String(decoding: try await self.exchange(server, certificate: "alice").bytes, as: UTF8.self)
        #expect(text.hasSuffix("CN=alice,OU=Ops,O=Example\\, Inc"))
        #expect(try await self.exchange(server, certificate: "mallory").bytes.isEmpty)
        #expect(try await self.exchange(server).bytes.isEmpty)
        await server.stop()
    }

    @Test func filesAreSentThroughTLS() async throws {
        let pattern = TemporaryFile.pattern(1 << 20)
        let temporary = try TemporaryFile(pattern)
        let file = try HTTPFile(path: temporary.path)
        let server = try await self.start(self.security()) { _, responder in
            responder.parts(
                .ok, [:],
                [.bytes(ByteBuffer(string: "<")), .file(HTTPFileSlice(file, offset: 10, count: (1 << 20) - 10))])
        }
        let bytes = try await self.exchange(server).bytes
        #expect(FilePartsTests.body(of: bytes) == [UInt8(ascii: "<")] + pattern[10...])
        await server.stop()
    }

    @Test func newCertificateServesNewConnectionsAndABadOneIsIgnored() async throws {
        let server = try await self.start(self.security())
        // Issued for two days.
        let expiry = try #require(server.listener.certificateExpiry)
        #expect(abs(Date(timeIntervalSince1970: Double(expiry)).timeIntervalSinceNow - 172_800) < 3600)
        let before = try await self.exchange(server).certificate
        try "no certificate".write(toFile: self.certificates.path("server.pem"), atomically: true, encoding: .utf8)
        #expect(await server.listener.reloadCertificates() == false)
        #expect(try await self.exchange(server).certificate == before)
        try self.certificates.issue("server", by: "authority", subject: "/CN=localhost")
        #expect(await server.listener.reloadCertificates())
        let after = try await self.exchange(server).certificate
        #expect(after != nil && after != before)
        await server.stop()
    }

    @Test func replacedFileIsNoticed() async throws {
        let server = try await self.start(self.security(), checkEvery: .milliseconds(50))
        let before = try await self.exchange(server).certificate
        try self.certificates.issue("server", by: "authority", subject: "/CN=localhost")
        let deadline = ContinuousClock.now + .seconds(20)
        while try await self.exchange(server).certificate == before { try #require(ContinuousClock.now < deadline) }
        await server.stop()
    }

    @Test func eachBadFileHasItsOwnError() async throws {
        func failure(_ change: (inout HTTPTransportSecurity) -> Void) async -> TLSFileError? {
            var security = self.security()
            change(&security)
            do {
                await (try self.start(security)).stop()
                return nil
            } catch {
                return error as? TLSFileError
            }
        }
        let certificates = self.certificates
        #expect(await failure { $0.certificateChainPath = certificates.path("none.pem") }?.code == .missing)
        #expect(await failure { $0.privateKeyPath = certificates.directory }?.code == .notRegularFile)
        #expect(await failure { $0.certificateChainPath = certificates.path("server.key") }?.code == .notPEM)
        #expect(await failure { $0.privateKeyPath = certificates.path("server.pem") }?.code == .notPEM)
        #expect(await failure { $0.clientAuthorityPath = certificates.path("server.key") }?.code == .notPEM)
        let mismatch = await failure { $0.privateKeyPath = certificates.path("stranger.key") }
        #expect(mismatch?.code == .keyMismatch)
        #expect(mismatch?.description == "\(certificates.path("stranger.key")) is not the key of the certificate")
    }

    @Test func silentPeerIsClosedBeforeTheHandshake() async throws {
        var options = HTTPListenerOptions()
        options.security = self.security()
        let server = try await DirectServer.start(limits: { $0.requestTimeout = .milliseconds(150) }, options: options)
        {
            $1.reply(.text("x"))
        }
        #expect(try await server.exchange("").isEmpty)
        try await eventually { server.listener.connectionCount == 0 }
        await server.stop()
    }
}

final class TLSCollector: Sendable {
    let state = Mutex<(bytes: [UInt8], certificate: NIOSSLCertificate?)>(([], nil))
}

final class TLSCollectorHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let collector: TLSCollector
    init(_ collector: TLSCollector) { self.collector = collector }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = self.unwrapInboundIn(data)
        let certificate = try? context.pipeline.syncOperations.nioSSL_peerCertificate()
        self.collector.state.withLock {
            $0.bytes += Array(buffer: bytes)
            $0.certificate = certificate
        }
    }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
