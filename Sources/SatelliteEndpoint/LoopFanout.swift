import NIOCore
import PostgresWire
import Satellite

/// The connections of one event loop that wait for the next transactions.
// Why unchecked: `waiting` is touched on the event loop only; the one method for other threads hops there.
final class LoopFanout: @unchecked Sendable {
    private let eventLoop: any EventLoop
    private var waiting: [SatelliteConnection] = []

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    /// On the event loop: the connection wants whatever comes next.
    func wait(_ connection: SatelliteConnection) {
        self.eventLoop.preconditionInEventLoop()
        self.waiting.append(connection)
    }

    /// From any thread: new transactions, or just a new position.
    func published(_ transactions: [SatelliteTransaction], after: LSN, upTo: LSN) {
        self.eventLoop.execute {
            let waiting = self.waiting
            self.waiting = []
            self.waiting.reserveCapacity(waiting.count)
            let delivery = TransactionDelivery(after: after, transactions: transactions, upTo: upTo)
            for connection in waiting {
                // A connection that closed, or was served otherwise, has no position any more.
                guard let position = connection.waitingPosition else { continue }
                if position == after {
                    connection.deliver(delivery)
                } else if position >= upTo {
                    self.waiting.append(connection)
                } else {
                    connection.deliver(
                        TransactionDelivery(
                            after: position, transactions: transactions.filter { $0.position > position }, upTo: upTo))
                }
            }
        }
    }
}
