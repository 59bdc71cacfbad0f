import Foundation
import HTTPServer
import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOPosix
import NIOSSL
import Synchronization

/// A certificate of the test's own, made by the `openssl` program and removed at the end.
final class TestCertificate: Sendable {
    let folder: TestFolder
    var certificate: String { self.folder.path + "/server.pem" }
    var key: String { self.folder.path + "/server.key" }

    init() throws {
        self.folder = try TestFolder()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = [
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,DNS:hook.test", "-keyout", "server.key",
            "-out", "server.pem",
        ]
        process.currentDirectoryURL = URL(fileURLWithPath: self.folder.path)
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw TestFailure("openssl failed") }
    }

    var security: HTTPTransportSecurity {
        HTTPTransportSecurity(certificateChainPath: self.certificate, privateKeyPath: self.key)
    }

    func clientContext(_ protocols: [String]) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = .file(self.certificate)
        configuration.applicationProtocols = protocols
        return try NIOSSLContext(configuration: configuration)
    }
}

/// One connection behind TLS, of HTTP/2 or HTTP/1.1.
struct SecureClient: Sendable {
    let channel: any Channel
    let multiplexer: NIOHTTP2Handler.StreamMultiplexer?
    let collector: ResponseCollector

    static func connect(port: Int, _ certificate: TestCertificate, isHTTP2: Bool) async throws -> SecureClient {
        let context = try certificate.clientContext([isHTTP2 ? "h2" : "http/1.1"])
        let collector = ResponseCollector()
        let box = Box()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(.seconds(5))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: "localhost"))
                    // Why before anything comes: the server of HTTP/2 speaks first.
                    guard isHTTP2 else {
                        try pipeline.addHandler(HTTPRequestEncoder())
                        try pipeline.addHandler(ByteToMessageHandler(HTTPResponseDecoder()))
                        try pipeline.addHandler(collector)
                        return
                    }
                    box.value = try pipeline.configureHTTP2Pipeline(
                        mode: .client, connectionConfiguration: .init(), streamConfiguration: .init()
                    ) { $0.close() }
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        return SecureClient(channel: channel, multiplexer: box.value, collector: collector)
    }

    private final class Box: Sendable {
        private let multiplexer = Mutex<NIOHTTP2Handler.StreamMultiplexer?>(nil)
        var value: NIOHTTP2Handler.StreamMultiplexer? {
            get { self.multiplexer.withLock { $0 } }
            set { self.multiplexer.withLock { $0 = newValue } }
        }
    }

    /// Sends a request; the collector gets what comes back.
    func begin(
        _ method: HTTPMethod, _ target: String, _ headers: [String: String] = [:], _ body: String = ""
    ) async throws -> ClientConnection {
        let head = StreamClient.head(method, target, headers, count: body.utf8.count)
        guard let multiplexer = self.multiplexer else {
            self.collector.reset()
            let connection = ClientConnection(channel: self.channel, collector: self.collector)
            connection.send(head, body: Array(body.utf8))
            return connection
        }
        let collector = ResponseCollector()
        let stream = try await multiplexer.createStreamChannel { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(
                    HTTP2FramePayloadToHTTP1ClientCodec(httpProtocol: .https))
                try channel.pipeline.syncOperations.addHandler(collector)
            }
        }.get()
        let connection = ClientConnection(channel: stream, collector: collector)
        connection.send(head, body: Array(body.utf8))
        return connection
    }

    func request(
        _ method: HTTPMethod, _ target: String, _ headers: [String: String] = [:], _ body: String = ""
    ) async throws -> Answer {
        let connection = try await self.begin(method, target, headers, body)
        guard await connection.collector.wait(for: { $0.isWhole || $0.isClosed }) else {
            throw TestFailure("\(method) \(target): no answer")
        }
        let state = connection.collector.state
        guard let head = state.head else { throw TestFailure("\(method) \(target): no head") }
        return Answer(status: Int(head.status.code), headers: head.headers, body: state.body)
    }

    func close() async { try? await self.channel.close().get() }
}
