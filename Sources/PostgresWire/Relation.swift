/// A table as the replication stream describes it before the first change of it.
package struct Relation: Hashable, Sendable {
    package struct Column: Hashable, Sendable {
        package var name: String
        package var typeOID: UInt32
        package var typeModifier: Int32
        /// Whether the column is part of the replica identity. With REPLICA IDENTITY FULL every column is.
        package var isKey: Bool

        package init(name: String, typeOID: UInt32, typeModifier: Int32 = -1, isKey: Bool = false) {
            self.name = name
            self.typeOID = typeOID
            self.typeModifier = typeModifier
            self.isKey = isKey
        }
    }

    /// `pg_class.relreplident`.
    package enum ReplicaIdentity: UInt8, Hashable, Sendable {
        case primaryKey = 0x64  // d
        case nothing = 0x6E  // n
        case full = 0x66  // f
        case index = 0x69  // i
    }

    package var oid: UInt32
    /// Empty in the stream for `pg_catalog`.
    package var schema: String
    package var name: String
    package var replicaIdentity: ReplicaIdentity
    package var columns: [Column]

    package init(oid: UInt32, schema: String, name: String, replicaIdentity: ReplicaIdentity, columns: [Column]) {
        self.oid = oid
        self.schema = schema
        self.name = name
        self.replicaIdentity = replicaIdentity
        self.columns = columns
    }

    package func columnIndex(_ name: String) -> Int? {
        self.columns.firstIndex { $0.name == name }
    }
}
