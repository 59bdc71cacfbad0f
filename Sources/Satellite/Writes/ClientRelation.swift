import SwiftProtobuf

/// A client's idea of a table, mapped to ours by name. The client's types and keys are not looked at.
struct ClientRelation: Hashable, Sendable {
    let table: SatelliteTable
    /// For each of the client's columns, the index of ours.
    let columns: [Int]

    init(_ relation: Electric_Satellite_SatRelation, schema: SatelliteSchema) throws(ClientWriteError) {
        guard relation.schemaName == "public" || relation.schemaName.isEmpty,
            let table = schema.table(publicName: relation.tableName)
        else {
            throw ClientWriteError("Unknown table \(ClientRelation.printable(relation.tableName))")
        }
        var columns: [Int] = []
        for column in relation.columns {
            guard let index = table.columnIndex(column.name) else {
                let name = ClientRelation.printable(column.name)
                throw ClientWriteError("Unknown column \(name) of table \(table.name)")
            }
            guard !columns.contains(index) else { throw .malformed }
            columns.append(index)
        }
        guard table.primaryKey.allSatisfy({ columns.contains($0) }) else { throw .malformed }
        self.table = table
        self.columns = columns
    }

    static func printable(_ name: String) -> String {
        String(name.unicodeScalars.prefix(64).map { $0.value >= 0x20 && $0.value != 0x7F ? Character($0) : "?" })
    }
}
