import NIOCore
import Satellite

/// A connection as other threads may refer to it.
struct ConnectionReference: Sendable {
    let id: ObjectIdentifier
    private let bound: NIOLoopBound<SatelliteConnection>

    init(_ connection: SatelliteConnection, eventLoop: any EventLoop) {
        self.id = ObjectIdentifier(connection)
        self.bound = NIOLoopBound(connection, eventLoop: eventLoop)
    }

    func send(_ event: SessionEvent, closing: Bool = false) {
        self.bound.eventLoop.execute {
            if closing {
                self.bound.value.end(code: 1012, reason: "Service restarting", cause: "the change log began anew")
            } else {
                self.bound.value.handle(event)
            }
        }
    }
}
