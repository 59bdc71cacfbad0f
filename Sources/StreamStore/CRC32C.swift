import CStoreSupport
import NIOCore

/// CRC-32C of bytes given in parts.
struct CRC32C {
    private(set) var value: UInt32 = 0

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        self.value = penstock_crc32c(self.value, bytes.baseAddress, bytes.count)
    }

    mutating func update(_ buffer: ByteBuffer) {
        buffer.withUnsafeReadableBytes { self.value = penstock_crc32c(self.value, $0.baseAddress, $0.count) }
    }
}
