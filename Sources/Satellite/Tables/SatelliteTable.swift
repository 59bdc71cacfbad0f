package import ExactText

/// A table as clients see it: the definition that row operations are encoded by.
///
/// One object is shared by everybody who refers to the same definition; its relation message is encoded once. A later
/// definition of the same table (a column was added) is another object with the same ``oid``.
package final class SatelliteTable: Sendable {
    package struct Column: Hashable, Sendable {
        @ExactText package var name: String
        /// The name clients know the type by: `int4`, `varchar`, an enum's bare name.
        package var typeName: String
        package var isPrimaryKey: Bool
        package var isNullable: Bool
        /// The labels, when the type is an enum.
        package var enumLabels: [String]?

        package init(
            name: String, typeName: String, isPrimaryKey: Bool = false, isNullable: Bool = true,
            enumLabels: [String]? = nil
        ) {
            self.name = name
            self.typeName = typeName
            self.isPrimaryKey = isPrimaryKey
            self.isNullable = isNullable
            self.enumLabels = enumLabels
        }
    }

    /// Columns with this name decide by user who sees a row.
    package static let ownerColumnName = "electric_user_id"

    /// `pg_class.oid`; also the relation id on the wire.
    package let oid: UInt32
    package let schema: String
    package let name: String
    package let columns: [Column]
    /// Tables that this table's foreign keys point at. A subscription to this table brings them along.
    package let parents: [UInt32]

    /// Indexes of the primary key's columns, in column order.
    package let primaryKey: [Int]
    /// Index of `electric_user_id`.
    package let ownerColumn: Int?
    /// How each column's text becomes wire bytes.
    package let encodings: [ColumnEncoding]
    /// The encoded `SatRelation`.
    package let relation: FrameBatch

    package init(oid: UInt32, schema: String = "public", name: String, columns: [Column], parents: [UInt32] = []) {
        self.oid = oid
        self.schema = schema
        self.name = name
        self.columns = columns
        self.parents = parents
        self.primaryKey = columns.indices.filter { columns[$0].isPrimaryKey }
        self.ownerColumn = columns.firstIndex { $0.name.isExactly(Self.ownerColumnName) }
        self.encodings = columns.map { ColumnEncoding(typeName: $0.typeName) }
        var relation = Electric_Satellite_SatRelation()
        relation.schemaName = schema
        relation.tableType = .table
        relation.tableName = name
        relation.relationID = oid
        relation.columns = columns.map { column in
            var wire = Electric_Satellite_SatRelationColumn()
            wire.name = column.name
            wire.type = column.typeName
            wire.primaryKey = column.isPrimaryKey
            wire.isNullable = column.isNullable
            return wire
        }
        self.relation = FrameBatch(.relation(relation))
    }

    package func columnIndex(_ name: String) -> Int? {
        self.columns.firstIndex { $0.name.isExactly(name) }
    }

    /// The name of the table that keeps this table's conflict metadata, cut the way Postgres cuts names.
    package var shadowName: String {
        PostgresName.truncated("shadow__\(self.schema)__\(self.name)")
    }
}

extension SatelliteTable: Hashable {
    package static func == (lhs: SatelliteTable, rhs: SatelliteTable) -> Bool {
        lhs === rhs
            || (lhs.oid == rhs.oid && lhs.schema.isExactly(rhs.schema) && lhs.name.isExactly(rhs.name)
                && lhs.columns == rhs.columns
                && lhs.parents == rhs.parents)
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(self.oid)
        hasher.combine(self.columns.count)
    }
}

/// Identifiers as Postgres stores them.
package enum PostgresName {
    package static let maximumBytes = 63

    /// At most 63 bytes, never cut inside a character.
    package static func truncated(_ name: String) -> String {
        guard name.utf8.count > self.maximumBytes else { return name }
        var result = String.UnicodeScalarView()
        var count = 0
        for scalar in name.unicodeScalars {
            count += UTF8.width(scalar)
            if count > self.maximumBytes { break }
            result.append(scalar)
        }
        return String(result)
    }
}
