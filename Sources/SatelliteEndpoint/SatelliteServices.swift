import Satellite

/// What a connection needs of the rest of the service.
package struct SatelliteServices: Sendable {
    package var hub: SatelliteHub
    package var clientState: ClientStateStore
    package var snapshots: SnapshotFetcher
    package var writer: any ClientWriter
    /// Checks a token; the answer is `authenticated` or `authenticationFailed`.
    package var authenticate: @Sendable (_ token: String) async -> SessionEvent
    package var instanceID: String
    package var limits: SatelliteLimits
    /// Seconds between ticks of the keep-alive.
    package var pingInterval: Int64 = 20
    /// Seconds that a client may leave what we send unread before its connection is closed.
    package var stallLimit: Int64 = 60
    /// Seconds for a client to say who it is.
    package var authenticationLimit: Int64 = 30
    /// Bytes of a message of a client that has not said who it is.
    package var unauthenticatedMessageBytes = 64 << 10

    package init(
        hub: SatelliteHub, clientState: ClientStateStore, snapshots: SnapshotFetcher, writer: any ClientWriter,
        instanceID: String, limits: SatelliteLimits = SatelliteLimits(),
        authenticate: @escaping @Sendable (_ token: String) async -> SessionEvent
    ) {
        self.hub = hub
        self.clientState = clientState
        self.snapshots = snapshots
        self.writer = writer
        self.instanceID = instanceID
        self.limits = limits
        self.authenticate = authenticate
    }
}

/// The services in one place: a connection holds a reference instead of a copy of its own.
package final class SharedSatelliteServices: Sendable {
    let value: SatelliteServices

    package init(_ value: SatelliteServices) {
        self.value = value
    }
}

/// Takes clients' transactions to the database.
package protocol ClientWriter: Sendable {
    /// Applies a transaction after all earlier ones of the same client. Returns false if it cannot be taken now; `completion` is not
    /// called then. Otherwise it is called once, on any thread.
    func apply(_ transaction: ClientTransaction, completion: @escaping @Sendable (ClientWriteOutcome) -> Void) -> Bool
}

package enum ClientWriteOutcome: Sendable {
    case applied
    case rejected(message: String)
    /// Nobody can tell; the client sends it again.
    case abandoned
}
