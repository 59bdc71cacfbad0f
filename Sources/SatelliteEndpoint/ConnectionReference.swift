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

    func send(_ event: SessionEvent) {
        self.bound.eventLoop.execute { self.bound.value.handle(event) }
    }

    /// Ends the connection for a reason of ours.
    func end(code: UInt16, reason: String, cause: String) {
        self.bound.eventLoop.execute { self.bound.value.end(code: code, reason: reason, cause: cause) }
    }
}
