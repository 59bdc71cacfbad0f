import Logging
import NIOCore
import Synchronization

/// What all connections of one listener share.
final class HTTPServing: Sendable {
    let limits: HTTPLimits
    let router: HTTPRouter
    let logger: Logger
    let forwarded: ForwardedPolicy
    let bodyBudget: HTTPBodyBudget
    let counters: HTTPCounters
    let onExchange: (@Sendable (HTTPExchangeRecord) -> Void)?
    private let tickers: [ObjectIdentifier: HTTPTicker]
    private let lastWarning = Atomic<UInt64>(0)
    private let drain = Atomic<Bool>(false)

    init(
        group: any EventLoopGroup, limits: HTTPLimits, router: HTTPRouter, logger: Logger, forwarded: ForwardedPolicy,
        bodyBudget: HTTPBodyBudget, counters: HTTPCounters, onExchange: (@Sendable (HTTPExchangeRecord) -> Void)?
    ) {
        self.limits = limits
        self.router = router
        self.logger = logger
        self.forwarded = forwarded
        self.bodyBudget = bodyBudget
        self.counters = counters
        self.onExchange = onExchange
        var tickers: [ObjectIdentifier: HTTPTicker] = [:]
        for eventLoop in group.makeIterator() {
            tickers[ObjectIdentifier(eventLoop)] = HTTPTicker(eventLoop: eventLoop, interval: limits.tickInterval)
        }
        self.tickers = tickers
    }

    /// Whether the server is about to end. Looked at when a connection or an HTTP/2 stream begins, not for each request.
    var isDraining: Bool { self.drain.load(ordering: .acquiring) }

    func beginDraining() { self.drain.store(true, ordering: .releasing) }

    func ticker(of eventLoop: any EventLoop) -> HTTPTicker {
        // A loop outside the group has nothing to share.
        self.tickers[ObjectIdentifier(eventLoop)]
            ?? HTTPTicker(eventLoop: eventLoop, interval: self.limits.tickInterval)
    }

    /// Says that a peer without trust spoke for a client; once a minute at most, because anybody can make it happen.
    func forwardedIgnored(from peer: SocketAddress?) {
        let now = NIODeadline.now().uptimeNanoseconds
        let last = self.lastWarning.load(ordering: .relaxed)
        guard last == 0 || now > last + 60_000_000_000,
            self.lastWarning.compareExchange(expected: last, desired: now, ordering: .relaxed).exchanged
        else { return }
        self.logger.warning(
            "forwarding headers of a peer that is no trusted proxy were removed",
            metadata: ["peer": "\(peer?.ipAddress ?? "unknown")"])
    }
}
