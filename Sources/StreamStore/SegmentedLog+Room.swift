import NIOCore
import Synchronization

/// Zeros written ahead of the records.
///
/// A sync of a file that has grown writes its new size and blocks too, which takes as long again as the data, on file
/// systems with a journal longer. So whenever a write makes the file longer, zeros follow it in the same sync, and the
/// writes after it only replace what is there. Zeros are no record: recovery takes them for the end of the log.
///
/// Only the last segment has them, and none has them after the log was closed.
extension SegmentedLog {
    private static let zeros = ByteBuffer(repeating: 0, count: 128 << 10)
    /// Room for so many writes like the one that needed it, within bounds: the zeros must cost less than the syncs they
    /// make shorter.
    private static var writesAhead: UInt64 { 16 }
    private static var leastRoom: UInt64 { 256 << 10 }

    /// Writes zeros behind a chunk that has used up what was there.
    func makeRoom(after chunk: Chunk) throws(FileError) {
        let limit = self.configuration.roomByteLimit
        guard limit > 0, self.configuration.syncPolicy == .everyFlush else { return }
        let (segment, roomEnd) = self.state.withLock {
            ($0.segments[$0.segments.count - 1].file, $0.segments[$0.segments.count - 1].roomEnd)
        }
        guard chunk.end > roomEnd, self.hasMuchLeft(limit) else { return }
        let wanted = max(Self.leastRoom, (chunk.end - chunk.offset) * Self.writesAhead)
        let end = min(chunk.end + min(wanted, limit), segment.base + self.configuration.segmentByteCount)
        do throws(FileError) {
            var offset = chunk.end
            while offset < end {
                let zeros = Self.zeros.getSlice(at: 0, length: Int(min(end - offset, UInt64(Self.zeros.readableBytes))))
                guard let zeros else { break }
                try zeros.writingAll(to: segment.file, at: segment.position(of: offset))
                offset += UInt64(zeros.readableBytes)
            }
        } catch {
            // The record itself found room. Some of the zeros may have too.
            guard StoreError(error).code == .diskFull else { throw error }
        }
        self.state.withLock { $0.segments[$0.segments.count - 1].roomEnd = max(end, chunk.end) }
    }

    /// Whether the disk is far from full: its last bytes are for records, and for whoever clears up.
    private func hasMuchLeft(_ limit: UInt64) -> Bool {
        guard let available = self.fileSystem.availableBytes(in: self.directory) else { return true }
        return available > 64 * limit
    }

    /// Cuts the zeros off the last segment, durably; before another one follows it, as its end must be that one's
    /// beginning. Inside a pass.
    func giveBackRoom() throws(FileError) {
        let segment = self.state.withLock { $0.segments[$0.segments.count - 1] }
        guard segment.roomEnd > segment.durableEnd else { return }
        try segment.file.file.truncate(to: segment.file.position(of: segment.durableEnd))
        try segment.file.file.syncAll()
        self.state.withLock { $0.segments[$0.segments.count - 1].roomEnd = segment.durableEnd }
    }
}
