import NIOCore

extension ReplicationMessage {
    /// Microseconds from the Unix epoch to 2000-01-01, where Postgres begins to count.
    package static let postgresEpochMicroseconds: Int64 = 946_684_800_000_000

    /// Decodes one message; every byte of it must be used.
    ///
    /// - Parameters:
    ///   - buffer: the plugin's message, without the header of the transport.
    ///   - streamed: true between Stream Start and Stream Stop, when change messages begin with a transaction id.
    package static func decode(_ buffer: ByteBuffer, streamed: Bool = false) throws(ReplicationDecodingError) -> Self {
        var reader = MessageReader(buffer: buffer)
        let byte = try reader.byte()
        reader.kind = byte
        guard let kind = Kind(rawValue: byte) else { throw reader.error("unknown message type") }
        let message = try Self.decodeBody(kind, &reader, streamed: streamed)
        guard reader.buffer.readableBytes == 0 else {
            throw reader.error("\(reader.buffer.readableBytes) bytes too many")
        }
        return message
    }

    private static func decodeBody(
        _ kind: Kind, _ reader: inout MessageReader, streamed: Bool
    ) throws(ReplicationDecodingError) -> Self {
        switch kind {
        case .begin:
            let lsn = try reader.lsn()
            let time = try reader.time()
            return .begin(Begin(finalLSN: lsn, commitTime: time, xid: try reader.integer()))
        case .commit:
            return .commit(try Self.commit(&reader))
        case .origin:
            let lsn = try reader.lsn()
            return .origin(lsn: lsn, name: try reader.string())
        case .relation:
            let xid: UInt32? = streamed ? try reader.integer() : nil
            return .relation(try Self.relation(&reader), xid: xid)
        case .type:
            let xid: UInt32? = streamed ? try reader.integer() : nil
            let oid: UInt32 = try reader.integer()
            let schema = try reader.string()
            return .type(oid: oid, schema: schema, name: try reader.string(), xid: xid)
        case .insert:
            let xid: UInt32? = streamed ? try reader.integer() : nil
            let relation: UInt32 = try reader.integer()
            try reader.marker("N")
            return .insert(Insert(relation: relation, new: try reader.tuple(), xid: xid))
        case .update:
            return .update(try Self.update(&reader, streamed: streamed))
        case .delete:
            let xid: UInt32? = streamed ? try reader.integer() : nil
            let relation: UInt32 = try reader.integer()
            let marker = try reader.byte()
            guard marker == UInt8(ascii: "K") || marker == UInt8(ascii: "O") else {
                throw reader.error("a delete needs an old row or key")
            }
            let old = try reader.tuple()
            return .delete(Delete(relation: relation, old: old, oldIsKeyOnly: marker == UInt8(ascii: "K"), xid: xid))
        case .truncate:
            return .truncate(try Self.truncate(&reader, streamed: streamed))
        case .logical:
            return .logical(try Self.logical(&reader, streamed: streamed))
        case .streamStart:
            let xid: UInt32 = try reader.integer()
            return .streamStart(xid: xid, firstSegment: try reader.byte() == 1)
        case .streamStop:
            return .streamStop
        case .streamCommit:
            let xid: UInt32 = try reader.integer()
            return .streamCommit(xid: xid, try Self.commit(&reader))
        case .streamAbort:
            let xid: UInt32 = try reader.integer()
            return .streamAbort(xid: xid, subtransaction: try reader.integer())
        }
    }

    private static func commit(_ reader: inout MessageReader) throws(ReplicationDecodingError) -> Commit {
        _ = try reader.byte()  // flags, none defined
        let commitLSN = try reader.lsn()
        let endLSN = try reader.lsn()
        return Commit(commitLSN: commitLSN, endLSN: endLSN, commitTime: try reader.time())
    }

    private static func relation(_ reader: inout MessageReader) throws(ReplicationDecodingError) -> Relation {
        let oid: UInt32 = try reader.integer()
        let schema = try reader.string()
        let name = try reader.string()
        guard let identity = Relation.ReplicaIdentity(rawValue: try reader.byte()) else {
            throw reader.error("unknown replica identity")
        }
        let count: UInt16 = try reader.integer()
        var columns: [Relation.Column] = []
        columns.reserveCapacity(min(Int(count), 1_664))
        for _ in 0..<count {
            let flags = try reader.byte()
            let column = try reader.string()
            let type: UInt32 = try reader.integer()
            let modifier: Int32 = try reader.integer()
            columns.append(.init(name: column, typeOID: type, typeModifier: modifier, isKey: flags & 1 == 1))
        }
        return Relation(oid: oid, schema: schema, name: name, replicaIdentity: identity, columns: columns)
    }

    private static func update(
        _ reader: inout MessageReader, streamed: Bool
    ) throws(ReplicationDecodingError) -> Update {
        let xid: UInt32? = streamed ? try reader.integer() : nil
        let relation: UInt32 = try reader.integer()
        var marker = try reader.byte()
        var old: Tuple?
        let keyOnly = marker == UInt8(ascii: "K")
        if keyOnly || marker == UInt8(ascii: "O") {
            old = try reader.tuple()
            marker = try reader.byte()
        }
        guard marker == UInt8(ascii: "N") else { throw reader.error("an update needs a new row") }
        return Update(relation: relation, old: old, oldIsKeyOnly: keyOnly, new: try reader.tuple(), xid: xid)
    }

    private static func truncate(
        _ reader: inout MessageReader, streamed: Bool
    ) throws(ReplicationDecodingError) -> Truncate {
        let xid: UInt32? = streamed ? try reader.integer() : nil
        let count: UInt32 = try reader.integer()
        let options = try reader.byte()
        guard Int(count) * 4 <= reader.buffer.readableBytes else { throw reader.error("more relations than bytes") }
        var relations: [UInt32] = []
        for _ in 0..<count { relations.append(try reader.integer()) }
        return Truncate(
            relations: relations, cascade: options & 1 != 0, restartIdentity: options & 2 != 0, xid: xid)
    }

    private static func logical(
        _ reader: inout MessageReader, streamed: Bool
    ) throws(ReplicationDecodingError) -> Logical {
        let xid: UInt32? = streamed ? try reader.integer() : nil
        let flags = try reader.byte()
        let lsn = try reader.lsn()
        let prefix = try reader.string()
        let content = try reader.bytes()
        return Logical(transactional: flags & 1 == 1, lsn: lsn, prefix: prefix, content: content, xid: xid)
    }
}

/// Reads the primitive fields of a message and turns a short buffer into an error.
struct MessageReader {
    var buffer: ByteBuffer
    var kind: UInt8?

    func error(_ reason: String) -> ReplicationDecodingError {
        ReplicationDecodingError(kind: self.kind, reason: reason)
    }

    mutating func byte() throws(ReplicationDecodingError) -> UInt8 {
        try self.integer()
    }

    mutating func integer<T: FixedWidthInteger>() throws(ReplicationDecodingError) -> T {
        guard let value = self.buffer.readInteger(as: T.self) else { throw self.error("cut short") }
        return value
    }

    mutating func lsn() throws(ReplicationDecodingError) -> LSN {
        LSN(rawValue: try self.integer())
    }

    mutating func time() throws(ReplicationDecodingError) -> Int64 {
        let time: Int64 = try self.integer()
        return time &+ ReplicationMessage.postgresEpochMicroseconds
    }

    mutating func string() throws(ReplicationDecodingError) -> String {
        guard let value = self.buffer.readNullTerminatedString() else { throw self.error("unterminated text") }
        return value
    }

    mutating func marker(_ expected: Unicode.Scalar) throws(ReplicationDecodingError) {
        guard try self.byte() == UInt8(ascii: expected) else { throw self.error("expected marker \(expected)") }
    }

    mutating func bytes() throws(ReplicationDecodingError) -> ByteBuffer {
        let length: Int32 = try self.integer()
        guard length >= 0, let slice = self.buffer.readSlice(length: Int(length)) else {
            throw self.error("a value is longer than its message")
        }
        return slice
    }

    mutating func tuple() throws(ReplicationDecodingError) -> Tuple {
        let count: UInt16 = try self.integer()
        guard Int(count) <= self.buffer.readableBytes else { throw self.error("more columns than bytes") }
        var columns: [ColumnValue] = []
        columns.reserveCapacity(Int(count))
        for _ in 0..<count {
            switch try self.byte() {
            case UInt8(ascii: "n"): columns.append(.null)
            case UInt8(ascii: "u"): columns.append(.unchanged)
            case UInt8(ascii: "t"): columns.append(.text(try self.bytes()))
            case UInt8(ascii: "b"): columns.append(.binary(try self.bytes()))
            default: throw self.error("unknown column kind")
            }
        }
        return Tuple(columns: columns)
    }
}
