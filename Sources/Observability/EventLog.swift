import Dispatch
import Logging
import Synchronization

/// A log of many small events, such as requests: whoever notes one never waits for the disk or the pipe behind the log.
///
/// Lines wait in memory up to a bound and are written on a queue of its own. What comes when it is full is dropped,
/// counted, and told of in the next line that has room.
package final class EventLog: Sendable {
    /// One fact of an event.
    package enum Value: Hashable, Sendable {
        case text(String)
        case number(Int64)
    }

    private struct State {
        var lines = ""
        var dropped = 0
        var isWriting = false
    }

    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "penstock.event-log")
    private let format: LogFormat
    private let limit: Int
    private let sink: any LogSink
    private let clock: @Sendable () -> Int64

    /// - Parameter limit: bytes that may wait.
    package init(
        format: LogFormat, limit: Int = 4 << 20, sink: any LogSink = StandardErrorSink.shared,
        clock: @escaping @Sendable () -> Int64 = SystemTime.microseconds
    ) {
        self.format = format
        self.limit = limit
        self.sink = sink
        self.clock = clock
    }

    package func note(_ level: Logger.Level, _ message: String, _ fields: [(key: String, value: Value)]) {
        let now = self.clock()
        let line = self.format.line(
            at: now, level, message,
            fields.map { key, value in
                switch value {
                case .text(let text): (key, .text(text))
                case .number(let number): (key, .number(number))
                }
            })
        let begins = self.state.withLock { state in
            guard state.lines.utf8.count + line.utf8.count <= self.limit else {
                state.dropped += 1
                return false
            }
            if state.dropped > 0 {
                state.lines += self.format.line(
                    at: now, .warning, "events were dropped because the log was not taken fast enough",
                    [("count", .number(Int64(state.dropped)))])
                state.dropped = 0
            }
            state.lines += line
            defer { state.isWriting = true }
            return !state.isWriting
        }
        if begins { self.queue.async { self.writeAll() } }
    }

    /// Returns when everything noted before is written.
    package func flush() {
        self.queue.sync {}
    }

    private func writeAll() {
        while true {
            let lines = self.state.withLock { state in
                defer { state.lines = "" }
                if state.lines.isEmpty { state.isWriting = false }
                return state.lines
            }
            guard !lines.isEmpty else { return }
            self.sink.write(lines)
        }
    }
}
