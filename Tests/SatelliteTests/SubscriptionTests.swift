import ExactText
import NIOCore
import PostgresWire
import Testing

@testable import Satellite

@Suite("Session: start, resume, subscriptions")
struct SubscriptionTests {
    private static let id = SessionHarness.subscriptionID
    private static let other = "00000000-0000-4000-8000-000000000001"

    private static func state(
        window: ClosedRange<UInt64>? = 500...2_000, checkpoint: UInt64? = 900, subscriptions: [String] = [],
        ended: [(String, UInt64)] = []
    ) -> ResumeState {
        ResumeState(
            window: window.map { LSN(rawValue: $0.lowerBound)...LSN(rawValue: $0.upperBound) },
            checkpoint: checkpoint.map { LSN(rawValue: $0) },
            subscriptions: subscriptions.map {
                StoredSubscription(
                    id: $0,
                    request: ByteBuffer(bytes: SessionHarness.subscription(["items"], id: $0).encodedBytes()),
                    snapshot: nil, snapshotEnd: .zero, snapshotTables: [])
            },
            unsubscriptions: ended.map { StoredUnsubscription(id: $0.0, position: LSN(rawValue: $0.1)) },
            schema: Fixtures.schema)
    }

    private static func resume(
        at lsn: String, _ state: ResumeState, subscriptions: [String] = [], observedGone: [String] = []
    ) -> (SessionHarness, [SessionAction]) {
        var harness = SessionHarness()
        harness.open()
        var actions = harness.start(lsn: lsn, subscriptions: subscriptions, observedGone: observedGone)
        if !harness.session.isClosed { actions += harness.session.receive(.clientStateLoaded(state)) }
        return (harness, actions)
    }

    // MARK: Start

    @Test func theAnswerPrecedesTheMigrationsAndTheStream() {
        var harness = SessionHarness()
        let actions = harness.openAndStart(migrations: [
            SessionHarness.migration("1", xid: 11), SessionHarness.migration("2", xid: 12),
        ])
        #expect(
            actions.story.dropFirst() == [
                "relation(items)", "begin(11@0) migrate(1) commit", "begin(12@1000) migrate(2) commit",
            ])
        #expect(actions.startError == nil)
        #expect(
            actions.others == [
                .deleteClientState, .saveCheckpoint(LSN(rawValue: 1_000)),
                .needTransactions(after: LSN(rawValue: 1_000)),
            ])
    }

    @Test func moreMigrationsThanTheWindowWaitForAcknowledgements() {
        var harness = SessionHarness()
        let migrations = (1...65).map { SessionHarness.migration("\($0)", xid: UInt64($0)) }
        var story = harness.openAndStart(migrations: migrations).story.filter { $0.hasPrefix("begin") }
        #expect(story.count == 30)
        story += harness.acknowledge(21, lsn: 0).story
        #expect(story.count == 51)
        #expect(harness.deliver([SessionHarness.transaction(xid: 99, at: 1_010)]).isEmpty)
        let last = harness.acknowledge(51, lsn: 0)
        story += last.story
        #expect(story == (1...65).map { "begin(\($0)@\($0 == 65 ? 1_000 : 0)) migrate(\($0)) commit" })
        #expect(last.others == [.needTransactions(after: LSN(rawValue: 1_000))])
    }

    @Test func onlyMissingMigrationsAreSent() {
        var harness = SessionHarness(schema: SatelliteSchema(tables: [Fixtures.items], versions: ["1", "2"]))
        harness.open()
        _ = harness.start(version: "1")
        let history = MigrationHistory(
            position: LSN(rawValue: 1_000), schema: Fixtures.schema,
            migrations: [SessionHarness.migration("1", xid: 11), SessionHarness.migration("2", xid: 12)])
        let actions = harness.session.receive(.historyLoaded(history))
        #expect(actions.story.dropFirst() == ["relation(items)", "begin(12@1000) migrate(2) commit"])
    }

    @Test func startIsRefusedWithTheDocumentedCodes() {
        var harness = SessionHarness()
        harness.open()
        #expect(harness.start(version: "9").startError?.code == .unknownSchemaVsn)
        for lsn in ["x", "-1", "0/16B3748", "99999999999999999999"] {
            harness = SessionHarness()
            harness.open()
            let actions = harness.start(lsn: lsn)
            #expect(actions.startError?.code == .malformedLsn)
            #expect(actions.closeCode == 1_007)
        }
        harness = SessionHarness()
        harness.open()
        #expect(harness.start(subscriptions: [Self.id]).startError?.code == .invalidPosition)
    }

    @Test(
        arguments: [
            ("499", 500...2_000, 100), ("2001", 500...2_000, 100), ("1000", nil, 100),
        ] as [(String, ClosedRange<UInt64>?, UInt64)])
    func positionsOutsideTheWindowAreBehind(lsn: String, window: ClosedRange<UInt64>?, checkpoint: UInt64) {
        let (harness, actions) = Self.resume(at: lsn, Self.state(window: window, checkpoint: checkpoint))
        #expect(actions.startError?.code == .behindWindow)
        #expect(actions.contains(.deleteClientState))
        #expect(harness.session.isClosed)
    }

    @Test func positionsBeforeTheCheckpointAreInvalid() {
        #expect(Self.resume(at: "899", Self.state()).1.startError?.code == .invalidPosition)
        #expect(Self.resume(at: "1000", Self.state(checkpoint: nil)).1.startError?.code == .invalidPosition)
        #expect(Self.resume(at: "900", Self.state()).1.startError == nil)
    }

    @Test func resumedSubscriptionsGoOnWithoutSnapshot() {
        var (harness, actions) = Self.resume(
            at: "1000", Self.state(subscriptions: [Self.id]), subscriptions: [Self.id])
        #expect(actions.startError == nil)
        #expect(actions.fetchNumber == nil)
        #expect(
            harness.deliver([SessionHarness.transaction(xid: 1, at: 1_010)]).story
                == ["relation(items)", "begin(1@1010) insert commit"])
    }

    @Test func unknownSubscriptionsAreNotFound() {
        let (_, actions) = Self.resume(at: "1000", Self.state(), subscriptions: [Self.id])
        #expect(actions.startError?.code == .subscriptionNotFound)
        #expect(actions.startError?.message == "Unknown subscription: \(Self.id)")
    }

    /// The documented outcomes of unsubscribe and reconnect, with the unsubscription at position 1000.
    @Test func reconnectsAfterAnUnsubscribeEndAsDocumented() {
        let state = Self.state(subscriptions: [Self.id], ended: [(Self.id, 1_000)])
        let observed = Self.resume(at: "1000", state, observedGone: [Self.id]).1
        #expect(observed.fetchNumber == nil)
        #expect(observed.contains(.removeSubscriptions([Self.id])))

        let wanted = Self.resume(at: "1000", state, subscriptions: [Self.id]).1
        #expect(wanted.startError == nil)
        #expect(wanted.contains(.forgetUnsubscriptions([Self.id])))
        #expect(wanted.fetchNumber == nil)

        var (harness, neither) = Self.resume(at: "1000", state)
        #expect(neither.story.last == "gone(1)")
        guard let number = neither.fetchNumber else {
            Issue.record("no keys are fetched")
            return
        }
        #expect(harness.session.receive(.fetchFinished(number)).story == ["unsubscriptionDataEnd"])
        #expect(harness.deliver([SessionHarness.transaction(xid: 1, at: 1_010)]).story.isEmpty)

        let later = Self.resume(at: "1001", state).1
        #expect(later.fetchNumber == nil)
        #expect(later.contains(.removeSubscriptions([Self.id])))

        let lateAndWanted = Self.resume(at: "1001", state, subscriptions: [Self.id]).1
        #expect(lateAndWanted.startError?.code == .subscriptionNotFound)
    }

    @Test func aSecondStartIsRefusedAndStopIsAlwaysAccepted() {
        var harness = SessionHarness()
        harness.open()
        #expect(!harness.call(.stopReplication, Electric_Satellite_SatInStopReplicationReq()).isClosing)
        _ = harness.start()
        _ = harness.session.receive(
            .historyLoaded(MigrationHistory(position: LSN(rawValue: 1), schema: Fixtures.schema, migrations: [])))
        #expect(!harness.call(.stopReplication, Electric_Satellite_SatInStopReplicationReq()).isClosing)
        #expect(harness.deliver([SessionHarness.transaction(xid: 1, at: 10, origin: SessionHarness.clientID)]).isEmpty)
        #expect(harness.start(lsn: "1").others == [.loadClientState(clientID: SessionHarness.clientID)])
        #expect(harness.start(lsn: "1").isClosing)
    }

    // MARK: Subscribe

    @Test func aSubscriptionIsDeliveredAtItsPointOfTheStream() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        let asked = harness.subscribe(["items"])
        #expect(asked.subscribeError == nil)
        guard case .fetchSnapshot(let request)? = asked.others.last else {
            Issue.record("no snapshot is fetched")
            return
        }
        #expect(request.tables == [Fixtures.items])
        #expect(request.after.rawValue == 1_000)
        #expect(request.userID == "user")
        let snapshot = TransactionSnapshot(xmin: 20, xmax: 22, running: [20])
        let started = harness.session.receive(.snapshotStarted(request.number, snapshot, end: LSN(rawValue: 1_500)))
        #expect(started.story == ["relation(items)", "data(1000)", "shapeDataBegin"])
        #expect(
            started.others == [
                .saveSubscription(
                    StoredSubscription(
                        id: Self.id,
                        request: ByteBuffer(bytes: SessionHarness.subscription(["items"]).encodedBytes()),
                        snapshot: snapshot, snapshotEnd: LSN(rawValue: 1_500), snapshotTables: [Fixtures.items.oid]))
            ])
        var rows = RowFrameEncoder()
        let isAppended = rows.appendInsert(
            table: Fixtures.items, row: BufferRow([ByteBuffer(string: "1")]), tagsText: nil)
        #expect(isAppended)
        #expect(harness.session.receive(.rowsAvailable(request.number, rows.finish())).story == ["insert"])
        let finished = harness.session.receive(.fetchFinished(request.number))
        #expect(finished.story == ["shapeDataEnd", "subscriptionDataEnd"])
        // The request from before the delivery still stands.
        #expect(finished.others.isEmpty)

        // 19 and 21 are in the snapshot, 20 was running, 22 came later.
        let transactions = [(19, 1_010), (20, 1_020), (21, 1_030), (22, 1_040)].map {
            SessionHarness.transaction(xid: UInt64($0.0), at: UInt64($0.1))
        }
        #expect(
            harness.deliver(transactions).story == ["begin(20@1020) insert commit", "begin(22@1040) insert commit"])
    }

    @Test func onlyNewTablesAreKeptBackAfterASecondSubscription() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        _ = harness.subscribeAndDeliver(["items"])
        let second = harness.subscribeAndDeliver(["items", "owned_entries"], id: Self.other, seesBelow: 50, end: 9_000)
        guard
            case .fetchSnapshot(let request)? = second.others.first(where: {
                if case .fetchSnapshot = $0 { true } else { false }
            })
        else {
            Issue.record("no snapshot is fetched")
            return
        }
        #expect(request.tables == [Fixtures.owned])
        #expect(
            harness.deliver([
                SessionHarness.transaction(xid: 10, at: 1_010),
                SessionHarness.transaction(xid: 11, at: 1_020, table: Fixtures.owned),
                SessionHarness.transaction(xid: 60, at: 1_030, table: Fixtures.owned),
            ]).story == ["begin(10@1010) insert commit", "begin(60@1030) insert commit"])
    }

    @Test func aSecondIdenticalSubscriptionIsDeliveredEmptyAtOnce() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        _ = harness.subscribeAndDeliver(["items"])
        let actions = harness.subscribe(["items", "items"], id: Self.other)
        #expect(
            actions.story.dropFirst() == [
                "data(1000)", "shapeDataBegin", "shapeDataEnd", "shapeDataBegin", "shapeDataEnd", "subscriptionDataEnd",
            ])
    }

    @Test func referencedTablesComeAlongEvenInACycle() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        guard case .fetchSnapshot(let request)? = harness.subscribe(["parents"]).others.last else {
            Issue.record("no snapshot is fetched")
            return
        }
        #expect(request.tables == [Fixtures.parent, Fixtures.child])
    }

    @Test func whatArrivesDuringADeliveryIsAskedForAgain() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        let asked = harness.subscribe(["items"])
        #expect(harness.deliver([SessionHarness.transaction(xid: 5, at: 1_010)]).isEmpty)
        guard let number = asked.fetchNumber else { return }
        _ = harness.session.receive(
            .snapshotStarted(number, TransactionSnapshot(xmin: 1, xmax: 1, running: []), end: .zero))
        #expect(
            harness.session.receive(.fetchFinished(number)).others == [.needTransactions(after: LSN(rawValue: 1_000))])
    }

    @Test func invalidSubscriptionsAreAnsweredAndTheConnectionStays() {
        typealias Select = Electric_Satellite_SatShapeDef.Select
        func check(_ message: String, _ request: Electric_Satellite_SatSubsReq) {
            var harness = SessionHarness()
            _ = harness.openAndStart()
            _ = harness.subscribe(["items"], id: Self.other)
            let error = harness.call(.subscribe, request).subscribeError
            #expect(error?.message == message)
            #expect(error?.code == .unspecified)
            #expect(!harness.session.isClosed)
        }
        check("ID too long", SessionHarness.subscription(["items"], id: String(repeating: "a", count: 129)))
        check(
            "Cannot establish multiple subscriptions with the same ID. If you want to change the subscription, "
                + "you need to unsubscribe first.", SessionHarness.subscription(["items"], id: Self.other))
        check("Subscription must include at least one shape request", SessionHarness.subscription([]))
        check(
            "Subscription ID should be a valid UUID",
            SessionHarness.subscription(["items"], id: Self.id.uppercased()))
        var duplicated = SessionHarness.subscription(["items", "items"])
        duplicated.shapeRequests[1].requestID = "r0"
        check("Duplicated request ids are not allowed", duplicated)
    }

    @Test func eachInvalidShapeHasItsCode() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        var request = SessionHarness.subscription([
            "items", "nope", "", "a\u{7}", String(repeating: "x", count: 65), "items", "items", "items", "items",
        ])
        request.shapeRequests[5].shapeDefinition.selects = []
        request.shapeRequests[6].shapeDefinition.selects.append(.init())
        request.shapeRequests[7].shapeDefinition.selects[0].where = "this.id = 1"
        request.shapeRequests[8].shapeDefinition.selects[0].include = [.init()]
        let error = harness.call(.subscribe, request).subscribeError
        #expect(error?.message == "Could not establish a subscription due to errors on requests")
        let shapes = error?.shapeRequestError ?? []
        #expect(shapes.map(\.requestID) == (1...8).map { "r\($0)" })
        #expect(
            shapes.map(\.code) == [
                .tableNotFound, .tableNotFound, .tableNotFound, .tableNotFound, .emptyShapeDefinition,
                .invalidIncludeTree, .invalidWhereClause, .invalidIncludeTree,
            ])
        #expect(shapes.first?.message == "Unknown table nope")
        #expect(shapes.dropFirst().first?.message == "Invalid table name")
    }

    @Test func failedFetchesEndTheConnectionWithoutAnError() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        guard let number = harness.subscribe(["items"]).fetchNumber else { return }
        let actions = harness.session.receive(.fetchFailed(number, .transient))
        #expect(actions.messages.isEmpty)
        #expect(actions.closeCode == 1_013)
    }

    @Test func aSubscriptionThatCannotBeDeliveredIsDropped() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        guard let number = harness.subscribe(["items"]).fetchNumber else { return }
        let actions = harness.session.receive(.fetchFailed(number, .permanent("too large")))
        #expect(actions.story == ["subscriptionDataError"])
        #expect(actions.others.isEmpty)
        #expect(harness.deliver([SessionHarness.transaction(xid: 1, at: 1_010)]).story.isEmpty)
        #expect(harness.session.position.rawValue == 1_010)
    }

    // MARK: Unsubscribe

    @Test func rowsThatNobodyHoldsAreGoneAfterAnUnsubscribe() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        _ = harness.subscribeAndDeliver(["items", "owned_entries"])
        _ = harness.subscribeAndDeliver(["owned_entries"], id: Self.other)
        let asked = harness.unsubscribe([Self.id, "unknown"])
        #expect(asked.story == ["unsubscribe internal", "gone(2)"])
        #expect(
            asked.contains(.saveUnsubscriptions([StoredUnsubscription(id: Self.id, position: LSN(rawValue: 1_000))])))
        guard case .fetchKeys(let request)? = asked.others.last else {
            Issue.record("no keys are fetched")
            return
        }
        #expect(request.tables == [Fixtures.items])
        var keys = RowFrameEncoder()
        keys.appendGone(table: Fixtures.items, key: BufferRow([ByteBuffer(string: "1")]))
        #expect(harness.session.receive(.rowsAvailable(request.number, keys.finish())).story == ["gone"])
        #expect(harness.session.receive(.fetchFinished(request.number)).story == ["unsubscriptionDataEnd"])
        #expect(
            harness.deliver([
                SessionHarness.transaction(xid: 1, at: 1_010),
                SessionHarness.transaction(xid: 2, at: 1_020, table: Fixtures.owned),
            ]).story == ["begin(2@1020) insert commit"])
        #expect(harness.acknowledge(0, lsn: 1_010, gone: [Self.id]).contains(.removeSubscriptions([Self.id])))
    }

    @Test func anUndeliveredSubscriptionIsConfirmedWithAnEmptyBatch() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        guard let number = harness.subscribe(["items"]).fetchNumber else { return }
        let actions = harness.unsubscribe([Self.id])
        #expect(actions.story == ["unsubscribe internal", "gone(1)", "unsubscriptionDataEnd"])
        #expect(actions.others == [.cancelFetch(number), .removeSubscriptions([Self.id])])
        let late = harness.session.receive(
            .snapshotStarted(number, TransactionSnapshot(xmin: 1, xmax: 1, running: []), end: .zero))
        #expect(late.messages.isEmpty)
    }

    @Test func anUnsubscribeWithinADeliveryWaitsForItsEnd() {
        var harness = SessionHarness()
        _ = harness.openAndStart()
        guard let number = harness.subscribe(["items"]).fetchNumber else { return }
        _ = harness.session.receive(
            .snapshotStarted(number, TransactionSnapshot(xmin: 1, xmax: 1, running: []), end: .zero))
        let asked = harness.unsubscribe([Self.id])
        #expect(asked.story == ["unsubscribe internal"])
        #expect(
            asked.others == [
                .saveUnsubscriptions([StoredUnsubscription(id: Self.id, position: StoredUnsubscription.notSent)])
            ])
        let finished = harness.session.receive(.fetchFinished(number))
        #expect(finished.story == ["shapeDataEnd", "subscriptionDataEnd", "gone(1)"])
        #expect(finished.fetchNumber != nil)
    }
}
