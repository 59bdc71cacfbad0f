import NIOCore
import PostgresWire
import Satellite
import Testing

@testable import SatelliteEndpoint

@Suite struct StoredSubscriptionCodingTests {
    static let examples: [StoredSubscription] = [
        StoredSubscription(
            id: "a", request: ByteBuffer(), snapshot: nil, snapshotEnd: .zero, snapshotTables: []),
        StoredSubscription(
            id: "b", request: ByteBuffer(bytes: [0, 131, 255]),
            snapshot: TransactionSnapshot(xmin: 5, xmax: 1 << 40, running: [7, 9, 1 << 33]),
            snapshotEnd: LSN(rawValue: .max), snapshotTables: [1, UInt32.max, 16_384]),
    ]

    @Test(arguments: examples) func roundTrip(subscription: StoredSubscription) {
        #expect(
            StoredSubscriptionCoding.decode(id: subscription.id, StoredSubscriptionCoding.encode(subscription))
                == subscription)
    }

    @Test(arguments: examples) func truncatedBytesAreRefused(subscription: StoredSubscription) {
        var head = subscription
        head.request = ByteBuffer()
        let bytes = StoredSubscriptionCoding.encode(head)
        for length in 0..<bytes.readableBytes {
            let part = bytes.getSlice(at: bytes.readerIndex, length: length) ?? ByteBuffer()
            #expect(StoredSubscriptionCoding.decode(id: "x", part) == nil)
        }
    }

    @Test func foreignBytesAreRefused() {
        // An Erlang term, as the legacy service kept them.
        #expect(StoredSubscriptionCoding.decode(id: "x", ByteBuffer(bytes: [131, 108, 0, 0, 0, 1])) == nil)
        var hugeCount = ByteBuffer()
        hugeCount.writeMultipleIntegers(UInt32(0x504B_5331), UInt64(1), UInt8(1))
        hugeCount.writeMultipleIntegers(UInt64(1), UInt64(2), UInt32.max)
        #expect(StoredSubscriptionCoding.decode(id: "x", hugeCount) == nil)
        var unknownForm = ByteBuffer()
        unknownForm.writeMultipleIntegers(UInt32(0x504B_5331), UInt64(1), UInt8(2), UInt32(0))
        #expect(StoredSubscriptionCoding.decode(id: "x", unknownForm) == nil)
    }

    @Test func garbageNeverTraps() {
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<5_000 {
            var bytes = StoredSubscriptionCoding.encode(Self.examples[1])
            for _ in 0..<3 {
                bytes.setInteger(
                    UInt8.random(in: 0...255, using: &generator),
                    at: Int.random(in: 0..<bytes.readableBytes, using: &generator))
            }
            if let decoded = StoredSubscriptionCoding.decode(id: "x", bytes) {
                #expect(decoded.request.readableBytes <= bytes.readableBytes)
            }
        }
    }
}
