import NIOCore
import NIOWebSocket

/// Receives frames: puts fragments together within limits, answers pings, keeps the rules of RFC 6455, section 5.
///
/// Confined to its event loop.
final class WebSocketHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame

    private let socket: WebSocket
    private let session: any WebSocketSession
    private let limits: HTTPLimits
    private var fragments: (opcode: WebSocketOpcode, bytes: ByteBuffer, count: Int)?
    private var ended = false

    init(socket: WebSocket, session: any WebSocketSession, limits: HTTPLimits) {
        self.socket = socket
        self.session = session
        self.limits = limits
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.session.opened()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.ended else { return }
        let frame = self.unwrapInboundIn(data)
        // Why: a client must mask and may not use reserved bits; what does otherwise is not a browser.
        guard frame.maskKey != nil, !frame.rsv1, !frame.rsv2, !frame.rsv3 else {
            self.fail(.protocolError, "frame not masked or with reserved bits", context: context)
            return
        }
        self.session.activitySeen()
        switch frame.opcode {
        case .binary, .text:
            guard self.fragments == nil else {
                self.fail(.protocolError, "a message began inside another", context: context)
                return
            }
            self.dataReceived(frame, opcode: frame.opcode, context: context)
        case .continuation:
            guard let open = self.fragments else {
                self.fail(.protocolError, "continuation without a message", context: context)
                return
            }
            self.dataReceived(frame, opcode: open.opcode, context: context)
        case .ping:
            self.socket.pong(frame.unmaskedData)
        case .pong:
            break
        case .connectionClose:
            self.closeReceived(frame.unmaskedData, context: context)
        default:
            self.fail(.protocolError, "unknown opcode", context: context)
        }
    }

    private func dataReceived(_ frame: WebSocketFrame, opcode: WebSocketOpcode, context: ChannelHandlerContext) {
        var bytes = frame.unmaskedData
        if var open = self.fragments {
            self.fragments = nil
            guard open.bytes.readableBytes + bytes.readableBytes <= self.limits.webSocketMessageBytes,
                open.count < self.limits.webSocketFragments
            else {
                self.fail(.messageTooLarge, "message too large", context: context)
                return
            }
            open.bytes.writeBuffer(&bytes)
            open.count += 1
            if !frame.fin {
                self.fragments = open
                return
            }
            bytes = open.bytes
        } else if !frame.fin {
            self.fragments = (opcode, bytes, 1)
            return
        }
        if opcode == .binary {
            self.session.binaryReceived(bytes)
        } else {
            self.session.textReceived(bytes)
        }
    }

    private func closeReceived(_ payload: ByteBuffer, context: ChannelHandlerContext) {
        var payload = payload
        let code = payload.readInteger(as: UInt16.self)
        self.ended = true
        // Why: 1005 and the like may not be sent on the wire; only codes that a peer may send are echoed.
        let echo = code.flatMap { (1000...1003).contains($0) || (1007...1014).contains($0) || $0 >= 3000 ? $0 : nil }
        self.socket.close(code: echo ?? (code == nil ? nil : 1002))
        context.close(promise: nil)
    }

    private func fail(_ code: WebSocketErrorCode, _ reason: String, context: ChannelHandlerContext) {
        self.ended = true
        self.socket.close(code: UInt16(webSocketErrorCode: code), reason: reason)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.session.writabilityChanged(context.channel.isWritable)
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
        self.session.closed()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? NIOWebSocketError {
            self.fail(
                error == .invalidFrameLength ? .messageTooLarge : .protocolError, "frame not readable",
                context: context)
        } else {
            context.close(promise: nil)
        }
    }
}
