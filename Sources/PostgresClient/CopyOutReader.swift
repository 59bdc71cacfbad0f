package import NIOCore

/// The rows of a `COPY ... TO STDOUT`, pulled by the caller: while nobody asks, the server waits.
package struct CopyOutReader: Sendable {
    private let connection: PostgresConnection
    private let number: UInt64

    init(connection: PostgresConnection, number: UInt64) {
        self.connection = connection
        self.number = number
    }

    /// Whole rows, as they come, until `maxBytes` are reached or no more are at hand; nil after the last. A single row
    /// may exceed the limit.
    package func nextChunk(maxBytes: Int = 256 * 1024) async throws -> ByteBuffer? {
        try await self.connection.nextCopyChunk(self.number, maxBytes: maxBytes)
    }

    /// Ends the copy early; the connection can be used again.
    package func cancel() async throws {
        try await self.connection.abandonCopy(self.number)
    }
}
