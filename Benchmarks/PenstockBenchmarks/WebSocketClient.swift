import Foundation
import NIOCore
import Synchronization

/// A bare blocking WebSocket connection to the loopback address: one thread reads, any thread sends.
final class WebSocketClient: @unchecked Sendable {
    // Why unchecked: the receive buffer belongs to the reading thread; sending takes the lock.
    let descriptor: Int32
    private let sendLock = Mutex(())
    private var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    private var start = 0
    private var end = 0
    /// Bytes received since the upgrade began.
    private(set) var receivedBytes = 0

    /// - Parameter receiveTimeout: seconds without a byte after which reading fails.
    init(port: Int, path: String = "/ws", subprotocol: String? = "electric.0.12", receiveTimeout: Int = 30) throws {
        self.descriptor = try Self.connect(port: port, receiveTimeout: receiveTimeout)
        var request = """
            GET \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n
            """
        if let subprotocol { request += "Sec-WebSocket-Protocol: \(subprotocol)\r\n" }
        try self.send(ByteBuffer(string: request + "\r\n"))
        try self.readUpgradeReply()
    }

    deinit {
        close(self.descriptor)
        self.buffer.deallocate()
    }

    static func connect(port: Int, receiveTimeout: Int) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw BenchmarkError("no socket: errno \(errno)") }
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        var timeout = timeval(tv_sec: receiveTimeout, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else {
            let reason = errno
            close(descriptor)
            throw BenchmarkError("cannot connect to port \(port): errno \(reason)")
        }
        return descriptor
    }

    private func readUpgradeReply() throws {
        let mark = Array("\r\n\r\n".utf8)
        while true {
            try self.receive()
            let bytes = UnsafeRawBufferPointer(rebasing: self.buffer[self.start..<self.end])
            guard let range = bytes.firstRange(of: mark) else { continue }
            let head = String(decoding: bytes[..<range.lowerBound], as: UTF8.self)
            guard head.hasPrefix("HTTP/1.1 101") else {
                throw BenchmarkError("the upgrade was refused: \(head.prefix(200))")
            }
            self.start += range.upperBound
            return
        }
    }

    /// Sends bytes as they are.
    func send(_ bytes: ByteBuffer) throws {
        try self.sendLock.withLock { _ in
            try bytes.withUnsafeReadableBytes { pointer in
                var rest = pointer
                while !rest.isEmpty {
                    let sent = Glibc.send(self.descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
                    if sent < 0, errno == EINTR { continue }
                    guard sent > 0 else { throw BenchmarkError("the connection broke while sending: errno \(errno)") }
                    rest = UnsafeRawBufferPointer(rebasing: rest[sent...])
                }
            }
        }
    }

    /// Appends a client's frame; the mask is all zeros, which leaves the payload as it is.
    static func appendFrame(_ payload: ByteBuffer, opcode: UInt8 = 2, to buffer: inout ByteBuffer) {
        buffer.writeInteger(0x80 | opcode)
        let length = payload.readableBytes
        if length < 126 {
            buffer.writeInteger(0x80 | UInt8(length))
        } else if length <= Int(UInt16.max) {
            buffer.writeMultipleIntegers(UInt8(0xFE), UInt16(length))
        } else {
            buffer.writeMultipleIntegers(UInt8(0xFF), UInt64(length))
        }
        buffer.writeInteger(UInt32(0))
        buffer.writeImmutableBuffer(payload)
    }

    /// Reads once, blocking until there is something.
    func receive() throws {
        if self.start == self.end {
            self.start = 0
            self.end = 0
        } else if self.end == self.buffer.count {
            let rest = self.end - self.start
            if rest > self.buffer.count / 2 {
                let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: self.buffer.count * 2, alignment: 16)
                larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: self.buffer[self.start..<self.end]))
                self.buffer.deallocate()
                self.buffer = larger
            } else {
                self.buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: self.buffer[self.start..<self.end]))
            }
            self.start = 0
            self.end = rest
        }
        while true {
            let space = UnsafeMutableRawBufferPointer(rebasing: self.buffer[self.end...])
            let count = recv(self.descriptor, space.baseAddress, space.count, 0)
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN { throw BenchmarkError("the server was silent for too long") }
            guard count > 0 else { throw BenchmarkError("the server closed the connection") }
            self.end += count
            self.receivedBytes += count
            return
        }
    }

    /// The payload of the next binary message that has been received entirely; it lives until the next ``receive()``.
    func nextMessage() throws -> UnsafeRawBufferPointer? {
        while true {
            let bytes = UnsafeRawBufferPointer(rebasing: self.buffer[self.start..<self.end])
            guard bytes.count >= 2 else { return nil }
            var header = 2
            var length = Int(bytes[1])
            guard length < 128 else { throw BenchmarkError("a masked frame from the server") }
            if length >= 126 {
                header = length == 126 ? 4 : 10
                guard bytes.count >= header else { return nil }
                length = bytes[2..<header].reduce(0) { $0 << 8 | Int($1) }
            }
            guard bytes.count >= header + length else { return nil }
            self.start += header + length
            let payload = UnsafeRawBufferPointer(rebasing: bytes[header..<header + length])
            switch bytes[0] {
            case 0x82: return payload
            case 0x89:
                var pong = ByteBuffer()
                Self.appendFrame(ByteBuffer(bytes: payload), opcode: 10, to: &pong)
                try self.send(pong)
            case 0x88:
                let code = length >= 2 ? Int(payload[0]) << 8 | Int(payload[1]) : 0
                let reason = String(decoding: payload.dropFirst(2), as: UTF8.self)
                throw BenchmarkError("the server closed with \(code) \(reason)")
            default: continue
            }
        }
    }
}
