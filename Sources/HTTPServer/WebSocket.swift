import NIOCore

/// What happens on a WebSocket. Called on the connection's event loop only.
package protocol WebSocketSession: AnyObject {
    func opened()
    func binaryReceived(_ message: ByteBuffer)
    func textReceived(_ message: ByteBuffer)
    /// Any frame arrived, control frames included.
    func activitySeen()
    /// The peer reads again, or has stopped reading.
    func writabilityChanged(_ isWritable: Bool)
    /// The server is about to end.
    func draining()
    /// The connection is gone. Last call.
    func closed()
}

/// The sending side of one WebSocket. Confined to its event loop.
package final class WebSocket {
    package let channel: any Channel
    /// Bytes of one message, and of one frame. A session may lower it while it does not know its peer.
    package var maximumMessageBytes: Int
    private let closeTimeout: TimeAmount
    private(set) var closeSent = false
    private var closeTimer: Scheduled<Void>?

    init(channel: any Channel, limits: HTTPLimits) {
        self.channel = channel
        self.maximumMessageBytes = limits.webSocketMessageBytes
        self.closeTimeout = limits.webSocketCloseTimeout
    }

    package var eventLoop: any EventLoop { self.channel.eventLoop }
    package var isWritable: Bool { self.channel.isWritable }

    /// Sends one binary message.
    package func send(_ message: ByteBuffer) {
        guard !self.closeSent else { return }
        var header = self.channel.allocator.buffer(capacity: 10)
        Self.writeHeader(opcode: 0x2, length: message.readableBytes, to: &header)
        self.channel.write(header, promise: nil)
        self.channel.write(message, promise: nil)
    }

    /// Sends bytes that are finished frames already; they may be shared with other connections.
    package func sendFramed(_ frames: ByteBuffer) {
        guard !self.closeSent else { return }
        self.channel.write(frames, promise: nil)
    }

    package func flush() {
        self.channel.flush()
    }

    package func ping() {
        guard !self.closeSent else { return }
        self.sendControl(opcode: 0x9, ByteBuffer())
    }

    func pong(_ payload: ByteBuffer) {
        guard !self.closeSent else { return }
        self.sendControl(opcode: 0xA, payload)
    }

    /// Sends a close frame (without a status if `code` is nil) and closes the connection once the peer has answered, or in time.
    package func close(code: UInt16?, reason: String = "") {
        guard !self.closeSent else { return }
        var payload = ByteBuffer()
        if let code {
            payload.writeInteger(code)
            payload.writeString(Self.shortened(reason))
        }
        self.sendControl(opcode: 0x8, payload)
        self.closeSent = true
        let channel = self.channel
        self.closeTimer = self.eventLoop.scheduleTask(in: self.closeTimeout) { channel.close(promise: nil) }
    }

    /// The connection is gone: lets the timer go, which would keep the channel alive.
    func forgetTimer() {
        self.closeTimer?.cancel()
        self.closeTimer = nil
    }

    /// The start of a text that fits into a close frame: 123 bytes of whole characters.
    private static func shortened(_ reason: String) -> String {
        var bytes = 0
        return String(
            reason.prefix { character in
                bytes += character.utf8.count
                return bytes <= 123
            })
    }

    private func sendControl(opcode: UInt8, _ payload: ByteBuffer) {
        var frame = self.channel.allocator.buffer(capacity: payload.readableBytes + 2)
        Self.writeHeader(opcode: opcode, length: payload.readableBytes, to: &frame)
        frame.writeImmutableBuffer(payload)
        self.channel.writeAndFlush(frame, promise: nil)
    }

    /// Header of an unmasked, final frame (RFC 6455, section 5.2).
    package static func writeHeader(opcode: UInt8, length: Int, to buffer: inout ByteBuffer) {
        buffer.writeInteger(0x80 | opcode)
        switch length {
        case 0..<126: buffer.writeInteger(UInt8(length))
        case 126..<65_536:
            buffer.writeInteger(UInt8(126))
            buffer.writeInteger(UInt16(length))
        default:
            buffer.writeInteger(UInt8(127))
            buffer.writeInteger(UInt64(length))
        }
    }
}
