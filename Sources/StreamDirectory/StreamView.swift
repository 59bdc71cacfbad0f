import DurableStreams
import NIOCore
import StreamStore

/// What readers may know of a stream at one moment: durable facts only, in modes that have durability.
package struct StreamView: Sendable {
    package var name: String
    package var identity: StreamIdentity
    package var configuration: StreamConfiguration
    package var tail: UInt64
    /// The first position that can be read: later than 0 where older data has been dropped.
    package var earliest: UInt64
    package var isClosed: Bool
    package var createdAt: UInt64
    package var updatedAt: UInt64

    package var contentType: ContentType { self.configuration.contentType }
    package var tailOffset: StreamOffset { StreamOffset(position: self.tail) }
    package var earliestOffset: StreamOffset { StreamOffset(position: self.earliest) }
}

/// A piece of a reading, in the order of the stream.
package enum StreamPiece: Sendable {
    case bytes(ByteBuffer)
    case file(StoreFileSlice)
    case records(RecordSlice)

    package var count: Int {
        switch self {
        case .bytes(let bytes): bytes.readableBytes
        case .file(let slice): slice.count
        case .records(let slice): slice.count
        }
    }
}

/// A range of an open file. The file stays open as long as the slice is kept, also when the stream is deleted.
package struct StoreFileSlice: Sendable {
    package let file: any StoreFile
    package let offset: UInt64
    package let count: Int

    /// For sending without reading; nil where the file has none and `read()` must do.
    package var descriptor: Int32? { self.file.descriptor }

    /// Reads the range. Blocks.
    package func read() throws(StoreError) -> ByteBuffer {
        var bytes = ByteBufferAllocator().buffer(capacity: self.count)
        var failure: FileError?
        bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: self.count) { target in
            do throws(FileError) {
                return try self.file.readAll(
                    into: UnsafeMutableRawBufferPointer(rebasing: target[..<self.count]), at: self.offset)
            } catch {
                failure = error
                return 0
            }
        }
        if let failure { throw StoreError(failure) }
        guard bytes.readableBytes == self.count else {
            throw StoreError(.corrupt, "the file is shorter than it was", file: self.file.path, offset: self.offset)
        }
        return bytes
    }
}

/// Bytes of a stream, and what was true of it when they were taken.
package struct StreamReading: Sendable {
    package var view: StreamView
    package var start: UInt64
    /// Where to read on. Always where an append, or a message of a JSON stream, ends.
    package var end: UInt64
    package var pieces: [StreamPiece]

    package init(view: StreamView, start: UInt64, end: UInt64, pieces: [StreamPiece]) {
        self.view = view
        self.start = start
        self.end = end
        self.pieces = pieces
    }

    package var isAtTail: Bool { self.end == self.view.tail }
    /// Whether there is nothing after `end`, ever.
    package var isFinal: Bool { self.isAtTail && self.view.isClosed }
    package var byteCount: Int { Int(self.end - self.start) }

    /// Everything in one buffer. Blocks where pieces are not in memory.
    package func bytes() throws(StoreError) -> ByteBuffer {
        if self.pieces.count == 1, case .bytes(let bytes) = self.pieces[0] { return bytes }
        var all = ByteBufferAllocator().buffer(capacity: self.byteCount)
        for piece in self.pieces {
            switch piece {
            case .bytes(let bytes): all.writeImmutableBuffer(bytes)
            case .file(let slice): all.writeImmutableBuffer(try slice.read())
            case .records(let slice): all.writeImmutableBuffer(try slice.read(from: 0, count: slice.count))
            }
        }
        return all
    }
}

/// One stream of a listing.
package struct StreamListing: Sendable {
    package var view: StreamView
    /// Of all time: what was dropped counts too.
    package var messageCount: UInt64
    /// With what a fork inherits, without what was dropped.
    package var byteCount: UInt64
    package var isSoftDeleted: Bool
    /// Living forks of it.
    package var forkCount = 0
    /// `acid`: the number of the environment that holds it.
    package var environment = 0
}

/// One append as stored: for exports and for readers that need the ends of appends.
package struct StoredAppend: Sendable {
    /// Where it ends; it begins where the one before ends.
    package var end: UInt64
    package var bytes: ByteBuffer
}
