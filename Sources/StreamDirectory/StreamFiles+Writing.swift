import NIOCore
import StreamStore

extension StreamFiles {
    private static let writeCount = 1 << 20

    /// Writes buffers one after the other, small ones together.
    static func write(
        _ parts: [ByteBuffer], to file: any StoreFile, at start: UInt64
    ) throws(StoreError) {
        var position = start
        var gathered = ByteBuffer()
        func put(_ bytes: ByteBuffer) throws(StoreError) {
            let result = bytes.withUnsafeReadableBytes { source -> FileError? in
                do throws(FileError) {
                    try file.writeAll(source, at: position)
                    return nil
                } catch {
                    return error
                }
            }
            if let result { throw StoreError(result) }
            position += UInt64(bytes.readableBytes)
        }
        for part in parts {
            if gathered.readableBytes > 0, gathered.readableBytes + part.readableBytes > Self.writeCount {
                try put(gathered)
                gathered.clear()
            }
            if part.readableBytes >= Self.writeCount / 4 {
                if gathered.readableBytes > 0 {
                    try put(gathered)
                    gathered.clear()
                }
                try put(part)
            } else {
                gathered.writeImmutableBuffer(part)
            }
        }
        if gathered.readableBytes > 0 { try put(gathered) }
    }
}
