import NIOCore
import PostgresWire
import Satellite

/// The bytes in `client_shape_subscriptions.shape_requests`.
///
/// The legacy service kept Erlang terms there, which begin with byte 131 and are not read: such a client starts over once.
enum StoredSubscriptionCoding {
    private static let magic: UInt32 = 0x504B_5331  // "PKS1"

    static func encode(_ subscription: StoredSubscription) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(self.magic)
        buffer.writeInteger(subscription.snapshotEnd.rawValue)
        if let snapshot = subscription.snapshot {
            buffer.writeInteger(UInt8(1))
            buffer.writeMultipleIntegers(snapshot.xmin, snapshot.xmax, UInt32(snapshot.running.count))
            for xid in snapshot.running.sorted() { buffer.writeInteger(xid) }
        } else {
            buffer.writeInteger(UInt8(0))
        }
        buffer.writeInteger(UInt32(subscription.snapshotTables.count))
        for oid in subscription.snapshotTables { buffer.writeInteger(oid) }
        buffer.writeImmutableBuffer(subscription.request)
        return buffer
    }

    /// Nil if the bytes are not ours.
    static func decode(id: String, _ bytes: ByteBuffer) -> StoredSubscription? {
        var buffer = bytes
        guard buffer.readInteger(as: UInt32.self) == self.magic,
            let end = buffer.readInteger(as: UInt64.self), let hasSnapshot = buffer.readInteger(as: UInt8.self),
            hasSnapshot <= 1
        else { return nil }
        var snapshot: TransactionSnapshot?
        if hasSnapshot == 1 {
            guard let (xmin, xmax, count) = buffer.readMultipleIntegers(as: (UInt64, UInt64, UInt32).self) else {
                return nil
            }
            var running = Set<UInt64>()
            for _ in 0..<count {
                guard let xid = buffer.readInteger(as: UInt64.self) else { return nil }
                running.insert(xid)
            }
            snapshot = TransactionSnapshot(xmin: xmin, xmax: xmax, running: running)
        }
        guard let tableCount = buffer.readInteger(as: UInt32.self) else { return nil }
        var tables: [UInt32] = []
        for _ in 0..<tableCount {
            guard let oid = buffer.readInteger(as: UInt32.self) else { return nil }
            tables.append(oid)
        }
        return StoredSubscription(
            id: id, request: buffer, snapshot: snapshot, snapshotEnd: LSN(rawValue: end), snapshotTables: tables)
    }
}
