import ExactText
import NIOCore
import PostgresWire

/// Turns rows of one table into messages of its stream.
///
/// A message is `{"key":…,"operation":…,"value":{…},"headers":{…}}`: values are texts as Postgres writes them, or null.
struct ChangeMessageEncoder: Sendable {
    /// The operation of a message.
    enum Operation: String {
        case insert, update, delete
    }

    let schema: String
    let table: String
    /// `"schema"."table"`, with separators in names doubled.
    private let keyPrefix: [UInt8]
    /// `"relation":["schema","table"]`.
    private let relation: ByteBuffer
    /// Empty: all columns.
    let keyColumns: [String]

    init(schema: String, table: String, keyColumns: [String]) {
        self.schema = schema
        self.table = table
        self.keyColumns = keyColumns
        func doubled(_ name: String) -> String {
            name.reduce(into: "") { result, letter in
                if letter == "." || letter == "/" { result.append(letter) }
                result.append(letter)
            }
        }
        self.keyPrefix = Array("\"\(doubled(schema))\".\"\(doubled(table))\"".utf8)
        var relation = ByteBuffer()
        relation.writeStaticString("\"relation\":[")
        relation.writeJSONString(schema)
        relation.writeStaticString(",")
        relation.writeJSONString(table)
        relation.writeStaticString("]")
        self.relation = relation
    }

    /// How the columns of one definition are written: found out once.
    struct Layout: Sendable {
        /// `"name":` of each column.
        var members: [ByteBuffer]
        /// Places of the key's columns, in the order of the key.
        var key: [Int]
        var isKey: [Bool]
    }

    func layout(_ columns: [String]) -> Layout {
        var key = self.keyColumns.compactMap { columns.firstIndexExactly(of: $0) }
        // A column of the key that the publication leaves out, or that was renamed: all there is tells rows apart then.
        if key.count != self.keyColumns.count || key.isEmpty { key = Array(columns.indices) }
        return Layout(
            members: columns.map { name in
                var member = ByteBuffer()
                member.writeJSONString(name)
                member.writeStaticString(":")
                return member
            }, key: key, isKey: columns.indices.map { key.contains($0) })
    }

    // MARK: Keys

    /// The text of a row's key.
    func key(_ columns: [ColumnValue], _ layout: Layout) -> [UInt8] {
        var key = self.keyPrefix
        for place in layout.key {
            key.append(UInt8(ascii: "/"))
            guard place < columns.count, case .text(let bytes) = columns[place] else {
                key.append(UInt8(ascii: "_"))
                continue
            }
            key.append(UInt8(ascii: "\""))
            for byte in bytes.readableBytesView {
                if byte == UInt8(ascii: "/") { key.append(byte) }
                key.append(byte)
            }
            key.append(UInt8(ascii: "\""))
        }
        return key
    }

    // MARK: Messages

    /// Writes one message in stored form, with its comma.
    ///
    /// - Parameters:
    ///   - onlyKey: leaves all columns out but those of the key.
    ///   - other: the key that this one became, or was before.
    func write(
        _ operation: Operation, key: [UInt8], _ columns: [ColumnValue], _ layout: Layout, onlyKey: Bool = false,
        other: (name: String, key: [UInt8])? = nil, transaction: TransactionHeader?, to buffer: inout ByteBuffer
    ) {
        buffer.writeStaticString("{\"key\":")
        key.withUnsafeBytes { buffer.writeJSONString($0) }
        buffer.writeStaticString(",\"operation\":\"")
        buffer.writeString(operation.rawValue)
        buffer.writeStaticString("\",\"value\":{")
        var isFirst = true
        for (place, column) in columns.enumerated() where place < layout.members.count {
            if onlyKey, !layout.isKey[place] { continue }
            if case .unchanged = column { continue }
            if !isFirst { buffer.writeInteger(UInt8(ascii: ",")) }
            isFirst = false
            buffer.writeImmutableBuffer(layout.members[place])
            switch column {
            case .text(let bytes), .binary(let bytes): buffer.writeJSONString(bytes)
            case .null, .unchanged: buffer.writeStaticString("null")
            }
        }
        buffer.writeStaticString("},\"headers\":{\"operation\":\"")
        buffer.writeString(operation.rawValue)
        buffer.writeStaticString("\",")
        buffer.writeImmutableBuffer(self.relation)
        if let transaction { self.write(transaction, to: &buffer) }
        if let other {
            buffer.writeMember(other.name)
            other.key.withUnsafeBytes { buffer.writeJSONString($0) }
        }
        buffer.writeStaticString("}},")
    }

    private func write(_ transaction: TransactionHeader, to buffer: inout ByteBuffer) {
        buffer.writeMember("txids")
        // Clients know the number without its epoch.
        buffer.writeString("[\(UInt32(truncatingIfNeeded: transaction.xid))]")
        buffer.writeMember("lsn")
        buffer.writeString("\"\(transaction.commitLSN.rawValue)\"")
    }

    /// Writes a control message in stored form, with its comma.
    func write(
        control: String, reason: String? = nil, transaction: TransactionHeader? = nil, to buffer: inout ByteBuffer
    ) {
        buffer.writeStaticString("{\"headers\":{\"control\":")
        buffer.writeJSONString(control)
        buffer.writeInteger(UInt8(ascii: ","))
        buffer.writeImmutableBuffer(self.relation)
        if let reason {
            buffer.writeMember("reason")
            buffer.writeJSONString(reason)
        }
        if let transaction { self.write(transaction, to: &buffer) }
        buffer.writeStaticString("}},")
    }

    // MARK: Changes of rows

    /// Writes what an insert, update or delete is in the stream, and returns how many messages that are.
    func write(
        _ message: ReplicationMessage, _ layout: Layout, transaction: TransactionHeader, to buffer: inout ByteBuffer
    ) -> Int {
        switch message {
        case .insert(let insert):
            self.write(
                .insert, key: self.key(insert.new.columns, layout), insert.new.columns, layout,
                transaction: transaction,
                to: &buffer)
            return 1
        case .delete(let delete):
            self.write(
                .delete, key: self.key(delete.old.columns, layout), delete.old.columns, layout, onlyKey: true,
                transaction: transaction, to: &buffer)
            return 1
        case .update(let update):
            return self.write(update, layout, transaction: transaction, to: &buffer)
        default:
            return 0
        }
    }

    private func write(
        _ update: ReplicationMessage.Update, _ layout: Layout, transaction: TransactionHeader,
        to buffer: inout ByteBuffer
    ) -> Int {
        var new = update.new.columns
        if let old = update.old {
            for place in new.indices where new[place] == .unchanged && place < old.columns.count {
                // An old image that is only a key has nulls for everything else.
                if !update.oldIsKeyOnly || (place < layout.isKey.count && layout.isKey[place]) {
                    new[place] = old.columns[place]
                }
            }
        }
        let key = self.key(new, layout)
        let oldKey = update.old.map { self.key($0.columns, layout) } ?? key
        guard oldKey != key, let old = update.old else {
            self.write(.update, key: key, new, layout, transaction: transaction, to: &buffer)
            return 1
        }
        self.write(
            .delete, key: oldKey, old.columns, layout, onlyKey: true, other: ("key_change_to", key),
            transaction: transaction, to: &buffer)
        self.write(
            .insert, key: key, new, layout, other: ("key_change_from", oldKey), transaction: transaction, to: &buffer)
        return 2
    }
}
