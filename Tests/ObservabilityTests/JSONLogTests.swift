import Foundation
import Logging
import Synchronization
import Testing

@testable import Observability

@Suite("Lines of JSON")
struct JSONLogTests {
    private struct Boom: Error, CustomStringConvertible {
        var description: String { "could not reach postgres://app:hunter2@db/app" }
    }

    private let memory = LogMemory()

    private func logger() -> Logger {
        Logger(label: "test") { _ in
            LogLineHandler(level: .trace, format: .json, sink: self.memory) { 1_709_251_199_123_456 }
        }
    }

    private func object(_ line: String) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    }

    @Test func aLineIsAnObject() {
        self.logger().info("Client connected", metadata: ["lsn": "0/16B3748", "at": ["a": "1", "b": ["x", "y"]]])
        #expect(
            self.memory.contents == [
                #"{"time":"2024-02-29T23:59:59.123Z","level":"info","message":"Client connected","#
                    + #""at":{"a":"1","b":["x","y"]},"lsn":"0/16B3748"}"# + "\n"
            ])
    }

    @Test func whateverIsLoggedItStaysOneObjectOfOneLine() throws {
        let nasty = "a\"b\\c\nd\r\t\u{0}\u{1b}[31m\u{202e}\u{2028}ä€😀"
        self.logger().error("\(nasty)", metadata: ["\(nasty)": "\(nasty)", "message": "mine", "level": "mine"])
        let line = try #require(self.memory.contents.first)
        #expect(line.hasSuffix("}\n"))
        #expect(line.dropLast().allSatisfy { $0 != "\n" && $0 != "\r\n" && $0 != "\u{2028}" && $0 != "\u{202e}" })
        let object = try self.object(line)
        #expect(object["message"] as? String == nasty)
        #expect(object[nasty] as? String == nasty)
        #expect(object["_message"] as? String == "mine")
        #expect(object["_level"] as? String == "mine")
        #expect(object["level"] as? String == "error")
    }

    @Test func secretsAreLeftOut() throws {
        self.logger().error(
            "see postgres://app:hunter2@db/app", error: Boom(),
            metadata: ["auth_token": "hunter2", "list": ["eyJhbGciOiJub25lIn0.hunter2.x"], "nested": ["password": "hunter2"]])
        let line = try #require(self.memory.contents.first)
        #expect(!line.contains("hunter2"))
        let object = try self.object(line)
        #expect(object["auth_token"] as? String == "[redacted]")
        #expect((object["error"] as? String)?.hasPrefix("could not reach") == true)
    }

    // MARK: Events

    /// Lets nothing through until it is told to.
    private final class SlowSink: LogSink {
        let memory = LogMemory()
        let gate = Mutex(())
        func write(_ line: String) { self.gate.withLock { _ in self.memory.write(line) } }
    }

    @Test func eventsHaveNumbersAndComeInOrder() throws {
        let log = EventLog(format: .json, sink: self.memory, clock: { 0 })
        for number in 0..<Int64(1000) {
            log.note(.info, "request", [("event.duration", .number(number)), ("url.path", .text("/a"))])
        }
        log.flush()
        let lines = self.memory.contents.joined().split(separator: "\n")
        #expect(lines.count == 1000)
        #expect(
            lines[7]
                == #"{"time":"1970-01-01T00:00:00.000Z","level":"info","message":"request","event.duration":7,"url.path":"/a"}"#)
        let text = EventLog(format: .text, sink: self.memory, clock: { 0 })
        text.note(.error, "request", [("event.duration", .number(3)), ("url.path", .text("/a b"))])
        text.flush()
        #expect(
            self.memory.contents.last == "1970-01-01T00:00:00.000Z event.duration=3 url.path=\"/a b\" [error] request\n")
    }

    @Test func whoNotesNeverWaitsAndWhatDoesNotFitIsCounted() throws {
        let sink = SlowSink()
        let log = EventLog(format: .json, limit: 1000, sink: sink, clock: { 0 })
        sink.gate.withLock { _ in
            // One line may be on its way into the sink, some wait, the rest is dropped.
            for number in 0..<Int64(500) { log.note(.info, "request", [("number", .number(number))]) }
        }
        log.flush()
        log.note(.info, "request", [("number", .number(500))])
        log.flush()
        let lines = try sink.memory.contents.joined().split(separator: "\n").map { try self.object(String($0)) }
        let dropped = lines.compactMap { $0["count"] as? Int }.reduce(0, +)
        let noted = lines.compactMap { $0["number"] as? Int }
        #expect(dropped > 400)
        #expect(noted.count + dropped == 501)
        #expect(noted == noted.sorted())
        #expect(noted.last == 500)
    }
}
