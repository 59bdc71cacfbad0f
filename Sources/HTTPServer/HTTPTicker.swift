import NIOCore

/// Something that looks at its clocks when the ticker of its event loop ticks.
protocol HTTPTickerClient: AnyObject {
    /// Where the ticker keeps the client; nobody else touches it.
    var tickerIndex: Int { get set }
    func ticked(_ now: NIODeadline)
}

/// One repeated timer for all connections of an event loop: timeouts, keep-alives and idle closes cost a connection no timer of its own.
///
/// Also what connections of one loop share otherwise. Runs while it has clients.
final class HTTPTicker: @unchecked Sendable {
    // Why unchecked: everything but the two constants is touched on the event loop only.

    let eventLoop: any EventLoop
    let interval: TimeAmount
    /// Time of the last tick; at most one interval old while there are clients.
    private(set) var now: NIODeadline = .now()
    /// What answers say about the time; as old as ``now``.
    private(set) var date = HTTPDate.now
    private var clients: [any HTTPTickerClient] = []
    private var timer: RepeatedTask?
    private var lastChunkHeader: (count: Int, bytes: ByteBuffer) = (-1, ByteBuffer())

    init(eventLoop: any EventLoop, interval: TimeAmount) {
        self.eventLoop = eventLoop
        self.interval = interval
    }

    var clientCount: Int { self.clients.count }

    /// The time at which something that starts now has lasted for `time`.
    func deadline(in time: TimeAmount) -> NIODeadline {
        // Why not from the last tick: on a loop that was held up it is old, and the deadline would come early.
        .now() + time
    }

    func add(_ client: any HTTPTickerClient) {
        client.tickerIndex = self.clients.count
        self.clients.append(client)
        if self.timer == nil {
            self.lookAtClocks()
            self.timer = self.eventLoop.scheduleRepeatedTask(initialDelay: self.interval, delay: self.interval) { _ in
                self.tick()
            }
        }
    }

    func remove(_ client: any HTTPTickerClient) {
        let index = client.tickerIndex
        guard index >= 0, index < self.clients.count, self.clients[index] === client else { return }
        client.tickerIndex = -1
        let last = self.clients.removeLast()
        if last !== client {
            self.clients[index] = last
            last.tickerIndex = index
        }
        if self.clients.isEmpty {
            self.timer?.cancel()
            self.timer = nil
        }
    }

    private func lookAtClocks() {
        self.now = .now()
        let seconds = HTTPDate.secondsNow
        if seconds != self.date.seconds { self.date = HTTPDate(seconds: seconds) }
    }

    private func tick() {
        self.lookAtClocks()
        // A copy, because clients may leave while they are called.
        for client in self.clients where client.tickerIndex >= 0 { client.ticked(self.now) }
    }

    /// Size line of a chunk (RFC 9112, section 7.1). A fan-out asks for the same one again and again.
    func chunkHeader(for count: Int) -> ByteBuffer {
        if self.lastChunkHeader.count != count {
            self.lastChunkHeader = (count, ByteBuffer(string: String(count, radix: 16) + "\r\n"))
        }
        return self.lastChunkHeader.bytes
    }
}
