import DurableStreams
import ExactText
import NIOCore
import PostgresClient

/// Writes each message as a row.
struct EventPlanner: Sendable {
    private let table: TargetTable
    /// Columns with a path of their own; empty for the built-in table.
    private let mapped: [(column: TargetTable.Column, path: [String])]
    /// Columns that are filled from where the message comes from, when the table has them.
    private let filled: [TargetTable.Column]
    private let sql: String

    static let streamName = "stream_name"
    static let key = "event_key"
    static let type = "event_type"
    static let operation = "operation"
    static let payload = "payload"
    static let offset = "ds_offset"
    static let incarnation = "ds_incarnation"
    /// With a unique key of these a message is known again.
    static let originKey = [Self.streamName, Self.incarnation, Self.offset]

    init(_ table: TargetTable, columns: [StreamToTableFlow.Column]) throws {
        self.table = table
        var mapped: [(TargetTable.Column, [String])] = []
        for column in columns { mapped.append((try table.column(column.name), column.path)) }
        if columns.isEmpty { _ = try table.column(Self.payload) }
        let names = ExactSet(columns.map(\.name))
        let origin = [Self.streamName, Self.offset, Self.incarnation]
        let content = columns.isEmpty ? [Self.key, Self.type, Self.operation, Self.payload] : []
        self.filled = (origin + content).filter { !names.contains($0) }.compactMap { table.columns[$0] }
        self.mapped = mapped
        let all = mapped.map(\.0) + self.filled
        let list = all.map { SQLText.identifier($0.name) }.joined(separator: ", ")
        let wholes = self.filled.contains { $0.name == Self.payload } ? table.columns[Self.payload] : nil
        let values = all.map { column in
            let value = "r.\(SQLText.identifier(column.name))"
            // Why: taken out of a record, JSON's null is no value; as a whole message it is one.
            guard let wholes, column.name == wholes.name, Self.jsonOIDs.contains(column.typeOID) else { return value }
            return "coalesce(\(value), 'null')"
        }.joined(separator: ", ")
        // Why by name: a conflict with any other key of the table is a message that cannot be written, and must not pass silently.
        let isGuarded = table.hasOriginKey && origin.allSatisfy { !names.contains($0) }
        let key = Self.originKey.map { SQLText.identifier($0) }.joined(separator: ", ")
        let guardClause = isGuarded ? " ON CONFLICT (\(key)) DO NOTHING" : ""
        self.sql = "INSERT INTO \(table.sqlName) (\(list)) SELECT \(values) FROM \(table.records(all))\(guardClause)"
    }

    func plan(_ messages: ArraySlice<StreamMessage>, of origin: StreamOrigin) -> BatchPlan {
        var plan = BatchPlan()
        var rows = ByteBuffer()
        rows.writeInteger(UInt8(ascii: "["))
        var count = 0
        for message in messages {
            if !self.mapped.isEmpty, !origin.isJSON {
                plan.letters.append(
                    DeadLetter(message: message, reason: "columns are taken from JSON, and the stream holds none"))
                continue
            }
            if count > 0 { rows.writeInteger(UInt8(ascii: ",")) }
            count += 1
            self.write(message, of: origin, to: &rows)
        }
        rows.writeInteger(UInt8(ascii: "]"))
        if count > 0 { plan.statements.append(PostgresStatement(self.sql, [.text(buffer: rows)], isReusable: true)) }
        return plan
    }

    private func write(_ message: StreamMessage, of origin: StreamOrigin, to rows: inout ByteBuffer) {
        rows.writeInteger(UInt8(ascii: "{"))
        var isFirst = true
        let json = JSONSlice(origin.isJSON ? message.bytes : ByteBuffer())
        for (column, path) in self.mapped {
            guard let value = json.value(at: path) else { continue }
            rows.writeMember(column.name, isFirst: isFirst)
            rows.writeImmutableBuffer(value.bytes)
            isFirst = false
        }
        for column in self.filled {
            switch column.name {
            case Self.streamName:
                rows.writeMember(column.name, isFirst: isFirst)
                rows.writeJSONString(origin.name)
            case Self.offset:
                rows.writeMember(column.name, isFirst: isFirst)
                rows.writeJSONString(StreamOffset(position: message.end).token)
            case Self.incarnation:
                rows.writeMember(column.name, isFirst: isFirst)
                rows.writeString(String(origin.incarnation))
            case Self.payload:
                rows.writeMember(column.name, isFirst: isFirst)
                self.writePayload(message, of: origin, as: column, to: &rows)
            default:
                let name = column.name == Self.key ? "key" : column.name == Self.type ? "type" : "operation"
                guard let text = json.member(name)?.scalarText, !text.isEmpty else { continue }
                rows.writeMember(column.name, isFirst: isFirst)
                rows.writeJSONString(text)
            }
            isFirst = false
        }
        rows.writeInteger(UInt8(ascii: "}"))
    }

    /// OIDs of `bytea`, `json` and `jsonb`.
    private static let byteaOID: UInt32 = 17
    private static let jsonOIDs: Set<UInt32> = [114, 3802]

    private func writePayload(
        _ message: StreamMessage, of origin: StreamOrigin, as column: TargetTable.Column, to rows: inout ByteBuffer
    ) {
        if column.typeOID == Self.byteaOID {
            rows.writeStaticString("\"\\\\x")
            let digits = Array("0123456789abcdef".utf8)
            rows.reserveCapacity(minimumWritableBytes: message.bytes.readableBytes * 2 + 1)
            for byte in message.bytes.readableBytesView {
                rows.writeInteger(digits[Int(byte >> 4)])
                rows.writeInteger(digits[Int(byte & 15)])
            }
            rows.writeInteger(UInt8(ascii: "\""))
        } else if origin.isJSON, Self.jsonOIDs.contains(column.typeOID) {
            rows.writeImmutableBuffer(message.bytes)
        } else if String(validating: message.bytes.readableBytesView, as: UTF8.self) != nil {
            rows.writeJSONString(message.bytes)
        } else {
            rows.writeJSONString(Base64.encode(message.bytes))
        }
    }
}

/// Standard base64 with padding, for bytes that go into a text column and are no text.
enum Base64 {
    private static let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func encode(_ bytes: ByteBuffer) -> String {
        var text: [UInt8] = []
        let view = Array(bytes.readableBytesView)
        text.reserveCapacity((view.count + 2) / 3 * 4)
        for start in stride(from: 0, to: view.count, by: 3) {
            let part = view[start..<min(start + 3, view.count)]
            let group = part.enumerated().reduce(UInt32(0)) { $0 | UInt32($1.element) << UInt32(16 - 8 * $1.offset) }
            for place in 0..<4 {
                text.append(
                    place <= part.count ? Self.letters[Int(group >> UInt32(18 - 6 * place)) & 63] : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
