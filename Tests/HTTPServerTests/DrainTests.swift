import HTTPServer
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Testing

/// What a listener does from the word to end until its end.
///
/// The grace is longer than the time limit of the suite: a drain that waits for somebody in vain is a test that fails.
@Suite(.timeLimit(.minutes(1)))
struct DrainTests {
    private static let grace = Duration.seconds(600)

    /// `/probe` is answered during the drain, `/s` refused in words of its own, `/other` in those of the server. A request to
    /// `/slow` is answered when the gate opens.
    private func start(_ gate: Gate, _ options: HTTPListenerOptions = HTTPListenerOptions()) async throws
        -> DirectServer
    {
        var router = HTTPRouter()
        router.onProbe("/probe") { _ in .reply(.text("draining", status: .serviceUnavailable)) }
        router.on(.GET, "/other") { _ in .reply(.text("other")) }
        router.on(.GET, "/slow") { _ in
            gate.arrived.fire()
            await gate.opened.wait()
            return .reply(.text("slow"))
        }
        router.onPrefixDirect("/s") { request, responder in
            responder.reply(.text("took \(request.body.readableBytes)"))
        }
        router.adjust("/s") { options in
            options.drainRefusal = {
                var reply = HTTPReply.json("{\"code\":\"GOING\"}", status: .serviceUnavailable)
                reply.headers.add(name: "retry-after", value: "7")
                return reply
            }
        }
        return DirectServer(
            listener: try await HTTPListener.bind(
                host: "127.0.0.1", port: 0, group: MultiThreadedEventLoopGroup.singleton, limits: HTTPLimits(),
                router: router, logger: silent, options: options))
    }

    /// A client whose end tells that the drain has begun.
    private func idleClient(_ server: DirectServer) async throws -> RawConnection {
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(await client.waitForText("took 0"))
        return client
    }

    @Test func anUploadGoesOnWhileProbesAreAnsweredAndOthersRefused() async throws {
        let server = try await self.start(Gate())
        let idle = try await self.idleClient(server)
        let upload = try await RawConnection.connect(port: server.port)
        upload.send("POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        #expect(await upload.waitForText("100 Continue\r\n\r\n"))
        async let drained: Void = server.listener.drain(grace: Self.grace)
        #expect(await idle.waitForEnd())

        let probe = try await server.exchange("GET /probe HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(probe.hasPrefix("HTTP/1.1 503 ") && probe.hasSuffix("\r\n\r\ndraining"))
        #expect(probe.contains("\r\nconnection: close\r\n"))
        let head = try await server.exchange("HEAD /probe HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(head.hasPrefix("HTTP/1.1 503 ") && head.hasSuffix("\r\n\r\n"))

        // Refused before the body is sent, in the words of the route.
        let append = try await server.exchange(
            "POST /s/a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        #expect(append.hasPrefix("HTTP/1.1 503 Service Unavailable\r\n"))
        #expect(append.contains("\r\nretry-after: 7\r\n") && append.contains("\r\nconnection: close\r\n"))
        #expect(append.hasSuffix("{\"code\":\"GOING\"}"))
        for request in [
            "GET /other HTTP/1.1\r\nHost: x\r\n\r\n", "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
            ServerUnderTest.upgradeRequest,
            // The second is not looked at.
            "POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nabGET /probe HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let text = try await server.exchange(request)
            #expect(text.hasPrefix("HTTP/1.1 503 ") && !text.contains("draining"), "\(request)")
            #expect(text.contains("\r\nretry-after: 1\r\n") && text.contains("\r\nconnection: close\r\n"))
        }
        let malformed = try await server.exchange("nonsense\r\n\r\n")
        #expect(malformed.hasPrefix("HTTP/1.1 400 "))

        // One that asks nothing holds nobody up.
        let silent = try await RawConnection.connect(port: server.port)
        try await eventually { server.listener.connectionCount == 2 }
        #expect(!upload.isClosed)
        upload.send("0123456789")
        #expect(await upload.waitForText("took 10"))
        #expect(upload.text.contains("\r\nconnection: close\r\n"))
        #expect(await upload.waitForEnd())
        await upload.close()
        await drained
        #expect(await silent.waitForEnd())
        #expect(server.listener.connectionCount == 0)
        await #expect(throws: (any Error).self) { try await RawConnection.connect(port: server.port) }
    }

    @Test func anAnswerUnderWayGoesOut() async throws {
        let gate = Gate()
        let server = try await self.start(gate)
        let idle = try await self.idleClient(server)
        let slow = try await RawConnection.connect(port: server.port)
        // What is asked behind it on the same connection is not answered any more.
        slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /probe HTTP/1.1\r\nHost: x\r\n\r\n")
        await gate.arrived.wait()
        async let drained: Void = server.listener.drain(grace: Self.grace)
        #expect(await idle.waitForEnd())
        #expect(try await server.exchange("GET /probe HTTP/1.1\r\nHost: x\r\n\r\n").hasSuffix("draining"))
        gate.opened.fire()
        #expect(await slow.waitForEnd())
        #expect(slow.text.hasSuffix("\r\n\r\nslow"))
        await slow.close()
        await drained
    }

    @Test func portsAnswerUntilAllListenersAreDrained() async throws {
        let gate = Gate()
        let busy = try await self.start(gate)
        let empty = try await self.start(Gate())
        let idle = try await self.idleClient(empty)
        let slow = try await RawConnection.connect(port: busy.port)
        slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await gate.arrived.wait()
        async let drained: Void = HTTPListener.drain([empty.listener, busy.listener], grace: Self.grace)
        #expect(await idle.waitForEnd())
        await idle.close()
        try await eventually { empty.listener.connectionCount == 0 }
        for server in [empty, busy] {
            #expect(try await server.exchange("GET /probe HTTP/1.1\r\nHost: x\r\n\r\n").hasSuffix("draining"))
        }
        gate.opened.fire()
        #expect(await slow.waitForText("\r\n\r\nslow"))
        await slow.close()
        await drained
        // The ports are given up by a word of their own.
        for server in [empty, busy] {
            #expect(try await server.exchange("GET /probe HTTP/1.1\r\nHost: x\r\n\r\n").hasSuffix("draining"))
            await server.listener.close()
            await #expect(throws: (any Error).self) { try await RawConnection.connect(port: server.port) }
        }
    }

    @Test func connectionsThatComeDuringTheDrainAreCutWithItsEnd() async throws {
        let gate = Gate()
        let server = try await self.start(gate)
        let slow = try await RawConnection.connect(port: server.port)
        slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await gate.arrived.wait()
        let idle = try await self.idleClient(server)
        async let drained: Void = server.listener.drain(grace: .seconds(3))
        #expect(await idle.waitForEnd())
        // A peer that has its answer and does not go.
        let late = try await RawConnection.connect(port: server.port)
        late.send("GET /probe HTTP/1.1\r\nHost: x\r\n\r\n")
        await drained
        #expect(await slow.waitForEnd())
        #expect(await late.waitForEnd())
        #expect(server.listener.connectionCount == 0)
        gate.opened.fire()
    }

    @Test func webSocketsAreAskedToEndAndNewOnesRefused() async throws {
        let server = try await ServerUnderTest.start { $0.webSocketCloseTimeout = .seconds(60) }
        let socket = try await server.webSocket()
        socket.send(ClientFrame.text("x"))
        #expect(await socket.waitForText("101 Switching"))
        try await eventually { server.logs.count == 1 }
        async let drained: Void = server.listener.drain(grace: Self.grace)
        // The close frame, to which the peer owes an answer.
        try await eventually { server.logs[0].entries.withLock { $0.drains } == 1 }
        let late = try await server.webSocket()
        #expect(await late.waitForEnd())
        #expect(late.text.hasPrefix("HTTP/1.1 503 "))
        socket.send(ClientFrame.make(0x8, [0x03, 0xE9]))
        await server.logs[0].closed.wait()
        await drained
    }

    // MARK: HTTP/2

    private func securityOptions(_ certificates: TestCertificates) -> HTTPListenerOptions {
        var options = HTTPListenerOptions()
        options.versions = [.http2, .http1]
        options.security = HTTPTransportSecurity(
            certificateChainPath: certificates.path("server.pem"), privateKeyPath: certificates.path("server.key"))
        return options
    }

    @Test func overHTTP2RefusalsAreFollowedByTheEndOfTheConnection() async throws {
        let certificates = try TestCertificates()
        let gate = Gate()
        let server = try await self.start(gate, self.securityOptions(certificates))
        let busy = try await HTTP2Client.connect(server, authority: certificates.path("authority.pem"))
        let slow = try await busy.request(.GET, "/slow").response
        await gate.arrived.wait()
        let idle = try await HTTP2Client.connect(server, authority: certificates.path("authority.pem"))
        await (try await idle.request(.GET, "/other").response).over.wait()
        async let drained: Void = server.listener.drain(grace: Self.grace)
        try await idle.channel.closeFuture.get()

        for path in ["/probe", "/s/a", "/other", "/nowhere"] {
            let client = try await HTTP2Client.connect(server, authority: certificates.path("authority.pem"))
            let response = try await client.request(path == "/s/a" ? .POST : .GET, path).response
            await response.over.wait()
            #expect(response.status == .serviceUnavailable && response.state.withLock { $0.isWhole }, "\(path)")
            let retry = response.state.withLock { $0.head?.headers["retry-after"] }
            #expect(retry == (path == "/probe" ? [] : path == "/s/a" ? ["7"] : ["1"]), "\(path)")
            // The server's word: nobody closes here.
            try await client.channel.closeFuture.get()
        }
        let silent = try await HTTP2Client.connect(server, authority: certificates.path("authority.pem"))
        #expect(!slow.over.hasFired)
        gate.opened.fire()
        await slow.over.wait()
        #expect(slow.body == "slow" && slow.state.withLock { $0.isWhole })
        try await busy.channel.closeFuture.get()
        await drained
        try await silent.channel.closeFuture.get()
        #expect(server.listener.connectionCount == 0)
    }
}
