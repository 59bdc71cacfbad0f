import NIOCore

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A piece of a file that becomes a piece of a response body without a copy in this process where the kernel can send it.
package struct HTTPFileSlice: Sendable {
    /// Keeps the descriptor open; nobody but the owner closes it.
    private let owner: any AnyObject & Sendable
    let descriptor: CInt
    package let offset: Int
    package let count: Int

    /// - Parameter owner: keeps `descriptor` open for as long as it lives.
    package init(descriptor: CInt, owner: any AnyObject & Sendable, offset: Int, count: Int) {
        precondition(offset >= 0 && count >= 0)
        self.descriptor = descriptor
        self.owner = owner
        self.offset = offset
        self.count = count
    }

    package init(_ file: HTTPFile, offset: Int, count: Int) {
        self.init(descriptor: file.descriptor, owner: file, offset: offset, count: count)
    }

    /// Whether the file still reaches `end` bytes behind the start of the slice.
    func reaches(_ end: Int) -> Bool {
        var status = stat()
        return fstat(self.descriptor, &status) == 0 && Int(status.st_size) >= self.offset + end
    }

    /// Reads a piece; shorter than asked for only at the end of the file. Blocks.
    func read(from start: Int, count: Int) throws -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: count)
        while buffer.readableBytes < count {
            let position = off_t(self.offset + start + buffer.readableBytes)
            let wanted = count - buffer.readableBytes
            let result = buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) { bytes in
                max(0, pread(self.descriptor, bytes.baseAddress, wanted, position))
            }
            if result == 0 { break }
        }
        return buffer
    }
}

/// An open file that is closed when nobody sends it any more.
package final class HTTPFile: Sendable {
    package let descriptor: CInt

    /// Opens for reading.
    package init(path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "open") }
        self.descriptor = descriptor
    }

    deinit { close(self.descriptor) }
}

/// A piece of a response body that is fetched part by part, as the peer takes it.
package struct HTTPPulledBytes: Sendable {
    package let count: Int
    /// Start and count of a part; it must return all of it. Called away from event loops; may block.
    let read: @Sendable (Int, Int) throws -> ByteBuffer

    package init(count: Int, read: @escaping @Sendable (Int, Int) throws -> ByteBuffer) {
        precondition(count >= 0)
        self.count = count
        self.read = read
    }
}

/// A piece of a response body.
package enum HTTPBodyPart: Sendable {
    case bytes(ByteBuffer)
    case file(HTTPFileSlice)
    case pulled(HTTPPulledBytes)

    var count: Int {
        switch self {
        case .bytes(let bytes): return bytes.readableBytes
        case .file(let slice): return slice.count
        case .pulled(let bytes): return bytes.count
        }
    }
}
