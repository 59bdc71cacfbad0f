import HTTPServer
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Testing
import WebAddresses

@Suite(.timeLimit(.minutes(1)))
struct DirectRouteTests {
    @Test func replyIsExactToTheByte() async throws {
        let server = try await DirectServer.start { _, responder in
            responder.reply(HTTPReply(status: .created, headers: ["X-A": "b"], body: ByteBuffer(string: "body")))
        }
        let text = try await server.exchange("GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(
            withoutDate(text)
                == "HTTP/1.1 201 Created\r\nX-A: b\r\ncontent-length: 4\r\nx-content-type-options: nosniff\r\n"
                + "connection: close\r\n\r\nbody")
        await server.stop()
    }

    @Test(arguments: ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"])
    func everyMethodReachesTheHandler(method: String) async throws {
        let server = try await DirectServer.start { request, responder in
            responder.reply(.text(request.head.method.rawValue + " " + request.path + " " + request.rawPath))
        }
        let text = try await server.exchange("\(method) /s/a%2Fb?x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(text.hasSuffix("\r\n\r\n\(method) /s/a/b /s/a%2Fb"))
        await server.stop()
    }

    @Test func neighbourOfThePrefixIsNotFound() async throws {
        let server = try await DirectServer.start { _, responder in responder.reply(.text("wrong")) }
        let text = try await server.exchange("GET /sx HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(text.hasPrefix("HTTP/1.1 404 "))
        await server.stop()
    }

    @Test func headHasTheHeadersOfGet() async throws {
        let server = try await DirectServer.start { request, responder in
            if request.query == "own" {
                responder.reply(HTTPReply(status: .ok, headers: ["content-length": "77"]))
            } else if request.query == "parts" {
                responder.parts(.ok, ["a": "b"], [.bytes(ByteBuffer(string: "12345"))])
            } else {
                responder.reply(.text("hello"))
            }
        }
        for (query, length) in [("", 5), ("own", 77), ("parts", 5)] {
            let text = try await server.exchange("HEAD /s?\(query) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            #expect(text.contains("content-length: \(length)\r\n"))
            #expect(text.hasSuffix("\r\n\r\n"))
        }
        await server.stop()
    }

    @Test(arguments: [HTTPResponseStatus.noContent, .notModified])
    func statusWithoutABodyHasNoFraming(status: HTTPResponseStatus) async throws {
        let server = try await DirectServer.start { _, responder in
            responder.reply(
                HTTPReply(status: status, headers: ["content-length": "3"], body: ByteBuffer(string: "abc")))
        }
        let text = try await server.exchange("GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(!text.contains("content-length") && !text.contains("transfer-encoding"))
        #expect(text.hasSuffix("\r\n\r\n"))
        await server.stop()
    }

    @Test func pipelinedRequestsAnsweredFromElsewhereStayInOrder() async throws {
        let server = try await DirectServer.start { request, responder in
            // The first answers come last if anything lets them.
            let delay = Int64(20 - (Int(request.query) ?? 0))
            MultiThreadedEventLoopGroup.singleton.next().scheduleTask(in: .milliseconds(delay)) {
                responder.reply(.text("<\(request.query)>"))
            }
        }
        let text = try await server.exchange(
            (0..<20).map { "GET /s?\($0) HTTP/1.1\r\nHost: x\r\n\r\n" }.joined()
                + "GET /s?20 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        let order = text.split(separator: "<").dropFirst().compactMap {
            $0.split(separator: ">").first.flatMap { Int($0) }
        }
        #expect(order == Array(0...20))
        await server.stop()
    }

    @Test func manyPipelinedRequestsDoNotRecurse() async throws {
        let server = try await DirectServer.start { _, responder in responder.reply(.text("x")) }
        let text = try await server.exchange(
            String(repeating: "GET /s HTTP/1.1\r\nHost: x\r\n\r\n", count: 5_000)
                + "GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(text.split(separator: "HTTP/1.1 200 OK").count == 5_001)
        await server.stop()
    }

    @Test func malformedRequestBehindASlowOneIsRefusedInItsTurn() async throws {
        let server = try await DirectServer.start { _, responder in
            MultiThreadedEventLoopGroup.singleton.next().scheduleTask(in: .milliseconds(50)) {
                responder.reply(.text("first"))
            }
        }
        let text = try await server.exchange("GET /s HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n")
        let first = try #require(text.firstRange(of: "first"))
        let second = try #require(text.firstRange(of: "HTTP/1.1 400"))
        #expect(first.lowerBound < second.lowerBound)
        await server.stop()
    }

    @Test func onlyTheFirstAnswerCounts() async throws {
        let server = try await DirectServer.start { _, responder in
            responder.reply(.text("one"))
            responder.reply(.text("two"))
            responder.parts(.ok, [:], [])
        }
        let text = try await server.exchange(
            "GET /s HTTP/1.1\r\nHost: x\r\n\r\nGET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(text.split(separator: "HTTP/1.1").count == 2)
        #expect(!text.contains("two"))
        await server.stop()
    }

    @Test func forgottenRequestIsAnsweredWithAnError() async throws {
        let server = try await DirectServer.start { _, _ in }
        let text = try await server.exchange("GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(text.hasPrefix("HTTP/1.1 500 "))
        await server.stop()
    }

    // MARK: Bodies

    private static func problem() -> HTTPRouteOptions {
        var options = HTTPRouteOptions()
        options.bodyBytes = 2 << 20
        options.securityHeaders = HTTPSecurityHeaders(crossOriginResourcePolicy: "cross-origin")
        options.refusal = { refusal in
            switch refusal {
            case .bodyTooLarge(let limit): return .json("{\"limit\":\(limit)}", status: .payloadTooLarge)
            case .overloaded: return refusal.defaultReply
            }
        }
        return options
    }

    @Test func routeTakesMoreThanTheListenerAndNoMoreThanItsOwnLimit() async throws {
        let server = try await DirectServer.start(route: Self.problem()) { request, responder in
            responder.reply(.text("\(request.body.readableBytes)"))
        }
        let chunk = "10000\r\n" + String(repeating: "a", count: 65_536) + "\r\n"
        let head = "POST /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        let taken = try await server.exchange(head + String(repeating: chunk, count: 32) + "0\r\n\r\n")
        #expect(taken.hasSuffix("\r\n\r\n2097152"))
        let refused = try await server.exchange(head + String(repeating: chunk, count: 33) + "0\r\n\r\n")
        #expect(refused.hasPrefix("HTTP/1.1 413 "))
        #expect(refused.hasSuffix("{\"limit\":2097152}"))
        #expect(refused.contains("cross-origin-resource-policy: cross-origin\r\n"))
        let announced = try await server.exchange("POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: 2097153\r\n\r\n")
        #expect(announced.hasSuffix("{\"limit\":2097152}"))
        await server.stop()
    }

    @Test func bodiesOverTheBudgetOfTheProcessAreTurnedAway() async throws {
        var options = HTTPListenerOptions()
        options.bodyBudget = HTTPBodyBudget(limit: 100)
        let held = Mutex<HTTPResponder?>(nil)
        let arrived = Signal()
        let server = try await DirectServer.start(options: options) { _, responder in
            held.withLock { $0 = responder }
            arrived.fire()
        }
        let request = "POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: 80\r\n\r\n" + String(repeating: "b", count: 80)
        let first = try await RawConnection.connect(port: server.port)
        first.send(request)
        await arrived.wait()
        #expect(options.bodyBudget.bytesInUse == 80)
        let second = try await server.exchange(request)
        #expect(second.hasPrefix("HTTP/1.1 503 "))
        #expect(second.contains("retry-after: 1\r\n"))
        #expect(options.bodyBudget.refusedCount == 1)
        held.withLock { $0.take() }?.reply(.text("done"))
        #expect(await first.waitForText("done"))
        #expect(options.bodyBudget.bytesInUse == 0)
        await first.close()
        await server.stop()
    }

    @Test func bodyThatTricklesIsCutAndOneThatProgressesIsNot() async throws {
        let server = try await DirectServer.start {
            $0.requestTimeout = .seconds(1)
            $0.minimumBodyProgress = 1_000
        } _: { request, responder in
            responder.reply(.text("got \(request.body.readableBytes)"))
        }
        let head = "POST /s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        let steady = try await RawConnection.connect(port: server.port)
        let slow = try await RawConnection.connect(port: server.port)
        steady.send(head)
        slow.send(head)
        // The steady one began first, and is there for longer than it takes until the other is cut.
        var count = 0
        repeat {
            steady.send("3e8\r\n" + String(repeating: "a", count: 1_000) + "\r\n")
            slow.send("1\r\na\r\n")
            count += 1_000
        } while await !slow.waitForEnd(seconds: 0.1) && count < 600_000
        #expect(slow.isClosed && slow.text.isEmpty)
        steady.send("0\r\n\r\n")
        #expect(await steady.waitForText("got \(count)"))
        await steady.close()
        await slow.close()
        await server.stop()
    }

    // MARK: Waiting

    @Test func waiterIsToldThatItsClientIsGone() async throws {
        let gone = Signal()
        let waiting = Signal()
        let held = Mutex<[HTTPResponder]>([])
        let server = try await DirectServer.start { _, responder in
            held.withLock { $0.append(responder) }
            responder.onGone { gone.fire() }
            waiting.fire()
        }
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        await waiting.wait()
        await client.close()
        await gone.wait()
        // Whoever asks afterwards is told as well.
        let late = Signal()
        held.withLock { $0.first }?.onGone { late.fire() }
        await late.wait()
        await server.stop()
    }

    @Test func waiterIsToldOfTheDrainAndAnswers() async throws {
        let waiting = Signal()
        let gone = Signal()
        let server = try await DirectServer.start { _, responder in
            responder.onDrain { responder.reply(HTTPReply(status: .noContent)) }
            responder.onGone { gone.fire() }
            waiting.fire()
        }
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        await waiting.wait()
        async let drained: Void = server.listener.drain(grace: .seconds(20))
        #expect(await client.waitForText("HTTP/1.1 204 No Content"))
        #expect(await client.waitForEnd())
        #expect(client.text.contains("connection: close"))
        await client.close()
        await drained
        #expect(!gone.hasFired)
    }

    @Test func waiterIsToldThatItsTimeIsUp() async throws {
        let server = try await DirectServer.start { _, responder in
            let begin = NIODeadline.now()
            responder.onTimeout(.milliseconds(300)) {
                responder.reply(.text(NIODeadline.now() - begin >= .milliseconds(300) ? "in time" : "early"))
            }
        }
        let text = try await server.exchange("GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(text.hasSuffix("in time"))
        await server.stop()
    }

    @Test func requestKnowsItsPeerAndOrigin() async throws {
        var options = HTTPListenerOptions()
        options.forwarded = ForwardedPolicy(family: .xForwarded, trusted: [try #require(IPNetwork("127.0.0.0/8"))])
        let server = try await DirectServer.start(options: options) { request, responder in
            responder.reply(.text("\(request.remoteAddress ?? "-") \(request.origin ?? "-") \(request.isSecure)"))
        }
        let plain = try await server.exchange("GET /s HTTP/1.1\r\nHost: here:81\r\nConnection: close\r\n\r\n")
        #expect(plain.hasSuffix("127.0.0.1 http://here:81 false"))
        let proxied = try await server.exchange(
            "GET /s HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 192.0.2.9, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"
                + "X-Forwarded-Host: outer.example\r\nConnection: close\r\n\r\n")
        #expect(proxied.hasSuffix("192.0.2.9 https://outer.example false"))
        await server.stop()
    }

    @Test func originOfThePageIsNamedAlsoInRefusals() async throws {
        var route = HTTPRouteOptions()
        route.bodyBytes = 10
        let cors = CORSPolicy(
            origins: .list(["https://app.example"]), exposedHeaders: ["ETag"], allowsCredentials: true)
        route.cors = cors
        let server = try await DirectServer.start(route: route) { request, responder in
            responder.reply(cors.preflight(request.head) ?? .text("hello"))
        }
        let refused = try await server.exchange(
            "POST /s HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example\r\nContent-Length: 11\r\n\r\n")
        #expect(refused.hasPrefix("HTTP/1.1 413 "))
        #expect(refused.contains("access-control-allow-origin: https://app.example\r\n"))
        #expect(
            refused.contains(
                "vary: Origin\r\naccess-control-allow-credentials: true\r\naccess-control-expose-headers: ETag\r\n"))
        let other = try await server.exchange(
            "GET /s HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example.evil\r\nConnection: close\r\n\r\n")
        #expect(!other.contains("access-control-allow-origin"))
        #expect(other.contains("vary: Origin\r\n"))
        let preflight = try await server.exchange(
            "OPTIONS /s HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: PUT\r\n"
                + "Connection: close\r\n\r\n")
        #expect(preflight.hasPrefix("HTTP/1.1 204 "))
        #expect(preflight.contains("access-control-allow-methods: GET, POST, PUT, DELETE, HEAD, OPTIONS\r\n"))
        await server.stop()
    }
}
