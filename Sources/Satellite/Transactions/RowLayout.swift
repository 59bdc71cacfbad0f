internal import NIOCore
internal import PostgresWire

/// How tuples of a relation in the stream become rows of a ``SatelliteTable``.
struct RowLayout: Sendable {
    /// The table with exactly the columns that the stream carries.
    let table: SatelliteTable
    /// For each column of ``table``, its index in the tuple.
    let tupleColumns: [Int]
    let relation: Relation

    /// - Parameter table: the definition known to the catalogue, which may have more columns than an older relation.
    init(table: SatelliteTable, relation: Relation) {
        var columns: [SatelliteTable.Column] = []
        var tupleColumns: [Int] = []
        for column in table.columns {
            guard let index = relation.columnIndex(column.name) else { continue }
            columns.append(column)
            tupleColumns.append(index)
        }
        self.table =
            columns.count == table.columns.count
            ? table
            : SatelliteTable(
                oid: table.oid, schema: table.schema, name: table.name, columns: columns, parents: table.parents)
        self.tupleColumns = tupleColumns
        self.relation = relation
    }

    func row(_ tuple: Tuple) -> TupleRow { TupleRow(tuple: tuple, columns: self.tupleColumns) }

    func key(of tuple: Tuple) -> RowKey? {
        RowKey(table: self.table.oid, tuple: tuple, columns: self.table.primaryKey.map { self.tupleColumns[$0] })
    }

    /// The owner of a row; nil if everybody sees it.
    func owner(of tuple: Tuple) -> String? {
        guard let column = self.table.ownerColumn, let text = tuple.text(self.tupleColumns[column]), !text.isEmpty
        else {
            return nil
        }
        return text
    }
}

/// A tuple of the stream as a row to be encoded.
struct TupleRow: RowTexts {
    let tuple: Tuple
    let columns: [Int]

    @inline(__always)
    func withText<Result>(of column: Int, _ body: (UnsafeRawBufferPointer?) -> Result) -> Result {
        let index = self.columns[column]
        guard index >= 0, index < self.tuple.columns.count, case .text(let bytes) = self.tuple.columns[index] else {
            return body(nil)
        }
        return bytes.withUnsafeReadableBytes { body($0) }
    }
}

/// Where the parts of a shadow table's rows lie.
struct ShadowLayout: Sendable {
    let table: SatelliteTable
    let relation: Relation
    /// Indexes of the user table's primary key, in its order.
    let keyColumns: [Int]
    let tagsColumn: Int
    let deleteColumn: Int?
    let parkedColumn: Int?

    /// Nil if the relation is not this table's shadow.
    init?(table: SatelliteTable, relation: Relation) {
        var keyColumns: [Int] = []
        for index in table.primaryKey {
            guard let column = relation.columnIndex(table.columns[index].name) else { return nil }
            keyColumns.append(column)
        }
        guard let tags = relation.columnIndex("_tags") else { return nil }
        self.table = table
        self.relation = relation
        self.keyColumns = keyColumns
        self.tagsColumn = tags
        self.deleteColumn = relation.columnIndex("_is_a_delete_operation")
        self.parkedColumn = relation.columnIndex("_currently_reordering")
    }

    func key(of tuple: Tuple) -> RowKey? {
        RowKey(table: self.table.oid, tuple: tuple, columns: self.keyColumns)
    }

    func isDelete(_ tuple: Tuple) -> Bool {
        self.deleteColumn.map { tuple.text($0) == "t" } ?? false
    }

    func isParked(_ tuple: Tuple) -> Bool {
        self.parkedColumn.map { tuple.text($0) == "t" } ?? false
    }

    /// A shadow row seen as a row of the user table, of which it has the primary key.
    func row(_ tuple: Tuple) -> TupleRow {
        var columns = [Int](repeating: -1, count: self.table.columns.count)
        for (position, index) in self.table.primaryKey.enumerated() { columns[index] = self.keyColumns[position] }
        return TupleRow(tuple: tuple, columns: columns)
    }
}

/// The identity of a row: its table and the texts of its primary key.
struct RowKey: Hashable, Sendable {
    let table: UInt32
    let bytes: ByteBuffer

    /// Nil if a key column is missing or NULL.
    init?(table: UInt32, tuple: Tuple, columns: [Int]) {
        self.table = table
        if columns.count == 1 {
            guard columns[0] < tuple.count, case .text(let bytes) = tuple[columns[0]] else { return nil }
            self.bytes = bytes
            return
        }
        var joined = ByteBuffer()
        for column in columns {
            guard column < tuple.count, case .text(let bytes) = tuple[column] else { return nil }
            joined.writeInteger(UInt32(bytes.readableBytes))
            joined.writeImmutableBuffer(bytes)
        }
        self.bytes = joined
    }
}
