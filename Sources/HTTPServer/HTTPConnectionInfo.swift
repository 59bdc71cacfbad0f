import NIOCore
import NIOPosix

/// What is known about the connection that a request came on.
package final class HTTPConnectionInfo: Sendable {
    package let eventLoop: any EventLoop
    /// The peer of the socket: the client or a proxy.
    package let peer: SocketAddress?
    package let isSecure: Bool
    package let isHTTP2: Bool
    /// Subject of the verified client certificate (RFC 4514), if the listener asks for one.
    package let certificateSubject: String?

    package init(
        eventLoop: any EventLoop, peer: SocketAddress?, isSecure: Bool = false, isHTTP2: Bool = false,
        certificateSubject: String? = nil
    ) {
        self.eventLoop = eventLoop
        self.peer = peer
        self.isSecure = isSecure
        self.isHTTP2 = isHTTP2
        self.certificateSubject = certificateSubject
    }

    /// For requests that no connection brought.
    package static let none = HTTPConnectionInfo(eventLoop: MultiThreadedEventLoopGroup.singleton.any(), peer: nil)
}
