import DurableStreams
import HTTPServer

/// What the event sources of browsers are told at the start about coming back: soon, but not all in one moment, as they
/// would after the server has stopped.
package struct ReturnHint: Sendable {
    /// One for each of a few times; made once, so that a reader costs no memory.
    private let chunks: [HTTPSharedChunk]
    private static let count: UInt64 = 64

    /// - Parameter least: milliseconds; each reader is told a time between this and three times as much.
    package init(least: UInt64) {
        self.chunks = (0..<Self.count).map { step in
            HTTPSharedChunk(EventStream.retry(milliseconds: least + 2 * least * step / (Self.count - 1)))
        }
    }

    /// One for a reader.
    func chunk() -> HTTPSharedChunk {
        self.chunks[Int.random(in: self.chunks.indices)]
    }
}
