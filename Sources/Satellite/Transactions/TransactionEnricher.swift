internal import NIOCore
package import PostgresWire

/// Turns committed transactions into what clients see: finds who made them, gives each row operation the tags that the
/// conflict metadata of the same transaction holds, drops the metadata, and encodes everything once.
///
/// One enricher belongs to the one place that reads the change stream (or a reader of the log) in order. It holds no
/// transaction; its state is the schema and the layouts derived from it.
package struct TransactionEnricher: Sendable {
    /// What the DDL statements of a transaction lead to.
    package struct MigrationOutcome: Sendable {
        /// The schema after the transaction.
        package var schema: SatelliteSchema
        /// Nil if nothing of it concerns clients.
        package var migration: SatelliteMigration?

        package init(schema: SatelliteSchema, migration: SatelliteMigration?) {
            self.schema = schema
            self.migration = migration
        }
    }

    /// The schema after the last transaction.
    package private(set) var schema: SatelliteSchema
    private var layouts: LayoutCache

    package init(schema: SatelliteSchema) {
        self.schema = schema
        self.layouts = LayoutCache()
    }

    /// Replaces the schema, for changes that do not come through the stream.
    package mutating func replaceSchema(_ schema: SatelliteSchema) {
        self.schema = schema
        self.layouts = LayoutCache()
    }

    /// Definitions by which rows of electrified tables have come for the first time since the last call.
    package mutating func takeNewRelations() -> [Relation] { self.layouts.takeNew() }

    /// - Parameter migrate: called once, before anything is encoded, if the transaction captured DDL: with the
    /// statements
    ///   in order. When the outcome has to be awaited, take the statements from ``ddlStatements(of:)`` beforehand.
    package mutating func enrich(
        _ transaction: CommittedTransaction, migrate: ([DDLStatement]) throws -> MigrationOutcome
    ) throws -> SatelliteTransaction {
        var survey = TransactionSurvey(relations: transaction.relations, keepsShadowRows: true)
        try survey.read(transaction.piece)
        let migration = try self.apply(survey, migrate: migrate)
        var encoder = ChangeEncoder(schema: self.schema, survey: survey, layouts: self.layouts)
        encoder.collectTags()
        encoder.reserve(byteCount: transaction.piece.byteCount)
        try transaction.piece.forEachMessage { try encoder.encode($0) }
        encoder.appendTruncatedRows()
        let block = encoder.take()
        self.layouts = encoder.layouts
        return Self.makeTransaction(
            transaction.header, survey: survey, schema: self.schema, migration: migration, block: block,
            largeTables: nil, resyncTables: encoder.resyncTables)
    }

    /// The DDL statements that a transaction captured, in order.
    package static func ddlStatements(of transaction: CommittedTransaction) throws -> [DDLStatement] {
        var survey = TransactionSurvey(relations: transaction.relations, keepsShadowRows: false)
        try survey.read(transaction.piece)
        return survey.ddl
    }

    /// Begins a transaction that is too large for memory. `survey` must have read all of its pieces (made with
    /// `keepsShadowRows: false`).
    ///
    /// - Returns: the transaction without operations, which sessions can be told of, and the encoder that makes them
    /// from
    ///   the pieces. Several encoders of one transaction may be used at once, for sessions at different places.
    package mutating func beginLarge(
        _ header: TransactionHeader, survey: TransactionSurvey,
        migrate: ([DDLStatement]) throws -> MigrationOutcome
    ) throws -> (transaction: SatelliteTransaction, encoder: LargeTransactionEncoder) {
        let migration = try self.apply(survey, migrate: migrate)
        var layouts = self.layouts
        let tables = survey.changedRelations.compactMap {
            layouts.layout(oid: $0, survey: survey, schema: self.schema)?.table
        }
        let truncated = survey.truncatedRelations.subtracting(survey.changedRelations).compactMap {
            self.schema.tables[$0]
        }
        self.layouts = layouts
        let transaction = Self.makeTransaction(
            header, survey: survey, schema: self.schema, migration: migration, block: .empty,
            largeTables: tables + truncated.sorted { $0.oid < $1.oid }, resyncTables: [])
        return (transaction, LargeTransactionEncoder(schema: self.schema, survey: survey, layouts: layouts))
    }

    private mutating func apply(
        _ survey: TransactionSurvey, migrate: ([DDLStatement]) throws -> MigrationOutcome
    ) throws -> SatelliteMigration? {
        guard !survey.ddl.isEmpty else { return nil }
        let outcome = try migrate(survey.ddl)
        self.replaceSchema(outcome.schema)
        return outcome.migration
    }

    private static func makeTransaction(
        _ header: TransactionHeader, survey: TransactionSurvey, schema: SatelliteSchema,
        migration: SatelliteMigration?, block: OperationBlock, largeTables: [SatelliteTable]?,
        resyncTables: Set<UInt32>
    ) -> SatelliteTransaction {
        SatelliteTransaction(
            position: header.endLSN, commitPosition: header.commitLSN, xid: header.xid,
            commitTimestamp: survey.commitTimestamp(header), origin: survey.clientTag?.source, schema: schema,
            migration: migration, block: block, largeTables: largeTables, resyncTables: resyncTables,
            touches: survey.touches)
    }
}

/// Layouts of the relations seen so far. A changed definition replaces its entry.
struct LayoutCache: Sendable {
    private var rows: [UInt32: RowLayout] = [:]
    private var shadows: [UInt32: ShadowLayout] = [:]
    private var new: [UInt32: Relation] = [:]

    mutating func takeNew() -> [Relation] {
        guard !self.new.isEmpty else { return [] }
        defer { self.new = [:] }
        return Array(self.new.values)
    }

    /// Nil for relations that are not electrified.
    mutating func layout(oid: UInt32, survey: TransactionSurvey, schema: SatelliteSchema) -> RowLayout? {
        guard let relation = survey.relations[oid], let table = schema.table(oid: oid) else { return nil }
        if let known = self.rows[oid], known.relation == relation { return known }
        let layout = RowLayout(table: table, relation: relation)
        self.rows[oid] = layout
        self.new[oid] = relation
        return layout
    }

    /// Nil for relations that are not the shadow of an electrified table.
    mutating func shadow(oid: UInt32, survey: TransactionSurvey, schema: SatelliteSchema) -> ShadowLayout? {
        guard let relation = survey.relations[oid] else { return nil }
        if let known = self.shadows[oid], known.relation == relation { return known }
        guard let table = schema.table(shadowName: relation.name) else { return nil }
        let projected = self.layout(oid: table.oid, survey: survey, schema: schema)?.table ?? table
        guard let layout = ShadowLayout(table: projected, relation: relation) else { return nil }
        self.shadows[oid] = layout
        return layout
    }
}
