import NIOCore
import PostgresWire
import Testing

@testable import Satellite

@Suite("Transactions as clients see them")
struct TransactionEnricherTests {
    static let key = "8d9a1503-6f19-40fe-8e2f-ec04c8e5deb4"
    static let tag = #"("2023-06-15 11:18:05.372+00",)"#
    static let tags = #"{"(\"2023-06-15 11:18:05.372+00\",)"}"#
    static let clientTag = #"("2023-06-15 11:18:06.001+00",client_1)"#
    static let clientTags = #"{"(\"2023-06-15 11:18:06.001+00\",client_1)"}"#

    private static func enrich(_ transaction: CommittedTransaction) throws -> SatelliteTransaction {
        var enricher = TransactionEnricher(schema: Fixtures.schema)
        return try enricher.enrich(transaction) { _ in
            TransactionEnricher.MigrationOutcome(schema: Fixtures.schema, migration: nil)
        }
    }

    private static func operations(
        _ transaction: SatelliteTransaction, user: String = "u"
    ) -> [Electric_Satellite_SatTransOp.OneOf_Op] {
        let selection = TableSelection(tables: transaction.tables, user: user) { _ in true }
        return transaction.frames(.rows, selection: selection, dialect: .sqlite).batch.operations
    }

    private static func item(_ content: String, key: String = key) -> [String?] { [key, content, nil, "7", nil] }

    private static func kinds(_ operations: [Electric_Satellite_SatTransOp.OneOf_Op]) -> [String] {
        operations.map { operation in
            switch operation {
            case .begin: "begin"
            case .commit: "commit"
            case .insert(let insert): "insert \(insert.tags.joined(separator: ","))"
            case .update(let update): "update \(update.tags.joined(separator: ","))"
            case .delete(let delete): "delete \(delete.tags.joined(separator: ","))"
            case .gone(let gone): "gone \(String(decoding: gone.pkData.values[0], as: UTF8.self))"
            default: "other"
            }
        }
    }

    @Test func aWriteOfPostgresHasItsTagAndTime() throws {
        let transaction = try Self.enrich(
            Fixtures.transaction([
                PGOutput.shadow(Fixtures.items, key: [Self.key], tags: Self.tags, tag: Self.tag),
                PGOutput.insert(Fixtures.items.oid, Self.item("a")),
            ]))
        let operations = Self.operations(transaction)
        #expect(Self.kinds(operations) == ["begin", "insert postgres_1@1686827885372", "commit"])
        guard case .begin(let begin) = operations[0], case .commit(let commit) = operations[2] else {
            Issue.record("no envelope")
            return
        }
        #expect(begin.commitTimestamp == 1_686_827_885_372)
        #expect(commit.commitTimestamp == 1_686_827_885_372)
        #expect(begin.origin == "postgres_1")
        #expect(begin.transactionID == 100)
        #expect(Array(begin.lsn) == Array("2000".utf8))
        #expect(!begin.isMigration)
        #expect(!commit.hasTransactionID)
    }

    @Test func aClientsWriteHasItsExactTimeAndID() throws {
        let transaction = try Self.enrich(
            Fixtures.transaction([
                // Parked first: the tag is that of an earlier writer.
                PGOutput.shadow(
                    Fixtures.items, key: [Self.key], tags: Self.tags,
                    tag: #"("2029-01-01 00:00:00+00",someone_else)"#, isParked: true),
                PGOutput.insert(Fixtures.items.oid, Self.item("a")),
                PGOutput.shadow(Fixtures.items, key: [Self.key], tags: Self.clientTags, tag: Self.clientTag),
                // A trigger of the user's wrote another row within.
                PGOutput.shadow(
                    Fixtures.owned, key: ["1"], tags: Self.tags, tag: #"("2030-01-01 00:00:00+00",)"#),
            ]))
        #expect(transaction.origin == "client_1")
        #expect(transaction.commitTimestamp == 1_686_827_886_001)
        #expect(Self.kinds(Self.operations(transaction)) == ["begin", "insert client_1@1686827886001", "commit"])
    }

    @Test func orderIsKeptAndEveryOperationHasTheFinalTags() throws {
        let second = #"{"(\"2023-06-15 11:18:07+00\",)"}"#
        let transaction = try Self.enrich(
            Fixtures.transaction([
                PGOutput.shadow(Fixtures.items, key: [Self.key], tags: Self.tags, tag: Self.tag),
                PGOutput.insert(Fixtures.items.oid, Self.item("a")),
                PGOutput.shadow(Fixtures.items, key: [Self.key], tags: second, tag: #"("2023-06-15 11:18:07+00",)"#),
                PGOutput.update(Fixtures.items.oid, old: Self.item("a"), Self.item("b")),
                PGOutput.shadow(Fixtures.owned, key: ["1"], tags: "{}", tag: Self.tag, isDelete: true),
                PGOutput.delete(Fixtures.owned.oid, ["1", nil, "x"]),
            ]))
        #expect(
            Self.kinds(Self.operations(transaction)) == [
                "begin", "insert postgres_1@1686827887000", "update postgres_1@1686827887000", "delete ", "commit",
            ])
        #expect(transaction.commitTimestamp == 1_686_827_887_000)
    }

    @Test func rowsWithoutMetadataCarryTheEpochTagAndTheCommitTime() throws {
        let transaction = try Self.enrich(
            Fixtures.transaction([PGOutput.insert(Fixtures.items.oid, Self.item("a"))]))
        #expect(Self.kinds(Self.operations(transaction)) == ["begin", "insert postgres_1@0", "commit"])
        #expect(transaction.commitTimestamp == 1_700_000_000_000)
    }

    @Test func unchangedValuesComeFromTheOldRow() throws {
        let transaction = try Self.enrich(
            Fixtures.transaction([
                PGOutput.update(Fixtures.items.oid, old: Self.item("long"), [Self.key, "\u{0}", "new", "7", nil])
            ]))
        guard case .update(let update) = Self.operations(transaction)[1] else {
            Issue.record("no update")
            return
        }
        #expect(Array(update.rowData.values[1]) == Array("long".utf8))
        #expect(transaction.resyncTables.isEmpty)
    }

    @Test func aChangeWithoutItsOldRowForcesTheTableToBeSyncedAnew() throws {
        let transaction = try Self.enrich(
            Fixtures.transaction([PGOutput.update(Fixtures.items.oid, old: nil, Self.item("a"))]))
        #expect(transaction.resyncTables == [Fixtures.items.oid])
        #expect(Self.kinds(Self.operations(transaction)) == ["begin", "commit"])
    }

    @Test func aChangedPrimaryKeyIsADeleteAndAnInsert() throws {
        let other = "00000000-0000-0000-0000-000000000001"
        let transaction = try Self.enrich(
            Fixtures.transaction([
                PGOutput.shadow(Fixtures.items, key: [Self.key], tags: "{}", tag: Self.tag, isDelete: true),
                PGOutput.shadow(Fixtures.items, key: [other], tags: Self.tags, tag: Self.tag),
                PGOutput.update(Fixtures.items.oid, old: Self.item("a"), Self.item("a", key: other)),
            ]))
        #expect(
            Self.kinds(Self.operations(transaction)) == [
                "begin", "delete ", "insert postgres_1@1686827885372", "commit",
            ])
    }

    @Test func truncationBecomesGoneRowsByTheirShadows() throws {
        let transaction = try Self.enrich(
            Fixtures.transaction([
                PGOutput.shadow(Fixtures.owned, key: ["1"], tags: "{}", tag: Self.tag, isDelete: true),
                PGOutput.shadow(Fixtures.owned, key: ["2"], tags: "{}", tag: Self.tag, isDelete: true),
                PGOutput.truncate([Fixtures.owned.oid]),
                PGOutput.shadow(Fixtures.owned, key: ["2"], tags: Self.tags, tag: Self.tag),
                PGOutput.insert(Fixtures.owned.oid, ["2", nil, "again"]),
            ]))
        #expect(
            Self.kinds(Self.operations(transaction)) == [
                "begin", "insert postgres_1@1686827885372", "gone 1", "commit",
            ])
    }

    @Test func ownersDecideWhatAUserSees() throws {
        let transaction = try Self.enrich(
            Fixtures.transaction([
                PGOutput.insert(Fixtures.owned.oid, ["1", "anna", "a"]),
                PGOutput.insert(Fixtures.owned.oid, ["2", nil, "all"]),
                PGOutput.insert(Fixtures.owned.oid, ["3", "", "all"]),
                PGOutput.update(Fixtures.owned.oid, old: ["4", "anna", "x"], ["4", "bert", "x"]),
                PGOutput.delete(Fixtures.owned.oid, ["5", "bert", "x"]),
                PGOutput.update(Fixtures.owned.oid, old: ["6", "anna", "x"], ["6", "anna", "y"]),
            ]))
        let tag = "postgres_1@0"
        #expect(
            Self.kinds(Self.operations(transaction, user: "anna")) == [
                "begin", "insert \(tag)", "insert \(tag)", "insert \(tag)", "gone 4", "update \(tag)", "commit",
            ])
        #expect(
            Self.kinds(Self.operations(transaction, user: "bert")) == [
                "begin", "insert \(tag)", "insert \(tag)", "insert \(tag)", "delete ", "commit",
            ])
        #expect(
            Self.kinds(Self.operations(transaction, user: "carl")) == [
                "begin", "insert \(tag)", "insert \(tag)", "commit",
            ])
    }

    @Test func equalSelectionsShareOneBuffer() throws {
        let transaction = try Self.enrich(
            Fixtures.transaction((0..<250).map { PGOutput.insert(Fixtures.items.oid, Self.item("row \($0)")) }))
        func frames() -> FrameBatch {
            let selection = TableSelection(tables: transaction.tables, user: "u") { _ in true }
            return transaction.frames(.rows, selection: selection, dialect: .sqlite).batch
        }
        let first = frames()
        let second = frames()
        let firstAddress = first.webSocket.withUnsafeReadableBytes { $0.baseAddress }
        let secondAddress = second.webSocket.withUnsafeReadableBytes { $0.baseAddress }
        #expect(firstAddress == secondAddress)
        let counts = first.messages.map { message in
            if case .opLog(let log) = message { return log.ops.count }
            return -1
        }
        #expect(counts == [100, 100, 52])
        let unselected = transaction.frames(.rows, selection: TableSelection(), dialect: .sqlite)
        #expect(unselected.changeCount == 0)
        #expect(Self.kinds(unselected.batch.operations) == ["begin", "commit"])
    }

    @Test func ddlIsHandedOnAndTheNewSchemaHolds() throws {
        let wider = SatelliteTable(
            oid: Fixtures.items.oid, name: "items",
            columns: Fixtures.items.columns + [.init(name: "new", typeName: "text")])
        let migration = SatelliteMigration(
            version: "2", xid: 100, commitTimestamp: 5, tables: [wider], sqlite: [.init()], postgres: [])
        var statements: [DDLStatement] = []
        var enricher = TransactionEnricher(schema: Fixtures.schema)
        let transaction = try enricher.enrich(
            Fixtures.transaction([
                PGOutput.insert(Fixtures.items.oid, Self.item("before")),
                PGOutput.insert(900, ["1", "100", "5", "ALTER TABLE"]),
                PGOutput.relation(Fixtures.relation(wider)),
                PGOutput.insert(Fixtures.items.oid, Self.item("after") + ["x"]),
            ])
        ) {
            statements = $0
            return .init(schema: SatelliteSchema(tables: [wider]), migration: migration)
        }
        #expect(statements == [DDLStatement(id: 1, xid: 100, query: "ALTER TABLE")])
        #expect(transaction.tables == [wider])
        #expect(transaction.position(of: .migration).rawValue == 1_952)
        #expect(transaction.position(of: .rows).rawValue == 2_000)
        let rows = Self.operations(transaction).compactMap { operation -> [Int]? in
            if case .insert(let insert) = operation { return insert.rowData.values.map(\.count) }
            return nil
        }
        #expect(rows.map(\.count) == [6, 6])
        #expect(enricher.schema.table(oid: wider.oid) == wider)
    }

    @Test func rowsOfAnOlderRelationAreEncodedByIt() throws {
        var relation = Fixtures.relation(Fixtures.items)
        relation.columns.removeLast()
        var transaction = Fixtures.transaction([PGOutput.insert(Fixtures.items.oid, [Self.key, "a", nil, "1"])])
        transaction.relations[relation.oid] = relation
        let enriched = try Self.enrich(transaction)
        #expect(enriched.tables.first?.columns.count == 4)
    }

    @Test func metadataAndPlainTablesAreDropped() throws {
        var transaction = Fixtures.transaction([
            PGOutput.insert(77, ["x"]), PGOutput.touch("{}"), PGOutput.insert(78, ["y"]),
        ])
        transaction.relations[77] = Relation(
            oid: 77, schema: "public", name: "plain", replicaIdentity: .full, columns: [.init(name: "a", typeOID: 25)])
        transaction.relations[78] = Relation(
            oid: 78, schema: "electric", name: "transaction_marker", replicaIdentity: .full,
            columns: [.init(name: "id", typeOID: 25)])
        let enriched = try Self.enrich(transaction)
        #expect(!enriched.hasRows)
        #expect(enriched.touches.map { String(buffer: $0) } == ["{}"])
    }

    @Test func aLargeTransactionIsEncodedPieceByPiece() throws {
        let rows = (0..<1_000).map { index -> [ByteBuffer] in
            [
                PGOutput.shadow(Fixtures.owned, key: ["\(index)"], tags: Self.tags, tag: Self.tag),
                PGOutput.insert(Fixtures.owned.oid, ["\(index)", nil, "x"]),
            ]
        }
        let whole = Fixtures.transaction(rows.flatMap { $0 })
        let pieces = rows.map { Fixtures.transaction($0).piece }
        var survey = TransactionSurvey(relations: whole.relations, keepsShadowRows: false)
        for piece in pieces { try survey.read(piece) }
        var enricher = TransactionEnricher(schema: Fixtures.schema)
        var (transaction, encoder) = try enricher.beginLarge(whole.header, survey: survey) { _ in
            .init(schema: Fixtures.schema, migration: nil)
        }
        #expect(transaction.isLarge)
        #expect(transaction.tables == [Fixtures.owned])
        var operations: [Electric_Satellite_SatTransOp.OneOf_Op] = []
        for piece in pieces {
            let block = try encoder.encode(piece)
            operations += block.frames(TableSelection(tables: block.tables, user: "u") { _ in true }).operations
        }
        #expect(try encoder.finish().isEmpty)
        let inMemory = Self.operations(try Self.enrich(whole))
        #expect(operations == Array(inMemory.dropFirst().dropLast()))
    }

    @Test func aLargeTransactionOfAClientWaitsForItsTags() throws {
        let messages = [
            PGOutput.insert(Fixtures.items.oid, Self.item("a")),
            PGOutput.shadow(Fixtures.items, key: [Self.key], tags: Self.clientTags, tag: Self.clientTag),
        ]
        let whole = Fixtures.transaction(messages)
        var survey = TransactionSurvey(relations: whole.relations, keepsShadowRows: false)
        try survey.read(whole.piece)
        var enricher = TransactionEnricher(schema: Fixtures.schema)
        var (transaction, encoder) = try enricher.beginLarge(whole.header, survey: survey) { _ in
            .init(schema: Fixtures.schema, migration: nil)
        }
        #expect(transaction.origin == "client_1")
        let first = try encoder.encode(Fixtures.transaction([messages[0]]).piece)
        #expect(first.isEmpty)
        let second = try encoder.encode(Fixtures.transaction([messages[1]]).piece)
        let selection = TableSelection(tables: second.tables, user: "u") { _ in true }
        #expect(Self.kinds(second.frames(selection).operations) == ["insert client_1@1686827886001"])
        transaction = try Self.enrich(whole)
        #expect(transaction.commitTimestamp == 1_686_827_886_001)
    }
}
