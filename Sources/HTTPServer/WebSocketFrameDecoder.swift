import NIOCore

/// A frame of a client, unmasked.
struct WebSocketFrame: Equatable {
    enum Opcode: UInt8 {
        case continuation = 0x0
        case text = 0x1
        case binary = 0x2
        case close = 0x8
        case ping = 0x9
        case pong = 0xA

        var isControl: Bool { self.rawValue & 0x8 != 0 }
    }

    var isFinal: Bool
    var opcode: Opcode
    var payload: ByteBuffer
}

/// A violation of RFC 6455 by the peer, and how the connection is closed for it.
struct WebSocketViolation: Error, Hashable {
    var code: UInt16
    var reason: String

    static func protocolError(_ reason: String) -> WebSocketViolation { .init(code: 1002, reason: reason) }
    static let tooLarge = WebSocketViolation(code: 1009, reason: "message too large")
}

/// Reads frames of a client (RFC 6455, section 5.2). Everything in a header is checked before a byte of its payload is kept, so a
/// peer cannot make us hold more than ``WebSocket/maximumMessageBytes``.
struct WebSocketFrameDecoder: ByteToMessageDecoder {
    typealias InboundOut = WebSocketFrame

    private let socket: WebSocket

    init(socket: WebSocket) {
        self.socket = socket
    }

    mutating func decode(context: ChannelHandlerContext, buffer: inout ByteBuffer) throws -> DecodingState {
        guard let frame = try Self.next(in: &buffer, maximumBytes: self.socket.maximumMessageBytes) else {
            return .needMoreData
        }
        context.fireChannelRead(self.wrapInboundOut(frame))
        return .continue
    }

    mutating func decodeLast(
        context: ChannelHandlerContext, buffer: inout ByteBuffer, seenEOF: Bool
    ) throws -> DecodingState {
        // Part of a frame at the end says nothing new: the connection is gone.
        .needMoreData
    }

    /// The next whole frame, or nil if there is none yet; nothing is consumed then.
    static func next(in buffer: inout ByteBuffer, maximumBytes: Int) throws -> WebSocketFrame? {
        let start = buffer.readerIndex
        guard let first = buffer.getInteger(at: start, as: UInt8.self) else { return nil }
        guard first & 0x70 == 0 else { throw WebSocketViolation.protocolError("reserved bits are set") }
        guard let opcode = WebSocketFrame.Opcode(rawValue: first & 0x0F) else {
            throw WebSocketViolation.protocolError("unknown opcode")
        }
        let isFinal = first & 0x80 != 0
        guard let second = buffer.getInteger(at: start + 1, as: UInt8.self) else { return nil }
        // Why: only what is masked cannot be mistaken for something else by a proxy; browsers always mask.
        guard second & 0x80 != 0 else { throw WebSocketViolation.protocolError("frame is not masked") }
        let short = Int(second & 0x7F)
        if opcode.isControl {
            guard isFinal, short <= 125 else { throw WebSocketViolation.protocolError("malformed control frame") }
        }
        let length: UInt64
        let lengthBytes: Int
        switch short {
        case 126:
            guard let value = buffer.getInteger(at: start + 2, as: UInt16.self) else { return nil }
            guard value > 125 else { throw WebSocketViolation.protocolError("length is not in its shortest form") }
            (length, lengthBytes) = (UInt64(value), 2)
        case 127:
            guard let value = buffer.getInteger(at: start + 2, as: UInt64.self) else { return nil }
            guard value > 65_535, value < 1 << 63 else {
                throw WebSocketViolation.protocolError("length is not in its shortest form, or negative")
            }
            (length, lengthBytes) = (value, 8)
        default:
            (length, lengthBytes) = (UInt64(short), 0)
        }
        guard length <= UInt64(maximumBytes) else { throw WebSocketViolation.tooLarge }
        let headerBytes = 6 + lengthBytes
        guard buffer.readableBytes >= headerBytes + Int(length),
            let key = buffer.getInteger(at: start + headerBytes - 4, as: UInt32.self)
        else { return nil }
        buffer.moveReaderIndex(forwardBy: headerBytes)
        guard var payload = buffer.readSlice(length: Int(length)) else { return nil }
        Self.unmask(&payload, key: key)
        return WebSocketFrame(isFinal: isFinal, opcode: opcode, payload: payload)
    }

    private static func unmask(_ payload: inout ByteBuffer, key: UInt32) {
        guard key != 0, payload.readableBytes > 0 else { return }
        let wide = (UInt64(key) << 32 | UInt64(key)).bigEndian
        payload.withUnsafeMutableReadableBytes { bytes in
            var index = 0
            while index + 8 <= bytes.count {
                let word = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                bytes.storeBytes(of: word ^ wide, toByteOffset: index, as: UInt64.self)
                index += 8
            }
            while index < bytes.count {
                bytes[index] ^= UInt8(truncatingIfNeeded: key >> UInt32(24 - 8 * (index & 3)))
                index += 1
            }
        }
    }
}
