import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import StreamStoreTestSupport
import Testing

/// Streams that lose their front, in every mode.
@Suite(.timeLimit(.minutes(3))) struct RetentionTests {
    private static func bytes(_ count: UInt64) -> StreamRetention? { StreamRetention(maximumBytes: count) }

    /// A stream of appends of 100 bytes, each of one digit.
    private static func fill(_ harness: DirectoryHarness, _ name: String, _ numbers: Range<Int>) throws {
        for number in numbers { try harness.append(name, String(repeating: "\(number % 10)", count: 100)) }
    }

    private static func expected(_ numbers: Range<Int>) -> String {
        numbers.map { String(repeating: "\($0 % 10)", count: 100) }.joined()
    }

    @Test(arguments: TestMode.allCases)
    func theFrontGoesAndStaysGone(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode) { $0.inlineByteLimit = 300 }
        try harness.create("a", retention: Self.bytes(1000))
        try harness.create("keeps")
        for name in ["a", "keeps"] { try Self.fill(harness, name, 0..<30) }
        if mode != .memory { try harness.directory.checkpoint() }
        #expect(try harness.trimAll() == 1)
        #expect(try harness.trimAll() == 0, "there is nothing more to do")
        for isFirst in [true, false] {
            let view = try harness.lookup("a")
            #expect(view.earliest == 2000 && view.tail == 3000)
            #expect(try harness.text("a", from: 2000) == Self.expected(20..<30))
            #expect(try harness.text("a", from: 2000, limit: 150) == Self.expected(20..<30))
            #expect(try harness.text("a", from: 2050, limit: 150).count == 950)
            for position in [0, 100, 1999] as [UInt64] {
                let error = #expect(throws: StreamError.self) { try harness.read("a", from: position) }
                #expect(error?.code == .offsetGone && error?.earliest?.position == 2000)
            }
            #expect(try harness.text("keeps") == Self.expected(0..<30))
            #expect(harness.directory.statistics.payloadBytes == (mode.isFiles && isFirst ? 6000 : 4000))
            guard mode != .memory else { break }
            try harness.directory.checkpoint()
            #expect(harness.directory.statistics.payloadBytes == 4000)
            #expect(harness.damaged.isEmpty)
            try isFirst ? harness.losePower() : harness.restart()
        }
        #expect(harness.directory.list(now: harness.now.value).first { $0.view.name == "a" }?.byteCount == 1000)
        try Self.fill(harness, "a", 30..<60)
        #expect(try harness.trimAll() == 1)
        #expect(try harness.lookup("a").earliest == 5000)
        #expect(try harness.text("a", from: 5000) == Self.expected(50..<60))
        try harness.delete("a")
        #expect(harness.directory.statistics.payloadBytes == 3000)
    }

    /// The record of a trimming alone, without any checkpoint after it.
    @Test(arguments: TestMode.onDisk)
    func aTrimmingOutlivesACrashRightAfterIt(_ mode: TestMode) throws {
        for inlineByteLimit in [50, 500, 10_000] {
            let harness = try DirectoryHarness(mode) { $0.inlineByteLimit = inlineByteLimit }
            try harness.create("a", retention: Self.bytes(250))
            try Self.fill(harness, "a", 0..<5)
            try harness.directory.checkpoint()
            try Self.fill(harness, "a", 5..<9)
            try harness.trimAll()
            try mode == .fileFast ? harness.kill() : harness.losePower()
            for _ in 0..<2 {
                #expect(try harness.lookup("a").earliest == 600)
                #expect(try harness.text("a", from: 600) == Self.expected(6..<9))
                #expect(harness.damaged.isEmpty)
                try harness.directory.checkpoint()
                try harness.restart()
            }
            try Self.fill(harness, "a", 9..<20)
            try harness.trimAll()
            try harness.directory.checkpoint()
            #expect(try harness.text("a", from: 1700) == Self.expected(17..<20))
            #expect(harness.damaged.isEmpty)
        }
    }

    @Test(arguments: TestMode.allCases)
    func ageLetsGoWhatIsTooOldButNeverTheLastAppend(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        try harness.create("a", retention: StreamRetention(maximumAgeSeconds: 3600))
        for number in 0..<10 {
            try Self.fill(harness, "a", number..<number + 1)
            harness.now.value += 600_000
        }
        // The first five are an hour old or more.
        #expect(try harness.trimAll() == 1)
        #expect(try harness.lookup("a").earliest == 500)
        if mode != .memory { try harness.restart() }
        harness.now.value += 7_200_000
        #expect(try harness.trimAll() == 1)
        #expect(try harness.lookup("a").earliest == 900)
        harness.now.value += 7_200_000
        #expect(try harness.trimAll() == 0)
        #expect(try harness.text("a", from: 900) == Self.expected(9..<10))
        try harness.append("a", "x", closes: true)
        harness.now.value += 7_200_000
        #expect(try harness.trimAll() == 1)
        #expect(try harness.text("a", from: 1000) == "x")
        #expect(try harness.lookup("a").isClosed)
    }

    @Test(arguments: TestMode.allCases)
    func aForkKeepsWhatItInherits(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode) { $0.inlineByteLimit = 300 }
        try harness.create("a", retention: Self.bytes(1000))
        try Self.fill(harness, "a", 0..<30)
        try harness.trimAll()
        if mode != .memory { try harness.directory.checkpoint() }
        #expect(harness.code { try harness.fork("early", of: "a", at: 1900) } == .offsetGone)
        try harness.fork("f", of: "a", at: 2500, retention: Self.bytes(100_000))
        #expect(try harness.lookup("f").earliest == 2000)
        try Self.fill(harness, "f", 0..<1)
        try Self.fill(harness, "a", 30..<60)
        try harness.trimAll()
        for _ in 0..<2 {
            #expect(try harness.lookup("a").earliest == 5000)
            #expect(harness.code { try harness.read("a", from: 2000) } == .offsetGone)
            #expect(try harness.text("f", from: 2000) == Self.expected(20..<25) + Self.expected(0..<1))
            #expect(harness.code { try harness.read("f", from: 1900) } == .offsetGone)
            #expect(harness.directory.statistics.payloadBytes == 4000 + 100, "nothing is given back")
            guard mode != .memory else { break }
            try harness.directory.checkpoint()
            try harness.losePower()
        }
        try harness.delete("f")
        if mode != .memory { try harness.directory.checkpoint() }
        #expect(harness.directory.statistics.payloadBytes == 1000, "with the last fork it goes")
        #expect(try harness.text("a", from: 5000) == Self.expected(50..<60))
        if mode != .memory { try harness.restart() }
        #expect(try harness.text("a", from: 5000) == Self.expected(50..<60))
        #expect(harness.damaged.isEmpty)
    }

    /// A fork has the bound of its source, and drops what it inherits for itself alone.
    @Test(arguments: TestMode.allCases)
    func aForkIsTrimmedIntoItsOwnBytes(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        try harness.create("a", retention: Self.bytes(1000))
        try Self.fill(harness, "a", 0..<12)
        try harness.fork("f", of: "a", at: 1150)
        try Self.fill(harness, "f", 0..<5)
        try harness.trimAll()
        #expect(try harness.lookup("f").earliest == 600, "an end of an append of the source")
        #expect(try harness.text("f", from: 600).count == 1050)
        try Self.fill(harness, "f", 5..<11)
        try harness.trimAll()
        #expect(try harness.lookup("f").earliest == 1250)
        try Self.fill(harness, "f", 11..<20)
        try harness.trimAll()
        if mode != .memory {
            try harness.directory.checkpoint()
            try harness.losePower()
        }
        #expect(try harness.lookup("f").earliest == 2150)
        #expect(try harness.text("f", from: 2150) == Self.expected(10..<20))
        #expect(try harness.text("a", from: 200) == Self.expected(2..<12))
    }

    @Test(arguments: TestMode.allCases)
    func anAppendIsDroppedInWhole(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        try harness.create("a", type: "application/json", retention: Self.bytes(30))
        for number in 0..<5 {
            try harness.append("a", #"[{"n":\#(number)},{"m":\#(number)}]"#, type: "application/json")
        }
        try harness.trimAll()
        #expect(try harness.lookup("a").earliest == 48)
        #expect(try harness.text("a", from: 48) == #"{"n":3},{"m":3},{"n":4},{"m":4},"#)
        try harness.create("one", retention: Self.bytes(5))
        try Self.fill(harness, "one", 0..<1)
        #expect(try harness.trimAll() == 0)
        #expect(try harness.text("one").count == 100, "the last append stays, however large")
    }

    @Test func limitsOfBytesGoDown() throws {
        let harness = try DirectoryHarness(.memory) {
            $0.limits.totalBytes = 2500
            $0.limits.streamBytes = 1500
        }
        try harness.create("a", retention: Self.bytes(1000))
        try Self.fill(harness, "a", 0..<15)
        #expect(harness.code { try harness.append("a", "x") } == .payloadTooLarge)
        try harness.trimAll()
        try Self.fill(harness, "a", 15..<20)
        try harness.create("b")
        try Self.fill(harness, "b", 0..<10)
        #expect(harness.code { try harness.append("b", "x") } == .payloadTooLarge)
        try harness.trimAll()
        try harness.append("b", "x")
    }

    /// A reading that has begun has its bytes, as ranges of a file too; they go when it has ended.
    @Test func aReadingUnderWayKeepsItsBytes() throws {
        let harness = try DirectoryHarness(.fileDurable) { $0.verifiedReadLimit = 100 }
        try harness.create("a", retention: Self.bytes(10_000))
        try Self.fill(harness, "a", 0..<300)
        try harness.directory.checkpoint()
        var reading: StreamReading? = try harness.read("a", from: 200)
        guard case .file? = reading?.pieces.first else {
            Issue.record("no range of a file")
            return
        }
        try harness.trimAll()
        for _ in 0..<3 { try harness.directory.checkpoint() }
        #expect(harness.code { try harness.read("a", from: 200) } == .offsetGone)
        #expect(try reading.map { String(buffer: try $0.bytes()) } == Self.expected(2..<300))
        #expect(harness.nonzeroBytes == 30_000)
        reading = nil
        try harness.directory.checkpoint()
        #expect(harness.nonzeroBytes == 10_000, "given back")
        #expect(try harness.text("a", from: 20_000) == Self.expected(200..<300))
        #expect(harness.damaged.isEmpty)
    }

    /// What a crash kept from being given back is given back by the next process.
    @Test func whatACrashLeavesIsGivenBackLater() throws {
        let harness = try DirectoryHarness(.fileDurable)
        try harness.create("a", retention: Self.bytes(10_000))
        try Self.fill(harness, "a", 0..<300)
        try harness.directory.checkpoint()
        try harness.trimAll()
        try harness.directory.checkpoint()
        #expect(harness.nonzeroBytes == 10_000)
        for _ in 0..<4 {
            // Freed is not synced: a loss of power may bring all of it back.
            try harness.losePower()
            #expect(try harness.lookup("a").earliest == 20_000)
            try harness.directory.checkpoint()
            #expect(harness.nonzeroBytes == 10_000)
        }
    }

    @Test func acidRemovesTheRecords() throws {
        let harness = try DirectoryHarness(.acid)
        try harness.create("a", retention: Self.bytes(100_000))
        for _ in 0..<10 {
            for _ in 0..<20 { try harness.append("a", String(repeating: "x", count: 50_000)) }
            try harness.trimAll()
            try harness.directory.checkpoint()
        }
        // Ten megabytes went through it.
        #expect(harness.fileBytes(below: "/acid") < 6 << 20)
        #expect(try harness.text("a", from: 9_900_000).count == 100_000)
        #expect(harness.damaged.isEmpty)
    }

    /// Readers that come while a stream is trimmed again and again get whole appends in a row, or are told that they are
    /// too late.
    @Test(arguments: TestMode.allCases)
    func readersWhileItTrims(_ mode: TestMode) async throws {
        let harness = try DirectoryHarness(mode) {
            $0.verifiedReadLimit = 500
            $0.inlineByteLimit = 100
            $0.runsThreads = mode == .acid
        }
        try harness.create("a", retention: Self.bytes(2000))
        let directory = harness.directory
        let now = harness.now.value
        let isDone = Box(false)
        let counts = Box([0, 0])
        try await withThrowingTaskGroup(of: Void.self) { group in
            for reader in 0..<3 {
                group.addTask {
                    while !isDone.value {
                        let view = try directory.lookup("a", now: now).get()
                        var position =
                            reader == 0 ? view.earliest : max(view.earliest, view.tail - min(view.tail, 3000))
                        do {
                            while true {
                                let reading = try directory.read("a", from: position, limit: 700, now: now).get()
                                guard reading.end > position else { break }
                                try Self.check(try reading.bytes(), from: position)
                                position = reading.end
                                counts.change { $0[0] += 1 }
                            }
                        } catch let error as StreamError {
                            guard error.code == .offsetGone, let earliest = error.earliest else { throw error }
                            guard earliest.position > position else { throw error }
                            counts.change { $0[1] += 1 }
                        }
                        await Task.yield()
                    }
                }
            }
            defer { isDone.value = true }
            for round in 0..<400 {
                try Self.fill(harness, "a", round * 5..<round * 5 + 5)
                try harness.trimAll()
                if mode != .memory, round % 3 == 0 { try directory.checkpoint() }
                await Task.yield()
            }
            isDone.value = true
            try await group.waitForAll()
        }
        #expect(counts.value[0] > 0)
        #expect(try harness.lookup("a").earliest >= 200_000 - 2200)
    }

    private static func check(_ bytes: ByteBuffer, from position: UInt64) throws {
        for (index, byte) in bytes.readableBytesView.enumerated() {
            let number = (Int(position) + index) / 100 % 10
            guard byte == UInt8(ascii: "0") + UInt8(number) else {
                throw StreamError(.internalError, "at \(Int(position) + index) is \(byte)")
            }
        }
    }
}

extension TestMode {
    var isFiles: Bool { TestMode.files.contains(self) }
}

extension DirectoryHarness {
    @discardableResult
    func create(_ name: String, type: String? = nil, retention: StreamRetention?) throws -> CreateOutcome {
        try self.create(
            name, CreateRequest(contentType: type.flatMap { ContentType($0) }, retention: retention))
    }

    @discardableResult
    func fork(
        _ name: String, of source: String, at position: UInt64, retention: StreamRetention? = nil
    ) throws -> CreateOutcome {
        try self.create(
            name,
            CreateRequest(
                contentType: nil, retention: retention,
                fork: ForkRequest(sourceName: source, offset: StreamOffset(position: position))))
    }

    /// Trims what is due, durably; returns how many streams.
    @discardableResult
    func trimAll() throws -> Int {
        let count = self.directory.applyRetention(now: self.now.value)
        self.directory.flush()
        return count
    }

    /// What `verify` complains about.
    var damaged: [String] {
        var names: [String] = []
        self.directory.verify { name, error in if error != nil { names.append(name) } }
        return names
    }

    /// In the files of data on the simulated disk.
    var nonzeroBytes: Int {
        self.disk.files.keys.filter { $0.hasSuffix(".data") }.reduce(0) { count, path in
            count + (self.disk.contents(of: path) ?? []).count { $0 != 0 }
        }
    }
}
