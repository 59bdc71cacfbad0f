import ChangeFeed
import NIOCore
import PostgresWire
import Satellite

/// Reads the operations of a large transaction piece by piece. A value: each session continues a copy of its own.
struct LargeTransactionReader: Sendable {
    let transaction: SatelliteTransaction
    private let large: LargeTransaction
    private var encoder: LargeTransactionEncoder
    private var nextPiece = 0
    private var isFinished = false

    /// Reads all pieces once, to find who made the transaction and what it touched.
    static func prepare(
        _ large: LargeTransaction, feed: ChangeFeed, enricher: inout TransactionEnricher,
        migrate: ([DDLStatement]) async throws -> TransactionEnricher.MigrationOutcome
    ) async throws -> LargeTransactionReader {
        var survey = TransactionSurvey(relations: large.relations, keepsShadowRows: false)
        for index in 0..<large.pieceCount {
            try survey.read(try await feed.piece(index, of: large))
        }
        let outcome = survey.ddl.isEmpty ? nil : try await migrate(survey.ddl)
        let schema = enricher.schema
        let (transaction, encoder) = try enricher.beginLarge(large.header, survey: survey) { _ in
            outcome ?? .init(schema: schema, migration: nil)
        }
        return LargeTransactionReader(transaction: transaction, large: large, encoder: encoder)
    }

    /// The next operations; nil when there are no more.
    mutating func next(_ feed: ChangeFeed) async throws -> OperationBlock? {
        while self.nextPiece < self.large.pieceCount {
            let piece = try await feed.piece(self.nextPiece, of: self.large)
            self.nextPiece += 1
            let block = try self.encoder.encode(piece)
            if !block.isEmpty { return block }
        }
        guard !self.isFinished else { return nil }
        self.isFinished = true
        let block = try self.encoder.finish()
        return block.isEmpty ? nil : block
    }

    /// Tables of which something could not be expressed; their clients have to start over.
    var resyncTables: Set<UInt32> { self.encoder.resyncTables }
}
