import Foundation
import NIOCore
import PostgresWire
import StreamStore
import StreamStoreTestSupport
import Synchronization
import Testing

@testable import ChangeFeed

@Suite struct ChangeLogCrashTests {
    /// `PENSTOCK_CRASH_SEEDS` asks for more of them.
    private static let seeds =
        UInt64(1)...(ProcessInfo.processInfo.environment["PENSTOCK_CRASH_SEEDS"].flatMap { UInt64($0) } ?? 20)

    /// Power losses, ends of the process, transports that break, trims: whatever happens, the log is a part of the history
    /// without a hole, and what the server has been told is in it.
    @Test(arguments: Self.seeds)
    func feedThatLosesPowerAgainAndAgainKeepsTheHistoryWhole(_ seed: UInt64) throws {
        var simulation = FeedSimulation(seed: seed, count: 60)
        var disk = FaultyFileSystem(seed: seed)
        var told = LSN(rawValue: FeedSimulation.base)
        var isDone = false
        var generation = 0
        while !isDone {
            generation += 1
            try #require(generation < 200)
            if generation < 12 {
                disk.faults.powerLoss = Int.random(in: 1...150, using: &simulation.random)
                disk.faults.shortWriteChance = 0.1
            }
            let flusher = StoreFlusher(startsThread: false)
            do {
                isDone = try Self.live(&simulation, disk, flusher, &told)
            } catch {
                try #require(disk.isOff, "seed \(seed), generation \(generation): \(error)")
            }
            disk = Bool.random(using: &simulation.random) ? disk.crash() : disk.restart()
        }
    }

    /// One life of a process. Returns whether the whole history is stored.
    private static func live(
        _ simulation: inout FeedSimulation, _ disk: FaultyFileSystem, _ flusher: StoreFlusher, _ told: inout LSN
    ) throws -> Bool {
        let store = FeedSimulation.store(disk, flusher)
        let opened = try ChangeLog.open(directory: FeedSimulation.directory, store: store)
        if opened == nil { #expect(told == LSN(rawValue: FeedSimulation.base)) }
        let log =
            try opened
            ?? ChangeLog.create(
                directory: FeedSimulation.directory, store: store, identity: FeedSimulation.identity())
        let recovered = log.recovered
        #expect(recovered.stored >= told, "what the server was told must be there")
        #expect(
            try FeedSimulation.contents(of: log) == simulation.expected(after: log.base, upTo: recovered.lastEndLSN))

        let box = CoreBox(log, options: FeedSimulation.options())
        defer { told = max(told, box.acknowledged.withLock { $0 }) }
        while true {
            // A transport begins where the feed is durable.
            let start = box.core.withLock { core in
                core.assembler.transportRestarted(referenceXID: 0)
                return core.acknowledged
            }
            var described = 0
            let messages = simulation.history.filter { $0.end > start.rawValue }
                .flatMap { FeedSimulation.messages(of: $0, described: &described) }
            var next = 0
            var isBroken = false
            while next < messages.count, !isBroken {
                let count = min(Int.random(in: 1...12, using: &simulation.random), messages.count - next)
                _ = try box.core.withLock { try $0.receive(MessageRun(Array(messages[next..<next + count]))) }
                next += count
                while box.core.withLock({ $0.hasDeferred }) {
                    flusher.flushPending()
                    try box.core.withLock { _ = try $0.drainDeferred() }
                }
                switch Int.random(in: 0..<30, using: &simulation.random) {
                case 0..<6: flusher.flushPending()
                case 6: try log.trim(toBytes: 2_000)
                case 7: try box.core.withLock { try $0.recordProgress() }
                case 8: isBroken = true
                default: break
                }
            }
            guard !isBroken else { continue }
            flusher.flushPending()
            let end = LSN(rawValue: simulation.history.last?.end ?? 0)
            guard box.core.withLock({ $0.acknowledged }) == end else { throw StoreError(.io, "not durable") }
            #expect(try FeedSimulation.contents(of: log) == simulation.expected(after: log.base, upTo: end))
            try log.log.close()
            return true
        }
    }

    @Test(arguments: UInt64(1)...3)
    func epochBeginsWholeOrNotAtAllWhereverThePowerGoes(_ seed: UInt64) throws {
        for loss in 1... {
            let simulation = FeedSimulation(seed: seed, count: 10)
            let disk = FaultyFileSystem(seed: seed &* 1_000 &+ UInt64(loss))
            let flusher = StoreFlusher(startsThread: false)
            let store = FeedSimulation.store(disk, flusher)
            let old = try ChangeLog.create(
                directory: FeedSimulation.directory, store: store, identity: FeedSimulation.identity())
            let box = CoreBox(old, options: FeedSimulation.options())
            var described = 0
            for transaction in simulation.history {
                let run = MessageRun(FeedSimulation.messages(of: transaction, described: &described))
                _ = try box.core.withLock { try $0.receive(run) }
                while box.core.withLock({ $0.hasDeferred }) {
                    flusher.flushPending()
                    try box.core.withLock { _ = try $0.drainDeferred() }
                }
            }
            try old.log.close()
            disk.faults.powerLoss = disk.operationCount + loss
            let new = FeedSimulation.identity(epoch: 2, base: 10_000)
            _ = try? ChangeLog.create(directory: FeedSimulation.directory, store: store, identity: new)
            let wasOff = disk.isOff

            let later = disk.crash()
            let found = try #require(
                try ChangeLog.open(
                    directory: FeedSimulation.directory,
                    store: FeedSimulation.store(later, StoreFlusher(startsThread: false))))
            if found.identity.epoch == 1 {
                #expect(wasOff)
                let end = try #require(simulation.history.last?.end)
                #expect(
                    try FeedSimulation.contents(of: found)
                        == simulation.expected(after: found.base, upTo: LSN(rawValue: end)))
            } else {
                #expect(found.identity == new)
                #expect(found.recovered.stored == LSN(rawValue: 10_000))
                #expect(try FeedSimulation.contents(of: found).isEmpty)
            }
            try found.log.close()
            // The next attempt succeeds whatever the last one left behind.
            let again = try ChangeLog.create(
                directory: FeedSimulation.directory,
                store: FeedSimulation.store(later, StoreFlusher(startsThread: false)),
                identity: FeedSimulation.identity(epoch: found.identity.epoch + 1, base: 20_000))
            #expect(try FeedSimulation.contents(of: again).isEmpty)
            try again.log.close()
            if !wasOff { break }
        }
    }

    @Test func readerWhoseRestIsTrimmedMeanwhileIsToldSo() throws {
        let simulation = FeedSimulation(seed: 3, count: 80)
        let flusher = StoreFlusher(startsThread: false)
        let log = try ChangeLog.create(
            directory: FeedSimulation.directory, store: FeedSimulation.store(FaultyFileSystem(seed: 1), flusher),
            identity: FeedSimulation.identity())
        let box = CoreBox(log, options: FeedSimulation.options())
        var described = 0
        var positions = [log.base]
        for transaction in simulation.history {
            let run = MessageRun(FeedSimulation.messages(of: transaction, described: &described))
            _ = try box.core.withLock { try $0.receive(run) }
            while box.core.withLock({ $0.hasDeferred }) {
                flusher.flushPending()
                try box.core.withLock { _ = try $0.drainDeferred() }
            }
            flusher.flushPending()
            positions.append(LSN(rawValue: transaction.end))
        }
        try log.trim(toBytes: 2_000)
        #expect(log.base > LSN(rawValue: FeedSimulation.base))
        for position in positions {
            switch try log.read(after: position, maximumBytes: 1 << 20) {
            case .behindWindow:
                #expect(position < log.base)
            case .entries(let entries):
                #expect(position >= log.base)
                #expect(
                    try entries.map { try FeedSimulation.read($0, log) }
                        == simulation.expected(after: position, upTo: LSN(rawValue: .max)))
            }
        }
        try log.log.close()
    }
}
