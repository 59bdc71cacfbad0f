import CZlib
import NIOCore
import Synchronization

/// A body that is packed while it is sent: some memory for as long as it lives, however long the body is.
///
/// One caller at a time; it may change its thread between calls. Packing costs time, so it is not done on an event loop
/// unless the body is small.
package final class HTTPCompressedBody: Sendable {
    package enum Format: Sendable {
        /// `Content-Encoding: gzip`.
        case gzip
        /// `Content-Encoding: deflate`: what zlib writes, with its header.
        case zlib
    }

    /// How many bodies may be packed at the same time.
    package final class Limit: Sendable {
        private let count = Atomic<Int>(0)
        private let most: Int

        package init(_ most: Int) {
            self.most = most
        }

        package var inUse: Int { self.count.load(ordering: .relaxed) }

        fileprivate func take() -> Bool {
            guard self.count.wrappingAdd(1, ordering: .relaxed).newValue > self.most else { return true }
            self.giveBack()
            return false
        }

        fileprivate func giveBack() { self.count.wrappingSubtract(1, ordering: .relaxed) }
    }

    package enum Failure: Error {
        case fileIsTooShort
        case cannotPack
    }

    private struct State {
        let parts: [HTTPBodyPart]
        var index = 0
        /// Bytes taken of the current part.
        var taken = 0
        /// zlib knows the place of this, so it stays where it is.
        let stream: UnsafeMutablePointer<z_stream>
        var isDone = false
    }

    private let state: Mutex<State>
    private let limit: Limit
    /// Bytes before packing.
    package let byteCount: Int

    /// Why not more: the best levels take several times as long for a tenth less.
    private static let level: CInt = 4
    /// Bytes that are read at a time.
    private static let readBytes = 64 << 10
    /// A piece is ended at so many packed bytes, or when so many were read for it.
    private static let pieceBytes = 64 << 10
    private static let workBytes = 512 << 10

    /// Nil when as many bodies are being packed as may be, or there is no memory for one more.
    package init?(_ parts: [HTTPBodyPart], _ format: Format, limit: Limit) {
        guard limit.take() else { return nil }
        let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        stream.initialize(to: z_stream())
        guard penstock_deflate_init(stream, Self.level, format == .gzip ? 1 : 0) == Z_OK else {
            stream.deallocate()
            limit.giveBack()
            return nil
        }
        self.limit = limit
        self.byteCount = parts.reduce(0) { $0 + $1.count }
        self.state = Mutex(State(parts: parts, stream: stream))
    }

    deinit {
        self.state.withLock { state in
            deflateEnd(state.stream)
            state.stream.deallocate()
        }
        self.limit.giveBack()
    }

    /// The next packed bytes, and whether they are the last; both empty and last when there is nothing more. May block on a file.
    package func next() throws -> (bytes: ByteBuffer, isLast: Bool) {
        try self.state.withLock { state in
            var output = ByteBuffer()
            var work = 0
            while !state.isDone, output.readableBytes < Self.pieceBytes, work < Self.workBytes || output.readableBytes == 0 {
                let input = try Self.read(&state)
                work += input.readableBytes
                try Self.pack(input, &state, into: &output)
            }
            return (output, state.isDone)
        }
    }

    /// All of it; for small bodies.
    package func whole() throws -> ByteBuffer {
        var (all, isLast) = try self.next()
        while !isLast {
            let piece = try self.next()
            all.writeImmutableBuffer(piece.bytes)
            isLast = piece.isLast
        }
        return all
    }

    /// Empty only at the end.
    private static func read(_ state: inout State) throws -> ByteBuffer {
        while state.index < state.parts.count {
            let part = state.parts[state.index]
            let count = min(part.count - state.taken, Self.readBytes)
            guard count > 0 else {
                state.index += 1
                state.taken = 0
                continue
            }
            let start = state.taken
            state.taken += count
            switch part {
            case .bytes(let bytes):
                return bytes.getSlice(at: bytes.readerIndex + start, length: count) ?? ByteBuffer()
            case .file(let slice):
                let bytes = try slice.read(from: start, count: count)
                guard bytes.readableBytes == count else { throw Failure.fileIsTooShort }
                return bytes
            case .pulled(let pulled):
                let bytes = try pulled.read(start, count)
                guard bytes.readableBytes == count else { throw Failure.fileIsTooShort }
                return bytes
            }
        }
        return ByteBuffer()
    }

    private static func pack(_ input: ByteBuffer, _ state: inout State, into output: inout ByteBuffer) throws {
        let stream = state.stream
        let isEnd = input.readableBytes == 0
        var result = Z_OK
        input.withUnsafeReadableBytes { bytes in
            // zlib does not write to its input.
            stream.pointee.next_in = UnsafeMutablePointer(
                mutating: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))
            stream.pointee.avail_in = UInt32(bytes.count)
            repeat {
                output.writeWithUnsafeMutableBytes(minimumWritableBytes: 8 << 10) { room in
                    stream.pointee.next_out = room.baseAddress?.assumingMemoryBound(to: UInt8.self)
                    stream.pointee.avail_out = UInt32(clamping: room.count)
                    let given = stream.pointee.avail_out
                    result = deflate(stream, isEnd ? Z_FINISH : Z_NO_FLUSH)
                    return Int(given - stream.pointee.avail_out)
                }
            } while stream.pointee.avail_out == 0 && result == Z_OK
            stream.pointee.next_in = nil
        }
        // Z_BUF_ERROR: there was nothing left to write.
        guard result == (isEnd ? Z_STREAM_END : Z_OK) || (!isEnd && result == Z_BUF_ERROR) else { throw Failure.cannotPack }
        state.isDone = isEnd
    }
}
