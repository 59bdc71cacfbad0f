import NIOCore
import PostgresWire
import Testing

@testable import Satellite

@Suite("Session: connection, authentication, acknowledgements")
struct SatelliteSessionTests {
    @Test func authenticationIsFollowedByTheServersStart() {
        var harness = SessionHarness()
        var request = Electric_Satellite_SatAuthReq()
        request.id = SessionHarness.clientID
        request.token = "t"
        #expect(
            harness.call(.authenticate, request) == [.authenticate(clientID: SessionHarness.clientID, token: "t")])
        let actions = harness.session.receive(.authenticated(.init(userID: "u")))
        #expect(
            actions.others == [
                .claim(clientID: SessionHarness.clientID), .lookUpClientPosition(clientID: SessionHarness.clientID),
            ])
        #expect(actions.messages.count == 1)
        let position = ByteBuffer(bytes: [0, 0, 0, 4])
        let start = harness.session.receive(.clientPositionLoaded(position))
        guard case .rpcRequest(let rpc)? = start.messages.first,
            case .startReplication(let payload)? = ClientRequest(rpc)
        else {
            Issue.record("no start request")
            return
        }
        #expect(rpc.requestID == 0)
        #expect(ByteBuffer(protobufField: payload.lsn) == position)
    }

    @Test(arguments: RemoteMethod.allCases.filter { $0 != .authenticate })
    func requestsBeforeAuthenticationEndTheSession(method: RemoteMethod) {
        var harness = SessionHarness()
        let actions = harness.call(method, Electric_Satellite_SatUnsubsResp())
        #expect(actions.story == ["\(method.rawValue) authRequired"])
        #expect(actions.closeCode == 1_007)
        #expect(harness.session.isClosed)
        #expect(harness.session.receive(.tick).isEmpty)
    }

    @Test func invalidTokensAndEmptyIDsAreRefused() {
        var harness = SessionHarness()
        var request = Electric_Satellite_SatAuthReq()
        request.id = "c"
        #expect(harness.call(.authenticate, request).story == ["authenticate invalidRequest"])

        harness = SessionHarness()
        request.token = "t"
        _ = harness.call(.authenticate, request)
        let actions = harness.session.receive(.authenticationFailed(.invalidToken))
        #expect(actions.story == ["authenticate authRequired"])
        #expect(actions.closeCode == 1_007)

        harness = SessionHarness()
        _ = harness.call(.authenticate, request)
        let unavailable = harness.session.receive(.authenticationFailed(.unavailable))
        #expect(unavailable.messages.isEmpty)
        #expect(unavailable.isClosing)
    }

    @Test func aTokenIsRenewedForTheSameClientAndUserOnly() {
        var request = Electric_Satellite_SatAuthReq()
        request.id = SessionHarness.clientID
        request.token = "new"
        for (client, user, isAccepted) in [
            (SessionHarness.clientID, "user", true), (SessionHarness.clientID, "other", false), ("x", "user", false),
        ] {
            var harness = SessionHarness()
            harness.open()
            request.id = client
            _ = harness.call(.authenticate, request)
            _ = harness.session.receive(.authenticated(.init(userID: user)))
            #expect(harness.session.isClosed != isAccepted)
        }
    }

    @Test func expiryEndsTheSessionOnlyWhenAskedFor() {
        var limits = SatelliteLimits()
        var harness = SessionHarness(limits: limits)
        harness.open()
        #expect(harness.session.receive(.tokenExpired).isEmpty)
        limits.endsSessionsOnExpiry = true
        harness = SessionHarness(limits: limits)
        harness.open()
        #expect(
            harness.session.receive(.tokenExpired) == [
                .close(code: 4_000, reason: "JWT-expired", cause: "token expired")
            ])
    }

    @Test func anIdlePeerIsPingedOnceAndThenDropped() {
        var harness = SessionHarness()
        harness.open()
        #expect(harness.session.receive(.tick).isEmpty)
        #expect(harness.session.receive(.tick) == [.ping])
        _ = harness.session.receive(.controlFrameReceived)
        #expect(harness.session.receive(.tick).isEmpty)
        #expect(harness.session.receive(.tick) == [.ping])
        let actions = harness.session.receive(.tick)
        #expect(actions.isClosing)
        #expect(actions.closeCode == nil)
    }

    @Test func whatIsNotTheProtocolIsAnswered() {
        for bytes in [[], [1], [21, 0x0a, 0x7f]] as [[UInt8]] {
            var harness = SessionHarness()
            harness.open()
            let actions = harness.session.receive(.messageReceived(ByteBuffer(bytes: bytes)))
            #expect(actions.story == ["error internal"])
            #expect(
                actions.last.map { "\($0)".contains("Message not formatted according to Electric protocol") } == true)
        }
        var harness = SessionHarness()
        harness.open()
        #expect(harness.session.receive(.textReceived).closeCode == 1_007)
        harness = SessionHarness()
        harness.open()
        #expect(harness.receive(.error(.init())).closeCode == 1_000)
    }

    @Test func theOlderConnectionGivesWay() {
        var harness = SessionHarness()
        harness.open()
        #expect(harness.session.receive(.superseded).isClosing)
    }

    // MARK: Acknowledgements

    @Test func theWindowSuspendsTheStreamAndAnAckResumesIt() {
        var limits = SatelliteLimits()
        limits.unacknowledgedTransactions = 2
        var harness = SessionHarness(limits: limits)
        _ = harness.openAndStart()
        _ = harness.subscribeAndDeliver(["items"])
        let transactions = (1...4).map { SessionHarness.transaction(xid: $0, at: 1_000 + $0 * 10) }
        let first = harness.deliver(transactions)
        #expect(first.story == ["begin(1@1010) insert commit", "begin(2@1020) insert commit"])
        #expect(first.others.isEmpty)
        let resumed = harness.acknowledge(1, lsn: 1_010)
        #expect(resumed == [.needTransactions(after: LSN(rawValue: 1_020))])
        #expect(harness.deliver(Array(transactions[2...])).story == ["begin(3@1030) insert commit"])
        let all = harness.acknowledge(3, lsn: 1_030)
        #expect(all.contains(.needTransactions(after: LSN(rawValue: 1_030))))
    }

    @Test func unknownAcknowledgementsEndTheSessionAndZeroIsFine() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        #expect(harness.acknowledge(0, lsn: 1_000).isEmpty)
        let actions = harness.acknowledge(9, lsn: 1_000)
        #expect(actions.story == ["error invalidRequest"])
        #expect(actions.closeCode == 1_007)
    }

    @Test func checkpointsAreSavedOneAtATimeAndOnlyForward() {
        var harness = SessionHarness()
        let started = harness.openAndStart()
        #expect(started.contains(.saveCheckpoint(LSN(rawValue: 1_000))))
        _ = harness.subscribeAndDeliver(["items"])
        _ = harness.deliver((1...3).map { SessionHarness.transaction(xid: $0, at: 1_000 + $0 * 10) })
        #expect(harness.acknowledge(1, lsn: 1_010).isEmpty)
        #expect(harness.acknowledge(2, lsn: 1_020).isEmpty)
        #expect(harness.session.receive(.checkpointSaved) == [.saveCheckpoint(LSN(rawValue: 1_020))])
        #expect(harness.session.receive(.checkpointSaved).isEmpty)
        #expect(harness.acknowledge(0, lsn: 1_010).isEmpty)
        #expect(harness.acknowledge(0, lsn: 999_999).isEmpty)
    }

    // MARK: Transactions

    @Test func foreignTransactionsWithoutSelectedRowsOnlyMoveThePosition() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        let actions = harness.deliver([SessionHarness.transaction(xid: 1, at: 1_010)], upTo: 1_050)
        #expect(actions == [.needTransactions(after: LSN(rawValue: 1_050))])
    }

    @Test func ownTransactionsComeBackEvenWhenEmpty() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        let own = SessionHarness.transaction(xid: 1, at: 1_010, origin: SessionHarness.clientID)
        #expect(harness.deliver([own]).story == ["begin(1@1010) commit"])
    }

    @Test func anAnswerForAnotherPositionIsDropped() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        let late = TransactionDelivery(
            after: LSN(rawValue: 5),
            transactions: [SessionHarness.transaction(xid: 1, at: 1_010, origin: SessionHarness.clientID)])
        #expect(harness.session.receive(.transactionsAvailable(late)).isEmpty)
    }

    @Test func aRelationIsAnnouncedOnceAndAgainAfterItsMigration() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        #expect(harness.subscribeAndDeliver(["items"]).story.contains("relation(items)"))
        #expect(
            harness.deliver([SessionHarness.transaction(xid: 1, at: 1_010)]).story == ["begin(1@1010) insert commit"])
        let wider = SatelliteTable(
            oid: Fixtures.items.oid, name: "items",
            columns: Fixtures.items.columns + [.init(name: "n", typeName: "text")])
        let migration = SatelliteTransaction(
            position: LSN(rawValue: 1_020), commitPosition: LSN(rawValue: 1_019), xid: 2, commitTimestamp: 1,
            origin: nil,
            schema: SatelliteSchema(tables: [wider]), migration: SessionHarness.migration("2", xid: 2, tables: [wider]))
        #expect(harness.deliver([migration]).story == ["relation(items)", "begin(2@1020) migrate(2) commit"])
        #expect(
            harness.deliver([SessionHarness.transaction(xid: 3, at: 1_030, table: wider)]).story
                == ["begin(3@1030) insert commit"])
    }

    @Test func rowsNextToAMigrationAreATransactionOfTheirOwn() {
        var limits = SatelliteLimits()
        limits.unacknowledgedTransactions = 1
        var harness = SessionHarness(limits: limits)
        _ = harness.openAndStart()
        _ = harness.subscribeAndDeliver(["items"])
        let mixed = SessionHarness.transaction(
            xid: 7, at: 1_010, migration: SessionHarness.migration("2", xid: 7))
        #expect(harness.deliver([mixed]).story == ["begin(7@1009) migrate(2) commit"])
        #expect(harness.session.position.rawValue == 1_009)
        #expect(harness.acknowledge(7, lsn: 1_009).contains(.needTransactions(after: LSN(rawValue: 1_009))))
        #expect(harness.deliver([mixed]).story == ["begin(7@1010) insert commit"])
        #expect(harness.session.position.rawValue == 1_010)
    }

    @Test func aLargeTransactionIsReadBlockByBlock() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        _ = harness.subscribeAndDeliver(["items"])
        let large = SatelliteTransaction(
            position: LSN(rawValue: 1_010), commitPosition: LSN(rawValue: 1_009), xid: 7, commitTimestamp: 1,
            origin: nil,
            schema: Fixtures.schema, largeTables: [Fixtures.owned, Fixtures.items])
        let begun = harness.deliver([large])
        #expect(begun.story == ["begin(7@1010)"])
        #expect(begun.others == [.needOperations(of: LSN(rawValue: 1_010), isFirst: true)])
        let block = SessionHarness.transaction(xid: 7, at: 1_010, rows: 2).block
        let more = harness.session.receive(.operationsAvailable(block))
        #expect(more.story == ["insert insert"])
        #expect(more.others == [.needOperations(of: LSN(rawValue: 1_010), isFirst: false)])
        let done = harness.session.receive(.operationsFinished)
        #expect(done.story == ["commit"])
        #expect(done.others == [.needTransactions(after: LSN(rawValue: 1_010))])
        #expect(harness.session.unacknowledgedCount == 1)
    }

    @Test func aChangeThatCannotBeExpressedMakesTheClientStartOver() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        _ = harness.subscribeAndDeliver(["items"])
        let broken = SatelliteTransaction(
            position: LSN(rawValue: 1_010), commitPosition: LSN(rawValue: 1_009), xid: 7, commitTimestamp: 1,
            origin: nil,
            schema: Fixtures.schema, resyncTables: [Fixtures.items.oid])
        let actions = harness.deliver([broken])
        #expect(actions.first == .deleteClientState)
        #expect(actions.isClosing)
    }
}
