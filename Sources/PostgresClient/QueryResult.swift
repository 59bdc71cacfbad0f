import CLibPQ
package import NIOCore

/// The rows a statement returned, in text form. Values are read where libpq put them; nothing is copied before it is
/// asked for.
package struct QueryResult: Sendable {
    /// Owner of the `PGresult`.
    // Why unchecked: a PGresult is never changed after libpq hands it out, and is freed once, by the last reference.
    private final class Storage: @unchecked Sendable {
        let pointer: OpaquePointer

        init(_ pointer: OpaquePointer) {
            self.pointer = pointer
        }

        deinit {
            PQclear(self.pointer)
        }
    }

    private let storage: Storage

    /// Takes over `result`.
    init(taking result: OpaquePointer) {
        self.storage = Storage(result)
    }

    private var pointer: OpaquePointer { self.storage.pointer }

    package var rowCount: Int { Int(PQntuples(self.pointer)) }
    package var columnCount: Int { Int(PQnfields(self.pointer)) }

    /// For example `INSERT 0 1`.
    package var commandTag: String { PQcmdStatus(self.pointer).map { String(cString: $0) } ?? "" }

    /// Rows inserted, updated, deleted or selected.
    package var affectedRows: Int { PQcmdTuples(self.pointer).flatMap { Int(String(cString: $0)) } ?? 0 }

    package var columnNames: [String] {
        (0..<self.columnCount).map { PQfname(self.pointer, Int32($0)).map { String(cString: $0) } ?? "" }
    }

    package func columnIndex(_ name: String) -> Int? {
        (0..<Int32(self.columnCount)).first { index in
            PQfname(self.pointer, index).map { String(cString: $0) == name } ?? false
        }.map { Int($0) }
    }

    /// OID of the column's type.
    package func columnType(_ column: Int) -> UInt32 {
        PQftype(self.pointer, Int32(column))
    }

    /// Calls `body` with the bytes of a value, which are valid during the call; nil for NULL and outside the result.
    package func withBytes<R>(_ row: Int, _ column: Int, _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R? {
        guard (0..<self.rowCount).contains(row), (0..<self.columnCount).contains(column),
            PQgetisnull(self.pointer, Int32(row), Int32(column)) == 0,
            let start = PQgetvalue(self.pointer, Int32(row), Int32(column))
        else { return nil }
        let length = Int(PQgetlength(self.pointer, Int32(row), Int32(column)))
        return try body(UnsafeRawBufferPointer(start: start, count: length))
    }

    /// The text of a value; nil for NULL.
    package subscript(_ row: Int, _ column: Int) -> String? {
        self.withBytes(row, column) { String(decoding: $0, as: UTF8.self) }
    }

    /// The text of a value by column name; nil for NULL and for a column that is not there.
    package subscript(_ row: Int, _ column: String) -> String? {
        self.columnIndex(column).flatMap { self[row, $0] }
    }

    package func buffer(_ row: Int, _ column: Int) -> ByteBuffer? {
        self.withBytes(row, column) { ByteBuffer(bytes: $0) }
    }

    package func integer(_ row: Int, _ column: Int) -> Int64? {
        self[row, column].flatMap { Int64($0) }
    }

    package func boolean(_ row: Int, _ column: Int) -> Bool? {
        self.withBytes(row, column) { $0.first == UInt8(ascii: "t") }
    }

    /// The only value of a result with one row: what `SELECT something` returned.
    package var scalar: String? { self[0, 0] }

    package var rows: Rows { Rows(result: self) }

    package struct Rows: RandomAccessCollection, Sendable {
        let result: QueryResult
        package var startIndex: Int { 0 }
        package var endIndex: Int { self.result.rowCount }
        package subscript(_ position: Int) -> Row { Row(result: self.result, index: position) }
    }

    package struct Row: Sendable {
        let result: QueryResult
        package let index: Int
        package subscript(_ column: Int) -> String? { self.result[self.index, column] }
        package subscript(_ column: String) -> String? { self.result[self.index, column] }
        package func boolean(_ column: Int) -> Bool? { self.result.boolean(self.index, column) }
        package func integer(_ column: Int) -> Int64? { self.result.integer(self.index, column) }
        /// All values of the row.
        package var values: [String?] { (0..<self.result.columnCount).map { self[$0] } }
    }
}
