import CStoreSupport
import NIOCore
import StreamStoreTestSupport
import Testing

/// The checksum of a segment's header.
func checksum(of segment: ByteBuffer) -> UInt32 {
    segment.withUnsafeReadableBytes { bytes in
        let start = penstock_crc32c(0, bytes.baseAddress, 12)
        return penstock_crc32c(start, bytes.baseAddress.map { $0 + 16 }, 48)
    }
}

@Suite struct ChecksumTests {
    @Test func knownValues() {
        let digits = Array("123456789".utf8)
        #expect(penstock_crc32c(0, digits, 9) == 0xe306_9283)
        #expect(penstock_crc32c_portable(0, digits, 9) == 0xe306_9283)
        let zeros = [UInt8](repeating: 0, count: 32)
        #expect(penstock_crc32c(0, zeros, 32) == 0x8a91_36aa)
        #expect(penstock_crc32c(0, nil, 0) == 0)
    }

    @Test func instructionAndTableAgreeOnAllSplits() {
        var random = SplitMix(seed: 42)
        let bytes = (0..<100).map { _ in UInt8.random(in: 0...255, using: &random) }
        let whole = penstock_crc32c_portable(0, bytes, bytes.count)
        for split in 0...bytes.count {
            let rest = Array(bytes[split...])
            #expect(penstock_crc32c(penstock_crc32c(0, bytes, split), rest, rest.count) == whole)
            #expect(penstock_crc32c_portable(penstock_crc32c_portable(0, bytes, split), rest, rest.count) == whole)
        }
    }
}
