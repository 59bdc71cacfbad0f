internal import PostgresWire

/// Begin and commit of a transaction, encoded as entries of `SatOpLog.ops`.
struct TransactionEnvelope {
    let begin: [UInt8]
    let commit: [UInt8]

    /// - Parameter origin: the client that made the transaction; nil for Postgres.
    init(position: LSN, xid: UInt64, timestamp: UInt64, origin: String?, isMigration: Bool) {
        let lsn = ServerPosition.encode(position).protobufField
        var begin = Electric_Satellite_SatOpBegin()
        begin.commitTimestamp = timestamp
        begin.lsn = lsn
        begin.origin = origin ?? Tag.postgresOrigin
        begin.isMigration = isMigration
        begin.transactionID = xid
        var commit = Electric_Satellite_SatOpCommit()
        commit.commitTimestamp = timestamp
        commit.lsn = lsn
        self.begin = Self.encode(.begin(begin))
        self.commit = Self.encode(.commit(commit))
    }

    static func encode(_ operation: Electric_Satellite_SatTransOp.OneOf_Op) -> [UInt8] {
        var entry = Electric_Satellite_SatTransOp()
        entry.op = operation
        var log = Electric_Satellite_SatOpLog()
        log.ops = [entry]
        return log.encodedBytes()
    }
}
