import HTTPServer
import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOPosix
import NIOSSL
import Synchronization
import Testing

/// Collects the response of one HTTP/2 stream.
final class HTTP2Response: Sendable {
    struct State {
        var head: HTTPResponseHead?
        var body: [UInt8] = []
        var isWhole = false
    }
    let state = Mutex(State())
    let began = Signal()
    let over = Signal()
    var body: String { self.state.withLock { String(decoding: $0.body, as: UTF8.self) } }
    var status: HTTPResponseStatus? { self.state.withLock { $0.head?.status } }
}

final class HTTP2ResponseHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    private let response: HTTP2Response
    init(_ response: HTTP2Response) { self.response = response }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = self.unwrapInboundIn(data)
        self.response.state.withLock { state in
            switch part {
            case .head(let head): state.head = head
            case .body(let bytes): state.body += Array(buffer: bytes)
            case .end: state.isWhole = true
            }
        }
        self.response.began.fire()
    }
    func channelInactive(context: ChannelHandlerContext) { self.response.over.fire() }
    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}

/// An HTTP/2 connection to a test server.
struct HTTP2Client {
    let channel: any Channel
    let multiplexer: NIOHTTP2Handler.StreamMultiplexer

    static func connect(_ server: DirectServer, authority: String) async throws -> HTTP2Client {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = .file(authority)
        configuration.certificateVerification = .noHostnameVerification
        configuration.applicationProtocols = ["h2"]
        let context = try NIOSSLContext(configuration: configuration)
        let made = Mutex<NIOHTTP2Handler.StreamMultiplexer?>(nil)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: "localhost"))
                    // Before the first byte: the server speaks as soon as hands are shaken.
                    let multiplexer = try pipeline.configureHTTP2Pipeline(
                        mode: .client, connectionConfiguration: .init(), streamConfiguration: .init()
                    ) { $0.close() }
                    made.withLock { $0 = multiplexer }
                }
            }
            .connect(host: "127.0.0.1", port: server.port).get()
        let multiplexer = try #require(made.withLock { $0 })
        return HTTP2Client(channel: channel, multiplexer: multiplexer)
    }

    func request(
        _ method: HTTPMethod, _ path: String, body: ByteBuffer? = nil, reads: Bool = true
    ) async throws -> (response: HTTP2Response, channel: any Channel) {
        let response = HTTP2Response()
        let stream = try await self.multiplexer.createStreamChannel { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(
                    HTTP2FramePayloadToHTTP1ClientCodec(httpProtocol: .https))
                try channel.pipeline.syncOperations.addHandler(HTTP2ResponseHandler(response))
            }
        }.get()
        let head = HTTPRequestHead(version: .http2, method: method, uri: path, headers: ["host": "localhost"])
        stream.write(HTTPClientRequestPart.head(head), promise: nil)
        if let body { stream.write(HTTPClientRequestPart.body(.byteBuffer(body)), promise: nil) }
        stream.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
        return (response, stream)
    }
}

@Suite(.timeLimit(.minutes(1)))
struct HTTP2Tests {
    let certificates: TestCertificates

    init() throws { self.certificates = try TestCertificates() }

    private func start(
        limits: (inout HTTPLimits) -> Void = { _ in }, _ handler: @escaping HTTPRouter.DirectHandler
    ) async throws -> DirectServer {
        var options = HTTPListenerOptions()
        options.versions = [.http2, .http1]
        options.security = HTTPTransportSecurity(
            certificateChainPath: self.certificates.path("server.pem"),
            privateKeyPath: self.certificates.path("server.key"))
        return try await DirectServer.start(limits: limits, options: options, handler)
    }

    @Test func repliesBodiesAndRefusalsGoOverStreams() async throws {
        let server = try await self.start(limits: { $0.bodyBytes = 100_000 }) { request, responder in
            if request.query == "empty" {
                responder.reply(HTTPReply(status: .noContent))
            } else {
                let origin = request.origin ?? "-"
                responder.reply(
                    .text("\(request.head.method) \(request.path) \(request.body.readableBytes) \(origin)"))
            }
        }
        let client = try await HTTP2Client.connect(server, authority: self.certificates.path("authority.pem"))
        let get = try await client.request(.GET, "/s/a").response
        let post = try await client.request(.POST, "/s/b", body: ByteBuffer(repeating: 1, count: 90_000)).response
        let head = try await client.request(.HEAD, "/s").response
        let empty = try await client.request(.GET, "/s?empty").response
        let large = try await client.request(.POST, "/s/b", body: ByteBuffer(repeating: 1, count: 600_000)).response
        let other = try await client.request(.GET, "/other").response
        for response in [get, post, head, empty, large, other] { await response.over.wait() }
        #expect(get.body == "GET /s/a 0 https://localhost")
        #expect(get.state.withLock { $0.head?.headers["content-length"] } == ["28"])
        #expect(post.body == "POST /s/b 90000 https://localhost")
        #expect(head.status == .ok && head.body.isEmpty)
        #expect(empty.status == .noContent && empty.state.withLock { $0.isWhole })
        #expect(large.status == .payloadTooLarge)
        #expect(other.status == .notFound)
        try await client.channel.close()
        await server.stop()
    }

    @Test func filesAndStreamsGoOverStreams() async throws {
        let probe = StreamProbe()
        let pattern = TemporaryFile.pattern(2 << 20)
        let temporary = try TemporaryFile(pattern)
        let file = try HTTPFile(path: temporary.path)
        let server = try await self.start { request, responder in
            if request.query == "file" {
                responder.parts(.ok, [:], [.file(HTTPFileSlice(file, offset: 0, count: 2 << 20))])
            } else {
                responder.stream(.ok, [:]) { ProbeSession(probe, $0, first: "first") }
            }
        }
        let client = try await HTTP2Client.connect(server, authority: self.certificates.path("authority.pem"))
        let stream = try await client.request(.GET, "/s").response
        await probe.opened.wait()
        // Others go on beside the open stream.
        let whole = try await client.request(.GET, "/s?file").response
        await whole.over.wait()
        #expect(whole.state.withLock { $0.body == pattern && $0.isWhole })
        #expect(!stream.over.hasFired)
        let shared = HTTPSharedChunk(ByteBuffer(string: " second"))
        try await probe.run { stream in
            stream.write(shared)
            stream.end()
        }
        await stream.over.wait()
        #expect(stream.body == "first second")
        await probe.ended.wait()
        try await client.channel.close()
        await server.stop()
    }

    @Test func resetStreamTellsItsWaiter() async throws {
        let gone = Signal()
        let held = Mutex<[HTTPResponder]>([])
        let server = try await self.start { request, responder in
            held.withLock { $0.append(responder) }
            responder.onGone { gone.fire() }
        }
        let client = try await HTTP2Client.connect(server, authority: self.certificates.path("authority.pem"))
        let stream = try await client.request(.GET, "/s").channel
        try await eventually { held.withLock { $0.count } == 1 }
        // The close fails with the reset that it made.
        try? await stream.close()
        await gone.wait()
        try await client.channel.close()
        await server.stop()
    }

    @Test func drainReachesStreamsAndClosesTheConnection() async throws {
        let probe = StreamProbe()
        let waiting = Signal()
        let server = try await self.start { request, responder in
            if request.query == "wait" {
                responder.onDrain { responder.reply(HTTPReply(status: .noContent)) }
                waiting.fire()
            } else {
                responder.stream(.ok, [:]) { ProbeSession(probe, $0, first: "first") }
            }
        }
        let client = try await HTTP2Client.connect(server, authority: self.certificates.path("authority.pem"))
        let stream = try await client.request(.GET, "/s").response
        let wait = try await client.request(.GET, "/s?wait").response
        await probe.opened.wait()
        await waiting.wait()
        await server.listener.drain(grace: .seconds(20))
        await stream.over.wait()
        await wait.over.wait()
        #expect(stream.body == "firstbye")
        #expect(stream.state.withLock { $0.isWhole })
        #expect(wait.status == .noContent)
        try await client.channel.closeFuture.get()
    }

    @Test func idleConnectionIsClosedAndABusyOneIsNot() async throws {
        let probe = StreamProbe()
        let server = try await self.start(limits: { $0.keepAliveTimeout = .seconds(1) }) { request, responder in
            responder.stream(.ok, [:]) { ProbeSession(probe, $0, first: "first") }
        }
        let busy = try await HTTP2Client.connect(server, authority: self.certificates.path("authority.pem"))
        let stream = try await busy.request(.GET, "/s").response
        await stream.began.wait()
        let idle = try await HTTP2Client.connect(server, authority: self.certificates.path("authority.pem"))
        try await idle.channel.closeFuture.get()
        #expect(busy.channel.isActive && !stream.over.hasFired)
        try await busy.channel.close()
        await server.stop()
    }

    @Test func peerThatResetsStreamsRapidlyIsClosed() async throws {
        let server = try await self.start(limits: { $0.http2Resets = 10 }) { _, responder in
            responder.onGone { _ = responder }
        }
        let client = try await HTTP2Client.connect(server, authority: self.certificates.path("authority.pem"))
        for _ in 0..<30 {
            guard let stream = try? await client.request(.GET, "/s").channel else { break }
            try? await stream.close()
        }
        try await client.channel.closeFuture.get()
        await server.stop()
    }
}
