import DurableStreams
import Foundation
import HTTPServer
import NIOCore
import NIOHTTP1
import StreamDirectory
import StreamEndpoint
import Testing
import WebhookDelivery

/// Webhooks: signed, acknowledged, fenced and tried again.
@Suite(.timeLimit(.minutes(1)))
struct WebhookTests: SubscriptionSuite {
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
            try await eventually("the snapshot was not acked") {
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
            try await eventually("no failure was shown") {
                try await self.get(server, "one").json?["status"]?.stringValue == "failed"
            }
            let all = try await receiver.wait(count: 3)
            // The same wake, each time with a token of its own; redirects are not followed.
            #expect(Set(all.map(\.wakeID)).count == 1)
            #expect(Set(all.map(\.token)).count == 3)
            #expect(all.allSatisfy { $0.path == "/hook" })
            try await eventually("the wake was not acked") {
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
}
