import NIOCore
import StreamStore
import StreamStoreTestSupport
import Testing

@Suite struct MetaFileTests {
    private static let path = "/data/owner"

    private func meta(_ disk: FaultyFileSystem, version: UInt32 = 3) -> MetaFile {
        MetaFile(path: Self.path, version: version, fileSystem: disk)
    }

    @Test func contentsComeBackWithTheirVersion() throws {
        let disk = FaultyFileSystem(seed: 1)
        #expect(try self.meta(disk).read() == nil)
        try self.meta(disk, version: 2).replace(with: ByteBuffer(string: "old"))
        #expect(try self.meta(disk).read()?.version == 2)
        try self.meta(disk).replace(with: ByteBuffer(string: "new"))
        let read = try #require(try self.meta(disk).read())
        #expect(read.version == 3)
        #expect(read.contents == ByteBuffer(string: "new"))
        let error = #expect(throws: StoreError.self) { try self.meta(disk, version: 2).read() }
        #expect(error?.code == .newerFormat)
    }

    @Test func eachFlippedBitAndEachCutIsReported() throws {
        let disk = FaultyFileSystem(seed: 1)
        try self.meta(disk).replace(with: ByteBuffer(string: "contents"))
        let size = try #require(disk.files[Self.path])
        for bit in 0..<size * 8 {
            disk.flipBit(bit, of: Self.path)
            let error = #expect(throws: StoreError.self, "bit \(bit)") { try self.meta(disk).read() }
            #expect(error?.code == .corrupt)
            disk.flipBit(bit, of: Self.path)
        }
        for cut in (0..<size).reversed() {
            disk.cut(Self.path, to: cut)
            #expect(throws: StoreError.self, "cut to \(cut)") { try self.meta(disk).read() }
        }
    }

    @Test func aCrashAtAnyOperationLeavesTheOldOrTheNewContents() throws {
        var seen: Set<String> = []
        for seed in 1...40 as ClosedRange<UInt64> {
            for operation in 1...20 {
                let disk = FaultyFileSystem(seed: seed)
                try self.meta(disk).replace(with: ByteBuffer(string: "old"))
                disk.faults.powerLoss = disk.operationCount + operation
                let hasReturned = (try? self.meta(disk).replace(with: ByteBuffer(string: "new"))) != nil
                let contents = try #require(try self.meta(disk.crash()).read()?.contents)
                seen.insert(String(buffer: contents))
                if hasReturned { #expect(contents == ByteBuffer(string: "new")) }
            }
        }
        #expect(seen == ["old", "new"])
    }
}
