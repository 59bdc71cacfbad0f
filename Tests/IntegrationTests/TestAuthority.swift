import ChildProcesses
import Crypto
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import TestSupport

/// Certificates for `localhost` that vouch for themselves, made by the `openssl` program.
final class TestAuthority: Sendable {
    let directory: String

    init() throws {
        self.directory = "/tmp/pkt-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: self.directory, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.directory) }

    func path(_ name: String) -> String { self.directory + "/" + name }

    /// Makes `NAME.pem` and `NAME.key`.
    func issue(_ name: String) async throws {
        let outcome = try await ChildProcess.run(
            [
                "/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout",
                "\(name).key", "-out", "\(name).pem",
            ], directory: self.directory)
        guard outcome.status == 0 else { throw TestSupportError("openssl: \(outcome.output)") }
    }

    /// Puts what was issued as one name in the place of another.
    func copy(_ name: String, to target: String) throws {
        for suffix in [".key", ".pem"] {
            let bytes = try Data(contentsOf: URL(fileURLWithPath: self.path(name + suffix)))
            try bytes.write(to: URL(fileURLWithPath: self.path(target + suffix)), options: .atomic)
        }
    }
}

/// Answers every request with one document, behind TLS.
final class SecureDocument: Sendable {
    private let channel: any Channel
    var port: Int { self.channel.localAddress?.port ?? 0 }

    init(_ document: String, certificate: String, key: String) async throws {
        let configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem)))
        let context = try NIOSSLContext(configuration: configuration)
        self.channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(NIOSSLServerHandler(context: context))
                    try pipeline.configureHTTPServerPipeline()
                    try pipeline.addHandler(Handler(document))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    func stop() async { try? await self.channel.close() }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart
        private let document: String

        init(_ document: String) { self.document = document }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = self.unwrapInboundIn(data) else { return }
            var head = HTTPResponseHead(version: .http1_1, status: .ok)
            head.headers.add(name: "content-length", value: "\(self.document.utf8.count)")
            context.write(self.wrapOutboundOut(.head(head)), promise: nil)
            context.write(self.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: self.document)))), promise: nil)
            context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}

/// Signs tokens, and publishes its key.
struct TokenParty {
    private let key = P256.Signing.PrivateKey()

    private static func base64(_ data: some DataProtocol) -> String {
        Data(data).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    var keySet: String {
        let point = self.key.publicKey.rawRepresentation
        return """
            {"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"\(Self.base64(point.prefix(32)))",\
            "y":"\(Self.base64(point.suffix(32)))"}]}
            """
    }

    /// Good for an hour, if nothing else is said.
    func token(subject: String = "alice", secondsLeft: Int = 3600) throws -> String {
        let end = Int(Date().timeIntervalSince1970) + secondsLeft
        let signed =
            Self.base64(Data(#"{"alg":"ES256","kid":"k"}"#.utf8)) + "."
            + Self.base64(Data(#"{"sub":"\#(subject)","exp":\#(end)}"#.utf8))
        return signed + "." + Self.base64(try self.key.signature(for: Data(signed.utf8)).rawRepresentation)
    }
}
