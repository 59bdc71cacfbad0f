import DurableStreams
import HTTPServer
import NIOCore
import NIOHTTP1
import StreamEndpoint
import Testing
import WebhookDelivery

/// How webhooks are sent, and what is not called.
@Suite(.timeLimit(.minutes(1)))
struct WebhookSenderTests {
    private func request(_ text: String) throws -> WebhookRequest {
        WebhookRequest(
            url: try WebhookURL(text, allowsLocalPlain: true), headers: [("X-Test", "1")],
            body: ByteBuffer(string: "{\"a\":1}"))
    }

    @Test func theRequestArrivesAndTheAnswerComesBack() async throws {
        let receiver = try await WebhookReceiver.start { _, _, responder in responder.reply(.json("{\"done\":true}")) }
        let sender = HTTPWebhookSender()
        let reply = try await sender.exchange(try self.request("http://localhost:\(receiver.port)/hook/deep?x=1"))
        #expect(reply.status == 200)
        #expect(String(buffer: reply.body) == "{\"done\":true}")
        let received = try #require(receiver.received.first)
        #expect(received.path == "/hook/deep")
        #expect(received.headers.first(name: "x-test") == "1")
        #expect(received.headers.first(name: "host") == "localhost:\(receiver.port)")
        #expect(String(buffer: received.body) == "{\"a\":1}")
        await receiver.stop()
    }

    @Test func overTLSTheCertificateMustBeTheHostsAndOfATrustedAuthority() async throws {
        let certificate = try TestCertificate()
        var options = HTTPListenerOptions()
        options.security = certificate.security
        let receiver = try await WebhookReceiver.start(options) { _, _, responder in WebhookReceiver.done(responder) }
        let here: HTTPWebhookSender.Resolver = { _, port in [try SocketAddress(ipAddress: "127.0.0.1", port: port)] }
        let trusting = try HTTPWebhookSender(
            authorityPath: certificate.certificate, resolver: here, addressRule: { _, _ in true })
        let request = try self.request("https://hook.test:\(receiver.port)/hook")
        #expect(try await trusting.exchange(request).status == 200)
        #expect(receiver.received.count == 1)
        // Another name, and an authority that the system does not know.
        let other = try self.request("https://other.test:\(receiver.port)/hook")
        await #expect(throws: (any Error).self) { _ = try await trusting.exchange(other) }
        let plain = HTTPWebhookSender(resolver: here, addressRule: { _, _ in true })
        await #expect(throws: (any Error).self) { _ = try await plain.exchange(request) }
        #expect(receiver.received.count == 1)
        #expect(throws: HTTPWebhookSender.Failure.authorities(path: certificate.key)) {
            _ = try HTTPWebhookSender(authorityPath: certificate.key)
        }
        await receiver.stop()
    }

    @Test func redirectsAreNotFollowed() async throws {
        let receiver = try await WebhookReceiver.start { _, _, responder in
            responder.reply(HTTPReply(status: .temporaryRedirect, headers: ["location": "/hook/other"]))
        }
        let reply = try await HTTPWebhookSender().exchange(try self.request(receiver.url))
        #expect(reply.status == 307)
        #expect(receiver.received.count == 1)
        await receiver.stop()
    }

    @Test(arguments: [
        ["10.1.2.3"], ["127.0.0.1", "10.1.2.3"], ["169.254.169.254"], ["::ffff:10.0.0.1"], ["fe80::1"], [],
    ])
    func addressesThatMayNotBeCalledAreNot(_ addresses: [String]) async throws {
        let receiver = try await WebhookReceiver.start { _, _, responder in WebhookReceiver.done(responder) }
        let sender = HTTPWebhookSender { _, port in try addresses.map { try SocketAddress(ipAddress: $0, port: port) } }
        let request = try self.request("http://localhost:\(receiver.port)/hook")
        await #expect(throws: HTTPWebhookSender.Failure.self) { _ = try await sender.exchange(request) }
        #expect(receiver.received.isEmpty)
        await receiver.stop()
    }

    @Test func aPublicNameMustNotLeadHere() async throws {
        let receiver = try await WebhookReceiver.start { _, _, responder in WebhookReceiver.done(responder) }
        let sender = HTTPWebhookSender { _, port in [try SocketAddress(ipAddress: "127.0.0.1", port: port)] }
        let request = try self.request("https://hook.example:\(receiver.port)/hook")
        await #expect(throws: HTTPWebhookSender.Failure.address("127.0.0.1")) { _ = try await sender.exchange(request) }
        await receiver.stop()
    }

    @Test func theNameIsResolvedOnceAndItsAddressKept() async throws {
        let receiver = try await WebhookReceiver.start { _, _, responder in WebhookReceiver.done(responder) }
        let count = SharedCount()
        let sender = HTTPWebhookSender { _, port in
            // The second time the name would lead elsewhere.
            [try SocketAddress(ipAddress: count.add(1) == 1 ? "127.0.0.1" : "10.0.0.1", port: port)]
        }
        // A name that only the resolver above knows.
        let reply = try await sender.exchange(try self.request("http://hook.localhost:\(receiver.port)/hook"))
        #expect(reply.status == 200)
        #expect(count.value == 1)
        await receiver.stop()
    }

    @Test func answersThatAreTooLongOrTooLateAreNone() async throws {
        let receiver = try await WebhookReceiver.start { request, _, responder in
            if request.path == "/hook/long" { responder.reply(.text(String(repeating: "x", count: 5000))) }
            // Others get no answer; the responder is kept so that it is not given up.
            if request.path == "/hook/late" { responder.onTimeout(.seconds(20)) { WebhookReceiver.done(responder) } }
        }
        var limits = HTTPWebhookSender.Limits()
        limits.time = .milliseconds(700)
        limits.responseBytes = 1000
        let sender = HTTPWebhookSender(limits: limits)
        for path in ["long", "late"] {
            let begun = ContinuousClock.now
            let request = try self.request("http://127.0.0.1:\(receiver.port)/hook/\(path)")
            let reply = await withCheckedContinuation { continuation in
                sender.send(request) { continuation.resume(returning: $0) }
            }
            #expect(throws: WebhookFailure.self) { try reply.get() }
            #expect(ContinuousClock.now - begun < .seconds(5))
        }
        await receiver.stop()
    }

    @Test func nobodyListeningIsNoAnswer() async throws {
        let receiver = try await WebhookReceiver.start { _, _, responder in WebhookReceiver.done(responder) }
        let request = try self.request(receiver.url)
        await receiver.stop()
        let reply = await withCheckedContinuation { continuation in
            HTTPWebhookSender().send(request) { continuation.resume(returning: $0) }
        }
        let failure = #expect(throws: WebhookFailure.self) { try reply.get() }
        #expect(failure?.reason.isEmpty == false)
    }
}
