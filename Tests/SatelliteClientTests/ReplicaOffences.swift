import Satellite
import SatelliteClient
import Testing

extension ReplicaScript {
    /// Something that a server must not do, done to a replica that holds row 1 and stands at 100.
    struct Offence: Sendable, CustomTestStringConvertible {
        var text: String
        var commit: @Sendable (inout ReplicaScript) -> Void

        init(_ text: String, _ commit: @escaping @Sendable (inout ReplicaScript) -> Void) {
            self.text = text
            self.commit = commit
        }

        var testDescription: String { self.text }

        static let all: [Offence] = [
            Offence("the position went back") { $0.transaction(lsn: 99, id: 1, [.delete(["1", "a", nil])]) },
            Offence("came twice") { script in
                script.transaction(lsn: 101, id: 1, [.delete(["1", "a", nil])])
                script.transaction(lsn: 101, id: 1, [.insert(["1", "a", nil])])
            },
            Offence("a change outside of a transaction") { $0.receive([.insert(["2", "a", nil])]) },
            Offence("a transaction began inside another") {
                $0.receive([ReplicaScript.begin(lsn: 101, id: 1), ReplicaScript.begin(lsn: 102, id: 2)])
            },
            Offence("a commit without a transaction") { $0.receive([ReplicaScript.commit(lsn: 101)]) },
            Offence("without its id") { $0.receive([ReplicaScript.begin(lsn: 101, id: nil)]) },
            Offence("without its origin") { $0.receive([ReplicaScript.begin(lsn: 101, id: 1, origin: nil)]) },
            Offence("differ in their position") {
                $0.receive([
                    ReplicaScript.begin(lsn: 101, id: 1), .delete(["1", "a", nil]), ReplicaScript.commit(lsn: 102),
                ])
            },
            Offence("differ in their time") {
                $0.receive([
                    ReplicaScript.begin(lsn: 101, id: 1), .delete(["1", "a", nil]),
                    ReplicaScript.commit(lsn: 101, timestamp: 1),
                ])
            },
            Offence("an empty transaction of somebody else") { $0.transaction(lsn: 101, id: 1, []) },
            Offence("an insert of a row of items that is there") {
                $0.transaction(lsn: 101, id: 1, [.insert(["1", "b", nil])])
            },
            Offence("an update of a row of items that is not there") {
                $0.transaction(lsn: 101, id: 1, [.update(old: ["2", "a", nil], new: ["2", "b", nil])])
            },
            Offence("an update without the old row") {
                $0.transaction(lsn: 101, id: 1, [.update(old: nil, new: ["1", "b", nil])])
            },
            Offence("a delete of a row of items that is not there") {
                $0.transaction(lsn: 101, id: 1, [.delete(["2", "b", nil])])
            },
            Offence("a gone of a row of items that is not there") {
                $0.transaction(lsn: 101, id: 1, [.gone(["2", nil, nil])])
            },
            Offence("without tags") { $0.transaction(lsn: 101, id: 1, [.insert(["2", "b", nil], tags: [])]) },
            Offence("goes with tags") { $0.transaction(lsn: 101, id: 1, [.delete(["1", "a", nil], tags: ["x@1"])]) },
            Offence("was not announced") { $0.transaction(lsn: 101, id: 1, [.insert(["2", "b", nil], relation: 9)]) },
            Offence("was not announced") { script in
                script.replica.reconnected()
                script.transaction(lsn: 101, id: 1, [.insert(["2", "b", nil])])
            },
            Offence("another number of columns") { $0.transaction(lsn: 101, id: 1, [.insert(["2", "b"])]) },
            Offence("a NULL of items has bytes") { script in
                var insert = Electric_Satellite_SatOpInsert()
                insert.relationID = ReplicaScript.item
                insert.tags = ["postgres_1@5"]
                insert.rowData = ReplicaScript.row(["2", "b", "c"])
                insert.rowData.nullsBitmask = [UInt8(0x20)].protobufField
                script.transaction(lsn: 101, id: 1, [.with(.insert(insert))])
            },
            Offence("not marked as one") {
                $0.receive([ReplicaScript.begin(lsn: 101, id: 1), ReplicaScript.migrate("1")])
            },
            Offence("a migration behind changes") {
                $0.receive([
                    ReplicaScript.begin(lsn: 101, id: 1, isMigration: true), .delete(["1", "a", nil]),
                    ReplicaScript.migrate("1"),
                ])
            },
            Offence("a migration outside") { $0.receive([ReplicaScript.migrate("1")]) },
            Offence("a compensation from the server") {
                $0.receive([.with(.compensation(Electric_Satellite_SatOpCompensation()))])
            },
            Offence("a transaction began inside a delivery") { script in
                script.beginSnapshot("s1", lsn: 101)
                script.receive([ReplicaScript.begin(lsn: 102, id: 1)])
            },
            Offence("a delivery began inside a transaction") { script in
                script.receive([ReplicaScript.begin(lsn: 102, id: 1)])
                script.beginSnapshot("s1", lsn: 101)
            },
            Offence("a delivery began inside another") { script in
                script.beginSnapshot("s1", lsn: 101)
                script.beginRemoval(["s0"], lsn: 101)
            },
            Offence("a snapshot holds another change") { script in
                script.beginSnapshot("s1", lsn: 101)
                script.receive([.delete(["1", "a", nil])])
            },
            Offence("a removal holds another change") { script in
                script.beginRemoval(["s0"], lsn: 101)
                script.receive([.insert(["2", "a", nil])])
            },
            Offence("subscription data ends without having begun") { $0.endSnapshot() },
            Offence("a removal ends without having begun") { $0.endRemoval() },
            Offence("additional rows hold another change") {
                $0.receive([ReplicaScript.additionalBegin(1), .delete(["1", "a", nil])])
            },
            Offence("additional rows end without having begun") { $0.receive([ReplicaScript.additionalCommit(1)]) },
            Offence("additional rows began inside a transaction") {
                $0.receive([ReplicaScript.begin(lsn: 101, id: 1), ReplicaScript.additionalBegin(1)])
            },
        ]
    }
}
