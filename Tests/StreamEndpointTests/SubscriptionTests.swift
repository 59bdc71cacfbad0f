import DurableStreams
import Foundation
import HTTPServer
import NIOCore
import NIOHTTP1
import StreamDirectory
import StreamEndpoint
import Testing
import WebhookDelivery

/// Subscriptions themselves: how they are made and shown, who may do so, and which streams they follow.
@Suite(.timeLimit(.minutes(1)))
struct SubscriptionTests: SubscriptionSuite {
    // MARK: Configuration

    @Test func subscriptionsAreCreatedConfirmedAndShown() async throws {
        let receiver = try await WebhookReceiver.start { _, _, responder in WebhookReceiver.done(responder) }
        try await self.withServer { server in
            let stream = server.client.stream()
            try await stream.create(body: "already there")
            let body = self.webhook(receiver, more: ",\"description\":\"a test\",\"lease_ttl_ms\":5000")
            let created = try await self.put(server, "one", body)
            #expect(created.status == 201)
            #expect(try await self.put(server, "one", body).status == 200)
            let other = try await self.put(server, "one", self.webhook(receiver, pattern: "x/*"))
            #expect(other.status == 409)
            #expect(other.controlCode == "SUBSCRIPTION_ALREADY_EXISTS")
            let shown = try await self.get(server, "one")
            #expect(shown.status == 200)
            let json = try #require(shown.json)
            #expect(json["id"]?.stringValue == "one")
            #expect(json["type"]?.stringValue == "webhook")
            #expect(json["status"]?.stringValue == "active")
            #expect(json["lease_ttl_ms"]?.unsignedValue == 5000)
            #expect(json["description"]?.stringValue == "a test")
            let signing = try #require(json["webhook"]?["signing"])
            #expect(signing["alg"]?.stringValue == "ed25519")
            #expect(signing["jwks_url"]?.stringValue == "http://streams.example/v1/stream/__ds/jwks.json")
            #expect(!shown.text.contains("secret"))
            // What was there is linked at its tail: nothing is pending.
            #expect(self.acked(shown, stream.name) == (try await stream.head().offset))
            let keys = try await server.client.request(.GET, "\(Self.control)/jwks.json")
            #expect(keys.status == 200)
            #expect(keys["content-type"] == "application/jwk-set+json")
            #expect(keys["cache-control"] == "public, max-age=300")
            let key = try #require(keys.json?["keys"]?.arrayValue?.first)
            #expect(key["kid"] == signing["kid"])
            #expect(key["d"] == nil)
            #expect(receiver.received.isEmpty)
        }
        await receiver.stop()
    }

    @Test(arguments: [
        "http://example.com/hook", "https://10.0.0.1/hook", "https://169.254.169.254/latest", "https://localhost/",
        "https://[::1]/", "ftp://example.com/", "https://user:pass@example.com/", "https://192.168.1.1:8443/x",
        "http://[::1]:80/", "https://2130706433/",
    ])
    func unsafeWebhooksAreRejected(_ url: String) async throws {
        try await self.withServer { server in
            let body = "{\"type\":\"webhook\",\"pattern\":\"*\",\"webhook\":{\"url\":\"\(url)\"}}"
            let answer = try await self.put(server, "bad", body)
            #expect(answer.status == 400)
            #expect(answer.controlCode == "WEBHOOK_URL_REJECTED")
            #expect(try await self.get(server, "bad").status == 404)
        }
    }

    @Test func localWebhooksNeedTheException() async throws {
        try await self.withServer(.memory, { $0.allowsLocalWebhooks = false }) { server in
            let body = "{\"type\":\"webhook\",\"pattern\":\"*\",\"webhook\":{\"url\":\"http://127.0.0.1:1/\"}}"
            let answer = try await self.put(server, "bad", body)
            #expect(answer.controlCode == "WEBHOOK_URL_REJECTED")
        }
    }

    @Test(arguments: [
        "", "[]", "{}", "{\"type\":\"webhook\",\"pattern\":\"*\"}", "{\"type\":\"other\",\"pattern\":\"*\"}",
        "{\"type\":\"pull-wake\",\"pattern\":\"*\"}", "{\"type\":\"pull-wake\",\"wake_stream\":\"w\"}",
        "{\"type\":\"pull-wake\",\"wake_stream\":\"w\",\"pattern\":\"*\",\"lease_ttl_ms\":999}",
        "{\"type\":\"pull-wake\",\"wake_stream\":\"w\",\"streams\":[\"__ds/x\"]}",
    ])
    func malformedConfigurationsAreRefused(_ body: String) async throws {
        try await self.withServer { server in
            let answer = try await self.put(server, "bad", body)
            #expect(answer.status == 400)
            #expect(answer.controlCode == "INVALID_REQUEST")
        }
    }

    @Test func unknownThingsAreSaid() async throws {
        try await self.withServer { server in
            let missing = try await self.get(server, "none")
            #expect(missing.status == 404)
            #expect(missing.controlCode == "SUBSCRIPTION_NOT_FOUND")
            #expect(missing["x-content-type-options"] == "nosniff")
            #expect(try await self.post(server, "none", "claim", "{\"worker\":\"w\"}").status == 404)
            #expect(try await server.client.request(.GET, "\(Self.control)/other").status == 404)
            #expect(try await server.client.request(.GET, Self.control).status == 404)
            #expect(try await server.client.request(.PATCH, "\(Self.control)/jwks.json").status == 405)
            #expect(try await server.client.request(.DELETE, "\(Self.control)/subscriptions/none").status == 404)
        }
    }

    @Test func aDeletedSubscriptionIsGone() async throws {
        try await self.withServer { server in
            let wakes = server.client.stream(named: "wakes", "application/json")
            try await wakes.create()
            #expect(try await self.put(server, "one", self.pull()).status == 201)
            let stream = server.client.stream()
            try await stream.create(body: "x")
            let claim = try await self.post(server, "one", "claim", "{\"worker\":\"w\"}")
            let token = claim.json?["token"]?.stringValue
            #expect(try await server.client.request(.DELETE, "\(Self.control)/subscriptions/one").status == 204)
            #expect(try await self.get(server, "one").status == 404)
            #expect(try await self.post(server, "one", "ack", "{}", token: token).status == 404)
            #expect(try await self.post(server, "one", "release", "{}", token: token).status == 404)
            #expect(try await self.put(server, "one", self.pull()).status == 409)
        }
    }

    // MARK: Streams that come and go

    @Test func deletedAndExpiredStreamsAreForgotten() async throws {
        try await self.withServer { server in
            #expect(try await self.put(server, "one", self.pull()).status == 201)
            let (deleted, expired) = (server.client.stream(), server.client.stream())
            try await deleted.create(body: "long content")
            try await expired.create(["stream-ttl": "150"], body: "x")
            func links() async throws -> Set<String> {
                let list = try await self.get(server, "one").json?["streams"]?.arrayValue ?? []
                return Set(list.compactMap { $0["path"]?.stringValue })
            }
            #expect(try await links() == [deleted.name, expired.name])
            try await deleted.delete()
            #expect(try await links() == [expired.name])
            // Another stream of that name begins anew.
            try await deleted.create(body: "y")
            #expect(self.acked(try await self.get(server, "one"), deleted.name) == RemoteStream.start)
            server.clock.advance(seconds: 300)
            try await eventually("an expired stream stays") { try await links() == [deleted.name] }
        }
    }

    @Test func explicitStreamsOfOneAreFoundByPatternsOfOthers() async throws {
        try await self.withServer { server in
            let name = "t/not-yet"
            let explicit = "{\"type\":\"pull-wake\",\"streams\":[\"\(name)\"],\"wake_stream\":\"wakes\"}"
            #expect(try await self.put(server, "explicit", explicit).status == 201)
            #expect(try await self.put(server, "glob", self.pull()).status == 201)
            let stream = server.client.stream(named: name)
            try await stream.create(body: "x")
            for id in ["explicit", "glob"] {
                #expect(try await self.post(server, id, "claim", "{\"worker\":\"w\"}").status == 200, "\(id)")
            }
        }
    }

    /// Streams that are made while the look at all of them is under way: none is missed, none is taken for new twice.
    @Test(arguments: TestMode.allCases) func streamsThatComeDuringACreationAreFollowed(_ mode: TestMode) async throws {
        let receiver = try await WebhookReceiver.start { _, _, responder in WebhookReceiver.accepted(responder) }
        try await self.withServer(mode) { server in
            let path: @Sendable (Int) -> String = { "t/s\($0)" }
            for number in 0..<200 {
                try await server.client.stream(named: path(number)).create(body: "before")
            }
            let body = self.webhook(receiver)
            async let created = self.put(server, "one", body)
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for writer in 0..<4 {
                    tasks.addTask {
                        for number in 0..<50 {
                            let stream = server.client.stream(named: path(1000 * (writer + 1) + number))
                            try await stream.create()
                            try await server.client.stream(named: path(number + 50 * writer)).append("after")
                        }
                    }
                }
                try await tasks.waitForAll()
            }
            #expect(try await created.status == 201)
            let shown = try #require(try await self.get(server, "one").json?["streams"]?.arrayValue)
            let names = Set(shown.compactMap { $0["path"]?.stringValue })
            #expect(names.count == 400)
            #expect(names.isSuperset(of: (0..<200).map(path)))
            // Whatever was there already, or came, an append from now on is work.
            let stream = server.client.stream(named: path(3))
            let tail = try await stream.append("work")["stream-next-offset"]
            _ = try await receiver.wait(count: 1)
            #expect(self.acked(try await self.get(server, "one"), path(3)) != tail)
        }
        await receiver.stop()
    }

    // MARK: Permissions

    @Test func tokensOfTheControlAPIAreTheirOwn() async throws {
        let receiver = try await WebhookReceiver.start { _, _, responder in WebhookReceiver.accepted(responder) }
        try await EndpointServer.with(
            .memory,
            {
                $0.control = { directory, clock, _ in
                    var configuration = SubscriptionControl.Configuration(origin: nil, directory: nil)
                    configuration.allowsLocalWebhooks = true
                    return try SubscriptionControl(
                        configuration, streams: directory, sender: HTTPWebhookSender(),
                        keys: try WebhookKeys(directory: nil, at: clock.now()), clock: { clock.now() },
                        logger: EndpointServer.silent)
                }
                $0.services = {
                    $0.authorizer = { request, operation, _, decided in
                        let isOwner = request.head.headers.first(name: "authorization") == "Bearer owner"
                        decided(
                            isOwner ? .granted(until: nil) : .refused(.error(StreamError(.unauthorized), instance: nil))
                        )
                    }
                }
            }
        ) { server in
            server.control?.start(on: server.directoryLoop)
            #expect(try await self.put(server, "one", self.webhook(receiver)).status == 401)
            var headers = Self.json
            headers["authorization"] = "Bearer owner"
            let path = "\(Self.control)/subscriptions/one"
            #expect(try await server.client.request(.PUT, path, headers, self.webhook(receiver)).status == 201)
            #expect(try await self.get(server, "one").status == 401)
            #expect(try await server.client.request(.GET, "\(Self.control)/jwks.json").status == 200)
            let stream = server.client.stream()
            #expect(try await stream.create(headers, body: "[1]").status == 201)
            let wake = try #require(try await receiver.wait(count: 1).first)
            // Without a configured origin, what the creator used is given to the receiver.
            #expect(
                wake.json?["callback_url"]?.stringValue
                    == "http://streams.example:4437\(Self.control)/subscriptions/one/callback")
            let body = "{\"wake_id\":\"\(wake.wakeID)\",\"generation\":1,\"done\":true}"
            #expect(try await self.post(server, "one", "callback", body, token: "owner").status == 401)
            #expect(try await self.post(server, "one", "callback", body, token: wake.token).status == 200)
        }
        await receiver.stop()
    }
}
