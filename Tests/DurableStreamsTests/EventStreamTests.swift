import DurableStreams
import Foundation
import NIOCore
import Testing

@Suite("Server-sent events")
struct EventStreamTests {
    private struct Event: Equatable {
        var type: String
        var data: String
        var id: String?
    }

    /// Reads events the way a browser does.
    private func parse(_ bytes: ByteBuffer) -> [Event] {
        var events: [Event] = []
        var type = ""
        var lines: [String] = []
        var id: String?
        let text = String(decoding: bytes.readableBytesView, as: UTF8.self)
        var normalized: [[UInt8]] = [[]]
        let utf8 = Array(text.utf8)
        var index = 0
        while index < utf8.count {
            if utf8[index] == 0x0D || utf8[index] == 0x0A {
                if utf8[index] == 0x0D, index + 1 < utf8.count, utf8[index + 1] == 0x0A { index += 1 }
                normalized.append([])
            } else {
                normalized[normalized.count - 1].append(utf8[index])
            }
            index += 1
        }
        for line in normalized.map({ String(decoding: $0, as: UTF8.self) }) {
            if line.isEmpty {
                if !lines.isEmpty { events.append(Event(type: type, data: lines.joined(separator: "\n"), id: id)) }
                (type, lines, id) = ("", [], nil)
                continue
            }
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            let value = parts.count > 1 ? (parts[1].hasPrefix(" ") ? parts[1].dropFirst() : parts[1]) : ""
            switch parts[0] {
            case "event": type = String(value)
            case "data": lines.append(String(value))
            case "id": id = String(value)
            default: break
            }
        }
        return events
    }

    private func facts(
        _ type: ContentType, start: UInt64 = 0, count: Int, isAtTail: Bool = true, isClosed: Bool = false
    ) -> ReadFacts {
        ReadFacts(
            identity: StreamIdentity(rawValue: 1), contentType: type, start: start, end: start + UInt64(count),
            isAtTail: isAtTail, isClosed: isClosed, cursor: 42)
    }

    private func batch(
        _ bytes: [UInt8], _ type: ContentType, isAtTail: Bool = true, isClosed: Bool = false
    ) -> EventBatch {
        EventStream.batch(
            stored: ByteBuffer(bytes: bytes),
            facts: self.facts(type, count: bytes.count, isAtTail: isAtTail, isClosed: isClosed))
    }

    private let text = ContentType("text/plain") ?? .octetStream

    @Test func theWireFormIsExact() {
        let batch = self.batch(Array("line1\nline2".utf8), self.text)
        #expect(
            String(buffer: batch.bytes) == """
                event: data
                data:line1
                data:line2

                event: control
                data:{"streamNextOffset":"0000000000000000_0000000000000011","streamCursor":"42","upToDate":true}
                id: 0000000000000000_0000000000000011


                """)
        #expect(batch.delivered == 11)
    }

    @Test func aReaderWithoutDataGetsOneControlEvent() throws {
        let events = self.parse(self.batch([], .octetStream).bytes)
        #expect(events.map(\.type) == ["control"])
        let control = try #require(
            try JSONSerialization.jsonObject(with: Data(events[0].data.utf8)) as? [String: Any])
        #expect(control["streamNextOffset"] as? String == "0000000000000000_0000000000000000")
        #expect(events[0].id == "0000000000000000_0000000000000000")
    }

    @Test func theLastControlEventSaysClosedAndHasNoCursor() {
        let events = self.parse(self.batch(Array("x".utf8), self.text, isClosed: true).bytes)
        #expect(events.map(\.type) == ["data", "control"])
        #expect(
            events[1].data
                == "{\"streamNextOffset\":\"0000000000000000_0000000000000001\",\"upToDate\":true,\"streamClosed\":true}"
        )
        let partial = self.parse(self.batch(Array("x".utf8), self.text, isAtTail: false, isClosed: true).bytes)
        #expect(
            partial[1].data == "{\"streamNextOffset\":\"0000000000000000_0000000000000001\",\"streamCursor\":\"42\"}")
    }

    @Test(arguments: [
        "a\r\n\r\nevent: control\r\ndata: {\"x\":1}\r\n\r\nb", "start\n\nevent: data\ndata: fake\n\nend",
        "start\r\revent: control\rdata: x\r\rend", "\n", "\n\n", "\r", " leading", "a\n b\n  c", "trailing\n",
        "id: 5\n: c",
        "1234567\n12345678\r\n123456789\n", "",
    ])
    func textCanNotForgeEvents(text: String) {
        let events = self.parse(self.batch(Array(text.utf8), self.text).bytes)
        let expected = text.replacingOccurrences(of: "\r\n", with: "\n").replacingOccurrences(of: "\r", with: "\n")
        #expect(events.map(\.type) == (text.isEmpty ? ["control"] : ["data", "control"]))
        if !text.isEmpty { #expect(events[0].data == expected) }
    }

    @Test func messagesComeAsOneArray() throws {
        let payload = try StreamPayload.encode(
            body: ByteBuffer(string: "[{\"a\":\n \"x\\n\"},\r\n2]"), contentType: .json)
        let events = self.parse(
            EventStream.batch(
                stored: payload.bytes, facts: self.facts(.json, count: payload.bytes.readableBytes)
            ).bytes)
        let array = try #require(try JSONSerialization.jsonObject(with: Data(events[0].data.utf8)) as? [Any])
        #expect(array.count == 2)
        #expect((array[0] as? [String: String])?["a"] == "x\n")
    }

    @Test(arguments: 0..<40)
    func otherBytesComeInBase64(count: Int) throws {
        var random = SeededGenerator(seed: UInt64(count))
        let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
        let events = self.parse(self.batch(bytes, .octetStream).bytes)
        guard count > 0 else {
            #expect(events.map(\.type) == ["control"])
            return
        }
        #expect(events[0].data == Data(bytes).base64EncodedString())
    }

    // MARK: Characters cut in two

    @Test func aCharacterCutInTwoWaitsForItsRest() {
        let euro: [UInt8] = [0xE2, 0x82, 0xAC]
        let first = self.batch(Array("ab".utf8) + euro.prefix(2), self.text)
        #expect(self.parse(first.bytes)[0].data == "ab")
        #expect(first.delivered == 2)
        #expect(self.parse(first.bytes)[1].id == StreamOffset(position: 2).token)
        let only = self.batch(Array(euro.prefix(1)), self.text)
        #expect(!only.hasData)
        #expect(only.delivered == 0)
        #expect(self.parse(only.bytes).map(\.type) == ["control"])
        let closed = self.batch(Array("ab".utf8) + euro.prefix(2), self.text, isClosed: true)
        #expect(self.parse(closed.bytes)[0].data == "ab\u{FFFD}")
        #expect(closed.delivered == 4)
    }

    @Test func brokenBytesAreReplacedNotHeldBack() {
        for bytes: [UInt8] in [[0x61, 0x80], [0xFF], [0xC0], [0xED, 0xA0], [0xF5], [0xE0, 0x80]] {
            let batch = self.batch(bytes, self.text)
            #expect(batch.delivered == UInt64(bytes.count))
            #expect(self.parse(batch.bytes)[0].data.contains("\u{FFFD}"))
        }
    }

    /// However a text is cut into ranges, a reader that goes on from the offsets it is given gets all of it.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func anyCutsDeliverTheWholeText(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<300 {
            let text = (0..<30).map { _ in ["a", "é", "€", "😀", " ", "\n"].randomElement(using: &random) ?? "a" }
                .joined()
            let bytes = Array(text.utf8)
            var position = 0
            var seen = 0
            var received = ""
            while seen < bytes.count {
                seen = min(seen + Int.random(in: 1...5, using: &random), bytes.count)
                let batch = EventStream.batch(
                    stored: ByteBuffer(bytes: bytes[position..<seen]),
                    facts: self.facts(self.text, start: UInt64(position), count: seen - position))
                let events = self.parse(batch.bytes)
                if batch.hasData { received += events[0].data }
                #expect(events.last?.id == StreamOffset(position: batch.delivered).token)
                position = Int(batch.delivered)
            }
            #expect(received == text)
            #expect(position == bytes.count)
        }
    }

    @Test func theKeepAliveIsAComment() {
        #expect(String(buffer: EventStream.keepAlive) == ": keep-alive\n\n")
    }
}
