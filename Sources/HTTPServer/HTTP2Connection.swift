import NIOCore
import NIOHTTP1
import NIOHTTP2

/// An HTTP/2 connection: each of its streams is a channel with the same handler that an HTTP/1 connection has.
enum HTTP2Connection {
    static func configure(_ channel: any Channel, serving: HTTPServing, info: HTTPConnectionInfo) throws {
        let limits = serving.limits
        let management = NIOHTTP2ServerConnectionManagementHandler(
            eventLoop: channel.eventLoop,
            configuration: .init(
                maxIdleTime: limits.keepAliveTimeout, maxAge: nil, maxGraceTime: nil,
                keepalive: .init(pingInterval: limits.http2PingInterval, ackTimeout: limits.requestTimeout)))
        var connection = NIOHTTP2Handler.ConnectionConfiguration()
        connection.initialSettings = [
            HTTP2Setting(parameter: .maxConcurrentStreams, value: limits.http2Streams),
            HTTP2Setting(parameter: .maxHeaderListSize, value: limits.headerBytes),
        ]
        connection.targetWindowSize = 1024 * 1024
        var stream = NIOHTTP2Handler.StreamConfiguration()
        stream.targetWindowSize = 256 * 1024
        stream.outboundBufferSizeHighWatermark = 1024 * 1024
        stream.outboundBufferSizeLowWatermark = 256 * 1024
        stream.streamResetFrameRateLimit.maximumCount = limits.http2Resets
        let pipeline = channel.pipeline.syncOperations
        let streams = NIOLoopBound(HTTP2Streams(), eventLoop: channel.eventLoop)
        _ = try pipeline.configureHTTP2Pipeline(
            mode: .server, connectionConfiguration: connection, streamConfiguration: stream,
            streamDelegate: management.http2StreamDelegate
        ) { channel in
            channel.eventLoop.makeCompletedFuture {
                let pipeline = channel.pipeline.syncOperations
                try pipeline.addHandler(HTTP2FieldIndexing())
                try pipeline.addHandler(HTTP2FramePayloadToHTTP1ServerCodec())
                try pipeline.addHandler(
                    HTTPConnectionHandler(serving: serving, info: info, ticker: serving.ticker(of: channel.eventLoop)))
                streams.value.opened(channel, isLast: serving.isDraining)
            }
        }
        try pipeline.addHandler(management)
        try pipeline.addHandler(HTTP2ConnectionHandler(streams: streams.value))
        // Why: the connection is active already, and the clocks of the handler start with that event.
        if channel.isActive { management.channelActive(context: try pipeline.context(handler: management)) }
    }
}

/// The open streams of one connection. Confined to its event loop.
final class HTTP2Streams {
    private var channels: [ObjectIdentifier: any Channel] = [:]
    private var isQuiescing = false

    var isEmpty: Bool { self.channels.isEmpty }

    /// - Parameter isLast: the server is about to end: behind this stream the connection takes no other.
    func opened(_ channel: any Channel, isLast: Bool) {
        let id = ObjectIdentifier(channel)
        self.channels[id] = channel
        let bound = NIOLoopBound(self, eventLoop: channel.eventLoop)
        let connection = channel.parent
        channel.closeFuture.whenComplete { _ in
            bound.value.channels[id] = nil
            if isLast, let connection { bound.value.quiesce(connection.pipeline) }
        }
    }

    /// No new streams; the connection closes behind the last one.
    func quiesce(_ pipeline: ChannelPipeline) {
        guard !self.isQuiescing else { return }
        self.isQuiescing = true
        pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
    }

    func tellAll(_ event: ServerIsDraining) {
        for channel in self.channels.values { channel.pipeline.fireUserInboundEventTriggered(event) }
    }
}

/// The last handler of an HTTP/2 connection: what no stream takes ends here.
final class HTTP2ConnectionHandler: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame

    private let streams: HTTP2Streams

    init(streams: HTTP2Streams) {
        self.streams = streams
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {}

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case let event as ServerIsDraining:
            self.streams.quiesce(context.pipeline)
            self.streams.tellAll(event)
        case is DrainIsOver:
            if self.streams.isEmpty { context.close(promise: nil) }
        default:
            context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // An error of one stream ends that stream; the handler before us ends the connection where the protocol says so.
        guard !(error is NIOHTTP2Errors.StreamError) else { return }
        context.close(promise: nil)
    }
}
