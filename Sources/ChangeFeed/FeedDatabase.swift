import PostgresWire

/// What the feed asks of the database besides the stream itself.
package protocol FeedDatabase: Sendable {
    /// The server and the slot as they are now. Also the test of whether the database can be reached.
    func facts(slot: String) async throws -> SlotFacts

    /// Makes the slot and returns its position. Creation waits for all transactions that are open; `waiting` is told their pids.
    func createSlot(_ name: String, waiting: @escaping @Sendable ([Int32]) -> Void) async throws -> LSN

    /// Drops the slot if it exists, waiting a while for a process that still holds it.
    func dropSlot(_ name: String) async throws

    /// End of durable WAL.
    func walFlush() async throws -> LSN

    /// Whether the extension's worker is loaded and configured for this database, so that it will connect by itself.
    func expectsWorker() async throws -> Bool

    /// Streams over a replication connection until it ends; returns when `stop` was asked for and the slot is free again.
    ///
    /// - Parameters:
    ///   - position: What follows it is streamed.
    ///   - confirmed: What the server is told to be safe until `acknowledge` says more.
    func replicate(
        slot: String, publication: String, from position: LSN, confirmed: LSN, sink: any FeedSink,
        started: @escaping @Sendable (any ReplicationStream) -> Void
    ) async throws
}

/// A running replication connection.
package protocol ReplicationStream: FeedTransport {
    /// Ends the stream politely.
    func stop()
}
