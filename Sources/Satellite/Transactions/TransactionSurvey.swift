package import NIOCore
package import PostgresWire

/// A captured DDL statement, from a row of `electric.ddl_commands`.
package struct DDLStatement: Hashable, Sendable {
    package var id: Int64
    package var xid: UInt64
    package var query: String

    package init(id: Int64, xid: UInt64, query: String) {
        self.id = id
        self.xid = xid
        self.query = query
    }
}

/// What has to be known about a whole transaction before its first change can be encoded.
package struct TransactionSurvey: Sendable {
    static let metadataSchema = "electric"
    static let shadowPrefix = "shadow__"
    static let touchPrefix = "electric.fk_chain_touch"

    /// The last definition of each relation in the transaction.
    package private(set) var relations: [UInt32: Relation]
    package private(set) var ddl: [DDLStatement] = []
    package private(set) var touches: [ByteBuffer] = []
    /// The tag of the client that made the transaction.
    package private(set) var clientTag: Tag?
    /// The greatest time among the tags that Postgres gave.
    package private(set) var greatestMilliseconds: Int64?
    /// Relations outside the metadata schema with changes, in the order of their first change.
    package private(set) var changedRelations: [UInt32] = []
    package private(set) var truncatedRelations: Set<UInt32> = []
    /// Changes of shadow tables in order; empty unless they are kept.
    private(set) var shadowRows: [(relation: UInt32, row: Tuple)] = []

    private let keepsShadowRows: Bool
    private var changed = Set<UInt32>()
    private var kinds: [UInt32: RelationKind] = [:]

    enum RelationKind {
        case user
        case shadow
        case ddl
        case other

        init(_ relation: Relation) {
            if relation.schema != TransactionSurvey.metadataSchema {
                self = .user
            } else if relation.name.hasPrefix(TransactionSurvey.shadowPrefix) {
                self = .shadow
            } else {
                self = relation.name == "ddl_commands" ? .ddl : .other
            }
        }
    }

    /// - Parameter keepsShadowRows: false for transactions too large for memory.
    package init(relations: [UInt32: Relation], keepsShadowRows: Bool) {
        self.relations = relations
        self.keepsShadowRows = keepsShadowRows
    }

    package mutating func read(_ piece: TransactionPiece) throws {
        try piece.forEachMessage { message in
            guard let byte = message.getInteger(at: message.readerIndex, as: UInt8.self),
                let kind = ReplicationMessage.Kind(rawValue: byte)
            else { return }
            switch kind {
            case .insert, .update, .delete:
                try self.readChange(message, kind: kind)
            case .relation:
                guard case .relation(let relation, _) = try ReplicationMessage.decode(message) else { return }
                self.relations[relation.oid] = relation
                self.kinds[relation.oid] = RelationKind(relation)
            case .truncate:
                guard case .truncate(let truncate) = try ReplicationMessage.decode(message) else { return }
                self.truncatedRelations.formUnion(truncate.relations)
            case .logical:
                guard case .logical(let logical) = try ReplicationMessage.decode(message), logical.transactional,
                    logical.prefix == Self.touchPrefix
                else { return }
                self.touches.append(logical.content)
            default:
                return
            }
        }
    }

    func kind(of relation: UInt32) -> RelationKind? {
        self.kinds[relation] ?? self.relations[relation].map(RelationKind.init)
    }

    private mutating func readChange(_ message: ByteBuffer, kind: ReplicationMessage.Kind) throws {
        guard let oid = message.getInteger(at: message.readerIndex + 1, as: UInt32.self) else { return }
        if self.kinds[oid] == nil, let relation = self.relations[oid] { self.kinds[oid] = RelationKind(relation) }
        switch self.kinds[oid] {
        case .user:
            if self.changed.insert(oid).inserted { self.changedRelations.append(oid) }
        case .shadow:
            guard let row = try Self.newRow(message), let relation = self.relations[oid] else { return }
            self.readTag(row, relation: relation)
            if self.keepsShadowRows { self.shadowRows.append((oid, row)) }
        case .ddl:
            guard kind == .insert, let row = try Self.newRow(message), let relation = self.relations[oid],
                let id = relation.columnIndex("id").flatMap({ row.text($0) }).flatMap({ Int64($0) }),
                let xid = relation.columnIndex("txid").flatMap({ row.text($0) }).flatMap({ UInt64($0) }),
                let query = relation.columnIndex("query").flatMap({ row.text($0) })
            else { return }
            self.ddl.append(DDLStatement(id: id, xid: xid, query: query))
        case .other, nil:
            return
        }
    }

    /// The new image of an insert or update, complete.
    static func newRow(_ message: ByteBuffer) throws -> Tuple? {
        switch try ReplicationMessage.decode(message) {
        case .insert(let insert):
            return insert.new
        case .update(let update):
            var new = update.new
            _ = new.resolveUnchanged(from: update.old)
            return new
        default:
            return nil
        }
    }

    private mutating func readTag(_ row: Tuple, relation: Relation) {
        // Why: while a client's values are parked in the shadow row, its `_tag` is still that of an earlier
        // transaction.
        if let parked = relation.columnIndex("_currently_reordering"), row.text(parked) == "t" { return }
        guard let column = relation.columnIndex("_tag"), let tag = row.tag(column) else { return }
        if tag.source != nil {
            // Two clients never share a transaction; should it look like it, the newest time is the safer choice.
            if let known = self.clientTag, known.milliseconds >= tag.milliseconds { return }
            self.clientTag = tag
        } else {
            self.greatestMilliseconds = max(self.greatestMilliseconds ?? tag.milliseconds, tag.milliseconds)
        }
    }

    /// Milliseconds since the Unix epoch of the transaction as clients see it.
    func commitTimestamp(_ header: TransactionHeader) -> UInt64 {
        let milliseconds = self.clientTag?.milliseconds ?? self.greatestMilliseconds ?? header.commitTime / 1_000
        return UInt64(max(0, milliseconds))
    }
}

extension Tuple {
    func text(_ column: Int) -> String? {
        column < self.count ? self[column].string : nil
    }

    func tag(_ column: Int) -> Tag? {
        guard column < self.count, case .text(let bytes) = self[column] else { return nil }
        return bytes.withUnsafeReadableBytes { Tag(postgres: $0) }
    }
}
