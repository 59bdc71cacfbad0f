import NIOCore
import PostgresWire
import StreamStore
import StreamStoreTestSupport
import Synchronization
import Testing

@testable import ChangeFeed

/// A server's history of transactions, and what a feed that loses power again and again must have kept of it.
struct FeedSimulation {
    struct Transaction: Sendable {
        var commit: UInt64
        var end: UInt64
        var xid: UInt32
        /// Rows with the width that the table had when each was written.
        var rows: [(columns: Int, value: String)]
    }

    /// What a feed gave back.
    struct Read: Hashable {
        var end: UInt64
        var values: [String]
    }

    static let directory = "/feed"
    static let base: UInt64 = 100

    var random: SplitMix
    let history: [Transaction]

    init(seed: UInt64, count: Int) {
        var random = SplitMix(seed: seed)
        var history: [Transaction] = []
        var position = Self.base
        var columns = 1
        for number in 0..<count {
            let isLarge = Int.random(in: 0..<5, using: &random) == 0
            let rows = isLarge ? Int.random(in: 20...60, using: &random) : Int.random(in: 1...4, using: &random)
            var transaction = Transaction(commit: position + 3, end: position + 13, xid: UInt32(number + 10), rows: [])
            for row in 0..<rows {
                // Tables change width also in the middle of a transaction.
                if Int.random(in: 0..<40, using: &random) == 0 { columns = Int.random(in: 1...5, using: &random) }
                transaction.rows.append((columns, "\(number).\(row)"))
            }
            history.append(transaction)
            position = transaction.end + UInt64.random(in: 0...20, using: &random)
        }
        self.random = random
        self.history = history
    }

    static func relation(columns: Int) -> Relation {
        Relation(
            oid: 16_400, schema: "public", name: "items", replicaIdentity: .full,
            columns: (0..<columns).map { .init(name: "c\($0)", typeOID: 25, isKey: true) })
    }

    /// A transaction as a server sends it; `described` is what the session has been told of the table.
    static func messages(of transaction: Transaction, described: inout Int) -> [ByteBuffer] {
        var messages = [StreamScript.begin(transaction.commit, xid: transaction.xid)]
        for row in transaction.rows {
            let relation = Self.relation(columns: row.columns)
            if described != row.columns {
                messages.append(StreamScript.relation(relation))
                described = row.columns
            }
            messages.append(StreamScript.insert(row.value, into: relation))
        }
        return messages + [StreamScript.commit(transaction.commit, end: transaction.end)]
    }

    static func store(_ disk: FaultyFileSystem, _ flusher: StoreFlusher) -> LogStore {
        LogStore(
            fileSystem: disk, flusher: flusher,
            configuration: LogConfiguration(segmentByteCount: 700, pendingByteLimit: 2_000, indexSpacing: 100))
    }

    static func identity(epoch: UInt64 = 1, base: UInt64 = Self.base) -> StreamIdentity {
        StreamIdentity(
            systemIdentifier: 7, timeline: 1, slotName: "slot", epoch: epoch, base: LSN(rawValue: base))
    }

    static func options(pieceBytes: Int = 300, cacheBytes: Int = 1_000) -> FeedOptions {
        var options = FeedOptions(
            database: "app", transport: .replication, socketPath: "", socketPeers: [], logDirectory: Self.directory,
            retentionBytes: 2_000, cacheBytes: cacheBytes)
        options.pieceBytes = pieceBytes
        return options
    }

    /// Everything a log has after its base. Rows that do not fit the definition given with them are reported.
    static func contents(of log: ChangeLog) throws -> [Read] {
        var position = log.base
        var all: [Read] = []
        while true {
            guard case .entries(let entries) = try log.read(after: position, maximumBytes: 500) else {
                Issue.record("the log refuses its own base")
                return all
            }
            guard let last = entries.last else { return all }
            for entry in entries { all.append(try self.read(entry, log)) }
            position = last.header.endLSN
        }
    }

    static func read(_ entry: FeedEntry, _ log: ChangeLog) throws -> Read {
        var read = Read(end: entry.header.endLSN.rawValue, values: [])
        switch entry {
        case .whole(let transaction):
            var relations = transaction.relations
            try self.collect(transaction.piece, &relations, &read.values)
        case .large(let large):
            var relations = large.relations
            for index in 0..<large.pieceCount {
                try self.collect(try log.piece(index, of: large), &relations, &read.values)
            }
        }
        return read
    }

    private static func collect(
        _ piece: TransactionPiece, _ relations: inout [UInt32: Relation], _ values: inout [String]
    ) throws {
        try piece.forEachMessage { message in
            switch try ReplicationMessage.decode(message) {
            case .relation(let relation, _):
                relations[relation.oid] = relation
            case .insert(let insert):
                let value = insert.new.columns[0].string ?? "?"
                #expect(
                    relations[insert.relation]?.columns.count == insert.new.count, "definition in force at \(value)")
                values.append(value)
            default:
                Issue.record("unexpected message")
            }
        }
    }

    func expected(after base: LSN, upTo end: LSN) -> [Read] {
        self.history.filter { $0.end > base.rawValue && $0.end <= end.rawValue }
            .map { Read(end: $0.end, values: $0.rows.map(\.value)) }
    }
}

/// A core whose log tells it what is durable, as the feed wires them.
final class CoreBox: Sendable {
    let core: Mutex<FeedCore>
    /// What would have been told to the server.
    let acknowledged = Mutex(LSN.zero)
    let log: ChangeLog

    init(_ log: ChangeLog, options: FeedOptions) {
        self.log = log
        self.core = Mutex(FeedCore(log: log, options: options, referenceXID: 0))
        log.log.onDurable { [weak self] end in
            guard let self else { return }
            if let position = self.core.withLock({ $0.durable(end).acknowledge }) {
                self.acknowledged.withLock { $0 = position }
            }
        }
    }
}
