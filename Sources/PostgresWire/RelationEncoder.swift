import NIOCore

extension Relation {
    /// The relation as a Relation message of the plugin; the inverse of decoding one.
    package func write(to buffer: inout ByteBuffer) {
        buffer.writeInteger(ReplicationMessage.Kind.relation.rawValue)
        buffer.writeInteger(self.oid)
        buffer.writeNullTerminatedString(self.schema)
        buffer.writeNullTerminatedString(self.name)
        buffer.writeInteger(self.replicaIdentity.rawValue)
        buffer.writeInteger(UInt16(self.columns.count))
        for column in self.columns {
            buffer.writeInteger(UInt8(column.isKey ? 1 : 0))
            buffer.writeNullTerminatedString(column.name)
            buffer.writeInteger(column.typeOID)
            buffer.writeInteger(column.typeModifier)
        }
    }

    /// Reads a relation from a Relation message.
    package init(message: ByteBuffer) throws(ReplicationDecodingError) {
        guard case .relation(let relation, _) = try ReplicationMessage.decode(message) else {
            throw ReplicationDecodingError(kind: nil, reason: "not a relation message")
        }
        self = relation
    }
}
