import Logging
import NIOCore
import NIOPosix
import NIOHTTP1

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A bound port that serves HTTP/1.1 and WebSocket connections.
package final class HTTPListener: Sendable {
    private let channel: any Channel
    private let connections: ConnectionRegistry

    private init(channel: any Channel, connections: ConnectionRegistry) {
        self.channel = channel
        self.connections = connections
    }

    /// - Parameters:
    ///   - host: an address to bind; `::` serves IPv4 as well where the system is dual-stacked.
    ///   - port: 0 picks a free one, see ``port``.
    package static func bind(
        host: String, port: Int, group: any EventLoopGroup, limits: HTTPLimits, router: HTTPRouter, logger: Logger
    ) async throws -> HTTPListener {
        let connections = ConnectionRegistry(limit: limits.connections)
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 4)
            // Why: after a last reply we close our half and wait for the peer's.
            .childChannelOption(.allowRemoteHalfClosure, value: false)
            .childChannelOption(
                .writeBufferWaterMark,
                value: ChannelOptions.Types.WriteBufferWaterMark(low: 256 * 1024, high: 1024 * 1024)
            )
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try Self.keepFromChildProcesses(channel) }
            }
            .childChannelInitializer { channel in
                // A failed initializer makes the server close the connection.
                guard connections.opened(channel) else {
                    return channel.eventLoop.makeFailedFuture(ConnectionRefused())
                }
                return channel.eventLoop.makeCompletedFuture {
                    try Self.keepFromChildProcesses(channel)
                    try HTTPConnectionHandler.configure(channel, limits: limits, router: router, logger: logger)
                }
            }
        let channel = try await bootstrap.bind(host: host, port: port).get()
        return HTTPListener(channel: channel, connections: connections)
    }

    /// A program that this process starts must not inherit the socket: the peer would not see our end of it as long as that program
    /// lives.
    private static func keepFromChildProcesses(_ channel: any Channel) throws {
        try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { descriptor in
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        }
    }

    package var port: Int { self.channel.localAddress?.port ?? 0 }
    package var connectionCount: Int { self.connections.count }
    /// Connections that were turned away because of the limit, or while draining.
    package var refusedConnectionCount: UInt64 { self.connections.refused }

    /// Stops accepting; open connections go on.
    package func stopAccepting() async {
        try? await self.channel.close()
    }

    /// Asks every open connection to end, and closes what is left after `grace`.
    package func drain(grace: Duration) async {
        await self.stopAccepting()
        self.connections.askAllToEnd()
        let deadline = ContinuousClock.now + grace
        while self.connections.count > 0, ContinuousClock.now < deadline {
            try? await Task.sleep(for: .milliseconds(20))
        }
        await self.connections.closeAll()
    }
}

/// Sent down a pipeline when the process is about to end.
package struct ServerIsDraining: Sendable {}
