import DurableStreams
import NIOCore
import NIOPosix
import StreamDirectory
import StreamStore

/// The directory's calls in the form of async functions.
struct StreamCalls: Sendable {
    let directory: StreamDirectory
    let clock: @Sendable () -> UInt64

    var now: UInt64 { self.clock() }

    func create(_ name: String, _ request: CreateRequest) async throws(StreamError) -> CreateOutcome {
        try await withCheckedContinuation { continuation in
            self.directory.create(name, request, now: self.now) { continuation.resume(returning: $0) }
        }.get()
    }

    func delete(_ name: String) async throws(StreamError) {
        try await withCheckedContinuation { continuation in
            self.directory.delete(name, now: self.now) { continuation.resume(returning: $0) }
        }.get()
    }

    func lookup(_ name: String) throws(StreamError) -> StreamView {
        try self.directory.lookup(name, now: self.now).get()
    }

    /// What there is of a stream from a position on, in memory; on a thread that may block.
    func read(
        _ name: String, identity: StreamIdentity, from position: UInt64, limit: Int
    ) async throws -> (reading: StreamReading, bytes: ByteBuffer) {
        try await NIOThreadPool.singleton.runIfActive {
            let reading = try self.directory.read(
                name, identity: identity, from: position, limit: limit, now: self.now
            ).get()
            do {
                return (reading, try reading.bytes())
            } catch let error as StoreError {
                throw StreamError(error)
            }
        }
    }

    /// The append that begins at a position; nil at the tail.
    func append(of name: String, identity: StreamIdentity, at position: UInt64) async throws -> StoredAppend? {
        try await NIOThreadPool.singleton.runIfActive {
            try self.directory.nextAppend(of: name, identity: identity, after: position, now: self.now).get()
        }
    }

    func list() async throws -> [StreamListing] {
        try await NIOThreadPool.singleton.runIfActive { self.directory.list(now: self.now) }
    }
}
