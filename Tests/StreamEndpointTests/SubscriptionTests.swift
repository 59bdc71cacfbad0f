import Crypto
import DurableStreams
import Foundation
import HTTPServer
import NIOCore
import NIOHTTP1
import StreamDirectory
import StreamEndpoint
import Testing
import WebhookDelivery

/// The control API, webhooks and wake streams, over real sockets.
@Suite(.timeLimit(.minutes(1)))
struct SubscriptionTests {
    private static let control = StreamClient.root + "/__ds"
    private static let json = ["content-type": "application/json"]

    private func withServer(
        _ mode: TestMode = .memory, folder: TestFolder? = nil,
        _ change: @escaping @Sendable (inout SubscriptionControl.Configuration) -> Void = { _ in },
        _ body: (EndpointServer) async throws -> Void
    ) async throws {
        try await EndpointServer.with(
            mode,
            {
                $0.folder = folder
                $0.control = { directory, clock, folder in
                    let path = mode == .memory ? nil : folder.path + "/control"
                    var configuration = SubscriptionControl.Configuration(
                        rootURL: "http://streams.example/v1/stream", directory: path)
                    configuration.allowsLocalWebhooks = true
                    configuration.tick = 20
                    configuration.firstRetry = 100
                    configuration.longestRetry = 400
                    configuration.reconcile = 100
                    change(&configuration)
                    return try SubscriptionControl(
                        configuration, streams: directory, sender: HTTPWebhookSender(),
                        keys: try WebhookKeys(directory: path), clock: { clock.now() }, logger: EndpointServer.silent)
                }
            }
        ) { server in
            server.control?.start(on: server.directoryLoop)
            try await body(server)
        }
    }

    private func put(_ server: EndpointServer, _ id: String, _ body: String) async throws -> Answer {
        try await server.client.request(.PUT, "\(Self.control)/subscriptions/\(id)", Self.json, body)
    }

    private func get(_ server: EndpointServer, _ id: String) async throws -> Answer {
        try await server.client.request(.GET, "\(Self.control)/subscriptions/\(id)")
    }

    private func post(
        _ server: EndpointServer, _ id: String, _ what: String, _ body: String, token: String? = nil
    ) async throws -> Answer {
        var headers = Self.json
        if let token { headers["authorization"] = "Bearer \(token)" }
        return try await server.client.request(.POST, "\(Self.control)/subscriptions/\(id)/\(what)", headers, body)
    }

    private func webhook(_ receiver: WebhookReceiver, pattern: String = "t/**", more: String = "") -> String {
        "{\"type\":\"webhook\",\"pattern\":\"\(pattern)\",\"webhook\":{\"url\":\"\(receiver.url)\"}\(more)}"
    }

    private func pull(pattern: String = "t/**", wake: String = "wakes", more: String = "") -> String {
        "{\"type\":\"pull-wake\",\"pattern\":\"\(pattern)\",\"wake_stream\":\"\(wake)\"\(more)}"
    }

    private func acked(_ answer: Answer, _ name: String) -> String? {
        answer.json?["streams"]?.arrayValue?.first { $0["path"]?.stringValue == name }?["acked_offset"]?.stringValue
    }

    /// Asks until the answer is as it should be.
    private func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(10)
        while try await !condition() {
            guard ContinuousClock.now < deadline else { throw TestFailure(what) }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

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

    // MARK: Webhooks

    private func check(_ request: WebhookReceiver.Received, keys: Answer) throws {
        let header = try #require(request.headers.first(name: "webhook-signature"))
        var parts: [String: String] = [:]
        for part in header.split(separator: ",") {
            let pair = part.split(separator: "=", maxSplits: 1)
            parts[String(pair[0])] = String(pair[1])
        }
        let time = try #require(UInt64(parts["t"] ?? ""))
        #expect(abs(Double(time) - Date().timeIntervalSince1970) < 60)
        let list = try #require(keys.json?["keys"]?.arrayValue)
        let key = try #require(list.first { $0["kid"]?.stringValue == parts["kid"] })
        #expect(key["kty"]?.stringValue == "OKP")
        #expect(key["crv"]?.stringValue == "Ed25519")
        let point = try #require(Self.decoded(key["x"]?.stringValue ?? ""))
        let signature = try #require(Self.decoded(parts["ed25519"] ?? ""))
        let publicKey = try Curve25519.Signing.PublicKey(rawRepresentation: point)
        let signed = Data("\(time).".utf8) + Data(request.body.readableBytesView)
        #expect(publicKey.isValidSignature(signature, for: signed))
        #expect(!publicKey.isValidSignature(signature, for: signed + [0]))
    }

    private static func decoded(_ text: String) -> Data? {
        #expect(!text.contains("="))
        var text = text.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
        while text.count % 4 != 0 { text += "=" }
        return Data(base64Encoded: text)
    }

    @Test(arguments: TestMode.allCases) func aSignedWebhookThatIsDoneAcksItsSnapshot(_ mode: TestMode) async throws {
        let receiver = try await WebhookReceiver.start { _, _, responder in WebhookReceiver.done(responder) }
        try await self.withServer(mode) { server in
            let stream = server.client.stream()
            try await stream.create(body: "old")
            let linked = try await stream.head().offset
            #expect(try await self.put(server, "one", self.webhook(receiver)).status == 201)
            let tail = try await stream.append("new").offset
            let first = try #require(try await receiver.wait(count: 1).first)
            try self.check(first, keys: try await server.client.request(.GET, "\(Self.control)/jwks.json"))
            #expect(first.headers.first(name: "content-type") == "application/json")
            #expect(first.json?["subscription_id"]?.stringValue == "one")
            #expect(first.generation == 1)
            #expect(!first.wakeID.isEmpty)
            let entry = try #require(first.stream(stream.name))
            #expect(entry["link_type"]?.stringValue == "glob")
            #expect(entry["acked_offset"]?.stringValue == linked)
            #expect(entry["tail_offset"]?.stringValue == tail)
            #expect(entry["has_pending"]?.boolValue == true)
            #expect(
                first.json?["callback_url"]?.stringValue
                    == "http://streams.example/v1/stream/__ds/subscriptions/one/callback")
            try await self.eventually("the snapshot was not acked") {
                self.acked(try await self.get(server, "one"), stream.name) == tail
            }
            // A stream that comes later is followed from before its first data, and wakes again.
            let later = server.client.stream()
            try await later.create()
            let laterTail = try await later.append("x").offset
            let second = try #require(try await receiver.wait(count: 2).last)
            #expect(second.generation == 2)
            #expect(second.wakeID != first.wakeID)
            #expect(second.stream(later.name)?["acked_offset"]?.stringValue == RemoteStream.start)
            #expect(second.stream(later.name)?["tail_offset"]?.stringValue == laterTail)
            #expect(second.stream(stream.name)?["has_pending"]?.boolValue == false)
        }
        await receiver.stop()
    }

    @Test func callbacksAckAndStaleOnesAreFenced() async throws {
        let receiver = try await WebhookReceiver.start { _, _, responder in WebhookReceiver.accepted(responder) }
        try await self.withServer { server in
            #expect(try await self.put(server, "one", self.webhook(receiver)).status == 201)
            let stream = server.client.stream()
            try await stream.create()
            let first = try await stream.append("a").offset
            let wake = try #require(try await receiver.wait(count: 1).first)
            let fence = "\"wake_id\":\"\(wake.wakeID)\",\"generation\":\(wake.generation)"
            // More data while the wake is under way wakes nobody yet.
            let second = try await stream.append("b").offset
            let bad = try await self.post(server, "one", "callback", "{\(fence)}")
            #expect(bad.status == 401)
            #expect(bad.controlCode == "TOKEN_INVALID")
            #expect(try await self.post(server, "one", "callback", "{\(fence)}", token: "wrong").status == 401)
            for offset in ["-1", RemoteStream.beyond, "abc"] {
                let acks = "\"acks\":[{\"stream\":\"\(stream.name)\",\"offset\":\"\(offset)\"}]"
                let answer = try await self.post(server, "one", "callback", "{\(fence),\(acks)}", token: wake.token)
                #expect(answer.status == 409)
                #expect(answer.controlCode == "INVALID_OFFSET")
            }
            let mixed =
                "\"acks\":[{\"stream\":\"\(stream.name)\",\"offset\":\"\(first)\"},{\"stream\":\"t/no\",\"offset\":\"\(first)\"}]"
            #expect(
                try await self.post(server, "one", "callback", "{\(fence),\(mixed)}", token: wake.token).status == 409)
            #expect(self.acked(try await self.get(server, "one"), stream.name) == RemoteStream.start)
            let acks = "\"acks\":[{\"stream\":\"\(stream.name)\",\"offset\":\"\(first)\"}]"
            let ok = try await self.post(server, "one", "callback", "{\(fence),\(acks)}", token: wake.token)
            #expect(ok.status == 200)
            #expect(ok.json?["ok"]?.boolValue == true)
            #expect(self.acked(try await self.get(server, "one"), stream.name) == first)
            #expect(receiver.received.count == 1)
            let done = try await self.post(server, "one", "callback", "{\(fence),\"done\":true}", token: wake.token)
            #expect(done.status == 200)
            #expect(done.json?["next_wake"]?.boolValue == true)
            let next = try #require(try await receiver.wait(count: 2).last)
            #expect(next.generation == wake.generation + 1)
            #expect(next.stream(stream.name)?["tail_offset"]?.stringValue == second)
            let stale = try await self.post(server, "one", "callback", "{\(fence),\"done\":true}", token: wake.token)
            #expect(stale.status == 409)
            #expect(stale.controlCode == "FENCED")
        }
        await receiver.stop()
    }

    @Test func explicitStreamsAreAddedAndRemoved() async throws {
        try await self.withServer { server in
            let inside = server.client.stream()
            try await inside.create(body: "x")
            let outside = server.client.stream(named: "other/stream")
            try await outside.create(body: "yy")
            #expect(try await self.put(server, "one", self.pull()).status == 201)
            let list = "{\"streams\":[\"\(inside.name)\",\"\(outside.name)\"]}"
            for _ in 0..<2 { #expect(try await self.post(server, "one", "streams", list).status == 204) }
            func kind(_ name: String) async throws -> String? {
                let links = try await self.get(server, "one").json?["streams"]?.arrayValue
                return links?.first { $0["path"]?.stringValue == name }?["link_type"]?.stringValue
            }
            #expect(try await kind(inside.name) == "explicit")
            #expect(try await kind(outside.name) == "explicit")
            #expect(self.acked(try await self.get(server, "one"), outside.name) == "0000000000000000_0000000000000002")
            for name in [inside.name, outside.name] {
                let encoded = name.replacingOccurrences(of: "/", with: "%2F")
                for _ in 0..<2 {
                    let path = "\(Self.control)/subscriptions/one/streams/\(encoded)"
                    #expect(try await server.client.request(.DELETE, path).status == 204)
                }
            }
            #expect(try await kind(inside.name) == "glob")
            #expect(try await kind(outside.name) == nil)
        }
    }

    @Test func failedDeliveriesAreTriedAgain() async throws {
        let receiver = try await WebhookReceiver.start { _, count, responder in
            switch count {
            case 1: responder.reply(.text("no", status: .internalServerError))
            case 2: responder.reply(HTTPReply(status: .found, headers: ["location": "/hook/elsewhere"]))
            default: WebhookReceiver.done(responder)
            }
        }
        try await self.withServer { server in
            #expect(try await self.put(server, "one", self.webhook(receiver)).status == 201)
            let stream = server.client.stream()
            try await stream.create()
            let tail = try await stream.append("x").offset
            _ = try await receiver.wait(count: 1)
            try await self.eventually("no failure was shown") {
                try await self.get(server, "one").json?["status"]?.stringValue == "failed"
            }
            let all = try await receiver.wait(count: 3)
            // The same wake, each time with a token of its own; redirects are not followed.
            #expect(Set(all.map(\.wakeID)).count == 1)
            #expect(Set(all.map(\.token)).count == 3)
            #expect(all.allSatisfy { $0.path == "/hook" })
            try await self.eventually("the wake was not acked") {
                self.acked(try await self.get(server, "one"), stream.name) == tail
            }
            #expect(try await self.get(server, "one").json?["status"]?.stringValue == "active")
        }
        await receiver.stop()
    }

    @Test func deliveriesAreBounded() async throws {
        let (underWay, most) = (SharedCount(), SharedCount())
        let receiver = try await WebhookReceiver.start { _, _, responder in
            most.raise(to: underWay.add(1))
            responder.onTimeout(.milliseconds(300)) {
                underWay.add(-1)
                WebhookReceiver.done(responder)
            }
        }
        try await self.withServer(.memory, { $0.deliveries = 3 }) { server in
            for index in 0..<8 {
                #expect(try await self.put(server, "s\(index)", self.webhook(receiver)).status == 201)
            }
            let stream = server.client.stream()
            try await stream.create()
            try await stream.append("x")
            let all = try await receiver.wait(count: 8)
            #expect((2...3).contains(most.value))
            #expect(Set(all.compactMap { $0.json?["subscription_id"]?.stringValue }).count == 8)
        }
        await receiver.stop()
    }

    @Test func keysAreReplacedAndTheOldOneStaysForAWhile() async throws {
        let folder = try TestFolder()
        let keys = try WebhookKeys(directory: folder.path)
        let first = keys.currentID
        #expect(first.hasPrefix("ds_"))
        #expect(try WebhookKeys(directory: folder.path).currentID == first)
        let attributes = try FileManager.default.attributesOfItem(atPath: folder.path + "/webhook-keys.json")
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        try keys.rotate(at: 1_000_000)
        #expect(keys.currentID != first)
        func published(at now: UInt64, _ keys: WebhookKeys) throws -> [String] {
            guard case .bytes(let body) = keys.keySet(at: now).body else { return [] }
            return try #require(JSONValue(body)?["keys"]?.arrayValue).compactMap { $0["kid"]?.stringValue }
        }
        #expect(try published(at: 1_299_999, keys) == [keys.currentID, first])
        #expect(try published(at: 1_300_000, keys) == [keys.currentID])
        #expect(try published(at: 1_299_999, WebhookKeys(directory: folder.path)) == [keys.currentID, first])
    }

    // MARK: Workers

    @Test(arguments: TestMode.allCases) func workersAreWokenClaimAckAndRelease(_ mode: TestMode) async throws {
        try await self.withServer(mode) { server in
            let wakes = server.client.stream(named: "wakes", "application/json")
            try await wakes.create()
            #expect(try await self.put(server, "one", self.pull()).status == 201)
            let nothing = try await self.post(server, "one", "claim", "{\"worker\":\"a\"}")
            #expect(nothing.status == 409)
            #expect(nothing.controlCode == "NO_PENDING_WORK")
            let stream = server.client.stream()
            try await stream.create()
            let reader = try await wakes.events()
            let tail = try await stream.append("x").offset
            let events = try await reader.wait { $0.contains { $0.name == "data" } }
            await reader.close()
            let event = try #require(events.first { $0.name == "data" }?.json?.arrayValue?.first)
            #expect(event["type"]?.stringValue == "wake")
            #expect(event["subscription_id"]?.stringValue == "one")
            #expect(event["stream"]?.stringValue == stream.name)
            #expect(event["generation"]?.unsignedValue == 1)
            #expect(event["ts"]?.unsignedValue != nil)

            let claim = try await self.post(server, "one", "claim", "{\"worker\":\"a\"}")
            #expect(claim.status == 200)
            let json = try #require(claim.json)
            let token = try #require(json["token"]?.stringValue)
            let busy = try await self.post(server, "one", "claim", "{\"worker\":\"b\"}")
            #expect(busy.status == 409)
            #expect(busy.controlCode == "ALREADY_CLAIMED")
            #expect(busy.json?["error"]?["current_holder"]?.stringValue == "a")
            #expect(busy.json?["error"]?["generation"] == json["generation"])
            func fence(_ json: JSONValue) -> String {
                "\"wake_id\":\"\(json["wake_id"]?.stringValue ?? "")\",\"generation\":\(json["generation"]?.unsignedValue ?? 0)"
            }
            let acks = "\"acks\":[{\"stream\":\"\(stream.name)\",\"offset\":\"\(tail)\"}]"
            let ack = try await self.post(server, "one", "ack", "{\(fence(json)),\(acks),\"done\":true}", token: token)
            #expect(ack.status == 200)
            #expect(ack.json?["next_wake"]?.boolValue == false)
            #expect(try await self.post(server, "one", "ack", "{\(fence(json))}", token: token).controlCode == "FENCED")

            try await stream.append("y")
            let second = try await self.post(server, "one", "claim", "{\"worker\":\"b\"}")
            #expect(second.status == 200)
            let next = try #require(second.json)
            #expect(next["generation"]?.unsignedValue == 2)
            let release = try await self.post(
                server, "one", "release", "{\(fence(next))}", token: next["token"]?.stringValue)
            #expect(release.status == 204)
            // Given back with work left: another wake.
            try await self.eventually("no wake after the release") {
                (try await wakes.read().json?.arrayValue?.count ?? 0) >= 3
            }
            #expect(try await self.post(server, "one", "claim", "{\"worker\":\"c\"}").status == 200)
        }
    }

    @Test func aLeaseThatEndsGoesOn() async throws {
        try await self.withServer { server in
            let wakes = server.client.stream(named: "wakes", "text/plain")
            try await wakes.create()
            #expect(try await self.put(server, "one", self.pull(more: ",\"lease_ttl_ms\":1000")).status == 201)
            let stream = server.client.stream()
            try await stream.create(body: "x")
            let first = try #require(try await self.post(server, "one", "claim", "{\"worker\":\"a\"}").json)
            server.clock.advance(milliseconds: 1500)
            try await self.eventually("no second wake") {
                try await wakes.read().text.split(separator: "\n").count >= 2
            }
            let fence = "\"wake_id\":\"\(first["wake_id"]?.stringValue ?? "")\",\"generation\":1"
            let late = try await self.post(server, "one", "ack", "{\(fence)}", token: first["token"]?.stringValue)
            #expect(late.controlCode == "FENCED")
            let second = try await self.post(server, "one", "claim", "{\"worker\":\"b\"}")
            #expect(second.status == 200)
            #expect(second.json?["generation"]?.unsignedValue == 2)
        }
    }

    @Test func aMissingWakeStreamIsTriedAgain() async throws {
        try await self.withServer { server in
            #expect(try await self.put(server, "one", self.pull()).status == 201)
            try await server.client.stream().create(body: "x")
            try await self.eventually("no failure was shown") {
                try await self.get(server, "one").json?["status"]?.stringValue == "failed"
            }
            let wakes = server.client.stream(named: "wakes", "application/json")
            try await wakes.create()
            try await self.eventually("no wake") { try await wakes.read().json?.arrayValue?.count == 1 }
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
            try await self.eventually("an expired stream stays") { try await links() == [deleted.name] }
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

    // MARK: Durability

    @Test(arguments: TestMode.onDisk) func subscriptionsSurviveARestart(_ mode: TestMode) async throws {
        let folder = try TestFolder()
        let receiver = try await WebhookReceiver.start { _, count, responder in
            if count < 3 {
                responder.reply(.text("later", status: .serviceUnavailable))
            } else {
                WebhookReceiver.done(responder)
            }
        }
        var token: String?
        var fence = ""
        var names: (hook: String, pull: String) = ("", "")
        try await self.withServer(mode, folder: folder) { server in
            let (hooked, pulled) = (server.client.stream(named: "a/hooked"), server.client.stream(named: "b/pulled"))
            names = (hooked.name, pulled.name)
            #expect(try await self.put(server, "hook", self.webhook(receiver, pattern: "a/*")).status == 201)
            #expect(try await self.put(server, "pull", self.pull(pattern: "b/*")).status == 201)
            #expect(try await self.put(server, "gone", self.pull(pattern: "c/*")).status == 201)
            #expect(try await server.client.request(.DELETE, "\(Self.control)/subscriptions/gone").status == 204)
            try await hooked.create(body: "x")
            try await pulled.create(body: "y")
            let claim = try #require(try await self.post(server, "pull", "claim", "{\"worker\":\"w\"}").json)
            token = claim["token"]?.stringValue
            fence = "\"wake_id\":\"\(claim["wake_id"]?.stringValue ?? "")\",\"generation\":1"
            _ = try await receiver.wait(count: 1)
            let path = folder.path + "/control/subscriptions.json"
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            #expect(attributes[.posixPermissions] as? Int == 0o600)
            let text = try String(contentsOfFile: path, encoding: .utf8)
            #expect(!text.contains(try #require(token)))
        }
        try await self.withServer(mode, folder: folder) { server in
            // The webhook that failed goes on, with the signature of the same key.
            let last = try #require(try await receiver.wait(count: 3).last)
            try self.check(last, keys: try await server.client.request(.GET, "\(Self.control)/jwks.json"))
            try await self.eventually("the webhook's wake was not acked") {
                self.acked(try await self.get(server, "hook"), names.hook) == "0000000000000000_0000000000000001"
            }
            let acks = "\"acks\":[{\"stream\":\"\(names.pull)\",\"offset\":\"0000000000000000_0000000000000001\"}]"
            let ack = try await self.post(server, "pull", "ack", "{\(fence),\(acks),\"done\":true}", token: token)
            #expect(ack.status == 200)
            #expect(try await self.put(server, "gone", self.pull(pattern: "c/*")).status == 409)
        }
        await receiver.stop()
    }

    @Test func aDamagedFileStopsTheStart() async throws {
        let folder = try TestFolder()
        try FileManager.default.createDirectory(atPath: folder.path + "/control", withIntermediateDirectories: true)
        try Data("{\"version\":1,\"sub".utf8).write(
            to: URL(fileURLWithPath: folder.path + "/control/subscriptions.json"))
        await #expect(throws: (any Error).self) { try await self.withServer(.fileFast, folder: folder) { _ in } }
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
                        keys: try WebhookKeys(directory: nil),
                        clock: { clock.now() }, logger: EndpointServer.silent)
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
