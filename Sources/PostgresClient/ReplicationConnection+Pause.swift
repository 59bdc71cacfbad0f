#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

extension ReplicationConnection {
    /// Waits for ``wake()`` without reading anything from the server: the pause of a receiver that has no room.
    package func waitForWake(timeoutMilliseconds: Int32) {
        var descriptor = pollfd(fd: self.pipe.readEnd, events: Int16(POLLIN), revents: 0)
        if poll(&descriptor, 1, timeoutMilliseconds) > 0 { self.pipe.drain() }
    }
}
