import Glibc
import Logging
import NIOCore
import PostgresWire

/// `struct ucred` of unix(7), which the C library's module does not export.
private struct PeerCredentials {
    var pid: Int32 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
}

/// Parses the worker's frames and hands them to the link's sink, a whole read at a time.
///
/// Confined to its event loop.
final class WorkerLinkHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let allowedPeers: Set<UInt32>
    private let logger: Logger
    private let onLink: @Sendable (WorkerLink) -> Void
    private var received = ByteBuffer()
    private var link: WorkerLink?
    private var trusted = false
    private var failed = false

    init(allowedPeers: Set<UInt32>, logger: Logger, onLink: @escaping @Sendable (WorkerLink) -> Void) {
        self.allowedPeers = allowedPeers
        self.logger = logger
        self.onLink = onLink
    }

    func channelActive(context: ChannelHandlerContext) {
        guard let options = context.channel as? any SocketOptionProvider else {
            context.close(promise: nil)
            return
        }
        let credentials: EventLoopFuture<PeerCredentials> = options.unsafeGetSocketOption(
            level: SocketOptionLevel(SOL_SOCKET), name: SO_PEERCRED)
        let loopBound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        credentials.whenComplete { result in
            let (handler, context) = loopBound.value
            handler.peerIdentified(result.map { $0.uid }, context: context)
        }
    }

    private func peerIdentified(_ uid: Result<UInt32, any Error>, context: ChannelHandlerContext) {
        switch uid {
        case .success(let uid) where self.allowedPeers.contains(uid):
            self.trusted = true
            self.parse(context: context)
        case .success(let uid):
            self.logger.warning(
                "refused a connection to the extension socket: add the uid to PENSTOCK_SOCKET_PEERS if it is the database's",
                metadata: ["uid": "\(uid)"])
            context.close(promise: nil)
        case .failure(let error):
            self.logger.warning("cannot tell the peer of the extension socket", metadata: ["error": "\(error)"])
            context.close(promise: nil)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.failed else { return }
        self.append(self.unwrapInboundIn(data))
        guard self.trusted else {
            // Why: nothing is parsed before the peer is known, and an unknown one may not make us hold its bytes.
            if self.received.readableBytes > Int(WorkerFrame.maximumControlLength) { context.close(promise: nil) }
            return
        }
        self.parse(context: context)
    }

    private func parse(context: ChannelHandlerContext) {
        do {
            try self.deliver(context: context)
        } catch {
            self.failed = true
            self.link?.finish(.broken("\(error)"))
            self.logger.error("the extension's stream is broken", metadata: ["error": "\(error)"])
            context.close(promise: nil)
        }
        // What is left is the beginning of a frame. It must not keep the memory of what was before it.
        if self.received.readableBytes == 0 { self.received = ByteBuffer() }
    }

    private func append(_ incoming: ByteBuffer) {
        guard self.received.readableBytes > 0 else {
            self.received = incoming
            return
        }
        if self.received.readerIndex > 0 {
            var rest = ByteBuffer()
            rest.reserveCapacity(self.received.readableBytes + incoming.readableBytes)
            rest.writeImmutableBuffer(self.received)
            self.received = rest
        }
        self.received.writeImmutableBuffer(incoming)
    }

    private func deliver(context: ChannelHandlerContext) throws {
        while true {
            if let run = try WorkerFrame.messages(from: &self.received) {
                try self.deliver(run, context: context)
            }
            guard let frame = try WorkerFrame.next(from: &self.received) else { return }
            switch frame {
            case .message(let message):
                try self.deliver(MessageRun([message]), context: context)
            case .hello(let hello):
                guard self.link == nil else { throw WorkerFrame.ProtocolError(description: "a second hello") }
                let link = WorkerLink(hello: hello, channel: context.channel)
                self.link = link
                self.onLink(link)
            case .keepalive(let decoded, let flush, _):
                self.link?.sink?.reached(decoded: decoded, flush: flush)
            case .released:
                self.link?.finish(.released)
            case .failure(let failure):
                self.link?.finish(.failure(failure))
            }
        }
    }

    private func deliver(_ messages: MessageRun, context: ChannelHandlerContext) throws {
        guard let sink = self.link?.sink else {
            throw WorkerFrame.ProtocolError(description: "a change came before the stream was started")
        }
        if try !sink.received(messages) {
            context.channel.setOption(.autoRead, value: false).whenFailure { _ in }
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.link?.finish(.disconnected)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.logger.debug("extension socket error", metadata: ["error": "\(error)"])
        context.close(promise: nil)
    }
}
