import NIOCore

/// Something that is told once in every interval.
protocol PingWheelClient: AnyObject {
    /// Its place on the wheel; only the wheel changes it.
    var wheelPlace: PingWheel.Place? { get set }
    func ticked()
}

/// One timer for the keep-alives of all connections of an event loop.
///
/// A connection is told once per interval, counted from its own beginning to the second, so that thousands of connections do not send
/// their pings in the same moment. Runs while it has clients. Confined to its event loop.
final class PingWheel: @unchecked Sendable {
    // Why unchecked: everything but the constant is touched on the event loop only.

    struct Place {
        fileprivate var slot: Int
        fileprivate var index: Int
    }

    private let eventLoop: any EventLoop
    /// One for each second of the interval.
    private var slots: [[any PingWheelClient]]
    private var current = 0
    private var count = 0
    private var timer: RepeatedTask?

    /// - Parameter interval: in whole seconds.
    init(eventLoop: any EventLoop, interval: Int64) {
        self.eventLoop = eventLoop
        self.slots = Array(repeating: [], count: Int(max(1, interval)))
    }

    func add(_ client: any PingWheelClient) {
        self.eventLoop.preconditionInEventLoop()
        guard client.wheelPlace == nil else { return }
        // The slot that was told last: its turn comes again after the whole interval.
        client.wheelPlace = Place(slot: self.current, index: self.slots[self.current].count)
        self.slots[self.current].append(client)
        self.count += 1
        guard self.timer == nil else { return }
        self.timer = self.eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in
            self.turn()
        }
    }

    func remove(_ client: any PingWheelClient) {
        guard let place = client.wheelPlace else { return }
        client.wheelPlace = nil
        let last = self.slots[place.slot].removeLast()
        if last !== client {
            last.wheelPlace?.index = place.index
            self.slots[place.slot][place.index] = last
        }
        self.count -= 1
        if self.count == 0 {
            self.timer?.cancel()
            self.timer = nil
        }
    }

    private func turn() {
        self.current = (self.current + 1) % self.slots.count
        // A copy, because clients may leave while they are told.
        for client in self.slots[self.current] where client.wheelPlace != nil { client.ticked() }
    }
}
