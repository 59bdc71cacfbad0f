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
    /// Time for a request's head and body to arrive once the connection is open or idle before it is closed.
    package var requestTimeout: TimeAmount = .seconds(15)
    /// Time that a connection may stay open between requests.
    package var keepAliveTimeout: TimeAmount = .seconds(75)
    /// Time for the peer to take a reply.
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

    package init() {}
}
