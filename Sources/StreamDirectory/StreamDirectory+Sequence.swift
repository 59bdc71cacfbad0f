import DurableStreams

extension StreamDirectory {
    /// The last `Stream-Seq` that a stream has accepted; nil if there was none. May be the one of an append that is still on its way
    /// to the disk, which is never lost without everything after it.
    package func lastSequence(of name: String, identity: StreamIdentity? = nil, now: UInt64) -> Result<
        String?, StreamError
    > {
        self.found(name, identity: identity, now: now) { entry, _ in entry.state.lastSequence }
    }
}
