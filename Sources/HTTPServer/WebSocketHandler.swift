import NIOCore

/// Receives frames: puts fragments together within limits, answers pings, keeps the rules of RFC 6455, section 5.
///
/// Confined to its event loop.
final class WebSocketHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame

    private let socket: WebSocket
    private let session: any WebSocketSession
    private let maximumFragments: Int
    private var fragments: (opcode: WebSocketFrame.Opcode, bytes: ByteBuffer, count: Int)?
    /// Payload of the newest ping that has no answer yet. Older ones need none (RFC 6455, section 5.5.3), which bounds what a flood
    /// of pings can make us queue.
    private var unansweredPing: ByteBuffer?
    /// The peer broke the rules: only its close frame is of interest.
    private var failed = false
    private var isGone = false

    init(socket: WebSocket, session: any WebSocketSession, limits: HTTPLimits) {
        self.socket = socket
        self.session = session
        self.maximumFragments = limits.webSocketFragments
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.session.opened()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = self.unwrapInboundIn(data)
        guard !self.isGone else { return }
        if self.failed {
            if frame.opcode == .close { context.close(promise: nil) }
            return
        }
        self.session.activitySeen()
        switch frame.opcode {
        case .binary, .text:
            guard self.fragments == nil else {
                self.fail(.protocolError("a message began inside another"))
                return
            }
            self.dataReceived(frame, opcode: frame.opcode)
        case .continuation:
            guard let open = self.fragments else {
                self.fail(.protocolError("continuation without a message"))
                return
            }
            self.dataReceived(frame, opcode: open.opcode)
        case .ping:
            self.unansweredPing = frame.payload
        case .pong:
            break
        case .close:
            self.closeReceived(frame.payload, context: context)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.answerPing()
        context.fireChannelReadComplete()
    }

    /// A peer that does not read gets no answers queued.
    private func answerPing() {
        guard let payload = self.unansweredPing, self.socket.isWritable else { return }
        self.unansweredPing = nil
        self.socket.pong(payload)
    }

    private func dataReceived(_ frame: WebSocketFrame, opcode: WebSocketFrame.Opcode) {
        var bytes = frame.payload
        if var open = self.fragments {
            self.fragments = nil  // gives up this reference, so that the append does not copy
            guard open.bytes.readableBytes + bytes.readableBytes <= self.socket.maximumMessageBytes,
                open.count < self.maximumFragments
            else {
                self.fail(.tooLarge)
                return
            }
            open.bytes.writeBuffer(&bytes)
            open.count += 1
            if !frame.isFinal {
                self.fragments = open
                return
            }
            bytes = open.bytes
        } else if !frame.isFinal {
            // Why a copy: the slice would keep the whole buffer of the socket for as long as the message is open.
            self.fragments = (opcode, ByteBuffer(bytes: bytes.readableBytesView), 1)
            return
        }
        if opcode == .binary {
            self.session.binaryReceived(bytes)
        } else {
            self.session.textReceived(bytes)
        }
    }

    private func closeReceived(_ payload: ByteBuffer, context: ChannelHandlerContext) {
        // Why: 1005 and the like may not be sent on the wire; only codes that a peer may send are echoed.
        let code: UInt16?
        switch payload.getInteger(at: payload.readerIndex, as: UInt16.self) {
        case .some(let value): code = Self.mayBeSent(value) ? value : 1002
        case .none: code = payload.readableBytes == 0 ? nil : 1002
        }
        self.isGone = true
        self.socket.close(code: code)
        // Why not at once: output that waits for the peer would be dropped together with the answer. The timer of the answer ends
        // a peer that does not read.
        let channel = context.channel
        context.writeAndFlush(NIOAny(ByteBuffer())).whenComplete { _ in channel.close(promise: nil) }
    }

    private static func mayBeSent(_ code: UInt16) -> Bool {
        (1000...1003).contains(code) || (1007...1014).contains(code) || (3000...4999).contains(code)
    }

    private func fail(_ violation: WebSocketViolation) {
        self.failed = true
        self.fragments = nil
        self.unansweredPing = nil
        self.socket.close(code: violation.code, reason: violation.reason)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.session.writabilityChanged(context.channel.isWritable)
        self.answerPing()
        context.fireChannelWritabilityChanged()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is ServerIsDraining:
            self.session.draining()
        case let event as ChannelEvent where event == .inputClosed:
            context.close(promise: nil)
        default:
            context.fireUserInboundEventTriggered(event)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.isGone = true
        self.fragments = nil
        self.socket.forgetTimer()
        self.session.closed()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let violation = error as? WebSocketViolation {
            self.fail(violation)
        } else if !self.failed {
            context.close(promise: nil)
        }
        // Once failed, the decoder reports every further read; the timer of our close frame ends the connection.
    }
}
