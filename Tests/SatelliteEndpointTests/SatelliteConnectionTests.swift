import HTTPServer
import NIOCore
import NIOEmbedded
import PostgresWire
import Satellite
import Synchronization
import Testing

@testable import SatelliteEndpoint

@Suite(.timeLimit(.minutes(2))) struct SatelliteConnectionTests {
    /// An own transaction of the client, which it gets even when nothing is left of it.
    private func own(_ position: UInt64) -> SatelliteTransaction { .empty(at: position) }

    private func isCommit(at position: UInt64) -> (SatelliteMessage) -> Bool {
        { message in
            guard case .opLog(let log) = message, case .commit(let commit)? = log.ops.last?.op else { return false }
            return commit.lsn == ServerPosition.encode(LSN(rawValue: position)).protobufField
        }
    }

    @Test func transactionsReachAWaitingClientAndOneThatAsksLater() async throws {
        let endpoint = try await EndpointHarness.withDatabase()
        endpoint.load(at: 100)
        let connection = try await ConnectionHarness.open(endpoint)
        try await connection.authenticate()
        try await connection.start()
        #expect(try await connection.with { $0.waitingPosition } == LSN(rawValue: 100))
        endpoint.publish([self.own(110)], upTo: 110)
        _ = try await connection.next(self.isCommit(at: 110))
        // Several at once, before the loop has a turn.
        for position in stride(from: UInt64(120), through: 200, by: 10) {
            endpoint.publish([self.own(position)], upTo: position)
        }
        for position in stride(from: UInt64(120), through: 200, by: 10) {
            _ = try await connection.next(self.isCommit(at: position))
        }
        #expect(try await connection.with { $0.waitingPosition } == LSN(rawValue: 200))
        await endpoint.stop()
    }

    @Test func slowClientHoldsNothingAndGoesOnWhereItStood() async throws {
        let endpoint = try await EndpointHarness.withDatabase()
        endpoint.load(at: 100)
        let connection = try await ConnectionHarness.open(endpoint)
        try await connection.authenticate()
        try await connection.start()
        _ = try await connection.pendingBytes()
        try await connection.setWritable(false)
        endpoint.publish([self.own(110)], upTo: 110)
        // The transaction it had asked for before comes; what follows is not even looked up.
        _ = try await connection.next(self.isCommit(at: 110))
        endpoint.publish([self.own(120)], upTo: 120)
        endpoint.publish([self.own(130)], upTo: 130)
        #expect(try await connection.pendingBytes() == 0)
        #expect(try await connection.with { $0.waitingPosition } == nil)
        try await connection.setWritable(true)
        _ = try await connection.next(self.isCommit(at: 120))
        _ = try await connection.next(self.isCommit(at: 130))
        await endpoint.stop()
    }

    @Test func clientThatNeverReadsIsClosed() async throws {
        let endpoint = try await EndpointHarness.withDatabase { $0.stallLimit = 60 }
        endpoint.load(at: 100)
        let connection = try await ConnectionHarness.open(endpoint)
        try await connection.authenticate()
        try await connection.setWritable(false)
        try await connection.setWritable(true)
        await connection.channel.testingEventLoop.advanceTime(by: .seconds(15))
        try await connection.setWritable(false)
        // It goes on sending, so it is not taken for dead.
        for _ in 0..<5 {
            try await connection.with { $0.activitySeen() }
            await connection.channel.testingEventLoop.advanceTime(by: .seconds(13))
        }
        let close = try await connection.closeFrame()
        #expect(close.code == 1008)
        #expect(close.reason == "Client does not read")
        #expect(endpoint.hub.clientCount == 0)
        await endpoint.stop()
    }

    @Test func clientThatDoesNotSayWhoItIsIsClosed() async throws {
        let endpoint = EndpointHarness.withoutDatabase()
        endpoint.load(at: 100)
        let connection = try await ConnectionHarness.open(endpoint)
        #expect(try await connection.maximumMessageBytes() == endpoint.services.unauthenticatedMessageBytes)
        for _ in 0..<6 {
            try await connection.with { $0.activitySeen() }
            await connection.channel.testingEventLoop.advanceTime(by: .seconds(5))
        }
        let close = try await connection.closeFrame()
        #expect(close.reason == "Not authenticated in time")
        await endpoint.stop()
    }

    @Test func knownClientMaySendLargeMessages() async throws {
        let endpoint = try await EndpointHarness.withDatabase()
        endpoint.load(at: 100)
        let connection = try await ConnectionHarness.open(endpoint)
        try await connection.authenticate()
        #expect(try await connection.maximumMessageBytes() == HTTPLimits().webSocketMessageBytes)
        await endpoint.stop()
    }

    @Test func newestConnectionOfAClientWins() async throws {
        let endpoint = try await EndpointHarness.withDatabase()
        endpoint.load(at: 100)
        let first = try await ConnectionHarness.open(endpoint)
        try await first.authenticate("same")
        let second = try await ConnectionHarness.open(endpoint)
        try await second.authenticate("same")
        #expect(try await first.closeFrame().code == 4001)
        #expect(endpoint.hub.clientCount == 1)
        try await first.with { $0.closed() }
        #expect(endpoint.hub.clientCount == 1)
        try await second.with { $0.closed() }
        #expect(endpoint.hub.clientCount == 0)
        await endpoint.stop()
    }

    @Test func closedConnectionIsLetGoOfAlthoughNothingIsCommitted() async throws {
        let endpoint = try await EndpointHarness.withDatabase()
        endpoint.load(at: 100)
        let connection = try await ConnectionHarness.open(endpoint)
        try await connection.authenticate()
        try await connection.start()
        #expect(try await connection.with { $0.waitingIndex } == 0)
        try await connection.with { $0.closed() }
        #expect(try await connection.with { $0.waitingIndex } == nil)
        // Nothing that comes later wakes it.
        try await connection.with { connection in
            connection.binaryReceived(ByteBuffer(bytes: [99]))
            connection.writabilityChanged(true)
            connection.draining()
            connection.end(code: 1000, reason: "", cause: "test")
            connection.closed()
        }
        _ = try await connection.channel.finish(acceptAlreadyClosed: true)
        #expect(try await connection.isLeaked() == false)
        await endpoint.stop()
    }

    @Test func clientThatCatchesUpGetsEverythingAcrossTurns() async throws {
        let endpoint = try await EndpointHarness.withDatabase {
            $0.limits.unacknowledgedTransactions = 100_000
        }
        endpoint.load(at: 100)
        let connection = try await ConnectionHarness.open(endpoint)
        try await connection.authenticate()
        try await connection.start()
        _ = try await connection.pendingBytes()
        try await connection.setWritable(false)
        // More than the deliveries of one turn, and few enough for the window.
        endpoint.publish((1...3_000).map { self.own(100 + UInt64($0)) }, upTo: 3_100)
        try await connection.setWritable(true)
        _ = try await connection.next(self.isCommit(at: 3_100))
        #expect(try await connection.with { $0.waitingPosition } == LSN(rawValue: 3_100))
        await endpoint.stop()
    }

    @Test func resetEndsClientsAndRefusesNewStarts() async throws {
        let endpoint = try await EndpointHarness.withDatabase()
        endpoint.load(at: 100)
        let connection = try await ConnectionHarness.open(endpoint)
        try await connection.authenticate()
        try await connection.start()
        let generation = endpoint.hub.state.withLock { $0.generation }
        endpoint.hub.reset()
        #expect(!endpoint.hub.isLoaded)
        #expect(endpoint.hub.clientCount == 0)
        // What was read of the old history does not come in any more.
        endpoint.hub.publish([self.own(110)], upTo: LSN(rawValue: 110), generation: generation)
        #expect(
            !endpoint.hub.begin(
                at: LSN(rawValue: 1), LoadedSchema(schema: .empty, migrations: []), generation: generation))
        #expect(endpoint.hub.recent(after: LSN(rawValue: 100)) == nil)
        #expect(try await connection.closeFrame().code == 1012)
        let late = try await ConnectionHarness.open(endpoint)
        try await late.authenticate("late")
        try await late.receive(.request(.startReplication, id: 2, Electric_Satellite_SatInStartReplicationReq()))
        #expect(try await late.closeFrame().code == 1013)
        await endpoint.stop()
    }

    @Test func positionBeforeTheLogEndsTheSession() async throws {
        let endpoint = try await EndpointHarness.withDatabase {
            $0.limits.unacknowledgedTransactions = 100_000
        }
        endpoint.load(at: 100)
        let connection = try await ConnectionHarness.open(endpoint)
        try await connection.authenticate()
        try await connection.start()
        _ = try await connection.pendingBytes()
        try await connection.setWritable(false)
        // The window moves past the client, and the log does not exist.
        endpoint.publish((1...6_000).map { self.own(100 + UInt64($0)) }, upTo: 6_100)
        await connection.channel.testingEventLoop.run()
        endpoint.load(at: 10_000)
        try await connection.setWritable(true)
        let close = try await connection.closeFrame()
        #expect(close.code == 1013)
        #expect(close.reason == "Position is no longer available")
        await endpoint.stop()
    }
}
