internal import NIOCore
package import PostgresWire

/// Encodes a transaction piece by piece with bounded memory.
///
/// The tags of an operation come from the shadow change next to it: before it for writes made in Postgres, after it for
/// a client's (the row is then held until they come). An operation on a row that the transaction changes again carries
/// the tags of its own time.
package struct LargeTransactionEncoder: Sendable {
    /// Rows that may wait for their other half. More than this wait only if triggers of the user's swallow changes.
    static let maximumWaiting = 65_536

    private let schema: SatelliteSchema
    private let survey: TransactionSurvey
    private var layouts: LayoutCache
    private var builder = OperationBlockBuilder()
    private var tagCache = TagTextCache()
    private var tags: [RowKey: EncodedTags] = [:]
    /// Changes of a client's transaction that wait for their tags, in order.
    private var waiting: [RowKey: [ByteBuffer]] = [:]
    /// Tables of which a change could not be expressed; see ``SatelliteTransaction/resyncTables``.
    package private(set) var resyncTables: Set<UInt32> = []

    init(schema: SatelliteSchema, survey: TransactionSurvey, layouts: LayoutCache) {
        self.schema = schema
        self.survey = survey
        self.layouts = layouts
    }

    /// Encodes the next piece.
    package mutating func encode(_ piece: TransactionPiece) throws -> OperationBlock {
        try piece.forEachMessage { try self.encode($0) }
        return self.builder.take()
    }

    /// What still waited when the last piece had been encoded.
    package mutating func finish() throws -> OperationBlock {
        let waiting = self.waiting
        self.waiting = [:]
        for messages in waiting.values {
            for message in messages { try self.append(message, tags: .epoch) }
        }
        return self.builder.take()
    }

    private mutating func encode(_ message: ByteBuffer) throws {
        guard let oid = UserChange.relation(of: message) else { return }
        switch self.survey.kind(of: oid) {
        case .shadow: try self.readShadow(message, oid: oid)
        case .user: try self.readChange(message, oid: oid)
        default: return
        }
    }

    private mutating func readShadow(_ message: ByteBuffer, oid: UInt32) throws {
        guard let shadow = self.layouts.shadow(oid: oid, survey: self.survey, schema: self.schema),
            let row = try TransactionSurvey.newRow(message), !shadow.isParked(row), let key = shadow.key(of: row),
            shadow.tagsColumn < row.count, case .text(let text) = row[shadow.tagsColumn],
            let tags = self.tagCache.encode(text)
        else { return }
        if self.survey.truncatedRelations.contains(shadow.table.oid), shadow.isDelete(row) {
            // Why at once: a truncation has no row changes to wait for, and nothing says when it is complete.
            self.builder.gone(shadow.table, row: shadow.row(row))
            return
        }
        if let messages = self.waiting.removeValue(forKey: key) {
            for message in messages { try self.append(message, tags: tags) }
            return
        }
        guard self.survey.clientTag == nil else { return }
        if self.tags.count >= Self.maximumWaiting { self.tags.removeAll() }
        self.tags[key] = tags
    }

    private mutating func readChange(_ message: ByteBuffer, oid: UInt32) throws {
        guard let layout = self.layouts.layout(oid: oid, survey: self.survey, schema: self.schema) else { return }
        guard let change = try UserChange(message, layout: layout) else {
            self.resyncTables.insert(oid)
            return
        }
        let row: Tuple
        switch change {
        case .insert(_, let new), .update(_, _, let new): row = new
        case .delete(_, let old): row = old
        }
        guard let key = layout.key(of: row) else { return }
        if self.survey.clientTag == nil {
            let tags = self.tags.removeValue(forKey: key) ?? .epoch
            self.append(change, tags: tags)
        } else {
            if self.waiting.count >= Self.maximumWaiting {
                let block = self.waiting
                self.waiting = [:]
                for messages in block.values {
                    for message in messages { try self.append(message, tags: .epoch) }
                }
            }
            self.waiting[key, default: []].append(message)
        }
    }

    private mutating func append(_ message: ByteBuffer, tags: EncodedTags) throws {
        guard let oid = UserChange.relation(of: message),
            let layout = self.layouts.layout(oid: oid, survey: self.survey, schema: self.schema),
            let change = try UserChange(message, layout: layout)
        else { return }
        self.append(change, tags: tags)
    }

    private mutating func append(_ change: UserChange, tags: EncodedTags) {
        switch change {
        case .insert(let layout, let new):
            self.builder.insert(layout, new: new, tags: tags)
        case .update(let layout, let old, let new):
            let oldKey = layout.key(of: old)
            if oldKey == layout.key(of: new) {
                self.builder.update(layout, old: old, new: new, tags: tags)
            } else {
                if let oldKey { self.tags[oldKey] = nil }
                self.builder.delete(layout, old: old)
                self.builder.insert(layout, new: new, tags: tags)
            }
        case .delete(let layout, let old):
            self.builder.delete(layout, old: old)
        }
    }
}
