import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A plain HTTP server on the loopback address whose answers a test sets.
final class LoopbackServer: Sendable {
    /// What is answered to a request.
    struct Answer: Sendable {
        var status = HTTPResponseStatus.ok
        var headers: [(String, String)] = []
        var body = ""
        /// Bytes of `body` after which nothing more is sent; nil for all of it.
        var stallsAfter: Int?
        /// Whether even the head is held back.
        var isSilent = false
    }

    private struct State {
        var answers: [String: Answer] = [:]
        var requests: [String] = []
    }

    private let state = Mutex(State())
    private let channel: any Channel
    let port: Int

    static func start() async throws -> LoopbackServer {
        let reference = Mutex<LoopbackServer?>(nil)
        let handler: @Sendable (String) -> Answer = { uri in
            reference.withLock { $0 }?.answer(uri) ?? Answer(status: .internalServerError)
        }
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(handler))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let server = LoopbackServer(channel)
        reference.withLock { $0 = server }
        return server
    }

    private init(_ channel: any Channel) {
        self.channel = channel
        self.port = channel.localAddress?.port ?? 0
    }

    func stop() async { try? await self.channel.close() }

    func url(_ path: String) -> String { "http://127.0.0.1:\(self.port)\(path)" }

    func set(_ path: String, _ answer: Answer) { self.state.withLock { $0.answers[path] = answer } }

    /// The paths that were asked for, in their order.
    var requests: [String] { self.state.withLock { $0.requests } }

    private func answer(_ uri: String) -> Answer {
        self.state.withLock { state in
            state.requests.append(uri)
            return state.answers[uri] ?? Answer(status: .notFound)
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart
        private let answer: @Sendable (String) -> Answer
        private var uri = ""

        init(_ answer: @escaping @Sendable (String) -> Answer) { self.answer = answer }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch self.unwrapInboundIn(data) {
            case .head(let head): self.uri = head.uri
            case .body: break
            case .end:
                let answer = self.answer(self.uri)
                if answer.isSilent { return }
                var headers = HTTPHeaders(answer.headers)
                headers.replaceOrAdd(name: "content-length", value: "\(answer.body.utf8.count)")
                context.write(
                    self.wrapOutboundOut(
                        .head(HTTPResponseHead(version: .http1_1, status: answer.status, headers: headers))),
                    promise: nil)
                let shown = answer.body.prefix(answer.stallsAfter ?? answer.body.count)
                context.write(
                    self.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: String(shown))))), promise: nil)
                if answer.stallsAfter == nil {
                    context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
                } else {
                    context.flush()
                }
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
