import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import Testing

/// What `acid` reads a part at a time.
@Suite(.timeLimit(.minutes(2))) struct AcidReadingTests {
    private static func text(_ number: Int, count: Int) -> String {
        String(repeating: String(number % 10), count: count)
    }

    private static func bytesInMemory(_ reading: StreamReading) -> Int {
        reading.pieces.reduce(0) { count, piece in
            if case .bytes(let bytes) = piece { count + bytes.readableBytes } else { count }
        }
    }

    @Test func aLargeReadingHoldsLittleInMemory() throws {
        let harness = try DirectoryHarness(.acid)
        _ = try harness.create("s")
        var expected = ""
        for number in 0..<40 {
            let part = Self.text(number, count: 100_001)
            try harness.append("s", part)
            expected += part
        }
        let reading = try harness.read("s", limit: 64 << 20)
        #expect(reading.isAtTail)
        #expect(Self.bytesInMemory(reading) <= 256 << 10)
        #expect(try String(buffer: reading.bytes()) == expected)
        // Also to where a limit ends it, between appends and below them.
        for limit in [300_000, 1_000_009, 1_000_010, 1_000_011] {
            let part = try harness.read("s", from: 50_000, limit: limit)
            #expect(part.end == UInt64((50_000 + limit) / 100_001 * 100_001))
            #expect(Self.bytesInMemory(part) <= 256 << 10)
            #expect(try String(buffer: part.bytes()) == String(expected.utf8.dropFirst(50_000).prefix(part.byteCount)))
        }
    }

    @Test func aLargeAppendIsReadInPieces() throws {
        let harness = try DirectoryHarness(.acid)
        let large = (0..<30).map { Self.text($0, count: 100_000) }.joined()
        _ = try harness.create("s", body: large)
        try harness.append("s", "end")
        let reading = try harness.read("s", limit: 1)
        #expect(reading.end == 3_000_000)
        #expect(Self.bytesInMemory(reading) == 0)
        #expect(try String(buffer: reading.bytes()) == large)
        guard case .records(let slice)? = reading.pieces.first else {
            Issue.record("the append was copied as a whole")
            return
        }
        #expect(try String(buffer: slice.read(from: 1_099_990, count: 20)) == "00000000001111111111")
        #expect(try harness.text("s", from: 2_999_998) == "99end")
        // A fork that ends inside of it.
        _ = try harness.create(
            "f", fork: ForkRequest(sourceName: "s", offset: StreamOffset(position: 0), subOffset: 700_000), body: "own")
        #expect(try harness.text("f", limit: 64 << 20) == (String(large.utf8.prefix(700_000)) ?? "") + "own")
    }

    @Test func aDeletedStreamIsReadToItsEnd() throws {
        let harness = try DirectoryHarness(.acid)
        let large = (0..<10).map { Self.text($0, count: 100_000) }.joined()
        _ = try harness.create("s")
        for number in 0..<10 { try harness.append("s", Self.text(number, count: 100_000)) }
        var reading: StreamReading? = try harness.read("s", limit: 64 << 20)
        try harness.delete("s")
        try harness.directory.checkpoint()
        #expect(try reading.map { try String(buffer: $0.bytes()) } == large)
        reading = nil
        try harness.directory.checkpoint()
        try harness.restart()
        #expect(harness.directory.list(now: 0).isEmpty)
    }
}
