import NIOCore
import NIOHTTP1

/// What fills a streamed response. Called on the connection's event loop only.
package protocol HTTPStreamSession: AnyObject {
    /// The head is written, and the session may write. First call.
    func opened()
    /// The peer has taken enough; writing may go on.
    func becameWritable()
    /// The server is about to end: the session should end its stream soon.
    func draining()
    /// A tick of the event loop's clock, four times a second or so: time for keep-alives, and to close what is idle.
    func ticked(_ now: NIODeadline)
    /// The stream is over: the session ended it, or the peer is gone. Last call.
    func ended()
}

extension HTTPStreamSession {
    package func opened() {}
    package func becameWritable() {}
    package func ticked(_ now: NIODeadline) {}
}

/// Bytes that go to many streams: framed once for HTTP/1, and shared by all connections.
package struct HTTPSharedChunk: Sendable {
    let framed: ByteBuffer
    /// The bytes without their frame, in the same memory.
    package let payload: ByteBuffer

    /// Copies `bytes` once.
    package init(_ bytes: ByteBuffer) {
        let size = String(bytes.readableBytes, radix: 16)
        var framed = ByteBufferAllocator().buffer(capacity: bytes.readableBytes + size.utf8.count + 4)
        framed.writeString(size)
        framed.writeStaticString("\r\n")
        let start = framed.writerIndex
        framed.writeImmutableBuffer(bytes)
        self.payload = framed.getSlice(at: start, length: bytes.readableBytes) ?? bytes
        framed.writeStaticString("\r\n")
        self.framed = framed
    }
}

/// The sending side of a streamed response. Confined to its event loop; what is written after the end is dropped.
package final class HTTPStream {
    package let eventLoop: any EventLoop
    private var connection: HTTPConnectionHandler?

    init(_ connection: HTTPConnectionHandler, eventLoop: any EventLoop) {
        self.connection = connection
        self.eventLoop = eventLoop
    }

    package var isOpen: Bool { self.connection != nil }
    /// False once the peer leaves too much untaken; ``HTTPStreamSession/becameWritable()`` tells of the change.
    package var isWritable: Bool { self.connection?.isWritable ?? false }
    /// Bytes written that the peer has not taken, headers and frames included.
    package var pendingBytes: Int { self.connection?.pendingBytes ?? 0 }
    /// Time of the last tick, for sessions that count idle time.
    package var now: NIODeadline { self.connection?.tickTime ?? .now() }

    /// Empty buffers are nothing.
    package func write(_ bytes: ByteBuffer) {
        self.connection?.writeToStream(bytes)
    }

    package func write(_ chunk: HTTPSharedChunk) {
        self.connection?.writeToStream(chunk)
    }

    package func flush() {
        self.connection?.flush()
    }

    /// Ends the body; the connection goes on if the client wants it to.
    package func end() {
        self.connection?.endStream()
    }

    /// Cuts the connection (or resets the HTTP/2 stream): what is pending is dropped, and the client sees that the body is not whole.
    package func cut() {
        self.connection?.abort()
    }

    func detach() {
        self.connection = nil
    }
}
