import ChangeFeed
import DurableStreams
import ExactText
import NIOCore
import PostgresWire

/// Picks the changes of one table out of transactions and writes them as messages.
///
/// The same transaction always gives the same messages, however it is cut into pieces: so a count of messages says where to go on in
/// one that was stored in part.
struct TransactionEncoder {
    enum Outcome {
        case done
        /// Ask whether the relation belongs to the table, say so, and go on with the next message.
        case unknownRelation(UInt32)
        /// The table has these columns from here on.
        case columnsChanged([SourceColumn])
        case refetch(String)
    }

    private let oid: UInt32
    private let name: MirrorTableName
    private let isPartitioned: Bool
    private var members: Set<UInt32>
    /// Relations that are known to be none of ours.
    private var strangers: Set<UInt32> = []
    private let messages: ChangeMessageEncoder
    private var columns: [SourceColumn]
    private var layouts: [UInt32: ChangeMessageEncoder.Layout] = [:]
    private var relations: [UInt32: Relation] = [:]

    private(set) var header = TransactionHeader(xid: 0, commitLSN: .zero, endLSN: .zero, commitTime: 0)
    private(set) var payload = StreamPayload.empty
    /// Messages of the transaction so far.
    private(set) var count: UInt64 = 0
    private var skipped: UInt64 = 0

    /// - Parameter columns: what the stream has been told of.
    init(_ table: SourceTable, columns: [SourceColumn]) {
        self.oid = table.oid
        self.name = table.name
        self.isPartitioned = table.isPartitioned
        self.members = table.members
        self.messages = ChangeMessageEncoder(
            schema: table.name.schema, table: table.name.name, keyColumns: table.keyColumns)
        self.columns = columns
    }

    /// - Parameter skipping: how many messages of the transaction are in the stream already.
    mutating func begin(_ entry: FeedEntry, skipping: UInt64) {
        self.header = entry.header
        self.count = 0
        self.skipped = skipping
        let relations: [UInt32: Relation] =
            switch entry {
            case .whole(let transaction): transaction.relations
            case .large(let transaction): transaction.relations
            }
        for member in self.members where self.relations[member] != relations[member] {
            self.relations[member] = relations[member]
            self.layouts[member] = nil
        }
    }

    mutating func takePayload() -> StreamPayload {
        defer { self.payload = .empty }
        return self.payload
    }

    mutating func learned(_ oid: UInt32, isOurs: Bool) {
        if isOurs { self.members.insert(oid) } else { self.strangers.insert(oid) }
    }

    /// Whether anything in a piece may be of the table: without decoding.
    func concerns(_ piece: TransactionPiece) -> Bool {
        piece.bytes.withUnsafeReadableBytes { bytes in
            var offset = 0
            while offset + 9 <= bytes.count {
                let length = Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
                switch ReplicationMessage.Kind(rawValue: bytes[offset + 4]) {
                case .insert, .update, .delete:
                    let oid = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 5, as: UInt32.self))
                    if self.members.contains(oid) { return true }
                case .relation, .truncate, nil: return true
                default: break
                }
                offset += 4 + length
            }
            return false
        }
    }

    /// Whether a message needs no look: a change of another table.
    private func isForeign(_ message: ByteBuffer) -> Bool {
        guard let byte = message.getInteger(at: message.readerIndex, as: UInt8.self),
            let kind = ReplicationMessage.Kind(rawValue: byte)
        else { return false }
        switch kind {
        case .insert, .update, .delete:
            guard let oid = message.getInteger(at: message.readerIndex + 1, as: UInt32.self) else { return false }
            return !self.members.contains(oid)
        case .relation, .truncate: return false
        default: return true
        }
    }

    /// Takes the next message of the transaction.
    mutating func take(_ message: ByteBuffer) throws -> Outcome {
        guard !self.isForeign(message) else { return .done }
        switch try ReplicationMessage.decode(message) {
        case .relation(let relation, _): return self.take(relation)
        case .truncate(let truncate): return self.take(truncate)
        case .insert(let insert): return try self.take(.insert(insert), of: insert.relation)
        case .update(let update): return try self.take(.update(update), of: update.relation)
        case .delete(let delete): return try self.take(.delete(delete), of: delete.relation)
        default: return .done
        }
    }

    private mutating func take(_ relation: Relation) -> Outcome {
        guard self.members.contains(relation.oid) else {
            if relation.schema.isExactly(self.name.schema), relation.name.isExactly(self.name.name) {
                return .refetch("the table was dropped and made anew")
            }
            if !self.isPartitioned || self.strangers.contains(relation.oid) { return .done }
            self.relations[relation.oid] = relation
            return .unknownRelation(relation.oid)
        }
        self.relations[relation.oid] = relation
        self.layouts[relation.oid] = nil
        return .done
    }

    private mutating func take(_ truncate: ReplicationMessage.Truncate) -> Outcome {
        let concerned = Set(truncate.relations).intersection(self.members)
        guard !concerned.isEmpty else { return .done }
        let isWhole = concerned.contains(self.oid) || concerned.isSuperset(of: self.members.subtracting([self.oid]))
        guard isWhole else { return .refetch("a partition of the table was emptied") }
        let start = self.payload.bytes.writerIndex
        self.messages.write(control: "truncate", transaction: self.header, to: &self.payload.bytes)
        self.counted(1, since: start)
        return .done
    }

    private mutating func take(_ change: ReplicationMessage, of oid: UInt32) throws -> Outcome {
        if self.layouts[oid] == nil {
            guard let relation = self.relations[oid] else {
                throw MirrorError.transient("the definition of the table has not come with its changes")
            }
            let columns = relation.columns.map {
                SourceColumn(name: $0.name, typeOID: $0.typeOID, typeModifier: $0.typeModifier)
            }
            self.layouts[oid] = self.messages.layout(columns.map(\.name))
            if Set(columns) != Set(self.columns) {
                self.columns = columns
                self.held = (change, oid)
                return .columnsChanged(columns)
            }
        }
        self.write(change, oid)
        return .done
    }

    /// The change that showed that the columns are others; written when that has been said.
    private var held: (change: ReplicationMessage, oid: UInt32)?

    /// Whether what comes is in the stream already.
    var isCatchingUp: Bool { self.count < self.skipped }

    /// Says what the columns are from here on, and goes on with the change that showed it.
    mutating func describe(_ description: SourceDescription) {
        let start = self.payload.bytes.writerIndex
        description.write(as: .schemaChanged, to: &self.payload.bytes)
        self.counted(1, since: start)
        if let held = self.held {
            self.held = nil
            self.write(held.change, held.oid)
        }
    }

    private mutating func write(_ change: ReplicationMessage, _ oid: UInt32) {
        guard let layout = self.layouts[oid] else { return }
        // A part never ends between the two messages of one change: so all of a change is in the stream, or nothing.
        let start = self.payload.bytes.writerIndex
        let written = self.messages.write(change, layout, transaction: self.header, to: &self.payload.bytes)
        self.counted(written, since: start)
    }

    /// Counts messages that were just written; takes them back when the stream has them already.
    private mutating func counted(_ messages: Int, since start: Int) {
        self.count += UInt64(messages)
        if self.count <= self.skipped {
            self.payload.bytes.moveWriterIndex(to: start)
        } else {
            self.payload.messageCount += messages
        }
    }
}
