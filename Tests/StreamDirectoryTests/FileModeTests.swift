import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import StreamStoreTestSupport
import Testing

/// What the file modes have of their own.
@Suite(.timeLimit(.minutes(3))) struct FileModeTests {
    @Test(arguments: TestMode.files)
    func everythingIsThereAfterAnEndOfAnyKind(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("small", type: "text/plain", body: "tiny")
        _ = try harness.create("large")
        for number in 0..<200 { try harness.append("large", String(repeating: "\(number % 10)", count: 100)) }
        try harness.directory.checkpoint()
        try harness.append("large", "tail")
        try harness.append("small", "!", type: "text/plain", closes: true)
        try mode == .fileDurable ? harness.losePower() : harness.kill()
        for _ in 0..<2 {
            #expect(try harness.text("small") == "tiny!")
            #expect(try harness.lookup("small").isClosed)
            let large = try harness.text("large", limit: 777)
            #expect(large.utf8.count == 20_004 && large.hasSuffix("9tail"))
            try harness.restart()
        }
    }

    @Test func largeReadingsAreRangesOfFilesAndSmallStreamsHaveNone() throws {
        let harness = try DirectoryHarness(.fileDurable) { $0.verifiedReadLimit = 1000 }
        _ = try harness.create("small", body: "tiny")
        _ = try harness.create("large")
        for _ in 0..<100 { try harness.append("large", String(repeating: "x", count: 100)) }
        try harness.directory.checkpoint()
        #expect(harness.disk.files.keys.filter { $0.contains("/data/data/") }.count == 2)
        let reading = try harness.read("large")
        guard case .file(let slice)? = reading.pieces.first else {
            Issue.record("no range of a file")
            return
        }
        #expect(reading.pieces.count == 1 && slice.count == 10_000 && slice.offset == 0)
        guard case .bytes? = try harness.read("large", limit: 1000).pieces.first else {
            Issue.record("a small reading is not checked")
            return
        }
        // A reading in progress keeps its file.
        try harness.delete("large")
        try harness.directory.checkpoint()
        #expect(harness.disk.files.keys.filter { $0.contains("/data/data/") }.isEmpty)
        #expect(try slice.read().readableBytes == 10_000)
    }

    @Test func aFlippedBitIsFoundAndNeverServedByCheckedReadings() throws {
        let harness = try DirectoryHarness(.fileDurable)
        _ = try harness.create("a")
        _ = try harness.create("b")
        for name in ["a", "b"] {
            for _ in 0..<100 { try harness.append(name, String(repeating: "x", count: 100)) }
        }
        try harness.directory.checkpoint()
        let identity = String(try harness.lookup("a").identity.rawValue, radix: 16)
        let path = try #require(harness.disk.files.keys.first { $0.hasSuffix("/\(identity).data") })
        harness.disk.flipBit(8 * 5050 + 3, of: path)
        #expect(try harness.text("a", from: 6000).utf8.count == 4000, "what is sound is served")
        #expect(harness.code { try harness.read("a", from: 5000, limit: 200) } == .internalError)
        var damaged: [String] = []
        harness.directory.verify { name, error in if error != nil { damaged.append(name) } }
        #expect(damaged == ["a"])
        #expect(harness.code { try harness.read("a", from: 6000) } == .internalError, "it stays out of use")
        #expect(try harness.text("b").utf8.count == 10_000)
    }

    @Test func manyStreamsComeBackAndTheMetadataStaysSmall() throws {
        let harness = try DirectoryHarness(.fileDurable) {
            $0.lockCount = 64
            $0.metadataSegmentBytes = 1 << 20
            $0.metadataSlack = 1000
        }
        let count = 20_000
        for number in 0..<count {
            harness.directory.create(
                "stream/\(number)", CreateRequest(contentType: nil, body: ByteBuffer(string: "\(number)")),
                now: harness.now.value
            ) { result in if case .failure(let error) = result { Issue.record(error) } }
        }
        harness.directory.flush()
        try harness.directory.checkpoint()
        let size = harness.disk.files.filter { $0.key.contains("/metadata/") }.values.reduce(0, +)
        // One stream at a time: only what changes is written.
        try harness.append("stream/7", "!")
        try harness.directory.checkpoint()
        let grown = harness.disk.files.filter { $0.key.contains("/metadata/") }.values.reduce(0, +)
        #expect(grown - size < 1000)
        // Everything, again and again: what is outdated goes.
        for _ in 0..<6 {
            for number in 0..<2000 {
                harness.directory.append(
                    "stream/\(number)", DirectoryHarness.request("x"), now: harness.now.value
                ) { _ in }
            }
            harness.directory.flush()
            try harness.directory.checkpoint()
        }
        try harness.losePower()
        #expect(harness.directory.list(now: harness.now.value).count == count)
        #expect(try harness.text("stream/7") == "7!xxxxxx")
        #expect(try harness.text("stream/19999") == "19999")
        #expect(harness.disk.files.keys.allSatisfy { !$0.contains("/data/data/") })
    }

    @Test func theMetadataLogIsCompacted() throws {
        let harness = try DirectoryHarness(.fileDurable) {
            $0.metadataSegmentBytes = 4096
            $0.metadataSlack = 10
        }
        _ = try harness.create("quiet", body: "stays")
        _ = try harness.create("busy")
        var largest = 0
        for number in 0..<500 {
            try harness.append("busy", "\(number % 10)")
            try harness.directory.checkpoint()
            largest = max(largest, harness.disk.files.filter { $0.key.contains("/metadata/") }.values.reduce(0, +))
        }
        #expect(largest < 60_000)
        for _ in 0..<2 {
            #expect(try harness.text("quiet") == "stays")
            #expect(try harness.text("busy").utf8.count == 500)
            try harness.losePower()
        }
    }

    @Test func aFailedSyncRefusesChangesAndReadsGoOn() throws {
        let harness = try DirectoryHarness(.fileDurable)
        _ = try harness.create("a", body: "durable")
        let conditions = Box(0)
        harness.directory.onCondition { _ in conditions.change { $0 += 1 } }
        harness.disk.faults.syncFailureChance = 1
        #expect(harness.code { try harness.append("a", "lost") } == .unavailable)
        harness.disk.faults.syncFailureChance = 0
        #expect(!harness.directory.isReady && conditions.value == 1)
        #expect(harness.code { try harness.append("a", "more") } == .unavailable)
        #expect(try harness.text("a") == "durable")
        #expect(throws: StoreError.self) { try harness.directory.checkpoint() }
        try harness.losePower()
        #expect(try harness.text("a").hasPrefix("durable"))
        try harness.append("a", "!")
    }

    @Test func aFullDiskRefusesChangesUntilThereIsRoom() throws {
        let harness = try DirectoryHarness(.fileDurable) { $0.logRoomBytes = 0 }
        _ = try harness.create("a", body: "first")
        harness.disk.faults.quota = harness.disk.files.values.reduce(0, +) + 10
        let answers = Box<[StreamErrorCode?]>([])
        harness.directory.append("a", DirectoryHarness.request("waits"), now: harness.now.value) { result in
            if case .failure(let error) = result { answers.change { $0.append(error.code) } }
        }
        harness.directory.flush()
        // Told, and kept.
        #expect(answers.value == [.insufficientStorage] && harness.directory.condition == .diskFull)
        #expect(harness.code { try harness.append("a", "no") } == .insufficientStorage)
        #expect(harness.code { try harness.delete("a") } == .insufficientStorage)
        #expect(try harness.text("a") == "first")
        harness.disk.faults.quota = nil
        harness.directory.flush()
        #expect(answers.value.count == 1 && harness.directory.condition == .healthy)
        try harness.append("a", "!")
        #expect(try harness.text("a") == "firstwaits!")
    }

    @Test func tooMuchThatWaitsIsRefused() throws {
        let harness = try DirectoryHarness(.fileDurable) { $0.limits.waitingChanges = 3 }
        _ = try harness.create("a")
        let codes = Box<[StreamErrorCode]>([])
        for _ in 0..<5 {
            harness.directory.append("a", DirectoryHarness.request("x"), now: harness.now.value) { result in
                if case .failure(let error) = result { codes.change { $0.append(error.code) } }
            }
        }
        #expect(codes.value == [.unavailable, .unavailable])
        harness.directory.flush()
        #expect(try harness.lookup("a").tail == 3)
        try harness.append("a", "x")
    }

    @Test func openFilesAreFewHoweverManyStreamsAreRead() throws {
        let harness = try DirectoryHarness(.fileDurable) {
            $0.inlineByteLimit = 0
            $0.limits.openStreams = 8
        }
        for number in 0..<100 { _ = try harness.create("s\(number)", body: "content \(number)") }
        try harness.directory.checkpoint()
        for number in 0..<100 { #expect(try harness.text("s\(number)") == "content \(number)") }
    }
}
