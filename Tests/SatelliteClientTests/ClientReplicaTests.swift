import ExactText
import PostgresWire
import Satellite
import SatelliteClient
import Testing

@Suite struct ClientReplicaTests {
    // MARK: What the replica holds

    @Test func snapshotAndStreamBuildTheTable() {
        var script = ReplicaScript()
        script.relation()
        script.deliverSnapshot("s1", lsn: 100, [["1", "one", nil], ["2", "", "note"]])
        script.transaction(
            lsn: 200, id: 7,
            [
                .insert(["3", "three", nil]), .update(old: ["1", "one", nil], new: ["1", "uno", nil]),
                .delete(["2", "", "note"]),
            ])
        let table = script.replica.tables["items"]
        #expect(table?.rows.keys.sorted() == ["1", "3"])
        #expect(table?.rows["1"]?.text(1) == "uno")
        #expect(table?.rows["3"]?.values[2] == nil)
        #expect(table?.rows["3"]?.tags == ["postgres_1@5"])
        #expect(script.replica.delivered == ["s1"])
        #expect(script.replica.position == LSN(rawValue: 200))
        #expect(script.replica.lastTransactionID == 7)
        #expect(script.replica.violations == [])
    }

    @Test func equivalentKeysOfOtherBytesAreTwoRows() {
        var script = ReplicaScript()
        script.relation()
        script.deliverSnapshot("s1", lsn: 1, [["caf\u{e9}", "one", nil], ["cafe\u{301}", "two", nil]])
        #expect(script.replica.tables["items"]?.rows.count == 2)
        script.transaction(lsn: 2, id: 1, [.delete(["caf\u{e9}", "one", nil])])
        #expect(script.replica.tables["items"]?.rows.values.compactMap { $0.text(1) } == ["two"])
        #expect(script.replica.violations == [])
    }

    @Test func emptyTextIsNotNull() {
        var script = ReplicaScript()
        script.relation()
        script.deliverSnapshot("s1", lsn: 1, [["1", "", nil]])
        #expect(script.replica.tables["items"]?.rows["1"]?.values == [[0x31], [], nil])
    }

    @Test func rowsThatAreGoneLeaveTheTable() {
        var script = ReplicaScript()
        script.relation()
        script.deliverSnapshot("s1", lsn: 1, [["1", "a", nil], ["2", "b", nil]])
        script.transaction(lsn: 2, id: 1, [.gone(["1", nil, nil])])
        #expect(script.replica.tables["items"]?.rows.keys.sorted() == ["2"])
        script.deliverRemoval(["s1"], lsn: 3, [["2", nil, nil]])
        #expect(script.replica.tables["items"]?.rows.isEmpty == true)
        #expect(script.replica.delivered == [])
        #expect(script.replica.position == LSN(rawValue: 3))
        #expect(script.replica.violations == [])
    }

    @Test func transactionIsAppliedWholeAtItsCommit() {
        var script = ReplicaScript()
        script.relation()
        script.receive([ReplicaScript.begin(lsn: 5, id: 1), .insert(["1", "a", nil])])
        #expect(script.replica.tables["items"]?.rows.isEmpty == true)
        let outcome = script.receive([.insert(["2", "b", nil]), ReplicaScript.commit(lsn: 5)])
        #expect(script.replica.tables["items"]?.rows.count == 2)
        guard case .transaction(let applied) = outcome else {
            Issue.record("no transaction was reported")
            return
        }
        #expect(applied.changes.map(\.kind) == [.insert, .insert])
        #expect(applied.origin == "postgres_1")
        #expect(applied.timestamp == 5)
    }

    @Test func halfATransactionIsForgottenWithItsConnection() {
        var script = ReplicaScript()
        script.relation()
        script.receive([ReplicaScript.begin(lsn: 5, id: 1), .insert(["1", "a", nil])])
        script.replica.reconnected()
        script.relation()
        script.transaction(lsn: 5, id: 1, [.insert(["1", "a", nil])])
        #expect(script.replica.transactionCount == 1)
        #expect(script.replica.violations == [])
    }

    @Test func addedColumnIsNullInPresentRows() {
        var script = ReplicaScript()
        script.relation()
        script.deliverSnapshot("s1", lsn: 1, [["1", "a", nil]])
        script.relation(columns: ["id", "content", "note", "more"])
        #expect(script.replica.tables["items"]?.rows["1"]?.values.count == 4)
        script.transaction(
            lsn: 2, id: 1,
            [
                .update(old: ["1", "a", nil, nil], new: ["1", "a", nil, "x"])
            ])
        #expect(script.replica.tables["items"]?.rows["1"]?.text(3) == "x")
        #expect(script.replica.violations == [])
    }

    @Test func rowWhoseKeyChangesIsHeldUnderTheNewOne() {
        var script = ReplicaScript()
        script.relation()
        script.deliverSnapshot("s1", lsn: 1, [["1", "a", nil]])
        script.transaction(lsn: 2, id: 1, [.update(old: ["1", "a", nil], new: ["9", "a", nil])])
        #expect(script.replica.tables["items"]?.rows.keys.sorted() == ["9"])
        #expect(script.replica.violations == [])
    }

    @Test func additionalRowsAreApplied() {
        var script = ReplicaScript()
        script.relation()
        script.receive([ReplicaScript.additionalBegin(3), .insert(["1", "a", nil]), ReplicaScript.additionalCommit(3)])
        #expect(script.replica.tables["items"]?.rows.count == 1)
        #expect(script.replica.violations == [])
    }

    @Test func ownEmptyTransactionIsAnEcho() {
        var script = ReplicaScript()
        script.transaction(lsn: 5, id: 1, origin: "me", [])
        #expect(script.replica.echoes == [5])
        #expect(script.replica.violations == [])
    }

    @Test func migrationsAreNoted() {
        var script = ReplicaScript()
        script.receive([
            ReplicaScript.begin(lsn: 5, id: 1, isMigration: true), ReplicaScript.migrate("20260101"),
            ReplicaScript.migrate("20260101"), ReplicaScript.commit(lsn: 5),
        ])
        #expect(script.replica.migrations == ["20260101"])
        #expect(script.replica.violations == [])
    }

    @Test func startingOverKeepsTheTablesAndDropsTheirRows() {
        var script = ReplicaScript()
        script.relation()
        script.deliverSnapshot("s1", lsn: 9, [["1", "a", nil]])
        script.replica.startOver()
        #expect(script.replica.tables["items"]?.rows.isEmpty == true)
        #expect(script.replica.position == nil)
        #expect(script.replica.delivered == [])
        script.relation()
        script.deliverSnapshot("s2", lsn: 3, [["1", "a", nil]])
        #expect(script.replica.violations == [])
    }

    // MARK: What the protocol does not allow

    @Test(arguments: ReplicaScript.Offence.all)
    func offenceIsPutDown(_ offence: ReplicaScript.Offence) {
        var script = ReplicaScript()
        script.relation()
        script.deliverSnapshot("s0", lsn: 100, [["1", "a", nil]])
        #expect(script.replica.violations == [])
        offence.commit(&script)
        #expect(script.replica.violations.contains { $0.contains(offence.text) }, "\(script.replica.violations)")
    }
}
