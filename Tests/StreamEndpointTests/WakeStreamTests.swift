import DurableStreams
import Foundation
import HTTPServer
import NIOCore
import NIOHTTP1
import StreamDirectory
import StreamEndpoint
import Testing
import WebhookDelivery

/// Workers that are woken by a stream, claim, acknowledge and release.
@Suite(.timeLimit(.minutes(1)))
struct WakeStreamTests: SubscriptionSuite {
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
            try await eventually("no wake after the release") {
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
            try await eventually("no second wake") {
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
            try await eventually("no failure was shown") {
                try await self.get(server, "one").json?["status"]?.stringValue == "failed"
            }
            let wakes = server.client.stream(named: "wakes", "application/json")
            try await wakes.create()
            try await eventually("no wake") { try await wakes.read().json?.arrayValue?.count == 1 }
        }
    }
}
