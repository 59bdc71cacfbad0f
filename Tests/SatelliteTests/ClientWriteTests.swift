import ExactText
import NIOCore
import PostgresWire
import Testing

@testable import Satellite

@Suite("Session: client writes")
struct ClientWriteTests {
    private typealias Operation = Electric_Satellite_SatTransOp.OneOf_Op

    private static func relation(_ table: String, _ columns: [String], id: UInt32 = 0) -> SatelliteMessage {
        var relation = Electric_Satellite_SatRelation()
        relation.schemaName = "public"
        relation.tableName = table
        relation.relationID = id
        relation.columns = columns.map {
            var column = Electric_Satellite_SatRelationColumn()
            column.name = $0
            column.type = "TEXT"
            column.isNullable = true
            return column
        }
        return .relation(relation)
    }

    private static func row(_ values: [String?]) -> Electric_Satellite_SatOpRow {
        var row = Electric_Satellite_SatOpRow()
        var mask = [UInt8](repeating: 0, count: (values.count + 7) / 8)
        for (index, value) in values.enumerated() where value == nil { mask[index / 8] |= 0x80 >> UInt8(index % 8) }
        row.nullsBitmask = mask.protobufField
        row.values = values.map { ByteBuffer(string: $0 ?? "").protobufField }
        return row
    }

    private static func begin(_ lsn: [UInt8], time: UInt64 = 1_795_230_519_754) -> Operation {
        var begin = Electric_Satellite_SatOpBegin()
        begin.commitTimestamp = time
        begin.lsn = lsn.protobufField
        return .begin(begin)
    }

    private static func insert(_ values: [String?], tags: [String] = []) -> Operation {
        var insert = Electric_Satellite_SatOpInsert()
        insert.rowData = Self.row(values)
        insert.tags = tags
        return .insert(insert)
    }

    private static func update(_ old: [String?]?, _ new: [String?], tags: [String] = []) -> Operation {
        var update = Electric_Satellite_SatOpUpdate()
        update.rowData = Self.row(new)
        if let old { update.oldRowData = Self.row(old) }
        update.tags = tags
        return .update(update)
    }

    private static func log(_ operations: [Operation]) -> SatelliteMessage {
        var log = Electric_Satellite_SatOpLog()
        log.ops = operations.map {
            var entry = Electric_Satellite_SatTransOp()
            entry.op = $0
            return entry
        }
        return .opLog(log)
    }

    private static let commit = Operation.commit(.init())
    private static let key = "e2f1570a-cb6b-4369-bb08-bfa187d40760"
    private static let columns = ["id", "content", "content_text_null", "intvalue_null", "ts"]

    private static func harness(_ columns: [String] = columns) -> SessionHarness {
        var harness = SessionHarness()
        harness.open()
        _ = harness.receive(Self.relation("items", columns))
        return harness
    }

    private static func applied(_ actions: [SessionAction]) -> [ClientTransaction] {
        actions.compactMap { if case .apply(let transaction) = $0 { transaction } else { nil } }
    }

    private static func value(_ text: String) -> ClientValue { .bytes(ByteBuffer(string: text)) }

    @Test func aTransactionIsHandedOnWithWhatTheClientSaid() throws {
        var harness = Self.harness()
        let actions = harness.receive(
            Self.log([
                Self.begin([0, 0, 0, 1]), Self.insert([Self.key.uppercased(), "a", nil, "7", nil]), Self.commit,
            ]))
        let transaction = try #require(Self.applied(actions).first)
        #expect(transaction.clientID == SessionHarness.clientID)
        #expect(transaction.clientLSN == ByteBuffer(bytes: [0, 0, 0, 1]))
        #expect(transaction.tag == Tag(milliseconds: 1_795_230_519_754, source: SessionHarness.clientID))
        let change = try #require(transaction.changes.first)
        #expect(change.kind == .insert)
        #expect(change.values == [Self.value(Self.key), Self.value("a"), .null, Self.value("7"), .null])
        #expect(change.changed == [false, true, true, true, true])
    }

    @Test func columnsAreMatchedByNameAndMissingOnesStayAbsent() throws {
        var harness = Self.harness(["content", "id"])
        let actions = harness.receive(
            Self.log([
                Self.begin([1]), Self.update(["old", Self.key], ["new", Self.key], tags: ["postgres_1@5", "a@b@6"]),
                Self.commit,
            ]))
        let change = try #require(Self.applied(actions).first?.changes.first)
        #expect(change.values == [Self.value(Self.key), Self.value("new"), .absent, .absent, .absent])
        #expect(change.changed == [false, true, false, false, false])
        #expect(change.observedTags == [Tag(milliseconds: 5, source: nil), Tag(milliseconds: 6, source: "a@b")])
        #expect(change.valuesByName == ["id": Self.value(Self.key), "content": Self.value("new")])
    }

    @Test func compensationsMayLackEverythingButTheKey() throws {
        var harness = Self.harness()
        var compensation = Electric_Satellite_SatOpCompensation()
        compensation.pkData = Self.row([Self.key, nil, nil, nil, nil])
        let actions = harness.receive(
            Self.log([
                Self.begin([1]), .compensation(compensation), Self.update(nil, [Self.key, nil, nil, nil, nil]),
                Self.commit,
            ]))
        let changes = try #require(Self.applied(actions).first?.changes)
        #expect(changes.map(\.kind) == [.compensation, .compensation])
        #expect(changes.allSatisfy { !$0.changed.contains(true) })
    }

    @Test func aTransactionMayComeInSeveralMessagesAndEmptyOnesAreNotApplied() {
        var harness = Self.harness()
        #expect(harness.receive(Self.log([Self.begin([1]), Self.commit, Self.begin([2])])).isEmpty)
        #expect(harness.receive(Self.log([Self.insert([Self.key, "a", nil, nil, nil])])).isEmpty)
        #expect(Self.applied(harness.receive(Self.log([Self.commit]))).map(\.clientLSN) == [ByteBuffer(bytes: [2])])
    }

    @Test func aChangedPrimaryKeyNamesTheTransaction() throws {
        var harness = Self.harness()
        let other = "00000000-0000-0000-0000-000000000001"
        let actions = harness.receive(
            Self.log([
                Self.begin([0, 0, 0, 2]), Self.insert([Self.key, "a", nil, nil, nil]), Self.commit,
                Self.begin([0, 0, 0, 3]), Self.update([Self.key, "a", nil, nil, nil], [other, "a", nil, nil, nil]),
                Self.commit, Self.begin([0, 0, 0, 4]), Self.insert([other, "a", nil, nil, nil]), Self.commit,
            ]))
        #expect(Self.applied(actions).map(\.clientLSN) == [ByteBuffer(bytes: [0, 0, 0, 2])])
        guard case .error(let error)? = actions.messages.last else {
            Issue.record("no error")
            return
        }
        #expect(error.errorType == .invalidRequest)
        #expect(ByteBuffer(protobufField: error.lsn) == ByteBuffer(bytes: [0, 0, 0, 3]))
        #expect(
            error.message
                == "Applying transaction [LSN 00000003] failed write validation tests for the following reason: Attempt "
                + "to update table \"public\".\"items\" primary key(s) [\"id\"] (ImmutablePrimaryKey)")
        #expect(actions.closeCode == 1_007)
    }

    @Test func whatIsMalformedEndsTheSession() {
        let good = Self.insert([Self.key, "a", nil, nil, nil])
        var unknown = Electric_Satellite_SatOpInsert()
        unknown.relationID = 9
        unknown.rowData = Self.row([Self.key, "a", nil, nil, nil])
        let cases: [[Operation]] = [
            [good], [Self.begin([]), good], [Self.begin([1]), Self.begin([2])], [Self.commit],
            [Self.begin([1]), .insert(unknown)], [Self.begin([1]), .gone(.init())],
            [Self.begin([1]), Self.insert([Self.key, "a", nil, nil])],
            [Self.begin([1]), Self.insert([Self.key, "a", nil, nil, nil], tags: ["x"])],
        ]
        for operations in cases {
            var harness = Self.harness()
            let actions = harness.receive(Self.log(operations))
            #expect(actions.story == ["error invalidRequest"], "\(operations)")
            #expect(actions.closeCode == 1_007)
            guard case .error(let error)? = actions.messages.first else { continue }
            #expect(error.message == "unexpected error")
        }
    }

    @Test func aNullWhereNoneMayBeIsExplained() {
        for values in [[Self.key, nil, nil, nil, nil], [nil, "a", nil, nil, nil]] as [[String?]] {
            var harness = Self.harness()
            let actions = harness.receive(Self.log([Self.begin([1]), Self.insert(values)]))
            guard case .error(let error)? = actions.messages.first else {
                Issue.record("no error")
                continue
            }
            #expect(error.message.hasPrefix("Column ") && error.message.hasSuffix(" may not be NULL"))
        }
    }

    @Test func invalidValuesAndUnknownNamesAreExplained() {
        var harness = Self.harness()
        let actions = harness.receive(Self.log([Self.begin([1]), Self.insert([Self.key, "a", nil, "x", nil])]))
        guard case .error(let error)? = actions.messages.first else {
            Issue.record("no error")
            return
        }
        #expect(error.message == "Non-integer value given for int4 column: \"x\"")
        #expect(!error.hasLsn)
        for relation in [Self.relation("nope", ["id"]), Self.relation("items", ["id", "nope"])] {
            var harness = SessionHarness()
            harness.open()
            let actions = harness.receive(relation)
            #expect(actions.story == ["error invalidRequest"])
        }
    }

    @Test func operationsAreIgnoredUntilTheStreamIsAskedFor() {
        var harness = SessionHarness()
        _ = harness.authenticate()
        _ = harness.receive(Self.relation("items", Self.columns))
        #expect(harness.receive(Self.log([Self.commit])).isEmpty)
        #expect(!harness.session.isClosed)
    }

    @Test func readingPausesWhileTooMuchWaits() {
        var limits = SatelliteLimits()
        limits.maximumWaitingWrites = 4
        var harness = SessionHarness(limits: limits)
        harness.open()
        _ = harness.receive(Self.relation("items", Self.columns))
        var actions: [SessionAction] = []
        for lsn in UInt8(1)...5 {
            actions += harness.receive(
                Self.log([Self.begin([lsn]), Self.insert([Self.key, "a", nil, nil, nil]), Self.commit]))
        }
        #expect(actions.last == .pauseReading)
        #expect(actions.filter { $0 == .pauseReading }.count == 1)
        #expect(harness.session.receive(.writeApplied(clientLSN: ByteBuffer(bytes: [2]))).isEmpty)
        #expect(harness.session.receive(.writeApplied(clientLSN: ByteBuffer(bytes: [3]))) == [.resumeReading])
        #expect(harness.session.receive(.writeApplied(clientLSN: ByteBuffer(bytes: [9]))).isEmpty)
    }

    @Test func aRejectedTransactionIsNamedToTheClient() {
        var harness = Self.harness()
        let lsn = ByteBuffer(bytes: [0, 0, 0, 1])
        let actions = harness.session.receive(.writeRejected(clientLSN: lsn, message: "no such parent"))
        guard case .error(let error)? = actions.messages.first else {
            Issue.record("no error")
            return
        }
        #expect(error.errorType == .invalidRequest)
        #expect(error.message == "no such parent")
        #expect(ByteBuffer(protobufField: error.lsn) == lsn)
        #expect(actions.isClosing)
    }

    @Test func writesAreStoppedAndStartedAgain() {
        var harness = Self.harness()
        let stopped = harness.session.receive(.writesSuspended)
        #expect(stopped.messages.count == 1)
        #expect(harness.receive(Self.log([Self.commit])).isEmpty)
        #expect(
            harness.session.receive(.writesResumed) == [.lookUpClientPosition(clientID: SessionHarness.clientID)])
        #expect(harness.session.receive(.clientPositionLoaded(nil)).messages.count == 1)
    }
}
