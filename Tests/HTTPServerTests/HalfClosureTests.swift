import HTTPServer
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Testing

/// Peers that end their half of the connection behind their last request, and go on reading.
@Suite(.timeLimit(.minutes(1)))
struct HalfClosureTests {
    /// Answers are kept until they are let go.
    private final class Desk: Sendable {
        private let waiting = Mutex<[HTTPResponder]>([])

        var count: Int { self.waiting.withLock { $0.count } }
        func take(_ responder: HTTPResponder) { self.waiting.withLock { $0.append(responder) } }
        func answer(_ text: String) {
            for responder in self.waiting.withLock({ $0 }) { responder.reply(.text(text)) }
        }
    }

    /// One event loop: what it answers last, it has read after everything before.
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    @Test(arguments: [1, 3])
    func answerThatComesLaterIsWritten(requests: Int) async throws {
        let desk = Desk()
        let server = try await DirectServer.start(group: self.group) { request, responder in
            if request.query == "later" { desk.take(responder) } else { responder.reply(.text("now")) }
        }
        let client = try await RawConnection.connect(port: server.port)
        client.send(
            "GET /s?later HTTP/1.1\r\nHost: x\r\n\r\n"
                + String(repeating: "GET /s HTTP/1.1\r\nHost: x\r\n\r\n", count: requests - 1))
        try await client.sendEnd()
        try await eventually { desk.count == 1 }
        for _ in 0..<3 { _ = try await server.exchange("GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") }
        desk.answer("later")
        #expect(await client.waitForEnd())
        #expect(client.text.contains("\r\n\r\nlater"))
        #expect(client.text.split(separator: "HTTP/1.1 200 OK").count == requests)
        try await eventually { server.listener.connectionCount == 0 }
        await server.stop()
        try await self.group.shutdownGracefully()
    }

    @Test func largeAnswerIsWhole() async throws {
        let size = 32 << 20
        let server = try await DirectServer.start(group: self.group) { request, responder in
            let body = ByteBuffer(repeating: 0x61, count: size)
            if request.query == "parts" {
                responder.parts(.ok, [:], [.bytes(body), .bytes(ByteBuffer(string: "end"))])
            } else {
                responder.reply(HTTPReply(status: .ok, body: body))
            }
        }
        for query in ["", "parts"] {
            let client = try await RawConnection.connect(port: server.port)
            client.send("GET /s?\(query) HTTP/1.1\r\nHost: x\r\n\r\n")
            try await client.sendEnd()
            #expect(await client.waitForEnd())
            #expect(client.bytes.count > size)
        }
        try await eventually { server.listener.connectionCount == 0 }
        await server.stop()
        try await self.group.shutdownGracefully()
    }

    @Test func requestThatIsCutOffIsRefused() async throws {
        let server = try await DirectServer.start(group: self.group) { _, responder in responder.reply(.text("wrong")) }
        for request in ["Content-Length: 9\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "A: b"] {
            let client = try await RawConnection.connect(port: server.port)
            client.send("POST /s HTTP/1.1\r\nHost: x\r\n" + request)
            try await client.sendEnd()
            #expect(await client.waitForEnd())
            #expect(client.text.hasPrefix("HTTP/1.1 400 "))
        }
        try await eventually { server.listener.connectionCount == 0 }
        await server.stop()
        try await self.group.shutdownGracefully()
    }

    @Test func whoWaitsForNewsHasGone() async throws {
        let gone = Signal()
        let desk = Desk()
        let server = try await DirectServer.start(group: self.group) { _, responder in
            responder.onGone { gone.fire() }
            desk.take(responder)
        }
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        try await client.sendEnd()
        await gone.wait()
        try await eventually { server.listener.connectionCount == 0 }
        await server.stop()
        try await self.group.shutdownGracefully()
    }

    /// Other than with a half closure, the peer writes on: closing on it would take the answer away.
    @Test(arguments: ["X: " + String(repeating: "a", count: 20_000), "nonsense\r\n\r\n"])
    func refusalOutlivesWhatFollowsIt(head: String) async throws {
        let server = try await DirectServer.start(
            limits: { $0.lingerTimeout = .seconds(30) }, group: self.group
        ) { _, responder in responder.reply(.text("wrong")) }
        let client = try await RawConnection.connect(port: server.port)
        client.send(head.hasPrefix("X") ? "GET /s HTTP/1.1\r\nHost: x\r\n" + head : head)
        #expect(await client.waitForEnd())
        #expect(client.text.hasPrefix("HTTP/1.1 4"))
        for _ in 0..<8 { try await client.sendAll(ByteBuffer(repeating: 0x62, count: 1 << 20)) }
        await client.close()
        try await eventually { server.listener.connectionCount == 0 }
        await server.stop()
        try await self.group.shutdownGracefully()
    }
}
