import DurableStreams
import HTTPServer
import NIOCore
import StreamDirectory

/// One long-poll, from its request to its answer. Confined to its event loop.
final class LongPoll: TailReader {
    private let place: LivePlace
    private let services: StreamServices
    private let request: HTTPRequest
    private let responder: HTTPResponder
    private let tail: SharedTail
    private var reader: LiveReader
    private var reading: StreamReading?
    private var failure: StreamError?
    private var isOver = false

    private init(
        _ place: LivePlace, _ services: StreamServices, _ request: HTTPRequest, _ responder: HTTPResponder,
        _ tail: SharedTail
    ) {
        self.place = place
        self.services = services
        self.request = request
        self.responder = responder
        self.tail = tail
        self.reader = LiveReader(
            mode: .longPoll, position: place.position, settings: services.live, at: services.clock())
    }

    static func begin(
        _ place: LivePlace, _ services: StreamServices, _ request: HTTPRequest, _ responder: HTTPResponder
    ) throws(StreamError) {
        let tails = services.loops.tails(on: responder.eventLoop)
        let tail = try tails.join(place.name, place.view, services, on: responder.eventLoop).get()
        services.counters.began(.longPoll)
        let poll = LongPoll(place, services, request, responder, tail)
        poll.perform(poll.reader.begin())
        guard !poll.isOver else { return }
        let bound = NIOLoopBound(poll, eventLoop: responder.eventLoop)
        var wait = services.live.longPollTimeout
        if let until = place.until { wait = min(wait, until - min(until, services.clock())) }
        responder.onTimeout(.milliseconds(Int64(wait))) { bound.value.timedOut() }
        responder.onGone { bound.value.gone() }
        responder.onDrain { bound.value.perform(bound.value.reader.drain()) }
    }

    func tailChanged() { self.perform(self.reader.changed()) }
    func tailEnded(_ reason: StreamErrorCode) {
        // A server that stops answers with what there is; the client comes again.
        self.perform(reason == .unavailable ? self.reader.drain() : self.reader.ended(reason))
    }

    private func timedOut() {
        // A permission that ends earlier ends the wait as the server's stop would.
        let actions = self.reader.timeReached(self.services.clock())
        self.perform(actions.isEmpty ? self.reader.drain() : actions)
    }

    private func gone() {
        self.perform(self.reader.disconnected())
        self.finish()
    }

    private func finish() {
        guard !self.isOver else { return }
        self.isOver = true
        self.tail.cancel(self)
        self.services.loops.tails(on: self.responder.eventLoop).leave(self.tail, self.services)
    }

    private func perform(_ first: [LiveReader.Action]) {
        var actions = first
        while !actions.isEmpty, !self.isOver {
            let action = actions.removeFirst()
            switch action {
            case .read(let position, _): actions += self.read(from: position)
            case .wait(let position): self.tail.wait(self, after: position)
            case .cancelWait: self.tail.cancel(self)
            case .respond:
                if let reading = self.reading {
                    let facts = reading.facts(
                        isNow: self.place.isNow, cursor: self.cursor, isFromStart: self.place.isFromStart)
                    self.services.answer(reading, facts, self.place.conditions, .longPoll, self.responder)
                }
                self.finish()
            case .respondNothingNew(let position, let isClosed):
                self.responder.reply(
                    StreamResponse.nothingNew(
                        ReadFacts(
                            identity: self.place.view.identity, contentType: self.place.view.contentType,
                            start: position, end: position, isAtTail: true, isClosed: isClosed, isNow: true,
                            cursor: self.cursor)))
                self.finish()
            case .refuse(let code):
                var error = StreamError(code, "The stream is gone.")
                // Hidden for its forks, or not there at all.
                if code == .notFound,
                    case .failure(let found) = self.services.directory.lookup(
                        self.place.name, now: self.services.clock())
                {
                    error = found
                } else if let failure = self.failure, failure.code == code {
                    error = failure
                }
                self.responder.reply(StreamRoute.refusal(error, self.request))
                self.finish()
            case .sendBatch, .sendKeepAlive, .finish:
                break
            }
        }
    }

    private var cursor: UInt64 {
        var random = SystemRandomNumberGenerator()
        return self.services.cursor.next(at: self.services.clock(), after: self.place.cursor, using: &random)
    }

    private func read(from position: UInt64) -> [LiveReader.Action] {
        let now = self.services.clock()
        let result = self.services.directory.read(
            self.place.name, identity: self.place.view.identity, from: position, limit: self.services.catchUpBytes,
            now: now)
        switch result {
        case .success(let reading):
            self.reading = reading
            return self.reader.readFinished(
                LiveReader.Reading(end: reading.end, isAtTail: reading.isAtTail, isClosed: reading.view.isClosed),
                at: now)
        case .failure(let error):
            self.failure = error
            return self.reader.ended(error.code)
        }
    }
}
