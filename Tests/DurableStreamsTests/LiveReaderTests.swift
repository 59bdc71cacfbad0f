import DurableStreams
import Testing

@Suite("Live reads")
struct LiveReaderTests {
    private let settings = LiveReader.Settings(longPollTimeout: 30_000, keepAlive: 15_000, idleClose: 60_000)

    private func reader(_ mode: LiveMode, at position: UInt64 = 10) -> LiveReader {
        LiveReader(mode: mode, position: position, settings: self.settings, at: 1000)
    }

    private func tail(_ end: UInt64, delivered: UInt64? = nil, isClosed: Bool = false) -> LiveReader.Reading {
        LiveReader.Reading(end: end, delivered: delivered, isAtTail: true, isClosed: isClosed)
    }

    // MARK: Long-poll

    @Test func aLongPollWithDataIsAnsweredAtOnce() {
        var reader = self.reader(.longPoll)
        #expect(reader.begin() == [.read(from: 10, beyond: 10)])
        #expect(reader.readFinished(self.tail(15), at: 1000) == [.respond])
        #expect(reader.isOver)
        #expect(reader.position == 15)
        #expect(reader.nextDeadline == nil)
    }

    @Test func aLongPollWaitsForData() {
        var reader = self.reader(.longPoll)
        _ = reader.begin()
        #expect(reader.readFinished(self.tail(10), at: 1000) == [.wait(after: 10)])
        #expect(reader.changed() == [.read(from: 10, beyond: 10)])
        #expect(reader.changed() == [])
        #expect(reader.readFinished(self.tail(12), at: 1500) == [.respond])
    }

    @Test func aWakeForNothingWaitsAgain() {
        var reader = self.reader(.longPoll)
        _ = reader.begin()
        _ = reader.readFinished(self.tail(10), at: 1000)
        _ = reader.changed()
        #expect(reader.readFinished(self.tail(10), at: 1500) == [.wait(after: 10)])
    }

    @Test func whenTimeIsUpALastReadDecides() {
        var reader = self.reader(.longPoll)
        _ = reader.begin()
        _ = reader.readFinished(self.tail(10), at: 1000)
        #expect(reader.nextDeadline == 31_000)
        #expect(reader.timeReached(30_999) == [])
        #expect(reader.timeReached(31_000) == [.cancelWait, .read(from: 10, beyond: 10)])
        var withData = reader
        #expect(withData.readFinished(self.tail(11), at: 31_000) == [.respond])
        #expect(
            reader.readFinished(self.tail(10), at: 31_000) == [.respondNothingNew(at: 10, isClosed: false)])
        #expect(reader.isOver)
    }

    @Test func timeThatRunsOutDuringAReadCountsToo() {
        var reader = self.reader(.longPoll)
        _ = reader.begin()
        #expect(reader.timeReached(31_000) == [])
        #expect(
            reader.readFinished(self.tail(10), at: 31_001) == [.respondNothingNew(at: 10, isClosed: false)])
    }

    @Test func theEndOfAClosedStreamIsToldAtOnce() {
        var reader = self.reader(.longPoll)
        _ = reader.begin()
        #expect(
            reader.readFinished(self.tail(10, isClosed: true), at: 1000) == [.respondNothingNew(at: 10, isClosed: true)]
        )
        var waiting = self.reader(.longPoll)
        _ = waiting.begin()
        _ = waiting.readFinished(self.tail(10), at: 1000)
        _ = waiting.changed()
        #expect(waiting.readFinished(self.tail(12, isClosed: true), at: 1000) == [.respond])
    }

    @Test func aLongPollOfADeletedStreamIsRefused() {
        var reader = self.reader(.longPoll)
        _ = reader.begin()
        _ = reader.readFinished(self.tail(10), at: 1000)
        #expect(reader.ended(.gone) == [.cancelWait, .refuse(.gone)])
        #expect(reader.ended(.gone) == [])
        #expect(reader.changed() == [])
    }

    @Test func aStoppingServerReleasesLongPolls() {
        var reader = self.reader(.longPoll)
        _ = reader.begin()
        _ = reader.readFinished(self.tail(10), at: 1000)
        #expect(reader.drain() == [.cancelWait, .read(from: 10, beyond: 10)])
        #expect(
            reader.readFinished(self.tail(10), at: 1000) == [.respondNothingNew(at: 10, isClosed: false)])
    }

    // MARK: Event streams

    @Test func anEventStreamCatchesUpThenWaits() {
        var reader = self.reader(.eventStream, at: 0)
        #expect(reader.begin() == [.read(from: 0, beyond: 0)])
        let chunk = LiveReader.Reading(end: 8, isAtTail: false, isClosed: false)
        #expect(reader.readFinished(chunk, at: 1000) == [.sendBatch, .read(from: 8, beyond: 8)])
        #expect(reader.readFinished(self.tail(12), at: 1000) == [.sendBatch, .wait(after: 12)])
        #expect(reader.changed() == [.read(from: 12, beyond: 12)])
        #expect(reader.readFinished(self.tail(14), at: 1100) == [.sendBatch, .wait(after: 14)])
    }

    @Test func aReaderAtTheTailGetsOneControlEventAndNoMore() {
        var reader = self.reader(.eventStream)
        _ = reader.begin()
        #expect(reader.readFinished(self.tail(10), at: 1000) == [.sendBatch, .wait(after: 10)])
        _ = reader.changed()
        #expect(reader.readFinished(self.tail(10), at: 1000) == [.wait(after: 10)])
    }

    @Test func theFinalDataGoesOutWithTheClosure() {
        var reader = self.reader(.eventStream)
        _ = reader.begin()
        _ = reader.readFinished(self.tail(10), at: 1000)
        _ = reader.changed()
        #expect(reader.readFinished(self.tail(13, isClosed: true), at: 1000) == [.sendBatch, .finish])
        #expect(reader.isOver)
    }

    @Test func aClosedChunkIsNotTheEnd() {
        var reader = self.reader(.eventStream, at: 0)
        _ = reader.begin()
        let chunk = LiveReader.Reading(end: 8, isAtTail: false, isClosed: true)
        #expect(reader.readFinished(chunk, at: 1000) == [.sendBatch, .read(from: 8, beyond: 8)])
        #expect(reader.readFinished(self.tail(10, isClosed: true), at: 1000) == [.sendBatch, .finish])
    }

    @Test func heldBackBytesAreNotReadOverAndOver() {
        var reader = self.reader(.eventStream)
        _ = reader.begin()
        #expect(reader.readFinished(self.tail(15, delivered: 13), at: 1000) == [.sendBatch, .wait(after: 15)])
        #expect(reader.position == 13)
        #expect(reader.changed() == [.read(from: 13, beyond: 15)])
        #expect(reader.readFinished(self.tail(16), at: 1000) == [.sendBatch, .wait(after: 16)])
    }

    @Test func aChunkWithoutAWholeCharacterIsJoinedToTheNext() {
        var reader = self.reader(.eventStream)
        _ = reader.begin()
        let chunk = LiveReader.Reading(end: 11, delivered: 10, isAtTail: false, isClosed: false)
        #expect(reader.readFinished(chunk, at: 1000) == [.sendBatch, .read(from: 10, beyond: 11)])
    }

    @Test func quietStreamsAreKeptAliveAndEndAfterAMinute() {
        var reader = self.reader(.eventStream)
        _ = reader.begin()
        _ = reader.readFinished(self.tail(10), at: 1000)
        #expect(reader.nextDeadline == 16_000)
        #expect(reader.timeReached(16_000) == [.sendKeepAlive])
        #expect(reader.timeReached(31_000) == [.sendKeepAlive])
        #expect(reader.timeReached(46_000) == [.sendKeepAlive])
        #expect(reader.nextDeadline == 61_000)
        #expect(reader.timeReached(61_000) == [.cancelWait, .finish])
        #expect(reader.isOver)
    }

    @Test func dataPutsTheEndOff() {
        var reader = self.reader(.eventStream)
        _ = reader.begin()
        _ = reader.readFinished(self.tail(10), at: 1000)
        _ = reader.changed()
        _ = reader.readFinished(self.tail(11), at: 50_000)
        #expect(reader.timeReached(61_000) == [])
        #expect(reader.nextDeadline == 65_000)
    }

    @Test func zeroMeansNever() {
        var reader = LiveReader(
            mode: .eventStream, position: 0, settings: LiveReader.Settings(keepAlive: 0, idleClose: 0), at: 0)
        _ = reader.begin()
        _ = reader.readFinished(self.tail(0), at: 0)
        #expect(reader.nextDeadline == nil)
        #expect(reader.timeReached(.max / 2) == [])
    }

    @Test func aFullConnectionIsNotReadFor() {
        var reader = self.reader(.eventStream, at: 0)
        _ = reader.begin()
        #expect(reader.writabilityChanged(false) == [])
        let chunk = LiveReader.Reading(end: 8, isAtTail: false, isClosed: false)
        #expect(reader.readFinished(chunk, at: 1000) == [.sendBatch])
        #expect(reader.changed() == [])
        #expect(reader.timeReached(16_000) == [])
        #expect(reader.writabilityChanged(true) == [.read(from: 8, beyond: 8)])
        #expect(reader.writabilityChanged(true) == [])
    }

    @Test func anEventStreamEndsWithItsStream() {
        var reader = self.reader(.eventStream)
        _ = reader.begin()
        _ = reader.readFinished(self.tail(10), at: 1000)
        #expect(reader.ended(.gone) == [.cancelWait, .finish])
        var draining = self.reader(.eventStream)
        _ = draining.begin()
        #expect(draining.drain() == [.finish])
        #expect(draining.readFinished(self.tail(10), at: 1000) == [])
    }

    /// Whatever happens in whatever order: nothing after the end, never two registrations, positions never fall.
    @Test(arguments: 0..<200 as Range<UInt64>)
    func arbitraryEventsKeepTheRules(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var reader = self.reader(seed % 2 == 0 ? .longPoll : .eventStream, at: 0)
        var now: UInt64 = 1000
        var streamTail: UInt64 = 0
        var isClosed = false
        var isReading = true
        var isWaiting = false
        var ends = 0
        var actions = reader.begin()
        for _ in 0..<200 {
            var position = reader.position
            for action in actions {
                #expect(ends == 0, "seed \(seed)")
                switch action {
                case .read(let from, _):
                    #expect(!isReading && !isWaiting || actions.count == 1 && from == 0)
                    #expect(from == reader.position)
                    isReading = true
                case .wait:
                    #expect(!isWaiting && !isReading)
                    isWaiting = true
                case .cancelWait:
                    #expect(isWaiting)
                    isWaiting = false
                case .respond, .respondNothingNew, .refuse, .finish:
                    ends += 1
                    isReading = false
                case .sendBatch, .sendKeepAlive:
                    break
                }
            }
            now += UInt64.random(in: 0...20_000, using: &random)
            switch Int.random(in: 0..<12, using: &random) {
            case 0...4 where isReading:
                isReading = false
                let end = UInt64.random(in: position...max(position, streamTail), using: &random)
                let isAtTail = end == streamTail
                // A chunk brings at least something, unless the reader is at the tail.
                guard isAtTail || end > position else {
                    isReading = true
                    actions = []
                    continue
                }
                actions = reader.readFinished(
                    LiveReader.Reading(end: end, isAtTail: isAtTail, isClosed: isClosed), at: now)
            case 5 where isWaiting, 6 where isWaiting:
                isWaiting = false
                if !isClosed { streamTail += 1 }
                actions = reader.changed()
            case 7:
                actions = reader.timeReached(now)
            case 8:
                actions = reader.writabilityChanged(Bool.random(using: &random))
            case 9 where seed % 5 == 0:
                actions = reader.drain()
            case 10 where seed % 7 == 0:
                isClosed = true
                actions = []
            default:
                if !isClosed { streamTail += UInt64.random(in: 0...3, using: &random) }
                actions = []
            }
            #expect(reader.position >= position)
            position = reader.position
        }
        #expect(ends <= 1)
        #expect(reader.isOver == (ends == 1) || !actions.isEmpty)
    }
}
