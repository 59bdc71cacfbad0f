import DurableStreams
import NIOCore
import PostgresClient

/// Another worker has moved the checkpoint: this one has to look where it is.
struct CheckpointMoved: Error {}

/// Writes batches: rows, dead letters and the checkpoint in one transaction.
struct BatchWriter: Sendable {
    enum Planner: Sendable {
        case events(EventPlanner)
        case upsert(UpsertPlanner)
    }

    let pool: PostgresPool
    let checkpoints: CheckpointStore
    let deadLetters: MirrorTableName
    let planner: Planner
    let probe: MirrorProbe

    /// What came of a batch.
    struct Outcome: Sendable {
        var transactions: UInt64 = 0
        var letters: UInt64 = 0
    }

    /// Writes messages behind `checkpoint` and moves it. A batch that the database does not take for what is in it is halved until
    /// the messages at fault are alone; those become dead letters.
    func write(
        _ messages: ArraySlice<StreamMessage>, of origin: StreamOrigin, checkpoint: inout StreamCheckpoint,
        finishes: Bool
    ) async throws -> Outcome {
        let plan: BatchPlan
        switch self.planner {
        case .events(let planner): plan = planner.plan(messages, of: origin)
        case .upsert(let planner): plan = planner.plan(messages, of: origin)
        }
        do {
            try await self.commit(plan, of: origin, upTo: messages.last?.end, &checkpoint, finishes: finishes)
            return Outcome(transactions: 1, letters: UInt64(plan.letters.count))
        } catch let error as PostgresError {
            guard MirrorFault(error).isPoison, let first = messages.first else { throw error }
            if messages.count == 1 {
                let letter = DeadLetter(
                    message: first, sqlState: error.sqlState,
                    reason: error.detail.map { "\(error.message) (\($0))" } ?? error.message)
                try await self.commit(
                    BatchPlan(letters: [letter]), of: origin, upTo: first.end, &checkpoint, finishes: finishes)
                return Outcome(transactions: 1, letters: 1)
            }
            let middle = messages.startIndex + messages.count / 2
            var outcome = try await self.write(
                messages[..<middle], of: origin, checkpoint: &checkpoint, finishes: false)
            let rest = try await self.write(
                messages[middle...], of: origin, checkpoint: &checkpoint, finishes: finishes)
            outcome.transactions += rest.transactions
            outcome.letters += rest.letters
            return outcome
        }
    }

    private func commit(
        _ plan: BatchPlan, of origin: StreamOrigin, upTo end: UInt64?, _ checkpoint: inout StreamCheckpoint,
        finishes: Bool
    ) async throws {
        let position = end ?? checkpoint.position
        var statements: [PostgresStatement] = [
            // Why a search path: triggers and defaults of the user's tables may count on one.
            PostgresStatement("BEGIN"),
            PostgresStatement("SET LOCAL search_path TO \"$user\", public"),
            self.checkpoints.moving(origin.name, from: checkpoint, to: position, finishes: finishes),
        ]
        let movingIndex = statements.count - 1
        statements += plan.statements
        for letter in plan.letters { statements.append(self.insertion(of: letter, from: origin)) }
        statements.append(PostgresStatement("COMMIT"))
        let list = statements
        let outcome = try await self.pool.withConnection { try await $0.pipeline(list) }
        if let error = outcome.error {
            if outcome.failedIndex == movingIndex, error.sqlState == "22012" { throw CheckpointMoved() }
            throw error
        }
        // Why: a COMMIT of a transaction that has failed succeeds, as a rollback.
        guard outcome.results.last?.commandTag == "COMMIT" else {
            throw MirrorError.transient("the transaction was rolled back")
        }
        checkpoint.position = position
        checkpoint.isFinished = finishes
        try await self.probe.reached(
            plan.letters.isEmpty ? (end == nil ? .finishRecorded : .batchCommitted) : .letterCommitted)
    }

    private func insertion(of letter: DeadLetter, from origin: StreamOrigin) -> PostgresStatement {
        PostgresStatement(
            """
            INSERT INTO \(SQLText.identifier(self.deadLetters.schema, self.deadLetters.name))
                (flow, stream, stream_identity, stream_offset, content_type, payload, sqlstate, reason)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT DO NOTHING
            """,
            [
                .text(self.checkpoints.flow), .text(origin.name), .text(String(origin.identity)),
                .text(StreamOffset(position: letter.message.end).token), .text(origin.contentType),
                .binary(Array(letter.message.bytes.readableBytesView)), .text(letter.sqlState),
                .text(letter.reason),
            ], isReusable: true)
    }
}
