import DurableStreams
import HTTPServer
import NIOCore
import NIOPosix
import StreamDirectory
import StreamStore
import Synchronization

/// One reader of an event stream. Confined to its event loop; holds no task, no timer and no bytes of its own while it
/// waits.
final class EventSession: HTTPStreamSession, TailReader {
    private let place: LivePlace
    private let services: StreamServices
    private let stream: HTTPStream
    private let tail: SharedTail
    private var reader: LiveReader
    private var batch: SharedTail.Batch?
    private var queue: [LiveReader.Action] = []
    private var isPerforming = false
    private var isOver = false
    /// Bytes sent that the service has not counted.
    private var uncounted = 0

    private init(_ place: LivePlace, _ services: StreamServices, _ stream: HTTPStream, _ tail: SharedTail) {
        self.place = place
        self.services = services
        self.stream = stream
        self.tail = tail
        self.reader = LiveReader(
            mode: .eventStream, position: place.position, settings: services.live, at: services.clock())
    }

    static func begin(
        _ place: LivePlace, _ services: StreamServices, _ request: HTTPRequest, _ responder: HTTPResponder
    ) {
        let response = StreamResponse.events(
            place.view.contentType, earliest: place.isFromStart ? place.view.earliest : 0)
        responder.stream(response.httpStatus, response.httpHeaders) { stream in
            let tails = services.loops.tails(on: stream.eventLoop)
            switch tails.join(place.name, place.view, services, on: stream.eventLoop) {
            case .success(let tail):
                services.counters.began(.eventStream)
                return EventSession(place, services, stream, tail)
            case .failure: return EndedSession(stream)
            }
        }
    }

    // MARK: The connection

    func opened() {
        if let hint = self.services.returnHint { self.stream.write(hint.chunk()) }
        self.perform(self.reader.begin())
    }

    func becameWritable() { self.perform(self.reader.writabilityChanged(true)) }
    func draining() { self.perform(self.reader.drain()) }

    func ticked(_ now: NIODeadline) {
        self.countBytes()
        let time = self.services.clock()
        if let until = self.place.until, time >= until {
            self.perform(self.reader.drain())
        } else if let deadline = self.reader.nextDeadline, time >= deadline {
            self.perform(self.reader.timeReached(time))
        }
    }

    func ended() {
        self.perform(self.reader.disconnected())
        self.finish()
    }

    private func finish() {
        guard !self.isOver else { return }
        self.isOver = true
        self.countBytes()
        self.queue = []
        self.batch = nil
        self.tail.cancel(self)
        self.services.loops.tails(on: self.stream.eventLoop).leave(self.tail, self.services)
    }

    private func countBytes() {
        self.services.counters.sent(self.uncounted, .eventStream)
        self.uncounted = 0
    }

    // MARK: The stream

    func tailChanged() { self.perform(self.reader.changed()) }
    func tailEnded(_ reason: StreamErrorCode) { self.perform(self.reader.ended(reason)) }

    /// Why a queue and not calls: what an action finds at once would enter the machine again.
    private func perform(_ actions: [LiveReader.Action]) {
        self.queue += actions
        guard !self.isPerforming else { return }
        self.isPerforming = true
        defer { self.isPerforming = false }
        var next = 0
        while next < self.queue.count, !self.isOver {
            let action = self.queue[next]
            next += 1
            self.perform(action)
        }
        self.queue.removeAll(keepingCapacity: false)
    }

    private func perform(_ action: LiveReader.Action) {
        switch action {
        case .read(let position, let beyond): self.read(from: position, beyond: beyond)
        case .wait(let position): self.tail.wait(self, after: position)
        case .cancelWait: self.tail.cancel(self)
        case .sendBatch:
            guard let batch = self.batch else { return }
            self.batch = nil
            self.stream.write(batch.chunk)
            self.uncounted += batch.chunk.payload.readableBytes
            self.stream.flush()
            if !self.stream.isWritable { self.queue += self.reader.writabilityChanged(false) }
        case .sendKeepAlive:
            self.stream.write(EventStream.keepAlive)
            self.stream.flush()
        case .finish:
            self.stream.end()
            self.finish()
        case .respond, .respondNothingNew, .refuse:
            break
        }
    }

    private func read(from position: UInt64, beyond: UInt64) {
        let now = self.services.clock()
        let current = self.services.cursor.current(at: now)
        // Why: a client that knows the cursor of this round, or a later one, gets one of its own.
        let isShared = self.place.cursor.map { $0 < current } ?? true
        let shared = isShared ? SharedTail.Place(position: position, beyond: beyond) : nil
        if let shared, let batch = self.tail.batch(at: shared, cursor: current) {
            self.batch = batch
            self.queue += self.reader.readFinished(batch.reading, at: now)
            return
        }
        do throws(StreamError) {
            var readings: [StreamReading] = []
            var from = position
            // Why more than one: what was kept back of a text is joined to what follows.
            repeat {
                let reading = try self.services.directory.read(
                    self.place.name, identity: self.place.view.identity, from: from, limit: self.services.eventBytes,
                    now: now
                ).get()
                readings.append(reading)
                from = reading.end
                if reading.isAtTail { break }
            } while from <= beyond
            if readings.allSatisfy(\.isInMemory) {
                self.encoded(try Self.join(readings), readings, shared)
            } else {
                self.readFiles(readings, shared)
            }
        } catch {
            self.queue += self.reader.ended(error.code)
        }
    }

    private static func join(_ readings: [StreamReading]) throws(StreamError) -> ByteBuffer {
        do throws(StoreError) {
            if readings.count == 1 { return try readings[0].bytes() }
            var all = ByteBuffer()
            for reading in readings { all.writeImmutableBuffer(try reading.bytes()) }
            return all
        } catch {
            throw StreamError(error)
        }
    }

    /// Files are read beside the loop.
    private func readFiles(_ readings: [StreamReading], _ shared: SharedTail.Place?) {
        let bound = NIOLoopBound(self, eventLoop: self.stream.eventLoop)
        let eventLoop = self.stream.eventLoop
        NIOThreadPool.singleton.submit { _ in
            let result = Result { () throws(StreamError) in try Self.join(readings) }
            eventLoop.execute {
                let session = bound.value
                guard !session.isOver else { return }
                switch result {
                case .success(let bytes):
                    session.encoded(bytes, readings, shared)
                    session.perform([])
                case .failure(let error):
                    session.perform(session.reader.ended(error.code))
                }
            }
        }
    }

    private func encoded(_ bytes: ByteBuffer, _ readings: [StreamReading], _ shared: SharedTail.Place?) {
        guard let first = readings.first, var last = readings.last else { return }
        let now = self.services.clock()
        last.start = first.start
        var random = SystemRandomNumberGenerator()
        let cursor = self.services.cursor.next(at: now, after: shared == nil ? self.place.cursor : nil, using: &random)
        self.services.loops.batches.wrappingAdd(1, ordering: .relaxed)
        let encoded = EventStream.batch(stored: bytes, facts: last.facts(cursor: cursor))
        let batch = SharedTail.Batch(
            chunk: HTTPSharedChunk(encoded.bytes),
            reading: LiveReader.Reading(
                end: last.end, delivered: encoded.delivered, isAtTail: last.isAtTail, isClosed: last.view.isClosed),
            cursor: cursor)
        if let shared { self.tail.keep(batch, at: shared) }
        self.batch = batch
        self.queue += self.reader.readFinished(batch.reading, at: now)
    }
}

/// For a stream that went away between the head and the first read.
private final class EndedSession: HTTPStreamSession {
    private let stream: HTTPStream
    init(_ stream: HTTPStream) { self.stream = stream }
    func opened() { self.stream.end() }
    func draining() {}
    func ended() {}
}
