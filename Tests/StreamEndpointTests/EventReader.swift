import DurableStreams
import NIOCore
import NIOHTTP1

/// One server-sent event.
struct ServerEvent: Sendable {
    var name = "message"
    var lines: [String] = []
    var id: String?

    var data: String { self.lines.joined(separator: "\n") }
    var json: JSONValue? { JSONValue(ByteBuffer(string: self.data)) }
    var offset: String? { self.json?["streamNextOffset"]?.stringValue }
    var cursor: String? { self.json?["streamCursor"]?.stringValue }
    var isUpToDate: Bool { self.json?["upToDate"]?.boolValue ?? false }
    var isClosed: Bool { self.json?["streamClosed"]?.boolValue ?? false }

    /// Takes a text apart as an event source of a browser does; an event that is not whole is left out.
    static func parse(_ text: String) -> [ServerEvent] {
        var events: [ServerEvent] = []
        var event = ServerEvent()
        let lines = text.replacingBreaks.split(separator: "\n", omittingEmptySubsequences: false)
        for line in lines.dropLast() {
            if line.isEmpty {
                if !event.lines.isEmpty || event.name != "message" { events.append(event) }
                event = ServerEvent()
                continue
            }
            if line.hasPrefix(":") { continue }
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            var value = parts.count > 1 ? parts[1] : ""
            if value.hasPrefix(" ") { value = value.dropFirst() }
            switch parts[0] {
            case "event": event.name = String(value)
            case "data": event.lines.append(String(value))
            case "id": event.id = String(value)
            default: break
            }
        }
        return events
    }
}

extension String {
    fileprivate var replacingBreaks: String {
        var bytes: [UInt8] = []
        var previous: UInt8 = 0
        for byte in self.utf8 {
            if byte == 0x0D {
                bytes.append(0x0A)
            } else if byte != 0x0A || previous != 0x0D {
                bytes.append(byte)
            }
            previous = byte
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// A reader of an event stream.
struct EventReader: Sendable {
    let connection: ClientConnection

    static func open(
        _ client: StreamClient, _ target: String, _ headers: [String: String] = [:]
    ) async throws -> EventReader {
        let connection = try await ClientConnection.open(port: client.port)
        connection.send(StreamClient.head(.GET, target, headers, count: 0), body: [])
        guard await connection.collector.wait(for: { $0.head != nil || $0.isClosed }) else {
            throw TestFailure("\(target): no answer")
        }
        return EventReader(connection: connection)
    }

    var status: Int { Int(self.connection.collector.state.head?.status.code ?? 0) }
    subscript(_ name: String) -> String? { self.connection.collector.state.head?.headers.first(name: name) }
    var text: String { String(decoding: self.connection.collector.state.body, as: UTF8.self) }
    var events: [ServerEvent] { ServerEvent.parse(self.text) }
    var controls: [ServerEvent] { self.events.filter { $0.name == "control" } }
    var data: [ServerEvent] { self.events.filter { $0.name == "data" } }
    var hasEnded: Bool { self.connection.collector.state.isWhole }

    /// Waits until the events fulfil a condition; fails when they never do.
    func wait(
        seconds: Double = 10, _ condition: @escaping @Sendable ([ServerEvent]) -> Bool
    ) async throws -> [ServerEvent] {
        let isMet = await self.connection.collector.wait(seconds: seconds) {
            condition(ServerEvent.parse(String(decoding: $0.body, as: UTF8.self))) || $0.isClosed
        }
        let events = self.events
        guard isMet, condition(events) else { throw TestFailure("the events did not come: \(self.text.prefix(500))") }
        return events
    }

    /// Waits for a control event that says the reader has everything; returns all events and closes.
    func untilUpToDate() async throws -> [ServerEvent] {
        let events = try await self.wait { $0.contains { $0.name == "control" && $0.isUpToDate } }
        await self.close()
        return events
    }

    /// Waits for the end of the response.
    func untilEnd(seconds: Double = 10) async throws -> [ServerEvent] {
        guard await self.connection.collector.wait(seconds: seconds, for: { $0.isWhole }) else {
            throw TestFailure("the stream of events did not end: \(self.text.suffix(300))")
        }
        await self.close()
        return self.events
    }

    /// What the data events hold, joined.
    func waitForData(_ text: String) async throws {
        _ = try await self.wait { events in
            events.filter { $0.name == "data" }.map(\.data).joined().contains(text)
        }
    }

    func close() async { await self.connection.close() }
}
