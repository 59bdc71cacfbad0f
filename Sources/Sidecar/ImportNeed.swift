import Configuration
import DurableStreams
import Foundation
import NIOCore

/// What the streams of an import take, found out before the first of them is written.
struct ImportNeed {
    private var total: UInt64
    private let totalLimit: ByteCount?
    private let streamLimit: ByteCount?
    /// What the disk has to hold besides.
    private var bytesOnDisk: UInt64 = 0

    /// - Parameter total: Payload bytes of all streams that are there.
    init(_ total: UInt64, totalLimit: ByteCount?, streamLimit: ByteCount?) {
        self.total = total
        self.totalLimit = totalLimit
        self.streamLimit = streamLimit
    }

    /// - Parameter replaced: Payload bytes that go first.
    mutating func add(_ plan: StreamImport.Plan, named name: String, replacing replaced: UInt64) throws {
        var count: UInt64 = 0
        for payload in plan.payloads {
            let bytes = UInt64(payload.bytes.readableBytes)
            count += bytes
            // In the log and where it stays; a page's rest beside what has pages of its own.
            self.bytesOnDisk += 2 * bytes + 256 + (bytes > 1000 ? 4096 : 0)
        }
        self.bytesOnDisk += 1024
        if let limit = self.streamLimit, count > UInt64(limit.bytes) {
            throw StreamArchive.Failure(
                description: """
                    The stream \(name) has \(count) bytes, more than DS_LIMITS__MAX_DISK_STREAM_BYTES allows \
                    (\(limit.bytes)). Nothing was imported.
                    """)
        }
        // In the order of the writing: what comes later frees nothing for what comes earlier.
        self.total -= min(replaced, self.total)
        self.total += count
        if let limit = self.totalLimit, self.total > UInt64(limit.bytes) {
            throw StreamArchive.Failure(
                description: """
                    With the stream \(name) all streams together would have \(self.total) bytes, more than \
                    DS_LIMITS__MAX_DISK_BYTES allows (\(limit.bytes)). Nothing was imported.
                    """)
        }
    }

    func checkDisk(of folder: String, documentBytes: Int) throws {
        let attributes = try? FileManager.default.attributesOfFileSystem(forPath: folder)
        guard let free = (attributes?[.systemFreeSize] as? NSNumber)?.uint64Value else { return }
        let needed = self.bytesOnDisk + UInt64(documentBytes) + 1 << 20
        guard free < needed else { return }
        throw StreamArchive.Failure(
            description: """
                The disk of \(folder) has \(free) bytes free; the import may need \(needed). Nothing was imported.
                """)
    }
}
