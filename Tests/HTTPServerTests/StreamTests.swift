import HTTPServer
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Testing

/// Lets a test drive a stream from outside its loop.
final class StreamProbe: Sendable {
    let opened = Signal()
    let ended = Signal()
    let drained = Signal()
    let writable = Signal()
    let ticks = Mutex(0)
    private let held = Mutex<(stream: NIOLoopBound<HTTPStream>, eventLoop: any EventLoop)?>(nil)

    fileprivate func hold(_ stream: HTTPStream) {
        self.held.withLock { $0 = (NIOLoopBound(stream, eventLoop: stream.eventLoop), stream.eventLoop) }
    }

    func run<Result: Sendable>(_ body: @escaping @Sendable (HTTPStream) -> Result) async throws -> Result {
        let (stream, eventLoop) = try #require(self.held.withLock { $0 })
        return try await eventLoop.submit { body(stream.value) }.get()
    }
}

final class ProbeSession: HTTPStreamSession {
    private let probe: StreamProbe
    private let stream: HTTPStream
    private let first: String

    init(_ probe: StreamProbe, _ stream: HTTPStream, first: String = "") {
        self.probe = probe
        self.stream = stream
        self.first = first
        probe.hold(stream)
    }

    func opened() {
        self.stream.write(ByteBuffer(string: self.first))
        self.probe.opened.fire()
    }
    func becameWritable() { self.probe.writable.fire() }
    func draining() {
        self.stream.write(ByteBuffer(string: "bye"))
        self.stream.end()
        self.probe.drained.fire()
    }
    func ticked(_ now: NIODeadline) { self.probe.ticks.withLock { $0 += 1 } }
    func ended() { self.probe.ended.fire() }
}

@Suite(.timeLimit(.minutes(1)))
struct StreamTests {
    private func start(
        _ probe: StreamProbe, limits: (inout HTTPLimits) -> Void = { _ in }
    ) async throws -> DirectServer {
        try await DirectServer.start(limits: limits) { request, responder in
            guard request.query != "plain" else {
                responder.reply(.text("plain"))
                return
            }
            responder.stream(.ok, ["content-type": "text/event-stream", "content-length": "5"]) {
                ProbeSession(probe, $0, first: "first")
            }
        }
    }

    @Test func chunksAreExactAndTheConnectionGoesOn() async throws {
        let probe = StreamProbe()
        let server = try await self.start(probe)
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\nGET /s?plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await probe.opened.wait()
        let shared = HTTPSharedChunk(ByteBuffer(repeating: 0x62, count: 20))
        try await probe.run { stream in
            stream.write(shared)
            stream.write(ByteBuffer())
            stream.write(ByteBuffer(string: "c"))
            stream.flush()
            stream.end()
            stream.write(ByteBuffer(string: "too late"))
        }
        #expect(await client.waitForEnd())
        let stream =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
            + "x-content-type-options: nosniff\r\n\r\n5\r\nfirst\r\n14\r\nbbbbbbbbbbbbbbbbbbbb\r\n1\r\nc\r\n0\r\n\r\n"
        let text = withoutDate(client.text)
        #expect(text.hasPrefix(stream))
        #expect(text.dropFirst(stream.count).hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(client.text.hasSuffix("plain"))
        await probe.ended.wait()
        await client.close()
        await server.stop()
    }

    @Test func oldClientGetsPlainBytesUntilTheEnd() async throws {
        let probe = StreamProbe()
        let server = try await self.start(probe)
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        await probe.opened.wait()
        try await probe.run { $0.end() }
        #expect(await client.waitForEnd())
        #expect(client.text.hasSuffix("connection: close\r\n\r\nfirst"))
        #expect(!client.text.contains("chunked"))
        await client.close()
        await server.stop()
    }

    @Test func headMakesNoSession() async throws {
        let probe = StreamProbe()
        let server = try await self.start(probe)
        let text = try await server.exchange("HEAD /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(text.hasSuffix("\r\n\r\n"))
        #expect(!probe.opened.hasFired)
        await server.stop()
    }

    @Test func sessionEndsWithItsClient() async throws {
        let probe = StreamProbe()
        let server = try await self.start(probe)
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(await client.waitForText("first"))
        await client.close()
        await probe.ended.wait()
        #expect(try await probe.run { $0.isOpen } == false)
        await server.stop()
    }

    @Test func drainLetsSessionsSayGoodbye() async throws {
        let probe = StreamProbe()
        let server = try await self.start(probe)
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        await probe.opened.wait()
        async let drained: Void = server.listener.drain(grace: .seconds(20))
        #expect(await client.waitForEnd())
        #expect(client.text.hasSuffix("3\r\nbye\r\n0\r\n\r\n"))
        await probe.ended.wait()
        #expect(probe.drained.hasFired)
        await client.close()
        await drained
    }

    @Test func slowReaderIsSeenAndCut() async throws {
        let probe = StreamProbe()
        let server = try await self.start(probe)
        let client = try await RawConnection.connect(port: server.port, reads: false)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        await probe.opened.wait()
        let (pending, isWritable) = try await probe.run { stream in
            let chunk = HTTPSharedChunk(ByteBuffer(repeating: 1, count: 1 << 20))
            for _ in 0..<32 { stream.write(chunk) }
            stream.flush()
            defer { stream.cut() }
            return (stream.pendingBytes, stream.isWritable)
        }
        #expect(pending > 8 << 20 && pending < 33 << 20)
        #expect(!isWritable)
        await probe.ended.wait()
        try await eventually { server.listener.connectionCount == 0 }
        await client.close()
        await server.stop()
    }

    @Test func readerThatStopsForTooLongIsCutByTheServer() async throws {
        let probe = StreamProbe()
        let server = try await self.start(probe) { $0.replyTimeout = .milliseconds(500) }
        let client = try await RawConnection.connect(port: server.port, reads: false)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        await probe.opened.wait()
        try await probe.run { stream in
            for _ in 0..<32 { stream.write(ByteBuffer(repeating: 1, count: 1 << 20)) }
            stream.flush()
        }
        await probe.ended.wait()
        await client.close()
        await server.stop()
    }

    @Test func idleStreamTicksAndStaysOpen() async throws {
        let probe = StreamProbe()
        let server = try await self.start(probe) {
            $0.keepAliveTimeout = .milliseconds(600)
            $0.requestTimeout = .milliseconds(600)
            $0.replyTimeout = .milliseconds(600)
        }
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        await probe.opened.wait()
        try await eventually { probe.ticks.withLock { $0 } > 12 }
        #expect(!client.isClosed && !probe.ended.hasFired)
        await client.close()
        await server.stop()
    }
}
