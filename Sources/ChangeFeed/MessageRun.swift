import NIOCore

/// Consecutive messages of the plugin in one piece of memory, as a transport received them.
///
/// Why not an array of messages: a backlog brings millions of them, and a slice each costs more than everything else that is
/// done with them.
package struct MessageRun: Sendable {
    /// What stands before each message.
    package enum Framing: Sendable {
        /// A 32-bit big-endian length.
        case plain
        /// A 32-bit big-endian length that counts the type as well, and the type, `M` (the worker's frames).
        case worker

        var headerLength: Int {
            switch self {
            case .plain: return 4
            case .worker: return 5
            }
        }

        /// How much more than the message the length counts.
        var excess: Int { self.headerLength - 4 }
    }

    /// Whole messages with their headers, nothing else.
    package var bytes: ByteBuffer
    package var framing: Framing

    package init(bytes: ByteBuffer, framing: Framing) {
        self.bytes = bytes
        self.framing = framing
    }

    /// Puts single messages together.
    package init(_ messages: [ByteBuffer]) {
        self.init(bytes: ByteBuffer(), framing: .plain)
        for message in messages {
            self.bytes.writeInteger(UInt32(message.readableBytes))
            self.bytes.writeImmutableBuffer(message)
        }
    }

    /// The message whose header is at `offset`, and where the next header is; nil if the run is malformed there.
    func message(at offset: Int) -> (message: ByteBuffer, next: Int)? {
        let start = self.bytes.readerIndex + offset
        guard let length = self.bytes.getInteger(at: start, as: UInt32.self), Int(length) >= self.framing.excess,
            let message = self.bytes.getSlice(
                at: start + self.framing.headerLength, length: Int(length) - self.framing.excess)
        else { return nil }
        return (message, offset + 4 + Int(length))
    }
}

extension MessageRun {
    /// How many messages from `offset` on are changes of rows, up to about `limit` bytes of them.
    ///
    /// - Returns: where the next message's header is, and the bytes that the changes take with a plain framing.
    func changes(from offset: Int, limit: Int) -> (end: Int, plainByteCount: Int) {
        self.bytes.withUnsafeReadableBytes { bytes in
            let header = self.framing.headerLength
            let excess = self.framing.excess
            var end = offset
            var count = 0
            while count < limit, end + header < bytes.count {
                let length = Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: end, as: UInt32.self)))
                // What is malformed is left to the careful path, which says so.
                guard length > excess, end + 4 + length <= bytes.count, Self.isChange(bytes[end + header]) else {
                    break
                }
                end += 4 + length
                count += 4 + length - excess
            }
            return (end, count)
        }
    }

    private static func isChange(_ kind: UInt8) -> Bool {
        switch kind {
        case UInt8(ascii: "I"), UInt8(ascii: "U"), UInt8(ascii: "D"), UInt8(ascii: "T"): return true
        default: return false
        }
    }

    /// Appends the messages between two offsets with plain framing.
    func write(from start: Int, to end: Int, plainByteCount: Int, into target: inout ByteBuffer) {
        self.bytes.withUnsafeReadableBytes { bytes in
            switch self.framing {
            case .plain:
                _ = target.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
            case .worker:
                _ = target.writeWithUnsafeMutableBytes(minimumWritableBytes: plainByteCount) { target in
                    guard let source = bytes.baseAddress, let destination = target.baseAddress else { return 0 }
                    var read = start
                    var written = 0
                    while read < end {
                        let length =
                            Int(UInt32(bigEndian: source.loadUnaligned(fromByteOffset: read, as: UInt32.self))) - 1
                        (destination + written).storeBytes(of: UInt32(length).bigEndian, as: UInt32.self)
                        (destination + written + 4).copyMemory(from: source + read + 5, byteCount: length)
                        read += 5 + length
                        written += 4 + length
                    }
                    return written
                }
            }
        }
    }
}
