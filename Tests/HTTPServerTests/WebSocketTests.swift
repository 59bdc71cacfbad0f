import NIOCore
import Synchronization
import Testing

@testable import HTTPServer

@Suite(.timeLimit(.minutes(1)))
struct WebSocketTests {
    static let accepted =
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        + "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

    /// What the server sends behind the answer to the upgrade, until it closes.
    private func exchange(_ frames: [UInt8]) async throws -> [UInt8] {
        let server = try await ServerUnderTest.start { $0.webSocketCloseTimeout = .milliseconds(200) }
        let client = try await server.webSocket(behind: frames)
        #expect(await client.waitForEnd())
        await client.close()
        for log in server.logs { await log.closed.wait() }
        await server.stop()
        #expect(client.text.hasPrefix(Self.accepted))
        return Array(client.bytes.dropFirst(Self.accepted.utf8.count))
    }

    private static func close(_ code: UInt16, _ reason: String = "") -> [UInt8] {
        [0x88, UInt8(2 + reason.utf8.count), UInt8(code >> 8), UInt8(code & 255)] + Array(reason.utf8)
    }

    @Test func bytesBehindTheUpgradeAreFrames() async throws {
        let received = try await self.exchange(ClientFrame.make(0x2, [1, 2, 3]) + ClientFrame.make(0x8, [0x03, 0xE8]))
        #expect(received == [0x82, 3, 1, 2, 3] + Self.close(1000))
    }

    @Test func framesMayComeByteForByte() async throws {
        let server = try await ServerUnderTest.start()
        let client = try await server.webSocket()
        #expect(await client.waitForText("\r\n\r\n"))
        let payload = (0..<300).map { UInt8(truncatingIfNeeded: $0) }
        for byte in ClientFrame.make(0x2, payload) { client.send([byte]) }
        #expect(await client.waitForBytes(Self.accepted.utf8.count + 304))
        #expect(Array(client.bytes.suffix(300)) == payload)
        await server.stop()
    }

    @Test(
        arguments: [
            ([0x82, 0x03, 1, 2, 3], 1002, "frame is not masked"),
            ([0xC2, 0x80, 0, 0, 0, 0], 1002, "reserved bits are set"),
            ([0x83, 0x80, 0, 0, 0, 0], 1002, "unknown opcode"),
            ([0x09, 0x80, 0, 0, 0, 0], 1002, "malformed control frame"),
            ([0x89, 0xFE, 0, 126], 1002, "malformed control frame"),
            ([0x82, 0xFE, 0, 125], 1002, "length is not in its shortest form"),
            ([0x82, 0xFF, 0, 0, 0, 0, 0, 0, 1, 0], 1002, "length is not in its shortest form, or negative"),
            ([0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002, "length is not in its shortest form, or negative"),
            ([0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 1009, "message too large"),
            ([0x80, 0x80, 0, 0, 0, 0], 1002, "continuation without a message"),
            (
                ClientFrame.make(0x2, [1], isFinal: false) + ClientFrame.make(0x1, [2]), 1002,
                "a message began inside another"
            ),
        ] as [([UInt8], UInt16, String)])
    func violationIsAnsweredWithItsCode(frames: [UInt8], code: UInt16, reason: String) async throws {
        let received = try await self.exchange(frames)
        #expect(received == Self.close(code, reason))
    }

    @Test func whatComesBehindAViolationIsIgnoredUntilThePeerCloses() async throws {
        let server = try await ServerUnderTest.start { $0.webSocketCloseTimeout = .seconds(60) }
        let client = try await server.webSocket(behind: ClientFrame.make(0x0, [1]))
        #expect(await client.waitForText("continuation without"))
        client.send(ClientFrame.make(0x2, [9, 9, 9]))
        client.send(ClientFrame.make(0x8, [0x03, 0xEA]))
        #expect(await client.waitForEnd())
        #expect(server.logs.first?.entries.withLock { $0.messages } == [])
        await server.stop()
    }

    @Test(
        arguments: [
            (ClientFrame.make(0x8, [0x0F, 0xA0, 0x68]), [0x88, 2, 0x0F, 0xA0]),
            (ClientFrame.make(0x8), [0x88, 0]),
            (ClientFrame.make(0x8, [0x03, 0xED]), [0x88, 2, 0x03, 0xEA]),  // 1005 is answered with 1002
            (ClientFrame.make(0x8, [0x03]), [0x88, 2, 0x03, 0xEA]),
            (ClientFrame.make(0x8, [0xFF, 0xFF]), [0x88, 2, 0x03, 0xEA]),
        ] as [([UInt8], [UInt8])])
    func closeIsEchoed(frame: [UInt8], answer: [UInt8]) async throws {
        #expect(try await self.exchange(frame) == answer)
    }

    @Test func ourCloseWaitsForThePeerButNotForEver() async throws {
        let server = try await ServerUnderTest.start { $0.webSocketCloseTimeout = .milliseconds(200) }
        let client = try await server.webSocket(behind: ClientFrame.text("close"))
        #expect(await client.waitForEnd())
        let frame = Array(client.bytes.dropFirst(Self.accepted.utf8.count))
        // 61 characters of two bytes fit into the 123 bytes of a reason.
        #expect(frame == [0x88, 124, 0x0F, 0xA0] + Array(String(repeating: "é", count: 61).utf8))
        await server.stop()

        let patient = try await ServerUnderTest.start { $0.webSocketCloseTimeout = .seconds(60) }
        let second = try await patient.webSocket(behind: ClientFrame.text("bare close"))
        #expect(await second.waitForBytes(Self.accepted.utf8.count + 2))
        #expect(Array(second.bytes.suffix(2)) == [0x88, 0])
        #expect(!second.isClosed)
        second.send(ClientFrame.make(0x8))
        #expect(await second.waitForEnd())
        await patient.stop()
    }

    @Test func fragmentsMakeOneMessageAndPingsMayComeBetween() async throws {
        let received = try await self.exchange(
            ClientFrame.make(0x2, [1], isFinal: false) + ClientFrame.make(0x9, [7])
                + ClientFrame.make(0x0, [], isFinal: false)
                + ClientFrame.make(0x0, [2, 3]) + ClientFrame.make(0x8))
        #expect(received.starts(with: [0x82, 3, 1, 2, 3]) || received.starts(with: [0x8A, 1, 7, 0x82, 3, 1, 2, 3]))
        #expect(received.suffix(2) == [0x88, 0])
    }

    @Test func fragmentsAreBounded() async throws {
        let many =
            ClientFrame.make(0x2, [1], isFinal: false)
            + (0..<1_000_000).flatMap { _ in [0x00, 0x81, 0, 0, 0, 0, 1] as [UInt8] }
        #expect(try await self.exchange(many) == Self.close(1009, "message too large"))
    }

    @Test func sizeOfFragmentsTogetherIsBounded() async throws {
        let half = [UInt8](repeating: 1, count: 600)
        let server = try await ServerUnderTest.start {
            $0.webSocketMessageBytes = 1_000
            $0.webSocketCloseTimeout = .milliseconds(100)
        }
        let client = try await server.webSocket(
            behind: ClientFrame.make(0x2, half, isFinal: false) + ClientFrame.make(0x0, half))
        #expect(await client.waitForEnd())
        #expect(client.text.hasSuffix("message too large"))
        await server.stop()
    }

    @Test func floodOfPingsToAPeerThatDoesNotReadIsNotQueued() async throws {
        let server = try await ServerUnderTest.start()
        let client = try await server.webSocket(reads: false, behind: ClientFrame.text("flood"))
        try await eventually { server.logs.first?.entries.withLock { $0.writability.last } == false }
        let ping = ClientFrame.make(0x9, [UInt8](repeating: 5, count: 125))
        for _ in 0..<20 { client.send((0..<1_000).flatMap { _ in ping }) }
        // All of them are read, which they would not be if the server had stalled.
        try await eventually { server.logs.first?.entries.withLock { $0.frames } == 20_001 }
        await client.close()
        await server.logs[0].closed.wait()
        await server.stop()
    }

    @Test func writabilityIsReportedBothWays() async throws {
        let server = try await ServerUnderTest.start()
        let client = try await server.webSocket(behind: ClientFrame.text("flood"))
        #expect(await client.waitForBytes(Self.accepted.utf8.count + 64 * ((1 << 20) + 10), seconds: 30))
        try await eventually { server.logs.first?.entries.withLock { $0.writability } == [false, true] }
        await server.stop()
    }

    @Test func sharedFramesGoOutByteForByte() async throws {
        let received = try await self.exchange(ClientFrame.text("shared") + ClientFrame.make(0x8))
        let frame: [UInt8] = [0x82, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70] + [UInt8](repeating: 7, count: 70_000)
        #expect(received == frame + frame + [0x88, 0])
    }

    @Test func sessionIsToldOnceWhenThePeerIsGone() async throws {
        let server = try await ServerUnderTest.start()
        let client = try await server.webSocket()
        #expect(await client.waitForText("\r\n\r\n"))
        try await eventually { server.logs.count == 1 }
        await client.close()
        await server.logs[0].closed.wait()
        try await eventually { server.listener.connectionCount == 0 }
        await server.stop()
    }

    @Test func drainTellsSessions() async throws {
        let server = try await ServerUnderTest.start()
        let client = try await server.webSocket()
        #expect(await client.waitForText("\r\n\r\n"))
        async let drained: Void = server.listener.drain(grace: .seconds(20))
        #expect(await client.waitForText("bye"))
        client.send(ClientFrame.make(0x8, [0x03, 0xE9]))
        await drained
        #expect(server.logs.first?.entries.withLock { $0.drains } == 1)
    }

    @Test func decoderIsIndifferentToSplits() throws {
        let bytes = ClientFrame.make(0x2, [UInt8](repeating: 3, count: 700))
        for split in 0...bytes.count {
            var buffer = ByteBuffer(bytes: bytes[..<split])
            var frame = try WebSocketFrameDecoder.next(in: &buffer, maximumBytes: 1_000)
            #expect((frame == nil) == (split < bytes.count))
            if frame == nil {
                #expect(buffer.readableBytes == split)
                buffer.writeBytes(bytes[split...])
                frame = try WebSocketFrameDecoder.next(in: &buffer, maximumBytes: 1_000)
            }
            #expect(
                frame == WebSocketFrame(isFinal: true, opcode: .binary, payload: ByteBuffer(repeating: 3, count: 700)))
            #expect(buffer.readableBytes == 0)
        }
    }

    @Test func decoderSurvivesGarbage() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            var buffer = ByteBuffer(
                bytes: (0..<Int.random(in: 0...24)).map { _ in UInt8.random(in: 0...255, using: &generator) })
            let before = buffer.readableBytes
            let frame = try? WebSocketFrameDecoder.next(in: &buffer, maximumBytes: 1_000)
            #expect(frame != nil || buffer.readableBytes == before)
        }
    }

    @Test(arguments: [
        "Sec-WebSocket-Version: 13", "Connection: keep-alive, Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ])
    func upgradeThatLacksAFieldIsRefused(field: String) async throws {
        let server = try await ServerUnderTest.start()
        let client = try await RawConnection.connect(port: server.port)
        client.send(ServerUnderTest.upgradeRequest.replacing(field, with: "x-nothing: 1"))
        #expect(await client.waitForText("400 Bad Request"))
        #expect(server.logs.isEmpty)
        await server.stop()
    }
}
