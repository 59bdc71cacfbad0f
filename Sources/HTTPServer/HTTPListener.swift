import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// What a listener does besides serving plain HTTP/1.1.
package struct HTTPListenerOptions: Sendable {
    /// TLS; nil is plain text.
    package var security: HTTPTransportSecurity?
    /// In the order in which the server likes them. HTTP/2 needs TLS.
    package var versions: [HTTPProtocolVersion] = [.http1]
    package var forwarded: ForwardedPolicy = .off
    /// One budget for all listeners of the process.
    package var bodyBudget = HTTPBodyBudget()
    /// What was answered; one for all listeners of the process, as the budget.
    package var counters = HTTPCounters()
    /// Told of every request when its answer is out, on the connection's event loop; must not block. Without it nothing is
    /// recorded.
    package var onExchange: (@Sendable (HTTPExchangeRecord) -> Void)?
    /// How often the files of ``security`` are looked at for changes.
    package var securityCheckInterval: TimeAmount = .seconds(5)

    package init() {}
}

/// A bound port that serves HTTP and WebSocket connections.
package final class HTTPListener: Sendable {
    private let channel: any Channel
    private let serving: HTTPServing
    private let connections: ConnectionRegistry
    private let tls: TLSContextHolder?

    private init(
        channel: any Channel, serving: HTTPServing, connections: ConnectionRegistry, tls: TLSContextHolder?
    ) {
        self.channel = channel
        self.serving = serving
        self.connections = connections
        self.tls = tls
    }

    /// - Parameters:
    ///   - host: an address to bind; `::` serves IPv4 as well where the system is dual-stacked.
    ///   - port: 0 picks a free one, see ``port``.
    ///
    /// Throws ``TLSFileError`` when a file of the transport security is not good, before anything is bound.
    package static func bind(
        host: String, port: Int, group: any EventLoopGroup, limits: HTTPLimits, router: HTTPRouter, logger: Logger,
        options: HTTPListenerOptions = HTTPListenerOptions()
    ) async throws -> HTTPListener {
        let connections = ConnectionRegistry(limit: limits.connections)
        let versions = options.security == nil ? options.versions.filter { $0 != .http2 } : options.versions
        let tls = try options.security.map { try TLSContextHolder($0, versions: versions, logger: logger) }
        let serving = HTTPServing(
            group: group, limits: limits, router: router, logger: logger, forwarded: options.forwarded,
            bodyBudget: options.bodyBudget, counters: options.counters, onExchange: options.onExchange)
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 4)
            // Why: a peer may end its half behind its last request and still wants the answer. TLS knows no such half.
            .childChannelOption(.allowRemoteHalfClosure, value: tls == nil)
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
                    try Self.configure(channel, serving: serving, tls: tls)
                }
            }
        let channel = try await bootstrap.bind(host: host, port: port).get()
        if let tls { Self.watch(tls, every: options.securityCheckInterval, with: channel) }
        return HTTPListener(channel: channel, serving: serving, connections: connections, tls: tls)
    }

    private static func configure(_ channel: any Channel, serving: HTTPServing, tls: TLSContextHolder?) throws {
        guard let tls else {
            let info = HTTPConnectionInfo(eventLoop: channel.eventLoop, peer: channel.remoteAddress)
            try HTTPConnectionHandler.configureHTTP1(channel, serving: serving, info: info)
            return
        }
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(NIOSSLServerHandler(context: tls.context))
        try pipeline.addHandler(TLSHandshakeHandler(serving: serving, ticker: serving.ticker(of: channel.eventLoop)))
    }

    /// Looks for new certificates for as long as the port is open.
    private static func watch(_ tls: TLSContextHolder, every interval: TimeAmount, with channel: any Channel) {
        let timer = channel.eventLoop.scheduleRepeatedAsyncTask(initialDelay: interval, delay: interval) { _ in
            NIOThreadPool.singleton.runIfActive(eventLoop: channel.eventLoop) { tls.reloadIfChanged() }
        }
        channel.closeFuture.whenComplete { _ in timer.cancel() }
    }

    /// Reads certificate and key again for new connections. Returns false when they are not good: the old ones stay in use then, and
    /// the log says why. True without TLS.
    @discardableResult package func reloadCertificates() async -> Bool {
        guard let tls = self.tls else { return true }
        return (try? await NIOThreadPool.singleton.runIfActive { tls.reload() }) ?? false
    }

    /// A program that this process starts must not inherit the socket: the peer would not see our end of it as long as that program
    /// lives.
    private static func keepFromChildProcesses(_ channel: any Channel) throws {
        try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { descriptor in
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        }
    }

    /// When the certificate in use ends, or the first of those behind it that does, in seconds since 1970. Nil without TLS.
    package var certificateExpiry: Int64? { self.tls?.expiry }

    package var port: Int { self.channel.localAddress?.port ?? 0 }
    package var connectionCount: Int { self.connections.count }
    /// Connections that were turned away because of the limit.
    package var refusedConnectionCount: UInt64 { self.connections.refused }

    // MARK: The end

    /// How long the answers to probes may take after the end of everything else.
    private static let probeGrace = Duration.seconds(1)

    /// Asks every connection of these listeners to end what it has begun, waits for that, and cuts off what is left after
    /// `grace`.
    ///
    /// Meanwhile, and until ``close()``, the ports take connections as before. Requests on those, and new ones on the others, are
    /// answered where the route does so while the server ends, and refused otherwise, each with the end of its connection. They
    /// hold nobody up.
    package static func drain(_ listeners: [HTTPListener], grace: Duration) async {
        for listener in listeners {
            // First of all, so that a connection that is asked to end takes no other request.
            listener.serving.beginDraining()
            listener.connections.askAllToEnd()
        }
        await Self.wait(grace) { listeners.allSatisfy { $0.connections.countBeforeDrain == 0 } }
        for listener in listeners { await listener.connections.closeThoseBeforeDrain() }
    }

    /// Gives the port free. What is under way behind a ``drain(_:grace:)`` are answers to probes: they are waited for.
    package func close() async {
        try? await self.channel.close()
        self.connections.tellAllThatDrainIsOver()
        await Self.wait(Self.probeGrace) { self.connections.count == 0 }
        await self.connections.closeAll()
    }

    /// Ends a listener that is the only one.
    package func drain(grace: Duration) async {
        await Self.drain([self], grace: grace)
        await self.close()
    }

    private static func wait(_ limit: Duration, until isOver: () -> Bool) async {
        let deadline = ContinuousClock.now + limit
        while !isOver(), ContinuousClock.now < deadline {
            // Why in a task of its own: one that is cancelled does not sleep, and the loop would only burn.
            await Task { try? await Task.sleep(for: .milliseconds(20)) }.value
        }
    }
}

/// Sent down a pipeline when the process is about to end.
package struct ServerIsDraining: Sendable {}

/// Sent down the pipelines of connections that came during the drain, when it is over.
struct DrainIsOver: Sendable {}
