import NIOCore
import PostgresWire
import Satellite
import Synchronization

/// Somebody who waits for transactions on an event loop.
protocol FanoutReceiver: AnyObject {
    /// Where it waits; nil while it does not.
    var waitingPosition: LSN? { get }
    /// Its place in the fan-out's list; only the fan-out changes it.
    var waitingIndex: Int? { get set }
    /// The next transactions, from its position on.
    func deliver(_ delivery: TransactionDelivery)
    /// It shall ask the hub again for what follows its position.
    func askAgain()
}

/// The connections of one event loop that wait for the next transactions.
///
/// How many deliveries may wait for a busy loop is bounded; above that the waiting connections are told to ask the hub, which holds
/// no more than its budget.
// Why unchecked: `waiting` is touched on the event loop only; the methods for other threads hop there.
final class LoopFanout: @unchecked Sendable {
    private struct Backlog {
        var deliveries = 0
        var isWakeQueued = false
    }

    private let eventLoop: any EventLoop
    private let maximumDeliveries: Int
    private var waiting: [any FanoutReceiver] = []
    private let backlog = Mutex(Backlog())

    init(eventLoop: any EventLoop, maximumDeliveries: Int = 32) {
        self.eventLoop = eventLoop
        self.maximumDeliveries = maximumDeliveries
    }

    /// On the event loop: how many wait.
    var waitingCount: Int { self.waiting.count }

    /// On the event loop: the receiver wants whatever comes next.
    func wait(_ receiver: any FanoutReceiver) {
        self.eventLoop.preconditionInEventLoop()
        guard receiver.waitingIndex == nil else { return }
        receiver.waitingIndex = self.waiting.count
        self.waiting.append(receiver)
    }

    /// On the event loop: the receiver is gone. Nothing keeps it alive here any more.
    func remove(_ receiver: any FanoutReceiver) {
        guard let index = receiver.waitingIndex else { return }
        receiver.waitingIndex = nil
        let last = self.waiting.removeLast()
        if last !== receiver {
            last.waitingIndex = index
            self.waiting[index] = last
        }
    }

    /// From any thread: new transactions, or just a new position.
    func published(_ transactions: [SatelliteTransaction], after: LSN, upTo: LSN) {
        enum Step { case deliver, wake, nothing }
        let step = self.backlog.withLock { backlog -> Step in
            // A wake that is still to come brings this as well.
            if backlog.isWakeQueued { return .nothing }
            if backlog.deliveries < self.maximumDeliveries {
                backlog.deliveries += 1
                return .deliver
            }
            backlog.isWakeQueued = true
            return .wake
        }
        switch step {
        case .nothing: break
        case .deliver:
            let delivery = TransactionDelivery(after: after, transactions: transactions, upTo: upTo)
            self.eventLoop.execute {
                self.backlog.withLock { $0.deliveries -= 1 }
                self.handOut { $0.serve(delivery) }
            }
        case .wake:
            self.eventLoop.execute {
                self.backlog.withLock { $0.isWakeQueued = false }
                self.handOut { receiver in
                    receiver.askAgain()
                    return true
                }
            }
        }
    }

    /// Takes everybody off the list and gives each to `serve`, which returns whether it was served; the others go on waiting.
    private func handOut(_ serve: (any FanoutReceiver) -> Bool) {
        let waiting = self.waiting
        self.waiting = []
        self.waiting.reserveCapacity(waiting.count)
        for receiver in waiting { receiver.waitingIndex = nil }
        // One that ends or is served otherwise meanwhile has no position any more.
        for receiver in waiting where receiver.waitingPosition != nil && receiver.waitingIndex == nil {
            if !serve(receiver) { self.wait(receiver) }
        }
    }
}

extension FanoutReceiver {
    fileprivate func serve(_ delivery: TransactionDelivery) -> Bool {
        guard let position = self.waitingPosition, position < delivery.upTo else { return false }
        if position == delivery.after {
            self.deliver(delivery)
        } else {
            // It stands elsewhere than where this begins: only the hub knows what it lacks.
            self.askAgain()
        }
        return true
    }
}
