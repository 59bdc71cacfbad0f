import PostgresWire

/// Where a transport delivers what it receives, in order, from one thread at a time.
package protocol FeedSink: Sendable {
    /// Messages of the plugin. Returns false when the transport must pause until the sink calls its resume hook.
    ///
    /// - Throws: if a message is malformed or the store has failed; the transport ends then.
    func received(_ messages: MessageRun) throws -> Bool

    /// Everything committed up to `decoded` has been delivered before; `flush` is the end of durable WAL.
    func reached(decoded: LSN, flush: LSN)
}

/// A running transport, as the feed drives it.
package protocol FeedTransport: Sendable {
    /// Tells the server that everything up to `position` is stored durably.
    func acknowledge(_ position: LSN)
    /// The sink has room again.
    func resume()
}
