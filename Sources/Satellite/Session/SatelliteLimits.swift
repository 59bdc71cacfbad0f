/// Bounds of one session. Every one of them is a setting; the defaults are the protocol's own numbers where it has any.
package struct SatelliteLimits: Hashable, Sendable {
    /// Transactions that may be sent and not yet acknowledged. When full, the stream waits for an acknowledgement.
    package var unacknowledgedTransactions = 30
    /// Client ids longer than this are refused; the tables that keep clients' state hold no more.
    package var maximumClientIDBytes = 64
    package var maximumTokenBytes = 16 << 10
    /// Subscriptions that one client may hold; further ones are refused.
    package var maximumSubscriptions = 256
    package var maximumShapeRequests = 256
    package var maximumSubscriptionIDBytes = 128
    package var maximumTableNameBytes = 64
    package var maximumClientRelations = 1_024
    /// A client transaction above this is refused.
    package var maximumClientTransactionBytes = 64 << 20
    /// When more client transactions than this wait to be applied, reading from the socket stops until half are done.
    package var maximumWaitingWrites = 128
    /// The same, by size.
    package var maximumWaitingWriteBytes = 16 << 20
    /// Close sessions when their token expires. Off, like in the service that this protocol comes from.
    package var endsSessionsOnExpiry = false

    package init() {}
}
