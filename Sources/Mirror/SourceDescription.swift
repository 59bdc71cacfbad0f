import DurableStreams
import ExactText
import NIOCore
import PostgresWire

/// A column as the change feed describes it.
struct SourceColumn: Hashable, Sendable {
    @ExactText var name: String
    var typeOID: UInt32
    var typeModifier: Int32
}

/// What the rest of a stream is to be read by: which table, in which history, with which columns, and from where on the feed continues
/// the snapshot. It stands in the stream itself, as the control message `snapshot-end`, and again after a change of the columns,
/// as `schema-changed`.
struct SourceDescription: Hashable, Sendable {
    var generation: UInt32
    /// Beginnings of the change feed, and the cluster: positions of another history mean nothing.
    var epoch: UInt64
    var systemIdentifier: String
    var schema: String
    var table: String
    var oid: UInt32
    var columns: [SourceColumn]
    /// Everything up to here is in the snapshot.
    var position: LSN
    /// No transaction that ends later is in the snapshot.
    var end: LSN
    var snapshot: TransactionSnapshot
    /// How the publication carried the table (``SourcePresence``); streams of earlier versions do not say.
    var publicationMark: String?
    /// The columns' numbers, and where the rows were kept (``SourcePresence``); streams of earlier versions do not say.
    var numbers: [ExactText: Int]?
    var storage: String?

    enum Control: String {
        case snapshotEnd = "snapshot-end"
        case schemaChanged = "schema-changed"
    }

    /// Writes the message in stored form, with its comma.
    func write(as control: Control, to buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"headers\":{\"control\":")
        buffer.writeJSONString(control.rawValue)
        buffer.writeMember("relation")
        buffer.writeStaticString("[")
        buffer.writeJSONString(self.schema)
        buffer.writeStaticString(",")
        buffer.writeJSONString(self.table)
        buffer.writeStaticString("]")
        func member(_ name: String, _ value: some CustomStringConvertible) {
            buffer.writeMember(name)
            buffer.writeJSONString(value.description)
        }
        member("xmin", self.snapshot.xmin)
        member("xmax", self.snapshot.xmax)
        buffer.writeMember("xip_list")
        buffer.writeStaticString("[")
        for (number, xid) in self.snapshot.running.sorted().enumerated() {
            if number > 0 { buffer.writeStaticString(",") }
            buffer.writeJSONString(String(xid))
        }
        buffer.writeStaticString("]")
        member("lsn", self.position.rawValue)
        member("end_lsn", self.end.rawValue)
        member("oid", self.oid)
        member("generation", self.generation)
        member("epoch", self.epoch)
        member("system_identifier", self.systemIdentifier)
        if let mark = self.publicationMark { member("publication", mark) }
        if let storage = self.storage { member("storage", storage) }
        buffer.writeMember("columns")
        buffer.writeStaticString("[")
        for (number, column) in self.columns.enumerated() {
            if number > 0 { buffer.writeStaticString(",") }
            buffer.writeStaticString("{\"name\":")
            buffer.writeJSONString(column.name)
            member("type", column.typeOID)
            member("modifier", column.typeModifier)
            if let place = self.numbers?[ExactText(column.name)] { member("number", place) }
            buffer.writeStaticString("}")
        }
        buffer.writeStaticString("]}},")
    }

    /// Reads the first message of an append; nil when it is no description.
    init?(storedAppend bytes: ByteBuffer) {
        guard let length = StoredMessages.length(ofFirst: 1, in: bytes), length > 1,
            let message = bytes.getSlice(at: bytes.readerIndex, length: length - 1),
            let headers = JSONValue(message)?["headers"], let control = headers["control"]?.stringValue,
            Control(rawValue: control) != nil,
            let relation = headers["relation"]?.arrayValue, relation.count == 2,
            let schema = relation[0].stringValue, let table = relation[1].stringValue
        else { return nil }
        func number<Value: LosslessStringConvertible>(_ name: String, in value: JSONValue) -> Value? {
            value[name]?.stringValue.flatMap { Value($0) }
        }
        guard let xmin: UInt64 = number("xmin", in: headers), let xmax: UInt64 = number("xmax", in: headers),
            let running = headers["xip_list"]?.arrayValue, let position: UInt64 = number("lsn", in: headers),
            let end: UInt64 = number("end_lsn", in: headers), let oid: UInt32 = number("oid", in: headers),
            let generation: UInt32 = number("generation", in: headers),
            let epoch: UInt64 = number("epoch", in: headers),
            let system = headers["system_identifier"]?.stringValue, let list = headers["columns"]?.arrayValue
        else { return nil }
        var columns: [SourceColumn] = []
        var numbers: [ExactText: Int] = [:]
        for item in list {
            guard let name = item["name"]?.stringValue, let type: UInt32 = number("type", in: item),
                let modifier: Int32 = number("modifier", in: item)
            else { return nil }
            columns.append(SourceColumn(name: name, typeOID: type, typeModifier: modifier))
            numbers[ExactText(name)] = number("number", in: item)
        }
        self.init(
            generation: generation, epoch: epoch, systemIdentifier: system, schema: schema, table: table, oid: oid,
            columns: columns, position: LSN(rawValue: position), end: LSN(rawValue: end),
            snapshot: TransactionSnapshot(
                xmin: xmin, xmax: xmax, running: Set(running.compactMap { $0.stringValue.flatMap { UInt64($0) } })),
            publicationMark: headers["publication"]?.stringValue)
        self.numbers = numbers.isEmpty ? nil : numbers
        self.storage = headers["storage"]?.stringValue
    }

    init(
        generation: UInt32, epoch: UInt64, systemIdentifier: String, schema: String, table: String, oid: UInt32,
        columns: [SourceColumn], position: LSN, end: LSN, snapshot: TransactionSnapshot, publicationMark: String? = nil
    ) {
        self.generation = generation
        self.epoch = epoch
        self.systemIdentifier = systemIdentifier
        self.schema = schema
        self.table = table
        self.oid = oid
        self.columns = columns
        self.position = position
        self.end = end
        self.snapshot = snapshot
        self.publicationMark = publicationMark
    }
}
