/// One live read, by long-poll or as an event stream, from its request to its end.
///
/// The machine says what to do next; whoever runs it reads ranges, registers for changes, sends and keeps time. A
/// registration must fire at once when the change it waits for has already happened, so nothing is lost between a read and
/// the registration after it.
package struct LiveReader: Sendable {
    package struct Settings: Hashable, Sendable {
        /// How long a long-poll waits for data, in milliseconds, as the two below.
        package var longPollTimeout: UInt64
        /// A comment is sent after so long a silence; 0 for never.
        package var keepAlive: UInt64
        /// An event stream without new data is ended after so long, for the client to come again; 0 for never.
        package var idleClose: UInt64

        package init(longPollTimeout: UInt64 = 30_000, keepAlive: UInt64 = 15_000, idleClose: UInt64 = 60_000) {
            self.longPollTimeout = longPollTimeout
            self.keepAlive = keepAlive
            self.idleClose = idleClose
        }
    }

    package enum Action: Hashable, Sendable {
        /// Read from the position and report ``LiveReader/readFinished(_:at:)`` or ``LiveReader/ended(_:)``. Where a single
        /// read stops at `beyond` though the tail lies further, the next read is joined to it.
        case read(from: UInt64, beyond: UInt64)
        /// Register for: tail greater than the position, closed, deleted or expired. Report ``LiveReader/changed()``.
        case wait(after: UInt64)
        /// Withdraw the registration.
        case cancelWait
        /// Long-poll: answer with the range just read; the read is over.
        case respond
        /// Long-poll: answer 204 with the offset and whether the stream is closed there; the read is over.
        case respondNothingNew(at: UInt64, isClosed: Bool)
        /// Answer with an error; the read is over. Long-polls only.
        case refuse(StreamErrorCode)
        /// Event stream: send the batch just encoded.
        case sendBatch
        case sendKeepAlive
        /// Event stream: end the response; the read is over.
        case finish
    }

    /// What a read found.
    package struct Reading: Hashable, Sendable {
        /// End of the range that was read.
        package var end: UInt64
        /// Up to where an event stream can deliver it (``EventBatch/delivered``); ``end`` for long-polls.
        package var delivered: UInt64
        package var isAtTail: Bool
        package var isClosed: Bool

        package init(end: UInt64, delivered: UInt64? = nil, isAtTail: Bool, isClosed: Bool) {
            self.end = end
            self.delivered = delivered ?? end
            self.isAtTail = isAtTail
            self.isClosed = isClosed
        }
    }

    private enum State {
        /// A read is under way. Next: waiting, reading, blocked, over.
        case reading
        /// A registration is out. Next: reading, over.
        case waiting
        /// The connection takes no more for now. Next: reading or waiting when it does, over.
        case blocked(next: Action)
        case over
    }

    private let mode: LiveMode
    private let settings: Settings
    private var state = State.reading
    /// Up to where data was delivered.
    package private(set) var position: UInt64
    /// End of the last range, part of which may have been kept back.
    private var seen: UInt64
    private var hasSentControl = false
    /// The next read decides: its time is up, or the server stops.
    private var isLastRead = false
    private var isWritable = true
    private let begunAt: UInt64
    private var lastSentAt: UInt64
    private var lastDataAt: UInt64

    /// - Parameter position: where the read begins; the tail for `now`.
    package init(mode: LiveMode, position: UInt64, settings: Settings, at now: UInt64) {
        self.mode = mode
        self.settings = settings
        self.position = position
        self.seen = position
        self.begunAt = now
        self.lastSentAt = now
        self.lastDataAt = now
    }

    package var isOver: Bool {
        if case .over = self.state { return true }
        return false
    }

    private var readOn: Action {
        .read(from: self.position, beyond: max(self.seen, self.position))
    }

    /// The first thing to do.
    package mutating func begin() -> [Action] {
        [self.readOn]
    }

    /// When ``timeReached(_:)`` is due next; nil for never.
    package var nextDeadline: UInt64? {
        if self.isOver { return nil }
        switch self.mode {
        case .longPoll:
            return self.isLastRead ? nil : self.begunAt + self.settings.longPollTimeout
        case .eventStream:
            let keepAlive = self.settings.keepAlive > 0 ? self.lastSentAt + self.settings.keepAlive : nil
            let idle = self.settings.idleClose > 0 ? self.lastDataAt + self.settings.idleClose : nil
            switch (keepAlive, idle) {
            case (let left?, let right?): return min(left, right)
            case (let left, let right): return left ?? right
            }
        }
    }

    /// A range was read.
    package mutating func readFinished(_ reading: Reading, at now: UInt64) -> [Action] {
        guard case .reading = self.state else { return [] }
        let isFinal = reading.isAtTail && reading.isClosed
        switch self.mode {
        case .longPoll:
            if reading.end > self.position {
                self.position = reading.end
                self.state = .over
                return [.respond]
            }
            if isFinal || self.isLastRead {
                self.state = .over
                return [.respondNothingNew(at: self.position, isClosed: isFinal)]
            }
            self.state = .waiting
            return [.wait(after: self.position)]
        case .eventStream:
            var actions: [Action] = []
            let isNews = reading.delivered > self.position || isFinal || !self.hasSentControl
            if isNews {
                actions.append(.sendBatch)
                self.hasSentControl = true
                self.lastSentAt = now
                if reading.delivered > self.position { self.lastDataAt = now }
            }
            self.position = max(self.position, reading.delivered)
            self.seen = reading.end
            if isFinal {
                self.state = .over
                actions.append(.finish)
                return actions
            }
            return actions + self.proceed(reading.isAtTail ? .wait(after: self.seen) : self.readOn)
        }
    }

    private mutating func proceed(_ next: Action) -> [Action] {
        guard self.isWritable else {
            self.state = .blocked(next: next)
            return []
        }
        if case .wait = next { self.state = .waiting } else { self.state = .reading }
        return [next]
    }

    /// The registration fired: there is more data, or the stream's state changed.
    package mutating func changed() -> [Action] {
        guard case .waiting = self.state else { return [] }
        self.state = .reading
        return [self.readOn]
    }

    /// The stream was deleted or expired, or reading failed. Long-polls are told the reason, event streams end.
    package mutating func ended(_ reason: StreamErrorCode) -> [Action] {
        if self.isOver { return [] }
        let actions = self.withdrawal
        self.state = .over
        return actions + [self.mode == .longPoll ? .refuse(reason) : .finish]
    }

    /// The server stops: long-polls answer with what there is, event streams end behind what was sent.
    package mutating func drain() -> [Action] {
        switch (self.state, self.mode) {
        case (.over, _):
            return []
        case (.reading, .longPoll):
            self.isLastRead = true
            return []
        case (_, .longPoll):
            let actions = self.withdrawal
            self.isLastRead = true
            self.state = .reading
            return actions + [self.readOn]
        case (_, .eventStream):
            let actions = self.withdrawal
            self.state = .over
            return actions + [.finish]
        }
    }

    /// The connection is gone.
    package mutating func disconnected() -> [Action] {
        let actions = self.withdrawal
        self.state = .over
        return actions
    }

    private var withdrawal: [Action] {
        if case .waiting = self.state { return [.cancelWait] }
        return []
    }

    /// Time has come to ``nextDeadline``, or passed it.
    package mutating func timeReached(_ now: UInt64) -> [Action] {
        guard let deadline = self.nextDeadline, now >= deadline else { return [] }
        switch self.mode {
        case .longPoll:
            self.isLastRead = true
            guard case .waiting = self.state else { return [] }
            // Data may have come that no one has told of yet: what is answered is what a last read finds.
            self.state = .reading
            return [.cancelWait, self.readOn]
        case .eventStream:
            if self.settings.idleClose > 0, now >= self.lastDataAt + self.settings.idleClose {
                let actions = self.withdrawal
                self.state = .over
                return actions + [.finish]
            }
            self.lastSentAt = now
            // Nothing need keep a connection alive that still has bytes to take.
            return self.isWritable ? [.sendKeepAlive] : []
        }
    }

    /// The connection takes bytes again, or no more for now: event streams do not read ahead of their client.
    package mutating func writabilityChanged(_ isWritable: Bool) -> [Action] {
        self.isWritable = isWritable
        guard isWritable, case .blocked(let next) = self.state else { return [] }
        return self.proceed(next)
    }
}
