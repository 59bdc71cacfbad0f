import NIOCore
import PostgresWire
import SwiftProtobuf

@testable import Satellite

/// A session with the client's half of the conversation.
struct SessionHarness {
    static let clientID = "717b0b5c-ff74-4dde-a698-53d2025ef55d"
    static let subscriptionID = "8a7ec83d-7651-4bb4-afa1-d04fbb93585f"

    var session: SatelliteSession
    private var nextID: UInt32 = 1

    init(limits: SatelliteLimits = SatelliteLimits(), schema: SatelliteSchema = Fixtures.schema) {
        self.session = SatelliteSession(instanceID: "server", schema: schema, limits: limits)
    }

    mutating func receive(_ message: SatelliteMessage) -> [SessionAction] {
        self.session.receive(.messageReceived(message.encoded()))
    }

    mutating func call(_ method: RemoteMethod, _ payload: some SwiftProtobuf.Message) -> [SessionAction] {
        let id = self.nextID
        self.nextID += 1
        return self.receive(.request(method, id: id, payload))
    }

    mutating func authenticate() -> [SessionAction] {
        var request = Electric_Satellite_SatAuthReq()
        request.id = Self.clientID
        request.token = "token"
        _ = self.call(.authenticate, request)
        return self.session.receive(.authenticated(.init(userID: "user")))
    }

    /// Authenticated, and with the stream from the client running.
    mutating func open() {
        _ = self.authenticate()
        _ = self.session.receive(.clientPositionLoaded(nil))
        _ = self.receive(.response("startReplication", id: 0, Electric_Satellite_SatInStartReplicationResp()))
    }

    mutating func start(
        lsn: String = "", subscriptions: [String] = [], version: String? = nil, observedGone: [String] = []
    ) -> [SessionAction] {
        var request = Electric_Satellite_SatInStartReplicationReq()
        request.lsn = ByteBuffer(string: lsn).protobufField
        request.subscriptionIds = subscriptions
        request.observedGoneBatch = observedGone
        if let version { request.schemaVersion = version }
        return self.call(.startReplication, request)
    }

    /// Authenticated, with both streams running from `position`, without any data.
    mutating func openAndStart(
        at position: UInt64 = 1_000, migrations: [SatelliteMigration] = []
    ) -> [SessionAction] {
        self.open()
        _ = self.start()
        return self.session.receive(
            .historyLoaded(
                MigrationHistory(
                    position: LSN(rawValue: position), schema: Fixtures.schema, migrations: migrations)))
    }

    mutating func subscribe(
        _ tables: [String], id: String = subscriptionID
    ) -> [SessionAction] {
        self.call(.subscribe, Self.subscription(tables, id: id))
    }

    static func subscription(_ tables: [String], id: String = subscriptionID) -> Electric_Satellite_SatSubsReq {
        var request = Electric_Satellite_SatSubsReq()
        request.subscriptionID = id
        request.shapeRequests = tables.enumerated().map { index, table in
            var shape = Electric_Satellite_SatShapeReq()
            shape.requestID = "r\(index)"
            var select = Electric_Satellite_SatShapeDef.Select()
            select.tablename = table
            shape.shapeDefinition.selects = [select]
            return shape
        }
        return request
    }

    /// Subscribes and delivers an empty snapshot that sees everything below `xid`.
    mutating func subscribeAndDeliver(
        _ tables: [String], id: String = subscriptionID, seesBelow xid: UInt64 = 1, end: UInt64 = 0
    ) -> [SessionAction] {
        var actions = self.subscribe(tables, id: id)
        guard let number = actions.fetchNumber else { return actions }
        let snapshot = TransactionSnapshot(xmin: xid, xmax: xid, running: [])
        actions += self.session.receive(.snapshotStarted(number, snapshot, end: LSN(rawValue: end)))
        actions += self.session.receive(.fetchFinished(number))
        return actions
    }

    mutating func unsubscribe(_ ids: [String]) -> [SessionAction] {
        var request = Electric_Satellite_SatUnsubsReq()
        request.subscriptionIds = ids
        return self.call(.unsubscribe, request)
    }

    mutating func deliver(_ transactions: [SatelliteTransaction], upTo: UInt64? = nil) -> [SessionAction] {
        self.session.receive(
            .transactionsAvailable(
                TransactionDelivery(
                    after: self.session.position, transactions: transactions,
                    upTo: upTo.map { LSN(rawValue: $0) })))
    }

    mutating func acknowledge(_ xid: UInt64, lsn: UInt64, gone: [String] = []) -> [SessionAction] {
        var ack = Electric_Satellite_SatOpLogAck()
        ack.transactionID = xid
        ack.lsn = ByteBuffer(string: "\(lsn)").protobufField
        ack.goneSubscriptionIds = gone
        return self.receive(.opLogAck(ack))
    }

    static func transaction(
        xid: UInt64, at position: UInt64, table: SatelliteTable = Fixtures.items, origin: String? = nil,
        migration: SatelliteMigration? = nil, rows: Int = 1
    ) -> SatelliteTransaction {
        var builder = OperationBlockBuilder()
        let layout = RowLayout(table: table, relation: Fixtures.relation(table))
        for row in 0..<rows {
            let values = table.columns.indices.map { $0 == 0 ? ColumnValue.text(ByteBuffer(string: "\(row)")) : .null }
            builder.insert(layout, new: Tuple(columns: values), tags: .epoch)
        }
        return SatelliteTransaction(
            position: LSN(rawValue: position), commitPosition: LSN(rawValue: position - 1), xid: xid,
            commitTimestamp: 1, origin: origin, schema: Fixtures.schema, migration: migration, block: builder.take())
    }

    static func migration(_ version: String, xid: UInt64, tables: [SatelliteTable] = [Fixtures.items])
        -> SatelliteMigration
    {
        var operation = Electric_Satellite_SatOpMigrate()
        operation.version = version
        return SatelliteMigration(
            version: version, xid: xid, commitTimestamp: 1, tables: tables, sqlite: [operation], postgres: [operation])
    }
}

extension [SessionAction] {
    var messages: [SatelliteMessage] {
        self.flatMap { action -> [SatelliteMessage] in
            if case .send(let frames) = action { return frames.messages }
            return []
        }
    }

    var others: [SessionAction] {
        self.filter { if case .send = $0 { return false } else { return true } }
    }

    var fetchNumber: Int? {
        for case .fetchSnapshot(let request) in self { return request.number }
        for case .fetchKeys(let request) in self { return request.number }
        return nil
    }

    var closeCode: UInt16? {
        for case .close(let code, _, _) in self { return code }
        return nil
    }

    var isClosing: Bool {
        self.contains { if case .close = $0 { return true } else { return false } }
    }

    /// One word per message, with what identifies it.
    var story: [String] {
        self.messages.map { message in
            switch message {
            case .opLog(let log):
                let words = log.ops.map { operation -> String in
                    switch operation.op {
                    case .begin(let begin):
                        return "begin(\(begin.transactionID)@\(String(decoding: begin.lsn, as: UTF8.self)))"
                    case .commit: return "commit"
                    case .insert: return "insert"
                    case .gone: return "gone"
                    case .migrate(let migrate): return "migrate(\(migrate.version))"
                    default: return "op"
                    }
                }
                return words.joined(separator: " ")
            case .relation(let relation): return "relation(\(relation.tableName))"
            case .subscriptionDataBegin(let begin): return "data(\(String(decoding: begin.lsn, as: UTF8.self)))"
            case .unsubscriptionDataBegin(let begin): return "gone(\(begin.subscriptionIds.count))"
            case .rpcResponse(let response): return "\(response.method) \(response.error.errorType)"
            case .error(let error): return "error \(error.errorType)"
            default: return "\(message.code)"
            }
        }
    }

    var startError: Electric_Satellite_SatInStartReplicationResp.ReplicationError? {
        for case .rpcResponse(let response) in self.messages {
            guard
                let start = try? Electric_Satellite_SatInStartReplicationResp(
                    serializedBytes: [UInt8](ByteBuffer(protobufField: response.message).readableBytesView))
            else { continue }
            return start.hasErr ? start.err : nil
        }
        return nil
    }

    var subscribeError: Electric_Satellite_SatSubsResp.SatSubsError? {
        for case .rpcResponse(let response) in self.messages where response.method == "subscribe" {
            let bytes = [UInt8](ByteBuffer(protobufField: response.message).readableBytesView)
            guard let answer = try? Electric_Satellite_SatSubsResp(serializedBytes: bytes) else { continue }
            return answer.hasErr ? answer.err : nil
        }
        return nil
    }
}
