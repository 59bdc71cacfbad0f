package import NIOCore

/// One or more messages, ready to be written to a WebSocket.
///
/// The bytes are binary frames of a server (unmasked, not fragmented), one per message, one after the other. A batch is
/// made once and shared by everybody who gets the same messages: write ``webSocket`` as it is, past any frame encoder.
package struct FrameBatch: Hashable, Sendable {
    /// The frames, headers included.
    package private(set) var webSocket: ByteBuffer
    /// Where each message lies in ``webSocket``, relative to its reader index, without the frame header.
    package private(set) var payloadRanges: [Range<Int>]

    package init() {
        self.webSocket = ByteBuffer()
        self.payloadRanges = []
    }

    package init(_ message: SatelliteMessage) {
        self.init()
        self.append(message)
    }

    package init(_ messages: [SatelliteMessage]) {
        self.init()
        for message in messages { self.append(message) }
    }

    package var isEmpty: Bool { self.payloadRanges.isEmpty }
    package var byteCount: Int { self.webSocket.readableBytes }
    package var messageCount: Int { self.payloadRanges.count }

    /// The messages without frame headers (type byte and body), as slices.
    package var payloads: [ByteBuffer] {
        self.payloadRanges.compactMap { range in
            self.webSocket.getSlice(at: self.webSocket.readerIndex + range.lowerBound, length: range.count)
        }
    }

    package mutating func append(_ message: SatelliteMessage) {
        let bytes = message.encoded()
        self.appendFrame(payloadLength: bytes.readableBytes) { $0.writeImmutableBuffer(bytes) }
    }

    package mutating func append(_ other: FrameBatch) {
        if self.isEmpty {
            self = other
            return
        }
        let offset = self.webSocket.readableBytes
        self.webSocket.writeImmutableBuffer(other.webSocket)
        for range in other.payloadRanges {
            self.payloadRanges.append(range.lowerBound + offset..<range.upperBound + offset)
        }
    }

    package mutating func reserve(byteCount: Int) {
        self.webSocket.reserveCapacity(minimumWritableBytes: byteCount)
    }

    /// Appends one frame; `write` must write exactly `payloadLength` bytes.
    mutating func appendFrame(payloadLength: Int, _ write: (inout ByteBuffer) -> Void) {
        Self.writeHeader(payloadLength: payloadLength, to: &self.webSocket)
        let start = self.webSocket.readableBytes
        write(&self.webSocket)
        precondition(self.webSocket.readableBytes == start + payloadLength, "frame length does not match its header")
        self.payloadRanges.append(start..<start + payloadLength)
    }

    /// RFC 6455, 5.2: final fragment, binary, no mask.
    static func writeHeader(payloadLength: Int, to buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(0x82))
        if payloadLength < 126 {
            buffer.writeInteger(UInt8(payloadLength))
        } else if payloadLength <= Int(UInt16.max) {
            buffer.writeInteger(UInt8(126))
            buffer.writeInteger(UInt16(payloadLength))
        } else {
            buffer.writeInteger(UInt8(127))
            buffer.writeInteger(UInt64(payloadLength))
        }
    }
}
