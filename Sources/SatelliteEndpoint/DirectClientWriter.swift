import ExactText
import NIOCore
import Satellite
import WriteBack

/// Hands clients' transactions to the direct writer.
package struct DirectClientWriter: ClientWriter {
    private let writer: DirectWriter

    package init(_ writer: DirectWriter) {
        self.writer = writer
    }

    package func apply(
        _ transaction: ClientTransaction, completion: @escaping @Sendable (ClientWriteOutcome) -> Void
    ) -> Bool {
        let admission = self.writer.submit(Self.writeTransaction(transaction)) { outcome in
            switch outcome {
            case .applied: completion(.applied)
            case .rejected(let rejection): completion(.rejected(message: rejection.message))
            case .abandoned: completion(.abandoned)
            }
        }
        switch admission {
        case .accepted, .acceptedAndFull: return true
        case .refused, .closed: return false
        }
    }

    static func writeTransaction(_ transaction: ClientTransaction) -> WriteTransaction {
        WriteTransaction(
            clientID: transaction.clientID, clientLSN: Array(transaction.clientLSN.readableBytesView),
            commitTimestampMilliseconds: Int64(clamping: transaction.commitTimestamp),
            changes: transaction.changes.map(Self.writeChange))
    }

    private static func writeChange(_ change: ClientChange) -> WriteChange {
        var columns: [WriteChange.Column] = []
        var modified = ExactSet()
        for (index, column) in change.table.columns.enumerated() {
            switch change.values[index] {
            case .absent: continue
            case .null: columns.append(.init(column.name, nil))
            case .bytes(let bytes): columns.append(.init(column.name, Array(bytes.readableBytesView)))
            }
            if change.changed[index] { modified.insert(column.name) }
        }
        return WriteChange(
            kind: Self.kind(change.kind), schema: change.table.schema, table: change.table.name, columns: columns,
            modifiedColumns: modified,
            observedTags: change.observedTags.map {
                .init(timestampMilliseconds: $0.milliseconds, source: $0.source)
            })
    }

    private static func kind(_ kind: ClientChange.Kind) -> WriteChange.Kind {
        switch kind {
        case .insert: return .insert
        case .update: return .update
        case .delete: return .delete
        case .compensation: return .compensation
        }
    }
}
