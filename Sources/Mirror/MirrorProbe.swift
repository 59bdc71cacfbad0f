/// Called between the steps of a flow; for tests that end the process in between.
package struct MirrorProbe: Sendable {
    private let body: (@Sendable (MirrorStep) async throws -> Void)?

    package init(_ body: (@Sendable (MirrorStep) async throws -> Void)? = nil) {
        self.body = body
    }

    func reached(_ step: MirrorStep) async throws {
        try await self.body?(step)
    }
}

/// What a flow has just done.
package enum MirrorStep: String, Hashable, Sendable {
    case checkpointLoaded
    case batchRead
    case batchCommitted
    case letterCommitted
    case finishRecorded
    case temporaryCreated
    case snapshotPartStored
    case snapshotStored
    case targetCreated
    case temporaryDeleted
    case refetchAnnounced
    case copyPartStored
    case copyStored
    case transactionPartStored
    case transactionStored
    case progressSaved
}

/// What a test throws from a probe: the service ends at once and cleans nothing up.
package struct MirrorCrash: Error {
    package init() {}
}
