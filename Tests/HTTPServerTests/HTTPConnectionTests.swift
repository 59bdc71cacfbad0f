import HTTPServer
import NIOCore
import NIOHTTP1
import Testing

@Suite(.timeLimit(.minutes(1)))
struct HTTPConnectionTests {
    /// Sends bytes to a fresh server and returns everything until the server closes.
    private func exchange(
        _ text: String, limits: (inout HTTPLimits) -> Void = { _ in }
    ) async throws -> String {
        let server = try await ServerUnderTest.start(limits)
        let client = try await RawConnection.connect(port: server.port)
        client.send(text)
        #expect(await client.waitForEnd(), "the server did not close; it sent: \(client.text)")
        await client.close()
        await server.stop()
        return client.text
    }

    @Test func keepAliveConnectionServesSeveralRequests() async throws {
        let server = try await ServerUnderTest.start()
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(await client.waitForText("hello"))
        client.send("GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(await client.waitForText("Not found"))
        #expect(!client.isClosed)
        #expect(!client.text.contains("connection: close"))
        await server.stop()
    }

    @Test func pipelinedRequestsAreAnsweredInOrder() async throws {
        let text = try await self.exchange(
            "GET /query?q=one HTTP/1.1\r\nHost: x\r\n\r\nGET /query?q=two HTTP/1.1\r\nHost: x\r\n\r\n"
                + "GET /query?q=three HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                + "GET /query?q=four HTTP/1.1\r\nHost: x\r\n\r\n")
        let one = try #require(text.firstRange(of: "one"))
        let two = try #require(text.firstRange(of: "two"))
        let three = try #require(text.firstRange(of: "three"))
        #expect(one.lowerBound < two.lowerBound && two.lowerBound < three.lowerBound)
        #expect(!text.contains("four"))
        #expect(text.contains("connection: close"))
    }

    @Test func headLeavesTheBodyOut() async throws {
        let text = try await self.exchange("HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(text.hasPrefix("HTTP/1.1 200 OK"))
        #expect(text.contains("content-length: 5\r\n"))
        #expect(text.hasSuffix("\r\n\r\n"))
    }

    @Test func http10IsClosedUnlessItAsksToLive() async throws {
        let text = try await self.exchange("GET /hello HTTP/1.0\r\n\r\n")
        #expect(text.hasPrefix("HTTP/1.0 200"))
        #expect(text.contains("connection: close"))
        let second = try await self.exchange(
            "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /hello HTTP/1.0\r\n\r\n")
        #expect(second.contains("connection: keep-alive"))
        #expect(second.contains("connection: close"))
    }

    @Test(arguments: [
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400"),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400"),
        ("GET /hello HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", "400"),
        ("GET /hello HTTP/9.7\r\nHost: x\r\n\r\n", "400"),
        ("GET /hello HTTP/1.1\r\n\r\n", "400 Bad Request"),
        ("GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"),
        ("GET /hello HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", "400"),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "415"),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "501"),
        ("\u{16}\u{03}\u{01}\u{02}\u{00}\u{01}\r\n\r\n", "400"),
    ])
    func malformedRequestIsRefused(request: String, status: String) async throws {
        let text = try await self.exchange(request)
        #expect(text.split(separator: " ", maxSplits: 1).last?.hasPrefix(status) == true, "\(text)")
        #expect(text.contains(": "))
        #expect(text.contains("connection: close"))
        #expect(!text.contains("200 OK"))
    }

    @Test func tooManyOrTooLargeHeadersAreRefused() async throws {
        let many = (0..<300).map { "x-\($0): y\r\n" }.joined()
        #expect(try await self.exchange("GET /hello HTTP/1.1\r\n\(many)\r\n").hasPrefix("HTTP/1.1 431 "))
        let long = String(repeating: "a", count: 2 << 20)
        #expect(try await self.exchange("GET /hello HTTP/1.1\r\nx: \(long)\r\n\r\n").hasPrefix("HTTP/1.1 431 "))
        #expect(try await self.exchange("GET /hello?\(long) HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 4"))
    }

    @Test func bodyAboveTheLimitIsRefusedBeforeItIsRead() async throws {
        let announced = try await self.exchange(
            "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4000000000\r\n\r\n")
        #expect(announced.hasPrefix("HTTP/1.1 413 "))
        #expect(!announced.contains("100 Continue"))
        let chunk = "1000\r\n" + String(repeating: "a", count: 4_096) + "\r\n"
        let chunked = try await self.exchange(
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + chunk + chunk + "0\r\n\r\n"
                + "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
        ) { $0.bodyBytes = 8_192 }
        #expect(chunked.hasPrefix("HTTP/1.1 413 "))
        #expect(!chunked.contains("hello"))
    }

    @Test func bodyAtTheLimitIsTaken() async throws {
        let text = try await self.exchange(
            "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789"
        ) { $0.bodyBytes = 10 }
        #expect(text.hasPrefix("HTTP/1.1 200 "))
        #expect(text.hasSuffix("0123456789"))
    }

    @Test func expectationIsAnswered() async throws {
        let server = try await ServerUnderTest.start()
        let client = try await RawConnection.connect(port: server.port)
        client.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        #expect(await client.waitForText("HTTP/1.1 100 Continue\r\n\r\n"))
        client.send("body")
        #expect(await client.waitForText("\r\n\r\nbody"))
        await server.stop()
    }

    @Test(arguments: [
        "", "GET /hello HTTP/1.1\r\nHo", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123",
    ])
    func slowRequestIsClosedInTime(part: String) async throws {
        let text = try await self.exchange(part) { $0.requestTimeout = .milliseconds(150) }
        #expect(text.isEmpty)
    }

    @Test func idleConnectionIsClosedAfterItsTime() async throws {
        let text = try await self.exchange("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n") {
            $0.keepAliveTimeout = .milliseconds(150)
        }
        #expect(text.contains("hello"))
    }

    @Test func idleTimeDoesNotRunWhileAPipelinedRequestIsAnswered() async throws {
        let server = try await ServerUnderTest.start { $0.keepAliveTimeout = .milliseconds(100) }
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await server.gate.arrived.wait()
        #expect(await client.waitForEnd(seconds: 0.4) == false)
        server.gate.opened.fire()
        #expect(await client.waitForText("slow"))
        await server.stop()
    }

    @Test func peerThatReadsNothingHoldsOneReplyAndIsClosed() async throws {
        let server = try await ServerUnderTest.start { $0.replyTimeout = .milliseconds(300) }
        let client = try await RawConnection.connect(port: server.port, reads: false)
        client.send(String(repeating: "GET /large HTTP/1.1\r\nHost: x\r\n\r\n", count: 50))
        try await eventually { server.listener.connectionCount == 1 }
        try await eventually { server.listener.connectionCount == 0 }
        await client.close()
        await server.stop()
    }

    @Test func connectionsAboveTheLimitAreTurnedAway() async throws {
        let server = try await ServerUnderTest.start { $0.connections = 1 }
        let first = try await RawConnection.connect(port: server.port)
        first.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(await first.waitForText("hello"))
        let second = try await RawConnection.connect(port: server.port)
        #expect(await second.waitForEnd())
        #expect(server.listener.refusedConnectionCount == 1)
        await first.close()
        try await eventually { server.listener.connectionCount == 0 }
        let third = try await RawConnection.connect(port: server.port)
        third.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(await third.waitForText("hello"))
        await server.stop()
    }

    @Test(arguments: [
        ("/query?q=a%20b+c%2B%26", "a b c+&"), ("/query?x=1&q=", ""), ("/query?x=1", "(none)"),
        ("/query?q=%e2%82%ac", "€"), ("/query?q=%ff", "(none)"), ("/query?q=%4", "(none)"), ("/que%72y?%71=1", "1"),
        ("http://any.host:80/query?q=absolute", "absolute"),
    ])
    func queryIsDecoded(target: String, value: String) async throws {
        let text = try await self.exchange("GET \(target) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(text.hasPrefix("HTTP/1.1 200 "))
        #expect(text.hasSuffix("\r\n\r\n\(value)"))
    }

    @Test func undecodablePathIsNotFound() async throws {
        let text = try await self.exchange("GET /hello%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(text.hasPrefix("HTTP/1.1 404 "))
    }

    @Test func headerFieldsCannotBeInjected() async throws {
        let text = try await self.exchange("GET /injected HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(text.hasPrefix("HTTP/1.1 500 "))
        #expect(!text.contains("set-cookie"))
    }

    @Test func handlerIsCancelledWhenItsClientIsGone() async throws {
        let server = try await ServerUnderTest.start()
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await server.gate.arrived.wait()
        await client.close()
        await server.cancelled.wait()
        try await eventually { server.listener.connectionCount == 0 }
        await server.stop()
    }

    @Test func drainClosesIdleConnectionsAndFinishesRequests() async throws {
        let server = try await ServerUnderTest.start()
        let idle = try await RawConnection.connect(port: server.port)
        idle.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(await idle.waitForText("hello"))
        let busy = try await RawConnection.connect(port: server.port)
        busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await server.gate.arrived.wait()
        async let drained: Void = server.listener.drain(grace: .seconds(20))
        #expect(await idle.waitForEnd())
        #expect(!busy.isClosed)
        server.gate.opened.fire()
        #expect(await busy.waitForText("\r\n\r\nslow"))
        #expect(busy.text.contains("connection: close"))
        await busy.close()
        await drained
        #expect(server.listener.connectionCount == 0)
    }

    @Test func drainCutsOffWhatDoesNotEnd() async throws {
        let server = try await ServerUnderTest.start()
        let busy = try await RawConnection.connect(port: server.port)
        busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await server.gate.arrived.wait()
        await server.listener.drain(grace: .milliseconds(50))
        #expect(await busy.waitForEnd())
        #expect(server.cancelled.hasFired)
        #expect(server.listener.connectionCount == 0)
    }

    @Test func refusedUpgradeEndsTheConnection() async throws {
        let text = try await self.exchange(
            "GET /hello HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        #expect(text.contains("connection: close"))
        #expect(text.hasSuffix("hello"))
    }

    /// Waits for a condition that no event announces.
}
