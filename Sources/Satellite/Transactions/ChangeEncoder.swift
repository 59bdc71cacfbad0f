internal import NIOCore
internal import PostgresWire

/// Encodes the row changes of one transaction that is whole in memory.
struct ChangeEncoder {
    private(set) var layouts: LayoutCache
    private(set) var resyncTables: Set<UInt32> = []

    private let schema: SatelliteSchema
    private let survey: TransactionSurvey
    private var builder = OperationBlockBuilder()
    private var tagCache = TagTextCache()
    /// The tags of each row after the transaction. Rows whose shadow row was not touched are missing.
    private var tags: [RowKey: EncodedTags] = [:]

    // Decoding looks the layout up for every message; runs of changes of one table are the rule.
    private var lastOID: UInt32 = 0
    private var lastLayout: RowLayout?

    init(schema: SatelliteSchema, survey: TransactionSurvey, layouts: LayoutCache) {
        self.schema = schema
        self.survey = survey
        self.layouts = layouts
    }

    mutating func reserve(byteCount: Int) { self.builder.reserve(byteCount: byteCount) }

    /// Reads the final tags of every row out of the shadow changes.
    mutating func collectTags() {
        for (oid, row) in self.survey.shadowRows {
            guard let shadow = self.shadow(oid), !shadow.isParked(row), let key = shadow.key(of: row),
                shadow.tagsColumn < row.count, case .text(let text) = row[shadow.tagsColumn],
                let tags = self.tagCache.encode(text)
            else { continue }
            self.tags[key] = tags
        }
    }

    mutating func encode(_ message: ByteBuffer) throws {
        guard let change = try self.decode(message) else { return }
        switch change {
        case .insert(let layout, let new):
            self.builder.insert(layout, new: new, tags: self.tags(of: new, layout))
        case .update(let layout, let old, let new):
            if layout.key(of: old) == layout.key(of: new) {
                self.builder.update(layout, old: old, new: new, tags: self.tags(of: new, layout))
            } else {
                self.builder.delete(layout, old: old)
                self.builder.insert(layout, new: new, tags: self.tags(of: new, layout))
            }
        case .delete(let layout, let old):
            self.builder.delete(layout, old: old)
        }
    }

    /// TRUNCATE leaves no row changes of its own. The trigger has marked every row's shadow row deleted, so those name
    /// the rows that are gone; a truncated table without such shadow rows was empty.
    ///
    /// Rows that were written again after the truncation have a live shadow row and are not removed.
    mutating func appendTruncatedRows() {
        let truncated = self.survey.truncatedRelations
        guard !truncated.isEmpty else { return }
        var last: [RowKey: Int] = [:]
        for (index, entry) in self.survey.shadowRows.enumerated() {
            guard let shadow = self.shadow(entry.relation), truncated.contains(shadow.table.oid),
                !shadow.isParked(entry.row), let key = shadow.key(of: entry.row)
            else { continue }
            last[key] = index
        }
        for index in last.values.sorted() {
            let (oid, row) = self.survey.shadowRows[index]
            guard let shadow = self.shadow(oid), shadow.isDelete(row) else { continue }
            self.builder.gone(shadow.table, row: shadow.row(row))
        }
    }

    mutating func take() -> OperationBlock { self.builder.take() }

    private mutating func shadow(_ oid: UInt32) -> ShadowLayout? {
        self.layouts.shadow(oid: oid, survey: self.survey, schema: self.schema)
    }

    private func tags(of row: Tuple, _ layout: RowLayout) -> EncodedTags {
        layout.key(of: row).flatMap { self.tags[$0] } ?? .epoch
    }

    private mutating func layout(_ oid: UInt32) -> RowLayout? {
        if oid == self.lastOID { return self.lastLayout }
        self.lastOID = oid
        self.lastLayout = self.layouts.layout(oid: oid, survey: self.survey, schema: self.schema)
        return self.lastLayout
    }

    private mutating func decode(_ message: ByteBuffer) throws -> UserChange? {
        guard let oid = UserChange.relation(of: message), let layout = self.layout(oid) else { return nil }
        let change = try UserChange(message, layout: layout)
        if change == nil { self.resyncTables.insert(oid) }
        return change
    }
}

/// A change of an electrified table, with complete row images.
enum UserChange {
    case insert(RowLayout, new: Tuple)
    case update(RowLayout, old: Tuple, new: Tuple)
    case delete(RowLayout, old: Tuple)

    /// The relation of an insert, update or delete; nil for other messages.
    static func relation(of message: ByteBuffer) -> UInt32? {
        switch message.getInteger(at: message.readerIndex, as: UInt8.self) {
        case ReplicationMessage.Kind.insert.rawValue, ReplicationMessage.Kind.update.rawValue,
            ReplicationMessage.Kind.delete.rawValue:
            return message.getInteger(at: message.readerIndex + 1, as: UInt32.self)
        default:
            return nil
        }
    }

    /// Nil if the message lacks what clients need: the table has no REPLICA IDENTITY FULL.
    init?(_ message: ByteBuffer, layout: RowLayout) throws {
        switch try ReplicationMessage.decode(message) {
        case .insert(let insert):
            self = .insert(layout, new: insert.new)
        case .update(let update):
            var new = update.new
            guard new.resolveUnchanged(from: update.old), let old = update.old, !update.oldIsKeyOnly else { return nil }
            self = .update(layout, old: old, new: new)
        case .delete(let delete):
            guard !delete.oldIsKeyOnly else { return nil }
            self = .delete(layout, old: delete.old)
        default:
            return nil
        }
    }
}
