import NIOCore
import StreamStore
import StreamStoreTestSupport
import Testing

/// One seed's life of a log: generations of work, each ended by a crash, each checked against a model.
struct LogSimulation {
    struct ModelRecord: Equatable {
        var offset: UInt64
        var end: UInt64
        var kind: UInt8
        var key: UInt64
        var payload: [UInt8]
    }

    struct Violation: Error, CustomStringConvertible {
        var description: String
    }

    /// A fault in the middle of a truncation: the log may have its old or its new end.
    private struct UndecidedTruncation: Error {}

    private enum Ending {
        case powerLoss, processEnd, closed
    }

    let seed: UInt64
    private var random: SplitMix
    private var disk: FaultyFileSystem
    /// What was appended, without what a crash took.
    private var model: [ModelRecord] = []
    /// Highest end ever reported durable.
    private var reported: UInt64 = 0
    /// Highest offset trimming was asked for, and the highest first offset it reported.
    private var trimAsked: UInt64 = 0
    private var trimReported: UInt64 = 0
    private var nextKey: UInt64 = 1
    private var configuration = LogConfiguration(
        segmentByteCount: 4096, pendingByteLimit: 16 << 10, recordByteLimit: 8 << 10, indexSpacing: 256)
    /// What happened, for a test that wants to know that its faults did bite.
    private(set) var tornByteCount: UInt64 = 0
    private(set) var failedGenerations = 0
    private(set) var failedOpens = 0
    private(set) var lostRecords = 0

    static let directory = "/data/log"

    init(seed: UInt64) {
        self.seed = seed
        self.random = SplitMix(seed: seed)
        self.disk = FaultyFileSystem(seed: seed ^ 0x5eed)
        // Every other log writes zeros ahead, within a segment.
        if seed.isMultiple(of: 2) { self.configuration.roomByteLimit = 1500 }
    }

    mutating func run(generations: Int) throws {
        for _ in 0..<generations {
            self.disk.faults = self.faults()
            let ending = try self.generation()
            switch ending {
            case .powerLoss: self.disk = self.disk.crash()
            case .processEnd: self.disk = self.disk.restart()
            case .closed: self.disk = Bool.random(using: &self.random) ? self.disk.crash() : self.disk.restart()
            }
        }
        // At last a start without faults: everything that was promised must be there.
        guard let log = try self.open(flusher: StoreFlusher(startsThread: false)) else {
            throw Violation(description: "the log did not open on a sound disk")
        }
        try self.checkReading(log)
        try log.close()
    }

    private mutating func faults() -> FaultyFileSystem.Faults {
        var faults = FaultyFileSystem.Faults()
        if Int.random(in: 0..<4, using: &self.random) > 0 {
            // Small numbers hit recovery itself.
            faults.powerLoss = Int.random(in: 1...(Bool.random(using: &self.random) ? 40 : 400), using: &self.random)
        }
        if Int.random(in: 0..<4, using: &self.random) == 0 { faults.syncFailureChance = 0.05 }
        if Int.random(in: 0..<3, using: &self.random) == 0 { faults.shortWriteChance = 0.3 }
        if Int.random(in: 0..<5, using: &self.random) == 0 {
            faults.failures[Int.random(in: 1...200, using: &self.random)] = 5
        }
        return faults
    }

    /// Opens the log and checks what it says is there. Nil if the disk's faults kept it from opening.
    private mutating func open(flusher: StoreFlusher) throws -> SegmentedLog? {
        var found: [ModelRecord] = []
        let log: SegmentedLog
        do {
            log = try SegmentedLog.open(
                directory: Self.directory, fileSystem: self.disk, flusher: flusher, configuration: self.configuration
            ) { found.append(ModelRecord($0)) }
        } catch let error as StoreError where error.code == .io {
            self.failedOpens += 1
            return nil
        }
        let first = log.firstOffset
        let end = log.durableEnd
        guard end >= self.reported else {
            throw Violation(description: "durable to \(self.reported), after the crash to \(end)")
        }
        guard first <= self.trimAsked, first >= self.trimReported else {
            throw Violation(description: "trimmed to \(self.trimReported)...\(self.trimAsked), begins at \(first)")
        }
        let expected = self.model.filter { $0.offset >= first && $0.end <= end }
        guard found == expected else {
            throw Violation(
                description: "\(found.count) records recovered, \(expected.count) expected, \(first)..<\(end)")
        }
        guard found.last?.end ?? end == end, found.first?.offset ?? first == first else {
            throw Violation(description: "the ends do not fit the records")
        }
        self.tornByteCount += log.recovery.tornByteCount
        self.lostRecords += self.model.count { $0.offset >= end }
        self.model = expected
        self.reported = end
        self.trimReported = first
        return log
    }

    private mutating func generation() throws -> Ending {
        let flusher = StoreFlusher(startsThread: false)
        guard let log = try self.open(flusher: flusher) else { return self.endingAfterFailure() }
        do {
            try self.maybeTruncate(log)
        } catch is UndecidedTruncation {
            self.failedGenerations += 1
            return self.endingAfterFailure()
        }
        do {
            for _ in 0..<Int.random(in: 1...60, using: &self.random) {
                try self.step(log, flusher)
                guard log.durableEnd >= self.reported else {
                    throw Violation(description: "the durable end went back")
                }
                self.reported = log.durableEnd
            }
            switch Int.random(in: 0..<4, using: &self.random) {
            case 0:
                try log.close()
                self.reported = log.durableEnd
                guard self.model.last.map({ $0.end == self.reported }) ?? true else {
                    throw Violation(description: "closed without error before everything was durable")
                }
                return .closed
            case 1: return .processEnd
            default: return .powerLoss
            }
        } catch let error as StoreError {
            guard error.code == .io || error.code == .failed else { throw error }
            // What was synced before the fault has been reported.
            self.reported = max(self.reported, log.durableEnd)
            self.failedGenerations += 1
            return self.endingAfterFailure()
        }
    }

    private mutating func endingAfterFailure() -> Ending {
        Bool.random(using: &self.random) ? .processEnd : .powerLoss
    }

    private mutating func maybeTruncate(_ log: SegmentedLog) throws {
        guard Int.random(in: 0..<4, using: &self.random) == 0, let record = self.model.suffix(5).first else { return }
        // From the call on both outcomes are right until it returns.
        self.reported = min(self.reported, record.offset)
        do {
            try log.truncate(to: record.offset)
        } catch {
            throw UndecidedTruncation()
        }
        self.model.removeAll { $0.offset >= record.offset }
        guard log.durableEnd == record.offset, log.nextOffset == record.offset else {
            throw Violation(description: "truncated to \(record.offset), ends at \(log.durableEnd)")
        }
    }

    private mutating func step(_ log: SegmentedLog, _ flusher: StoreFlusher) throws {
        switch Int.random(in: 0..<20, using: &self.random) {
        case 0..<11: try self.append(to: log)
        case 11..<16: flusher.flushPending()
        case 16..<18: try self.checkReading(log)
        case 18: try self.checkSearch(log)
        default:
            let span = log.durableEnd - log.firstOffset
            let offset = log.firstOffset + UInt64.random(in: 0...span, using: &self.random) / 2
            self.trimAsked = max(self.trimAsked, offset)
            self.trimReported = try log.trim(before: offset)
            self.model.removeAll { $0.offset < self.trimReported }
        }
        if case .failed(let error) = log.condition { throw error }
    }

    private mutating func append(to log: SegmentedLog) throws {
        let largest = Int.random(in: 0..<8, using: &self.random) == 0 ? 5000 : 300
        let size = Int.random(in: 0...largest, using: &self.random)
        let payload = (0..<size).map { _ in UInt8.random(in: 0...255, using: &self.random) }
        let kind = UInt8.random(in: 1...255, using: &self.random)
        let half = payload.count / 2
        let outcome = try log.append(
            kind: kind, key: self.nextKey,
            payload: [ByteBuffer(bytes: payload[..<half]), ByteBuffer(bytes: payload[half...])])
        if case .appended(let span) = outcome {
            self.model.append(
                ModelRecord(offset: span.offset, end: span.end, kind: kind, key: self.nextKey, payload: payload))
            self.nextKey += UInt64.random(in: 0...3, using: &self.random)
        }
    }

    private mutating func checkReading(_ log: SegmentedLog) throws {
        let visible = self.model.filter { $0.end <= log.durableEnd }
        let skipped = visible.isEmpty ? 0 : Int.random(in: 0..<visible.count, using: &self.random)
        var reader = log.reader(from: visible.isEmpty ? log.durableEnd : visible[skipped].offset)
        var read: [ModelRecord] = []
        while case let records = try reader.nextBatch(maxBytes: Int.random(in: 1...3000, using: &self.random)),
            !records.isEmpty
        {
            read += records.map { ModelRecord($0) }
        }
        guard read == Array(visible[skipped...]) else {
            throw Violation(description: "read \(read.count) records, \(visible.count - skipped) are there")
        }
    }

    private mutating func checkSearch(_ log: SegmentedLog) throws {
        let key = UInt64.random(in: 0...self.nextKey, using: &self.random)
        let expected = self.model.first { $0.end <= log.durableEnd && $0.key >= key }?.offset
        let found = try log.firstOffset(withKeyAtLeast: key)
        guard found == expected else {
            throw Violation(description: "key \(key) is at \(expected ?? .max), found at \(found ?? .max)")
        }
    }
}

extension LogSimulation.ModelRecord {
    init(_ record: LogRecord) {
        self.init(
            offset: record.offset, end: record.end, kind: record.kind, key: record.key,
            payload: Array(record.payload.readableBytesView))
    }
}
