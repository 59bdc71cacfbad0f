import NIOCore

/// What one connection may ask of the server. The decoder's own defaults are for libraries, not for an open port.
package struct HTTPLimits: Hashable, Sendable {
    /// Fields of one request head; more is answered with 431.
    package var headerCount = 100
    /// Bytes of one field, name and value; more is answered with 431.
    package var headerFieldBytes = 16 * 1024
    /// Bytes of all fields together.
    package var headerBytes = 64 * 1024
    /// Bytes of a request body; more is answered with 413.
    package var bodyBytes = 1024 * 1024
    /// Time for a TLS handshake, for the head of the first request, and for each further ``minimumBodyProgress`` bytes of a body;
    /// the connection is closed after it.
    package var requestTimeout: TimeAmount = .seconds(15)
    /// Bytes of a body that must come within ``requestTimeout``, so that a large body on a slow line is no offence, and a trickle is.
    package var minimumBodyProgress = 32 * 1024
    /// Time that a connection may stay open between requests.
    package var keepAliveTimeout: TimeAmount = .seconds(75)
    /// Time within which the peer must take some bytes of what is written for it; measured on progress, not on the whole.
    package var replyTimeout: TimeAmount = .seconds(60)
    /// Time for the peer to close its side after the last reply.
    package var lingerTimeout: TimeAmount = .seconds(2)
    /// Connections of one listener; more are closed at once.
    package var connections = 65_536
    /// Bytes of one WebSocket message, and of one frame.
    package var webSocketMessageBytes = 16 * 1024 * 1024
    /// Fragments of one WebSocket message.
    package var webSocketFragments = 1_024
    /// Time for the peer to answer our close frame.
    package var webSocketCloseTimeout: TimeAmount = .seconds(3)

    /// Bytes of a body part that lies in a file, handed to the socket before the earlier ones are taken.
    package var fileWindowBytes = 1024 * 1024
    /// Bytes that are read from a file at a time where the kernel cannot send them itself (TLS, HTTP/2).
    package var fileChunkBytes = 256 * 1024
    /// Streams of one HTTP/2 connection that may be open at a time.
    package var http2Streams = 256
    /// Streams that one HTTP/2 peer may reset within half a minute before its connection is closed.
    package var http2Resets = 200
    /// Time after which an HTTP/2 connection is pinged, and closed when the ping stays unanswered for ``requestTimeout``.
    package var http2PingInterval: TimeAmount = .seconds(60)

    package init() {}

    /// How often the clocks of connections are looked at: often enough for the shortest of them.
    var tickInterval: TimeAmount {
        let shortest = min(self.requestTimeout, self.keepAliveTimeout, self.replyTimeout, self.lingerTimeout)
        return .nanoseconds(max(10_000_000, min(250_000_000, shortest.nanoseconds / 4)))
    }
}
